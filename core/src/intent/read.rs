//! From a Service to an [`Intent`], or to every problem at once (Decides).
//!
//! What the API server already rejects is still checked here: a manifest can be read that no server has seen, and
//! objects stored long ago lack defaults that newer ones have. Left aside are the fields that say nothing to a load
//! balancer: selector, labels, `internalTrafficPolicy`, `trafficDistribution`.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Affinity, Intent, PortIntent, TargetPort, TrafficPolicy};
use crate::{
    annotation::{self, NEUTRAL, key, value},
    claim::ClassRule,
    ids::{ServiceKey, ServiceRef, ServiceUid},
    net::IpFamily,
    ports::{PortKey, Protocol},
    problem::{PortError, Problem, Problems, Warning, reason},
};

mod options;
mod ranges;
#[cfg(test)]
mod tests;

/// The API server's default of `spec.sessionAffinityConfig.clientIP.timeoutSeconds`.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;
/// The longest affinity the API server allows: a day.
const LONGEST_AFFINITY_SECONDS: i32 = 86_400;
/// The label that hands a Service to another service proxy.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// A Service that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it asks.
    pub intent: Intent,
    /// What its owner should know.
    pub warnings: Vec<Warning>,
    /// The ports that cannot be served, while others are.
    pub port_errors: Vec<PortError>,
}

/// Reads what a Service asks.
///
/// # Errors
/// Everything in it that cannot be used. While one port can be served, others that cannot are errors of those ports.
pub fn read(service: &Service, rule: &ClassRule) -> Result<Reading, Problems> {
    let empty_spec = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty_spec);
    let empty_map = BTreeMap::new();
    let annotations = service.metadata.annotations.as_ref().unwrap_or(&empty_map);
    let neutral = NEUTRAL.reader(annotations);

    let mut problems = Problems::none();
    let mut warnings = NEUTRAL.unknown(annotations);
    warnings.extend(ignored(service, spec));

    let reference = reference(service, &mut problems);
    let (ports, port_errors) = ports(spec, &reference, &mut problems);
    let families = families(spec, &mut problems);
    let traffic_policy = traffic_policy(spec, &mut problems);
    let affinity = affinity(spec, &mut problems);
    let source_ranges = ranges::source_ranges(
        spec,
        annotations,
        &neutral,
        &families,
        &mut problems,
        &mut warnings,
    );
    let options = options::options(spec, &neutral, &families, &mut problems);
    problems.check()?;

    let intent = Intent {
        service: reference,
        profile: rule.profile,
        ports,
        families,
        traffic_policy,
        affinity,
        source_ranges,
        allocate_node_ports: spec.allocate_load_balancer_node_ports.unwrap_or(true),
        options,
        annotations: foreign_annotations(annotations),
    };
    Ok(Reading {
        intent,
        warnings,
        port_errors,
    })
}

/// Everything that a provider may want to read.
fn foreign_annotations(annotations: &BTreeMap<String, String>) -> BTreeMap<Arc<str>, Arc<str>> {
    annotations
        .iter()
        .filter(|(name, _)| !name.starts_with(annotation::PREFIX) && *name != key::LAST_APPLIED)
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
        .collect()
}

fn reference(service: &Service, problems: &mut Problems) -> ServiceRef {
    let mut required = |field: &str, value: &Option<String>| {
        let value = value.as_deref().unwrap_or_default();
        if value.is_empty() {
            let advice = "Read the Service from the API server, which sets it.";
            problems.push(Problem::new(field, value, "must be set", advice));
        }
        value.to_owned()
    };
    let name = required("metadata.name", &service.metadata.name);
    let uid = required("metadata.uid", &service.metadata.uid);
    let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
    ServiceRef {
        key: ServiceKey::new(namespace, name),
        uid: ServiceUid::new(uid),
    }
}

/// What is set and has no effect here.
fn ignored(service: &Service, spec: &ServiceSpec) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn =
        |message: String| warnings.push(Warning::new(reason::UNSUPPORTED_FEATURE, message));
    let proxy = service
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(PROXY_NAME_LABEL));
    if let Some(proxy) = proxy {
        warn(format!(
            "metadata.labels[{PROXY_NAME_LABEL}]: {proxy:?} makes kube-proxy skip this Service: its node ports and \
             its health check node port answer only if that proxy serves them. Remove the label, or run that proxy.",
        ));
    }
    if let Some(addresses) = spec
        .external_ips
        .as_ref()
        .filter(|addresses| !addresses.is_empty())
    {
        warn(format!(
            "spec.externalIPs: {} bypass the load balancer, and the field is deprecated. Remove it; for an address \
             of your own use the annotation {}.",
            addresses.join(", "),
            key::STATIC_ADDRESS
        ));
    }
    warnings
}

fn ports(
    spec: &ServiceSpec,
    service: &ServiceRef,
    problems: &mut Problems,
) -> (Vec<PortIntent>, Vec<PortError>) {
    let mut served: Vec<PortIntent> = Vec::new();
    let mut refused: Vec<(usize, PortError)> = Vec::new();
    let listed = spec.ports.as_deref().unwrap_or_default();
    if listed.is_empty() {
        let advice = "Add the ports that clients connect to.";
        problems.push(Problem::new(
            "spec.ports",
            "",
            "must have at least one port",
            advice,
        ));
    }
    for (index, port) in listed.iter().enumerate() {
        let Some(port) = problems_of(port_intent(index, port), problems) else {
            continue;
        };
        if served.iter().any(|known| known.key == port.key)
            || refused.iter().any(|(_, known)| known.port == port.key)
        {
            let field = format!("spec.ports[{index}]");
            let advice = "Remove it, or give it another number.";
            problems.push(Problem::new(
                field,
                port.key.to_string(),
                "is there already",
                advice,
            ));
        } else if port.key.protocol == Protocol::Sctp {
            refused.push((index, sctp(service, port.key)));
        } else {
            served.push(port);
        }
    }
    served.sort();
    refused.sort_by_key(|(_, error)| error.port);
    if served.is_empty() && problems.is_empty() {
        for (index, error) in &refused {
            let field = format!("spec.ports[{index}].protocol");
            let message = "is not supported by any load balancer that evenkeel drives, and no other port is left";
            let advice = format!(
                "Use TCP or UDP for port {}, or reach the pods without a load balancer.",
                error.port.port
            );
            let problem = Problem::new(field, error.port.protocol.as_str(), message, advice);
            problems.push(problem.with_reason(reason::PROTOCOL_NOT_SUPPORTED));
        }
    }
    (
        served,
        refused.into_iter().map(|(_, error)| error).collect(),
    )
}

/// The value of `Ok`; collects the problems of `Err`.
fn problems_of<T>(result: Result<T, Problems>, problems: &mut Problems) -> Option<T> {
    result.map_err(|more| problems.extend(more)).ok()
}

fn sctp(service: &ServiceRef, port: PortKey) -> PortError {
    PortError {
        service: service.clone(),
        port,
        reason: reason::PROTOCOL_NOT_SUPPORTED,
        message: "SCTP is not supported by any load balancer that evenkeel drives. \
                  Use TCP or UDP, or move this port to a Service of another type."
            .into(),
    }
}

fn port_intent(index: usize, port: &ServicePort) -> Result<PortIntent, Problems> {
    let mut problems = Problems::none();
    let field = |name: &str| format!("spec.ports[{index}].{name}");
    let number = match u16::try_from(port.port) {
        Ok(number) if number > 0 => number,
        _ => {
            let advice = "Write the number that clients connect to.";
            let problem = Problem::new(
                field("port"),
                port.port.to_string(),
                "must be from 1 to 65535",
                advice,
            );
            problems.push(problem);
            0
        }
    };
    let word = port
        .protocol
        .as_deref()
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let protocol = Protocol::parse(word).unwrap_or_else(|| {
        let value = value::quote(word.unwrap_or_default());
        let advice = "Write TCP or UDP.";
        problems.push(Problem::new(
            field("protocol"),
            value,
            "must be one of TCP, UDP, SCTP",
            advice,
        ));
        Protocol::Tcp
    });
    let node_port = problems
        .take(optional_port(field("nodePort"), port.node_port))
        .flatten();
    let target_port = problems.take(target_port(field("targetPort"), number, port));
    problems.check()?;
    Ok(PortIntent {
        key: PortKey {
            port: number,
            protocol,
        },
        name: port
            .name
            .as_deref()
            .filter(|name| !name.is_empty())
            .map(Arc::from),
        node_port,
        target_port: target_port.unwrap_or(TargetPort::Number(number)),
        app_protocol: port
            .app_protocol
            .as_deref()
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(Arc::from),
    })
}

/// Where the pods listen. A number may stand as text where the object was never read by an API server.
fn target_port(
    field: impl Into<String>,
    port: u16,
    from: &ServicePort,
) -> Result<TargetPort, Problem> {
    let number = match &from.target_port {
        None | Some(IntOrString::Int(0)) => return Ok(TargetPort::Number(port)),
        Some(IntOrString::String(name)) if name.parse::<i32>().is_err() => {
            return Ok(TargetPort::Name(name.as_str().into()));
        }
        Some(IntOrString::String(text)) => text.parse().unwrap_or_default(),
        Some(IntOrString::Int(number)) => *number,
    };
    match u16::try_from(number) {
        Ok(number) if number > 0 => Ok(TargetPort::Number(number)),
        _ => {
            let advice = "Write the port that the pods listen on, or the name of a container port.";
            Err(Problem::new(
                field,
                number.to_string(),
                "must be from 1 to 65535",
                advice,
            ))
        }
    }
}

/// A port the API server allocates; 0 means that it did not.
fn optional_port(field: impl Into<String>, port: Option<i32>) -> Result<Option<u16>, Problem> {
    match port {
        None | Some(0) => Ok(None),
        Some(port) => u16::try_from(port).map(Some).map_err(|_| {
            let advice = "Remove it: the API server allocates one.";
            Problem::new(field, port.to_string(), "must be from 1 to 65535", advice)
        }),
    }
}

/// The families in the Service's order. An object stored before the field existed has those of its cluster
/// addresses, else IPv4.
fn families(spec: &ServiceSpec, problems: &mut Problems) -> Vec<IpFamily> {
    let mut families = Vec::new();
    for (index, family) in spec.ip_families.iter().flatten().enumerate() {
        match family.as_str() {
            "IPv4" => families.push(IpFamily::V4),
            "IPv6" => families.push(IpFamily::V6),
            other => problems.push(Problem::new(
                format!("spec.ipFamilies[{index}]"),
                value::quote(other),
                "must be IPv4 or IPv6",
                "Remove it: the API server chooses the cluster's.",
            )),
        }
    }
    if families.is_empty() {
        let addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        families.extend(
            addresses
                .filter_map(|address| address.parse().ok())
                .map(IpFamily::of),
        );
    }
    if families.is_empty() {
        families.push(IpFamily::V4);
    }
    let mut seen = Vec::new();
    families.retain(|family| {
        let new = !seen.contains(family);
        seen.push(*family);
        new
    });
    families
}

fn traffic_policy(spec: &ServiceSpec, problems: &mut Problems) -> TrafficPolicy {
    match spec.external_traffic_policy.as_deref().unwrap_or_default() {
        "" | "Cluster" => TrafficPolicy::Cluster,
        "Local" => {
            let port = optional_port("spec.healthCheckNodePort", spec.health_check_node_port);
            TrafficPolicy::Local {
                health_check_node_port: problems.take(port).flatten(),
            }
        }
        other => {
            problems.push(one_of(
                "spec.externalTrafficPolicy",
                other,
                &["Cluster", "Local"],
            ));
            TrafficPolicy::Cluster
        }
    }
}

fn affinity(spec: &ServiceSpec, problems: &mut Problems) -> Affinity {
    match spec.session_affinity.as_deref().unwrap_or_default() {
        "" | "None" => Affinity::None,
        "ClientIP" => {
            let config = spec.session_affinity_config.as_ref();
            let timeout = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
            let timeout = timeout.unwrap_or(DEFAULT_AFFINITY_SECONDS);
            if !(1..=LONGEST_AFFINITY_SECONDS).contains(&timeout) {
                let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
                let message = format!("must be from 1 to {LONGEST_AFFINITY_SECONDS}");
                let advice = format!("Remove it for the default, {DEFAULT_AFFINITY_SECONDS}.");
                problems.push(Problem::new(field, timeout.to_string(), message, advice));
            }
            Affinity::ClientIp {
                timeout_seconds: timeout.unsigned_abs(),
            }
        }
        other => {
            problems.push(one_of("spec.sessionAffinity", other, &["None", "ClientIP"]));
            Affinity::None
        }
    }
}

fn one_of(field: &str, value: &str, words: &[&str]) -> Problem {
    let advice = match annotation::nearest(value, words.iter().copied()) {
        Some(near) => format!("Did you mean {near:?}?"),
        None => "Remove it for the default.".to_owned(),
    };
    Problem::new(
        field,
        value::quote(value),
        format!("must be one of {}", words.join(", ")),
        advice,
    )
}
