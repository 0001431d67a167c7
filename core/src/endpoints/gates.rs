//! Readiness gates: pods that wait until the load balancer finds them healthy (Decides).
//!
//! A pod names the condition `target-health.evenkeel.dev/<Service>` among its `spec.readinessGates`, and Kubernetes does not call it
//! ready before that condition is true; so a rollout takes no old pod away while the load balancer does not use the new one. To the
//! EndpointSlices such a pod is not ready, which is why only the pod tells that it is a target: its containers are ready, it does not
//! leave, and nothing is missing but what load balancers say.
//!
//! A gate is opened once. Later a target that fails gets no traffic from the load balancer, which is its own business: to close
//! the gate again would take the pod from whoever reaches it within the cluster too.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde::Serialize;

use super::{Endpoint, Endpoints, Use};
use crate::ids::{ServiceKey, ServiceUid};

#[cfg(test)]
mod tests;

/// What comes before the name of the Service in the type of a gate.
pub const GATE_PREFIX: &str = "target-health.evenkeel.dev/";

/// What the gates of all controllers of load balancers begin with: `target-health.elbv2.k8s.aws/`. None waits for another: each would
/// wait for the pod to be ready but for the other.
const GATES_OF_LOAD_BALANCERS: &str = "target-health.";

/// The kubelet's reason for a pod that is not ready though its containers are: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/status/generate.go
const GATES_NOT_READY: &str = "ReadinessGatesNotReady";

/// A pod that waits for the health of its targets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Waiting {
    /// Its UID: another pod may get its name and its address.
    pub uid: Arc<str>,
    /// Since when its containers are ready.
    pub since: Timestamp,
}

/// How the targets of a pod that waits stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// For which Service.
    pub service: ServiceUid,
    /// The name of the pod.
    pub pod: Arc<str>,
    /// Its UID.
    pub uid: Arc<str>,
    /// Since when its containers are ready.
    pub since: Timestamp,
    /// Why it waits on; None: the load balancer finds all of its targets healthy.
    pub lacks: Option<Lack>,
}

/// Why a pod waits on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lack {
    /// CamelCase, the cloud's own word where it has one.
    pub reason: Arc<str>,
    /// For people.
    pub message: Arc<str>,
}

/// The condition of a gate, as it is or shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateCondition {
    /// Whether the pod need not wait.
    pub open: bool,
    /// As [`Lack::reason`], or why it is open.
    pub reason: Arc<str>,
    /// For people.
    pub message: Arc<str>,
}

impl GateCondition {
    /// What is written for a pod that was judged.
    pub fn of(lack: Option<&Lack>, service: &str) -> Self {
        match lack {
            None => Self {
                open: true,
                reason: "Healthy".into(),
                message: format!("the load balancer of the Service {service} finds it healthy")
                    .into(),
            },
            Some(lack) => Self {
                open: false,
                reason: Arc::clone(&lack.reason),
                message: Arc::clone(&lack.message),
            },
        }
    }

    /// What is written where no load balancer will ever say anything about the pod.
    pub fn without_targets(service: &str) -> Self {
        Self {
            open: true,
            reason: "NoTargets".into(),
            message: format!("the Service {service} has no pods as targets: nothing to wait for")
                .into(),
        }
    }

    fn from_resource(condition: &PodCondition) -> Self {
        let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        Self {
            open: condition.status == "True",
            reason: text(&condition.reason),
            message: text(&condition.message),
        }
    }
}

/// A gate of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The name of the Service.
    pub service: Arc<str>,
    /// Its condition, where there is one.
    pub condition: Option<GateCondition>,
}

impl Gate {
    /// Whether the pod need not wait.
    pub fn is_open(&self) -> bool {
        self.condition
            .as_ref()
            .is_some_and(|condition| condition.open)
    }

    /// The type of the gate for a Service.
    pub fn type_of(service: &str) -> String {
        format!("{GATE_PREFIX}{service}")
    }
}

/// What matters of a pod. One without a gate of ours does not matter at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its UID.
    pub uid: Arc<str>,
    /// Its gates that are ours.
    pub gates: Box<[Gate]>,
    addresses: Box<[IpAddr]>,
    /// Since when nothing is missing but what load balancers say.
    fit_since: Option<Timestamp>,
}

impl PodFacts {
    /// The facts of a pod.
    pub fn from_resource(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let gates = spec.and_then(|spec| spec.readiness_gates.as_deref());
        let types: Vec<&str> = gates
            .unwrap_or_default()
            .iter()
            .map(|gate| gate.condition_type.as_str())
            .collect();
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref());
        let conditions = conditions.unwrap_or_default();
        let condition = |type_: &str| conditions.iter().find(|one| one.type_ == type_);
        let ours: Box<[Gate]> = types
            .iter()
            .filter_map(|type_| {
                Some(Gate {
                    service: type_.strip_prefix(GATE_PREFIX)?.into(),
                    condition: condition(type_).map(GateCondition::from_resource),
                })
            })
            .collect();
        if ours.is_empty() {
            return Self::default();
        }
        let is = |type_: &str| condition(type_).is_some_and(|one| one.status == "True");
        let others = types
            .iter()
            .filter(|type_| !type_.starts_with(GATES_OF_LOAD_BALANCERS));
        let fit = is("ContainersReady")
            && pod.metadata.deletion_timestamp.is_none()
            && others.copied().all(is)
            // With all gates open the kubelet has yet to see it; who says anything else means the node.
            && (!ours.iter().all(Gate::is_open)
                || condition("Ready").is_none_or(|ready| {
                    ready.status == "True" || ready.reason.as_deref() == Some(GATES_NOT_READY)
                }));
        let since = condition("ContainersReady").and_then(|one| one.last_transition_time.as_ref());
        let ips = status.and_then(|status| status.pod_ips.as_deref());
        let ips = ips.unwrap_or_default().iter().map(|ip| ip.ip.as_str());
        let ip = status.and_then(|status| status.pod_ip.as_deref());
        Self {
            uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
            gates: ours,
            addresses: ips.chain(ip).filter_map(|ip| ip.parse().ok()).collect(),
            fit_since: fit.then(|| since.map_or(Timestamp::UNIX_EPOCH, |since| since.0)),
        }
    }

    /// Its gate for a Service.
    pub fn gate(&self, service: &str) -> Option<&Gate> {
        self.gates.iter().find(|gate| *gate.service == *service)
    }

    /// What an endpoint is in the light of its pod.
    fn enlighten(&self, endpoint: &mut Endpoint, service: &str) {
        let (Some(gate), Some(since)) = (self.gate(service), self.fit_since) else {
            return;
        };
        if !self.addresses.contains(&endpoint.address) {
            return;
        }
        if endpoint.use_ == Use::LastResort {
            endpoint.use_ = Use::Await;
        }
        if !gate.is_open() {
            endpoint.waits = Some(Waiting {
                uid: Arc::clone(&self.uid),
                since,
            });
        }
    }
}

/// What the endpoints of a Service are in the light of its pods: those that only wait for us are targets.
pub fn with_gates<'a>(
    endpoints: &mut Endpoints,
    service: &ServiceKey,
    pod: impl Fn(&str) -> Option<&'a PodFacts>,
) {
    for endpoints in endpoints.values_mut() {
        for endpoint in endpoints.iter_mut() {
            let facts = endpoint.pod.as_deref().and_then(&pod);
            if let Some(facts) = facts {
                facts.enlighten(endpoint, &service.name);
            }
        }
        endpoints.sort();
    }
}
