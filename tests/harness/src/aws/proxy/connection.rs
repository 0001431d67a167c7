//! One connection of whoever is tested, request by request. Reads and Writes it.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};

use super::{Upstream, Wire};
use crate::aws::calls::{Call, Operation};
use crate::aws::envelope;
use crate::aws::faults::{Action, Fault};
use crate::aws::identify::{Identified, identify};
use crate::aws::microburst::LABEL_HEADER;
use crate::aws::model::Protocol;
use crate::cloud::listener::{Answer, Cut, Socket};
use crate::wire::send;

/// moto's own: whose account is asked.
const ACCOUNT_HEADER: &str = "x-moto-account-id";

/// The longest request that is read, in bytes.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

pub(super) async fn pass(wire: &Arc<Wire>, socket: &Socket, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT)
        .collect()
        .await
        .map_err(|_| Cut)?
        .to_bytes();
    let found = match identify(wire.models, &head.headers, &body) {
        Ok(found) => found,
        Err(problem) => {
            wire.lock_violations().push(problem.clone());
            return Ok(envelope::reply(400, "text/plain", problem).map(Full::from));
        }
    };
    let place = wire.calls.arrived(Call {
        service: found.model.service.clone(),
        operation: found.operation.clone(),
        region: found.region.clone(),
        access_key: found.access_key.clone(),
        parameters: found.parameters.clone(),
        status: None,
        error: None,
        fault: None,
    });
    let reply = match found.problems.is_empty() {
        true => answer(wire, socket, place, &found, Request::from_parts(head, body)).await?,
        false => forbid(wire, &found),
    };
    let status = reply.status();
    wire.calls.change(place, |call| {
        call.status = Some(status.as_u16());
        call.error = match status.is_success() {
            true => None,
            false => envelope::code(reply.body()),
        };
    });
    Ok(reply.map(Full::from))
}

/// The emulator's reply, or what a fault makes of it.
async fn answer(
    wire: &Arc<Wire>,
    socket: &Socket,
    place: usize,
    found: &Identified<'static>,
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, Cut> {
    let action = wire
        .faults
        .on(&Operation::new(&found.model.service, &found.operation))
        .or(watched(wire, place).await);
    if let Some(action) = &action {
        wire.calls
            .change(place, |call| call.fault = Some(action.to_string()));
    }
    let fault = match action {
        Some(Action::Label(label)) => {
            if let Ok(value) = label.parse() {
                request.headers_mut().insert(LABEL_HEADER, value);
            }
            None
        }
        Some(Action::Fault(fault)) => Some(fault),
        None => None,
    };
    if let Some(reply) = before(wire, socket, found, fault.as_ref()).await? {
        return Ok(reply);
    }
    let under_way = wire.upstream.begin().await;
    // A task of its own: what has reached AWS takes effect, and whoever watches hears of it, also when the caller goes away.
    let exchange = exchange(wire.clone(), place, found.clone(), request);
    let exchange = tokio::spawn(async move { (exchange.await, under_way) });
    let (mut reply, under_way) = match exchange.await {
        Ok((Ok(reply), under_way)) => (reply, under_way),
        Ok((Err(_), _)) | Err(_) => return Err(socket.reset()),
    };
    // The clock does not wait for what is held on its way back.
    let _under_way =
        under_way.filter(|_| !matches!(fault, Some(Fault::HoldAfter | Fault::Slow(_))));
    for header in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
        reply.headers_mut().remove(header);
    }
    after(socket, found, fault.as_ref(), reply).await
}

/// What whoever watches wants to happen.
async fn watched(wire: &Wire, place: usize) -> Option<Action> {
    let watcher = wire.watcher.get()?;
    let fault = watcher.arrived(&wire.calls.get(place)).await?;
    Some(Action::Fault(fault))
}

async fn exchange(
    wire: Arc<Wire>,
    place: usize,
    found: Identified<'static>,
    mut request: Request<Bytes>,
) -> anyhow::Result<Response<Bytes>> {
    let reply = match &wire.upstream {
        Upstream::Emulator { address, account } => {
            let headers = request.headers_mut();
            if let Some(account) = account.as_ref().and_then(|account| account.parse().ok()) {
                headers.insert(ACCOUNT_HEADER, account);
            }
            // What was agreed on for the client's connection is not so for ours.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            send(*address, request.map(Full::from)).await
        }
        Upstream::Fake(fake, way) => Ok(fake.answer(*way, &found)),
    };
    if let Some(watcher) = wire.watcher.get() {
        let mut call = wire.calls.get(place);
        call.status = reply.as_ref().ok().map(|reply| reply.status().as_u16());
        watcher.took_effect(&call).await;
    }
    reply
}

/// The request is wrong: it is remembered and refused.
fn forbid(wire: &Wire, found: &Identified<'_>) -> Response<Bytes> {
    let name = format!("{}:{}", found.model.service, found.operation);
    let problems = found.problems.join("; ");
    wire.lock_violations()
        .push(format!("{name} {}: {problems}", found.parameters));
    let code = match found.model.protocol {
        Protocol::Ec2 => "InvalidParameterValue",
        _ => "ValidationError",
    };
    envelope::error(found.model, 400, code, &problems)
}

/// A fault in place of the effect.
async fn before(
    wire: &Wire,
    socket: &Socket,
    found: &Identified<'_>,
    fault: Option<&Fault>,
) -> Result<Option<Response<Bytes>>, Cut> {
    let model = found.model;
    let reply = match fault {
        Some(Fault::Refused(duration)) => {
            // Ends this connection with all others.
            let _ = wire.refuse.send(*duration);
            pending::<Infallible>().await;
            return Err(Cut);
        }
        Some(Fault::Reset) => return Err(socket.reset()),
        Some(Fault::HoldBefore) => {
            pending::<Infallible>().await;
            return Err(Cut);
        }
        Some(Fault::ErrorBefore) => internal_error(found),
        Some(Fault::Throttled) => match model.protocol {
            Protocol::Ec2 => envelope::error(
                model,
                503,
                "RequestLimitExceeded",
                "Request limit exceeded.",
            ),
            Protocol::Query => envelope::error(model, 400, "Throttling", "Rate exceeded"),
            Protocol::Json => envelope::error(model, 400, "ThrottlingException", "Rate exceeded"),
        },
        Some(Fault::Answer {
            status,
            code,
            message,
        }) => envelope::error(model, *status, code, message),
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

/// A fault after the effect.
async fn after(
    socket: &Socket,
    found: &Identified<'_>,
    fault: Option<&Fault>,
    reply: Response<Bytes>,
) -> Result<Response<Bytes>, Cut> {
    match fault {
        Some(Fault::ErrorAfter) => return Ok(internal_error(found)),
        Some(Fault::ReplyLost) => return Err(socket.reset()),
        Some(Fault::Slow(duration)) => tokio::time::sleep(*duration).await,
        Some(Fault::HoldAfter) => {
            pending::<Infallible>().await;
        }
        _ => {}
    }
    Ok(reply)
}

fn internal_error(found: &Identified<'_>) -> Response<Bytes> {
    let code = match found.model.protocol {
        Protocol::Ec2 => "InternalError",
        _ => "InternalFailure",
    };
    envelope::error(found.model, 500, code, "An internal error has occurred")
}
