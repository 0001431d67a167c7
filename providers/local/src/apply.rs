//! One function per kind of step, each harmless to repeat (Writes).
//!
//! A create says that there shall be no such object; a change and a deletion name the generation that was seen. So
//! nothing that somebody else changed in the meantime is overwritten or removed, and a late write of a former leader
//! meets nothing.

use evenkeel_core::{
    error::{CloudError, ErrorClass, FailureReason},
    ticket::Ticket,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::{self, Object, Put, code},
    client::{Client, Expect},
    model::{BackendSetSpec, Effect, Kind, Observed, Seen, Step, Write},
    names,
};

/// Does one step.
///
/// # Errors
/// When the data plane refuses, does not answer, or its answer is lost.
pub async fn apply(
    client: &Client,
    step: &Step,
    seen: &Observed,
    ticket: &Ticket,
) -> Result<Effect, CloudError> {
    match step {
        Step::PutLease(write) => put_lease(client, write, seen, ticket).await,
        Step::PutBackendSet(write) => put_backend_set(client, write, seen, ticket).await,
        Step::PutListener(write) => put_listener(client, write, seen, ticket).await,
        Step::Delete { kind, name } => delete(client, *kind, name, seen, ticket).await,
    }
}

async fn put_lease(
    client: &Client,
    write: &Write<api::LeaseSpec>,
    seen: &Observed,
    ticket: &Ticket,
) -> Result<Effect, CloudError> {
    let expect = expect(seen.leases.get(&write.name))?;
    let lease = put(client, Kind::Lease, &write.name, &write.put, expect, ticket).await?;
    Ok(Effect::Lease(write.name.clone(), client.seen_lease(lease)))
}

async fn put_backend_set(
    client: &Client,
    write: &Write<BackendSetSpec>,
    seen: &Observed,
    ticket: &Ticket,
) -> Result<Effect, CloudError> {
    let expect = expect(seen.backend_sets.get(&write.name))?;
    let body = Put {
        marks: write.put.marks.clone(),
        spec: write.put.spec.to_wire(),
    };
    let set = put(client, Kind::BackendSet, &write.name, &body, expect, ticket).await?;
    Ok(Effect::BackendSet(
        write.name.clone(),
        client.seen_backend_set(set),
    ))
}

async fn put_listener(
    client: &Client,
    write: &Write<api::ListenerSpec>,
    seen: &Observed,
    ticket: &Ticket,
) -> Result<Effect, CloudError> {
    let expect = expect(seen.listeners.get(&write.name))?;
    let listener = put(
        client,
        Kind::Listener,
        &write.name,
        &write.put,
        expect,
        ticket,
    )
    .await?;
    Ok(Effect::Listener(
        write.name.clone(),
        client.seen_listener(listener),
    ))
}

async fn delete(
    client: &Client,
    kind: Kind,
    name: &str,
    seen: &Observed,
    ticket: &Ticket,
) -> Result<Effect, CloudError> {
    let expect = match kind {
        Kind::Lease => expect(seen.leases.get(name))?,
        Kind::BackendSet => expect(seen.backend_sets.get(name))?,
        Kind::Listener => expect(seen.listeners.get(name))?,
    };
    // What was not seen is gone already.
    if let Expect::Generation(generation) = expect {
        client.delete(kind, name, generation, ticket).await?;
    }
    Ok(Effect::Gone(kind, name.to_owned()))
}

/// What a write expects to find, by what was seen.
fn expect<Spec, Status>(seen: Option<&Seen<Spec, Status>>) -> Result<Expect, CloudError> {
    match seen.map(|seen| seen.generation) {
        None => Ok(Expect::Absent),
        Some(Some(generation)) => Ok(Expect::Generation(generation)),
        // Only a rehearsal has objects without a generation.
        Some(None) => Err(CloudError::new(
            ErrorClass::Conflict,
            "apply",
            "the object was foretold and never read; look again",
        )),
    }
}

/// Puts an object. When the data plane says that it is not as it was seen, the object itself tells why: the same write was
/// made before, which is success; it belongs to somebody else; or it changed, and a fresh look is needed.
async fn put<Spec, Status>(
    client: &Client,
    kind: Kind,
    name: &str,
    put: &Put<Spec>,
    expect: Expect,
    ticket: &Ticket,
) -> Result<Object<Spec, Status>, CloudError>
where
    Spec: PartialEq + Serialize + DeserializeOwned,
    Status: DeserializeOwned,
{
    let error = match client.put(kind, name, put, expect, ticket).await {
        Err(error) if matches!(error.code.as_deref(), Some(code::CHANGED | code::EXISTS)) => error,
        result => return result,
    };
    let Ok(Some(object)) = client.get::<Spec, Status>(kind, name).await else {
        return Err(error);
    };
    if object.marks == put.marks && object.spec == put.spec {
        return Ok(object);
    }
    if names::is_ours(&object.marks, &put.marks.cluster, &put.marks.group) {
        return Err(error);
    }
    let holder = &object.marks.service;
    let message = format!(
        "{} `{name}` belongs to {holder} ({}); delete it there",
        kind.as_str(),
        object.marks.group
    );
    Err(
        CloudError::new(ErrorClass::Rejected, error.operation, message)
            .with_code(code::FOREIGN)
            .because(FailureReason::OwnershipConflict),
    )
}
