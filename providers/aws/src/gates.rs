//! How the targets of pods stand that wait at a readiness gate (Reads; what is made of an answer Decides).
//!
//! Which target groups there are the index knows; the health of their targets is read each time, because what was true a minute ago may be
//! about another pod with the same address. For that reason, too, a target must not only be healthy: it must have been long enough since
//! the containers got ready for AWS to have noticed, had it been the pod before that was healthy.
//!
//! Where target groups of one port are used by two load balancers, because one replaces the other, the pod waits for both.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use evenkeel_core::{
    Timestamp,
    endpoints::{Endpoint, EndpointSet, Judged, Lack, Waiting},
    error::CloudError,
    ids::{GroupKey, ResourceId, ServiceUid},
};
use futures::future::try_join_all;

use crate::{
    Aws,
    client::Health,
    model::{HealthCheck, Observed, SeenTargetGroup, Target, TargetState},
    plan::pods,
};

#[cfg(test)]
mod tests;

/// How long it is waited at most for AWS to notice that a pod took another's place.
const LONGEST: Duration = Duration::from_secs(60);

/// What is asked of one target group.
struct Asked<'a> {
    group: &'a SeenTargetGroup,
    /// Whether a listener forwards there.
    used: bool,
    waiting: Vec<(&'a Endpoint, &'a Waiting)>,
}

/// Reads how the targets stand of those pods that wait.
///
/// # Errors
/// When AWS does not answer.
pub(crate) async fn judge(
    aws: &Aws,
    key: &GroupKey,
    endpoints: &EndpointSet,
    now: Timestamp,
) -> Result<Vec<Judged>, CloudError> {
    let seen = aws.index.group(aws, &key.identity()).await?;
    let asked = asked(&seen, endpoints);
    let read = asked.iter().map(async |asked| match asked.used {
        true => aws.client.target_health(&asked.group.arn).await,
        false => Ok(None),
    });
    let found = try_join_all(read).await?;
    let found = found.into_iter().map(|found| {
        let found = found.unwrap_or_default().into_iter();
        found.collect::<BTreeMap<Target, Health>>()
    });
    let answers: Vec<_> = asked.iter().zip(found).collect();
    Ok(verdicts(endpoints, &answers, now))
}

/// The target groups that somebody waits for: of each port those that a listener forwards to, or any where none does.
fn asked<'a>(seen: &'a Observed, endpoints: &'a EndpointSet) -> Vec<Asked<'a>> {
    let mut all: BTreeMap<_, Vec<Asked<'a>>> = BTreeMap::new();
    for (name, group) in seen
        .target_groups
        .iter()
        .filter(|(_, group)| group.target_type.is_pods())
    {
        let known = pods::endpoints_found(endpoints, group).unwrap_or_default();
        let waiting: Vec<_> = known
            .into_iter()
            .filter_map(|endpoint| Some((endpoint, endpoint.waits.as_ref()?)))
            .collect();
        if waiting.is_empty() {
            continue;
        }
        let place = (
            group.marks.member(),
            group.listener_port(),
            group.protocol,
            group.family,
        );
        all.entry(place).or_default().push(Asked {
            group,
            used: seen.is_used(name, group),
            waiting,
        });
    }
    for groups in all.values_mut() {
        if groups.iter().any(|asked| asked.used) {
            groups.retain(|asked| asked.used);
        }
    }
    all.into_values().flatten().collect()
}

/// A pod that waits, for a Service.
type Pod = (ServiceUid, Arc<str>, Waiting);

fn verdicts(
    endpoints: &EndpointSet,
    answers: &[(&Asked<'_>, BTreeMap<Target, Health>)],
    now: Timestamp,
) -> Vec<Judged> {
    let mut all: BTreeMap<Pod, Option<BTreeSet<Lack>>> = BTreeMap::new();
    for (service, ports) in endpoints.services() {
        for endpoint in ports.values().flatten() {
            all.extend(pod(service, endpoint).map(|pod| (pod, None)));
        }
    }
    for (asked, found) in answers {
        for (endpoint, waiting) in &asked.waiting {
            let lack = match asked.used {
                true => lack(asked.group, found, endpoint, waiting, now),
                false => Some(Lack {
                    reason: "NotInUse".into(),
                    message: format!("no listener forwards to {} yet", asked.group.marks.id).into(),
                }),
            };
            if let Some(pod) = pod(&asked.group.marks.member(), endpoint) {
                let lacks = all.entry(pod).or_default();
                lacks.get_or_insert_default().extend(lack);
            }
        }
    }
    let nothing = Lack {
        reason: "NoTargetGroup".into(),
        message: "there is no target group for it yet; see the conditions of the Service".into(),
    };
    all.into_iter()
        .map(|((service, pod, waiting), lacks)| Judged {
            service,
            pod,
            uid: waiting.uid,
            since: waiting.since,
            lacks: match lacks {
                Some(lacks) => lacks.into_iter().next(),
                None => Some(nothing.clone()),
            },
        })
        .collect()
}

fn pod(service: &ServiceUid, endpoint: &Endpoint) -> Option<Pod> {
    let (pod, waiting) = (endpoint.pod.as_ref()?, endpoint.waits.as_ref()?);
    Some((service.clone(), Arc::clone(pod), waiting.clone()))
}

/// Why the target of an endpoint is not good enough yet.
fn lack(
    group: &SeenTargetGroup,
    found: &BTreeMap<Target, Health>,
    endpoint: &Endpoint,
    waiting: &Waiting,
    now: Timestamp,
) -> Option<Lack> {
    let id = &group.marks.id;
    let health = found
        .get(&pods::target(endpoint))
        .filter(|health| health.state.is_registered());
    let Some(health) = health else {
        let message = format!("it is not registered with {id} yet");
        return Some(Lack {
            reason: "NotRegistered".into(),
            message: message.into(),
        });
    };
    if health.state != TargetState::Healthy {
        return Some(worded(id, health));
    }
    let ready_for = Duration::try_from(now.duration_since(waiting.since)).unwrap_or_default();
    (ready_for < noticed_after(&group.health_check)).then(|| Lack {
        reason: "InitialHealthChecking".into(),
        message: format!(
            "{id}: whether it is this pod that is healthy shows with the next health checks"
        )
        .into(),
    })
}

/// In AWS's own words: `Target.FailedHealthChecks`, `Elb.InitialHealthChecking`.
fn worded(id: &ResourceId, health: &Health) -> Lack {
    let state = match health.state {
        TargetState::Initial => "initial",
        TargetState::Healthy => "healthy",
        TargetState::Unhealthy => "unhealthy",
        TargetState::Unused => "unused",
        TargetState::Draining => "draining",
        TargetState::Unavailable => "unavailable",
    };
    let reason = health.reason.clone();
    Lack {
        reason: reason.unwrap_or_else(|| state.into()),
        message: match &health.description {
            Some(description) => format!("{id}: {description}").into(),
            None => format!("{id}: the target is {state}").into(),
        },
    }
}

/// How long after a pod took another's place AWS has noticed that the one before does not answer.
fn noticed_after(check: &HealthCheck) -> Duration {
    Duration::from_secs(u64::from(check.interval) * u64::from(check.unhealthy)).min(LONGEST)
}
