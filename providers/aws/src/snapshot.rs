//! Everything of this cluster in bulk calls: for restarts, drift, and objects whose Service is gone (Reads).

use std::sync::Arc;

use evenkeel_core::{
    error::CloudError,
    intent::Scheme,
    provider::{Snapshot, SnapshotPart},
};
use futures::future::try_join;

use crate::{
    Aws,
    facts::Need,
    model::{Facts, Observed},
};

/// Reads what every group of the cluster has.
///
/// # Errors
/// When AWS does not answer.
pub async fn snapshot(aws: &Aws) -> Result<Snapshot<Observed>, CloudError> {
    aws.holder.look_again(aws).await?;
    // Whatever scheme a new load balancer will have: what it rests on is at hand then.
    let facts = async {
        for scheme in [Scheme::Internal, Scheme::InternetFacing] {
            let need = Need {
                discovery: Some(scheme),
                ..Need::default()
            };
            aws.facts.look(&aws.client, &need).await?;
        }
        Ok(())
    };
    // Beside each other: a start waits for both.
    let ((), groups) = try_join(facts, aws.index.all(aws)).await?;
    let facts = aws.facts.known();
    let groups = groups.into_iter();
    Ok(Snapshot {
        groups: groups.map(|group| part(group, &facts)).collect(),
    })
}

/// One group of a bulk look.
pub(crate) fn part(
    (identity, mut observed): (Arc<str>, Observed),
    facts: &Arc<Facts>,
) -> (String, SnapshotPart<Observed>) {
    observed.listeners.clear();
    observed.facts = Arc::clone(facts);
    let part = SnapshotPart {
        service: service(&observed),
        objects: observed.len(),
        observed,
    };
    (identity.to_string(), part)
}

/// The Service, or the shared group, as the marks tell it.
pub(crate) fn service(observed: &Observed) -> String {
    let load_balancers = observed.load_balancers.values().map(|one| &one.marks);
    let target_groups = observed.target_groups.values().map(|one| &one.marks);
    let security_groups = observed.security_groups.values().map(|one| &one.marks);
    // Of a shared group the first two carry the group's name, a target group its member's.
    load_balancers
        .chain(security_groups)
        .chain(target_groups)
        .map(|marks| marks.service.to_string())
        .next()
        .unwrap_or_default()
}
