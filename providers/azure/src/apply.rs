//! One function per kind of step, each harmless to repeat (Writes).
//!
//! What is a group's own is written at once. A claim is handed in and not waited for: its object's writer makes one write of all claims.
//! A write whose fate is unknown is a Conflict: the index lists the addresses before the next plan.

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    ticket::Ticket,
};

use crate::{
    Azure,
    model::{Effect, NewPublicIp, Observed, Step, Told},
    path, public_ips,
};

/// Does one step.
///
/// # Errors
/// When Azure refuses, does not answer, or its answer is lost; of a claim what became of the same one before.
pub async fn apply(
    azure: &Azure,
    key: &GroupKey,
    step: &Step,
    seen: &Observed,
    ticket: &Ticket,
) -> Result<Effect, CloudError> {
    let told = match step {
        Step::PutPublicIp(new) => put_public_ip(azure, new, seen, ticket).await,
        Step::DeletePublicIp(id) => delete_public_ip(azure, id, ticket).await,
        Step::Claim { of, claim } => {
            let writer = azure.writers.balancer(*of).writer();
            let handed = writer.claim(key.clone(), claim.clone(), ticket);
            handed.map(|()| Told::Handed)
        }
        Step::SetMembers { of, members } => {
            let writer = azure.writers.balancer(*of);
            let handed = writer.follow(key, members.clone(), ticket);
            handed.map(|()| Told::Handed)
        }
        Step::ClaimAccess(claim) => match &azure.writers.security {
            Some(security) => {
                let handed = security.writer().claim(key.clone(), claim.clone(), ticket);
                handed.map(|()| Told::Handed)
            }
            None => Ok(Told::Nothing),
        },
    };
    Ok(Effect {
        step: step.clone(),
        told: told?,
    })
}

/// Makes it, or changes what is there: of that all stays that is not ours.
async fn put_public_ip(
    azure: &Azure,
    new: &NewPublicIp,
    seen: &Observed,
    ticket: &Ticket,
) -> Result<Told, CloudError> {
    let path = path(&new.id)?;
    let there = match seen.public_ips.contains_key(&new.id) {
        true => azure.client.get(&path).await?,
        false => None,
    };
    let etag = there.as_ref().and_then(|there| there.etag());
    let body = match there {
        Some(there) => public_ips::changed(there, new),
        None => public_ips::made(&azure.context, new),
    };
    let put = azure.client.put(&path, body.put(), etag.as_deref(), ticket);
    let written = put.await.inspect_err(|error| {
        // A write that was begun may have left something, whatever became of it.
        if !matches!(
            error.class,
            ErrorClass::Denied | ErrorClass::Throttled { .. }
        ) {
            azure.index.doubt();
        }
    })?;
    let Some(address) = public_ips::read(&written) else {
        azure.index.doubt();
        return Err(CloudError::new(
            ErrorClass::Conflict,
            "PUT publicIPAddresses",
            "Azure's answer is no public IP address; it is looked at anew",
        ));
    };
    let told = Told::Address(address.1.address);
    azure.index.learn(&new.id, Some(address));
    Ok(told)
}

async fn delete_public_ip(azure: &Azure, id: &str, ticket: &Ticket) -> Result<Told, CloudError> {
    let deleted = azure.client.delete(&path(id)?, ticket).await;
    deleted.inspect_err(|error| {
        if error.class == ErrorClass::Conflict {
            azure.index.doubt();
        }
    })?;
    azure.index.learn(id, None);
    Ok(Told::Nothing)
}
