//! Patches: what is written to a Service, and whether anything has to be (Decides).

use evenkeel_core::{
    claim::DOMAIN,
    condition::{self, ConditionType},
    endpoints::{Gate, GateCondition, PodFacts},
    ids::ServiceRef,
    ports::{PortKey, Protocol},
    problem::{PortError, reason},
    published::{Ingress, IpMode, Published},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{LoadBalancerIngress, PortStatus, Service, ServicePort},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

/// The error of a port that is not open yet and has no error of its own.
const NOT_READY: &str = "NotReady";

/// What a Service's status shall say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The whole of `status.loadBalancer.ingress`.
    pub ingress: Vec<LoadBalancerIngress>,
    /// Our conditions.
    pub conditions: Vec<Condition>,
}

impl Wanted {
    /// The addresses, for logs.
    pub fn addresses(&self) -> String {
        let one = |ingress: &LoadBalancerIngress| {
            ingress
                .ip
                .clone()
                .or(ingress.hostname.clone())
                .unwrap_or_default()
        };
        self.ingress.iter().map(one).collect::<Vec<_>>().join(",")
    }
}

/// What upstream calls the error of a port whose protocol cannot be mixed with that of another
/// (`MixedProtocolNotSupported` of `core/v1`).
const UPSTREAM_MIXED: &str = "MixedProtocolNotSupported";

/// The ingress of a Service: every address with every port of the Service, those that are not served with an error.
pub fn ingress(
    service: &Service,
    reference: &ServiceRef,
    published: &Published,
    errors: &[PortError],
) -> Vec<LoadBalancerIngress> {
    let ports: Vec<_> = spec_ports(service)
        .map(|port| port_status(port, reference, published, errors))
        .collect();
    let entry = |ingress: &Ingress| {
        let (ip, hostname, ip_mode) = match ingress {
            Ingress::Ip { ip, mode } => (
                Some(ip.to_string()),
                None,
                Some(mode_word(*mode).to_owned()),
            ),
            Ingress::Hostname(name) => (None, Some(name.clone()), None),
        };
        LoadBalancerIngress {
            hostname,
            ip,
            ip_mode,
            ports: (!ports.is_empty()).then(|| ports.clone()),
        }
    };
    published.ingress.iter().map(entry).collect()
}

/// Whether an ingress has an address, and every port that can be served is open.
pub fn serves_wholly(ingress: &[LoadBalancerIngress]) -> bool {
    let not_ready = format!("{DOMAIN}/{NOT_READY}");
    let ports = |entry: &LoadBalancerIngress| entry.ports.clone().unwrap_or_default();
    let errors: Vec<_> = ingress
        .iter()
        .flat_map(ports)
        .map(|port| port.error)
        .collect();
    errors.contains(&None) && !errors.contains(&Some(not_ready))
}

fn spec_ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten())
}

fn mode_word(mode: IpMode) -> &'static str {
    match mode {
        IpMode::Vip => "VIP",
        IpMode::Proxy => "Proxy",
    }
}

fn port_status(
    port: &ServicePort,
    service: &ServiceRef,
    published: &Published,
    errors: &[PortError],
) -> PortStatus {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let key = u16::try_from(port.port)
        .ok()
        .zip(Protocol::parse(Some(protocol)))
        .map(|(port, protocol)| PortKey { port, protocol });
    let open = published
        .ports
        .iter()
        .any(|open| open.service == *service && Some(open.port) == key);
    let reason = errors
        .iter()
        .find(|error| Some(error.port) == key)
        .map(|error| error.reason);
    let reason = reason.or((!open).then_some(NOT_READY));
    PortStatus {
        // Own values carry a domain; of upstream's there is one.
        error: reason.map(|reason| match reason {
            reason::MIXED_PROTOCOLS => UPSTREAM_MIXED.to_owned(),
            ours => format!("{DOMAIN}/{ours}"),
        }),
        port: port.port,
        protocol: protocol.to_owned(),
    }
}

/// The ingress that a Service's status has.
pub fn current_ingress(service: &Service) -> &[LoadBalancerIngress] {
    let balancer = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    balancer
        .and_then(|balancer| balancer.ingress.as_deref())
        .unwrap_or_default()
}

/// The conditions that a Service's status has.
pub fn current_conditions(service: &Service) -> &[Condition] {
    service
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

/// The server-side apply that makes a Service's status say what is wanted; None when it says so already.
///
/// It holds our fields alone, and holds for the state that was read: in another one the Service may have another class.
/// An ingress that shall be empty is written as such: left out, entries that another manager
/// owns too would stay.
pub fn status_patch(service: &Service, wanted: &Wanted) -> Option<Value> {
    let type_ = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    // The API server accepts addresses for no other type, and has wiped those that were there.
    if type_ != Some("LoadBalancer") && !wanted.ingress.is_empty() {
        return None;
    }
    if current_ingress(service) == wanted.ingress
        && condition::same(current_conditions(service), &wanted.conditions)
    {
        return None;
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service.metadata.name,
            "namespace": service.metadata.namespace,
            "uid": service.metadata.uid,
            "resourceVersion": service.metadata.resource_version,
        },
        "status": {
            "loadBalancer": { "ingress": wanted.ingress },
            "conditions": wanted.conditions,
        },
    }))
}

/// The JSON patch that adds a finalizer; None when it is there. It fails when the finalizers are not what was read.
pub fn finalizer_patch(service: &Service, finalizer: &str) -> Option<Value> {
    let uid = json!({"op": "test", "path": "/metadata/uid", "value": service.metadata.uid});
    let present = service.metadata.finalizers.as_deref().unwrap_or_default();
    if present.iter().any(|name| name == finalizer) {
        return None;
    }
    Some(if present.is_empty() {
        json!([
            uid,
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": [finalizer]},
        ])
    } else {
        json!([
            uid,
            {"op": "test", "path": "/metadata/finalizers", "value": present},
            {"op": "add", "path": "/metadata/finalizers/-", "value": finalizer},
        ])
    })
}

/// The JSON patch that takes our hand off a live Service: our finalizer, our conditions and, with `clear`, the
/// addresses. None when nothing of ours is there. It fails when these are not where they were read.
pub fn release_patch(live: &Value, finalizer: &str, clear: bool) -> Option<Value> {
    let uid = json!({"op": "test", "path": "/metadata/uid", "value": live["metadata"]["uid"]});
    let (mut tests, mut removals) = (vec![uid], Vec::new());
    let mut remove = |path: String, tested: String, value: &Value| {
        tests.push(json!({"op": "test", "path": tested, "value": value}));
        removals.push(json!({"op": "remove", "path": path}));
    };
    if let Some(names) = live["metadata"]["finalizers"].as_array() {
        for (index, name) in names
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, name)| *name == finalizer)
        {
            let path = format!("/metadata/finalizers/{index}");
            remove(path.clone(), path, name);
        }
    }
    // From the end, so that positions stay true.
    if let Some(conditions) = live["status"]["conditions"].as_array() {
        for (index, condition) in conditions.iter().enumerate().rev() {
            if ConditionType::ALL
                .iter()
                .any(|ours| condition["type"] == ours.as_str())
            {
                let path = format!("/status/conditions/{index}");
                remove(path.clone(), format!("{path}/type"), &condition["type"]);
            }
        }
    }
    let ingress = &live["status"]["loadBalancer"]["ingress"];
    if clear
        && ingress
            .as_array()
            .is_some_and(|ingress| !ingress.is_empty())
    {
        let path = "/status/loadBalancer/ingress".to_owned();
        remove(path.clone(), path, ingress);
    }
    if removals.is_empty() {
        return None;
    }
    tests.extend(removals);
    Some(Value::Array(tests))
}

/// The strategic merge patch that writes the gate of a pod. It fails where another has the pod's name by now.
pub fn gate_patch(
    service: &str,
    pod: &PodFacts,
    condition: &GateCondition,
    now: Timestamp,
) -> Value {
    let was = pod
        .gate(service)
        .and_then(|gate| gate.condition.as_ref())
        .map(|was| was.open);
    let mut written = json!({
        "type": Gate::type_of(service),
        "status": if condition.open { "True" } else { "False" },
        "reason": condition.reason,
        "message": condition.message,
    });
    if was != Some(condition.open) {
        written["lastTransitionTime"] = json!(Time(now));
    }
    json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [written]}})
}
