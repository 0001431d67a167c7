//! What the API server gives a Service, and what it has not given yet (Decides).
//!
//! Numbers that stand in for later ones are real numbers, because all that decides needs some; they are shown as words.

use evenkeel_core::ids::{ServiceKey, ServiceUid};
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

/// The words in place of a node port.
const LATER: &str = "(known after apply)";

/// Stand-ins for node ports begin here: above the range of real ones.
const STAND_INS: u16 = 61_000;

/// The node ports of a dry run that neither the file names nor the Service had: the real ones will be others.
pub(super) fn not_given(
    live: Option<&Service>,
    file: &Value,
    answered: &Service,
) -> Vec<(u16, String)> {
    let mut known: Vec<i32> = live.into_iter().flat_map(node_ports).collect();
    let named = file.pointer("/spec/ports").and_then(Value::as_array);
    for port in named.into_iter().flatten() {
        known.extend(
            ["nodePort", "port"]
                .iter()
                .filter_map(|field| i32::try_from(port.get(field)?.as_i64()?).ok()),
        );
    }
    let named = file
        .pointer("/spec/healthCheckNodePort")
        .and_then(Value::as_i64);
    known.extend(named.and_then(|port| i32::try_from(port).ok()));
    node_ports(answered)
        .filter(|port| !known.contains(port))
        .filter_map(|port| u16::try_from(port).ok())
        .map(|port| (port, LATER.to_owned()))
        .collect()
}

fn node_ports(service: &Service) -> impl Iterator<Item = i32> {
    let spec = service.spec.iter();
    spec.flat_map(|spec| {
        let ports = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|port| port.node_port);
        ports.chain(spec.health_check_node_port)
    })
    .filter(|port| *port > 0)
}

/// A Service with stand-ins for what the API server would give it, and those that are shown as words.
pub(super) fn fill(mut service: Service) -> (Service, Vec<(u16, String)>) {
    let mut later = Vec::new();
    let mut next = STAND_INS;
    let mut stand_in = || {
        let port = next;
        next += 1;
        later.push((port, LATER.to_owned()));
        i32::from(port)
    };
    let meta = &mut service.metadata;
    if meta.uid.is_none() {
        let key = ServiceKey::new(
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        );
        meta.uid =
            Some(ServiceUid::new(format!("known-after-apply/{key}").replace('/', "-")).to_string());
    }
    if let Some(spec) = &mut service.spec {
        let allocated = spec.allocate_load_balancer_node_ports.unwrap_or(true);
        let balanced = spec.type_.as_deref() == Some("LoadBalancer");
        if allocated && balanced {
            let ports = spec.ports.iter_mut().flatten();
            for port in ports.filter(|port| port.node_port.is_none_or(|port| port == 0)) {
                port.node_port = Some(stand_in());
            }
        }
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        if local && balanced && spec.health_check_node_port.is_none_or(|port| port == 0) {
            spec.health_check_node_port = Some(stand_in());
        }
    }
    (service, later)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: Value) -> Service {
        serde_json::from_value(
            json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": spec}),
        )
        .expect("a Service")
    }

    #[test]
    fn only_what_nobody_chose_is_shown_as_words() {
        let answered = service(
            json!({"type": "LoadBalancer", "healthCheckNodePort": 32000, "ports": [
                {"port": 80, "nodePort": 30080}, {"port": 443, "nodePort": 30443}, {"port": 31000, "nodePort": 31000},
            ]}),
        );
        let file = json!({"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 443}, {"port": 31000}]}});
        let ports = |live: Option<&Service>| -> Vec<u16> {
            not_given(live, &file, &answered)
                .into_iter()
                .map(|(port, _)| port)
                .collect()
        };
        assert_eq!(
            ports(None),
            [30443, 32000],
            "a number that is also a port stays a number"
        );
        let live = service(json!({"ports": [{"port": 443, "nodePort": 30443}]}));
        assert_eq!(ports(Some(&live)), [32000]);
    }

    #[test]
    fn what_the_api_server_would_give_is_filled_in() {
        let (filled, later) = fill(service(json!({
            "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}, {"port": 443, "nodePort": 30443}],
        })));
        let ports: Vec<_> = node_ports(&filled).collect();
        assert_eq!(ports, [61000, 30443, 61001]);
        assert_eq!(later.len(), 2);
        assert!(filled.metadata.uid.is_some());
        let without = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]});
        assert_eq!(fill(service(without)).1, []);
    }
}
