//! Writes that are accepted before they are done: asked after until they are over (Reads).
//!
//! An answer names where to ask: `Azure-AsyncOperation`, whose answers have a status, or `Location`, whose status is that of HTTP. What the
//! resource itself says counts where neither is named, leads elsewhere, may not be read or is not found any more.

use std::time::{Duration, Instant};

use evenkeel_core::{error::CloudError, ticket::Ticket};
use http::Uri;
use serde_json::Value;

use super::{Client, ResourcePath, document, http::Reply};
use crate::{
    call::{Call, POLL, Verb},
    errors::{self, Answer},
    shared::json::Document,
};

/// While it is waited, how often the right to write is looked at.
const GLANCE: Duration = Duration::from_millis(250);

/// What is asked after.
#[derive(Debug)]
enum After {
    /// `Azure-AsyncOperation`.
    Operation(Uri),
    /// `Location`.
    Result(Uri),
    /// The resource.
    Resource,
}

/// How a write stands.
#[derive(Debug)]
enum Stands {
    GoesOn,
    Done(Option<Document>),
    /// The resource must be asked.
    Unknown,
}

/// `properties.provisioningState` of a resource.
pub(super) fn state(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    let state = body["properties"]["provisioningState"].as_str();
    state.map(str::to_owned)
}

impl Client {
    /// Waits until a write is over; with the resource where that was what was asked after.
    pub(super) async fn finish(
        &self,
        call: &'static Call,
        id: &ResourcePath,
        accepted: &Reply,
        ticket: &Ticket,
    ) -> Result<Option<Document>, CloudError> {
        let end = Instant::now() + self.config.write_timeout;
        let mut after = self.after(accepted);
        let mut pauses = self.config.poll_pauses.iter().copied();
        let mut pause = Duration::ZERO;
        let mut told = accepted.retry_after();
        loop {
            pause = pauses.next().unwrap_or(pause);
            let pause = told.map_or(pause, |told| told.max(pause));
            if Instant::now() + pause > end {
                return Err(errors::unfinished(call, id));
            }
            rest(pause, ticket).await?;
            let reply = match &after {
                After::Operation(url) | After::Result(url) => self.read(&POLL, url.clone()).await,
                After::Resource => self.look(id).await,
            };
            let reply = match reply {
                Ok(reply) => reply,
                // How it ends is known to nobody else; who asks can do so again.
                Err(error) if error.class.is_hopeless() => return Err(error),
                Err(_) => {
                    told = None;
                    continue;
                }
            };
            told = reply.retry_after();
            let stands = match after {
                After::Operation(_) => self.of_operation(call, &reply)?,
                After::Result(_) => self.of_result(call, &reply)?,
                After::Resource => of_resource(call, id, &reply)?,
            };
            match stands {
                Stands::Done(found) => return Ok(found),
                Stands::GoesOn => {}
                Stands::Unknown => after = After::Resource,
            }
        }
    }

    fn after(&self, accepted: &Reply) -> After {
        let link = |name: &str| {
            let link = accepted.header(name)?;
            let followed = self.place.follow(link);
            if followed.is_none() {
                tracing::warn!(
                    header = name,
                    "a write is to be asked after elsewhere, which is not done: the resource is asked"
                );
            }
            followed
        };
        if let Some(url) = link("azure-asyncoperation") {
            return After::Operation(url);
        }
        link("location").map_or(After::Resource, After::Result)
    }

    async fn look(&self, id: &ResourcePath) -> Result<Reply, CloudError> {
        let call = super::call(Verb::Get, id)?;
        self.read(call, self.url(call, id)?).await
    }

    fn of_operation(&self, call: &'static Call, reply: &Reply) -> Result<Stands, CloudError> {
        if reply.status != 200 {
            return Ok(self.not_told(reply));
        }
        let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        match body["status"].as_str() {
            Some("Succeeded") => Ok(Stands::Done(None)),
            Some("Failed" | "Canceled") => Err(self.refused(call, reply)),
            Some(_) => Ok(Stands::GoesOn),
            None => Ok(Stands::Unknown),
        }
    }

    fn of_result(&self, call: &'static Call, reply: &Reply) -> Result<Stands, CloudError> {
        match reply.status {
            202 => Ok(Stands::GoesOn),
            // The result of a write that made something is that, as it is by now.
            200 | 201 if state(&reply.body).is_some() => Ok(Stands::Unknown),
            200 | 201 | 204 => Ok(Stands::Done(None)),
            // The answer of the write itself.
            400 | 409 | 412 => Err(self.refused(call, reply)),
            _ => Ok(self.not_told(reply)),
        }
    }

    /// An answer about the asking, not about the write.
    fn not_told(&self, reply: &Reply) -> Stands {
        let error = self.refused(&POLL, reply);
        tracing::debug!(%error, "a write could not be asked after");
        match reply.status {
            408 | 429 | 500..=599 => Stands::GoesOn,
            // The operation is forgotten, or may not be read.
            _ => Stands::Unknown,
        }
    }
}

fn of_resource(call: &Call, id: &ResourcePath, reply: &Reply) -> Result<Stands, CloudError> {
    let answer = Answer::read(reply.status, &reply.body);
    match (reply.status, call.verb) {
        (200, verb) => match (state(&reply.body).as_deref(), verb) {
            (Some("Succeeded") | None, Verb::Delete) => Err(errors::unknown_fate(call, id)),
            (Some("Succeeded") | None, _) => Ok(Stands::Done(Some(document(call, &reply.body)?))),
            (Some("Failed" | "Canceled"), _) => Err(errors::unknown_fate(call, id)),
            (Some(_), _) => Ok(Stands::GoesOn),
        },
        (_, Verb::Delete) if answer.is_gone() => Ok(Stands::Done(None)),
        _ if answer.is_gone() => Err(errors::gone(call, id)),
        (408 | 429 | 500..=599, _) => Ok(Stands::GoesOn),
        _ => Err(errors::from_answer(call.operation, call.access(), answer)),
    }
}

/// Waits, as long as there is a right to write: whoever has it next shall not wait for a poll.
async fn rest(pause: Duration, ticket: &Ticket) -> Result<(), CloudError> {
    let end = Instant::now() + pause;
    loop {
        ticket.remaining()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(left.min(GLANCE)).await;
    }
}
