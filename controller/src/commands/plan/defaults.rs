//! What the API server gives a Service, and what it has not given yet (Decides).

use evenkeel_core::ids::ServiceKey;
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use super::stand_ins::StandIns;

/// The node ports of a dry run that neither the file names nor the Service had: the real ones will be others.
pub(super) fn not_given(
    live: Option<&Service>,
    file: &Value,
    answered: &Service,
) -> Vec<(String, u16)> {
    let mut known: Vec<i32> = live
        .into_iter()
        .flat_map(node_ports)
        .map(|(_, port)| port)
        .collect();
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
        .filter(|(_, port)| !known.contains(port))
        .filter_map(|(field, port)| Some((field, u16::try_from(port).ok()?)))
        .collect()
}

/// The node ports of a Service, each with its field.
fn node_ports(service: &Service) -> impl Iterator<Item = (String, i32)> {
    let spec = service.spec.iter();
    spec.flat_map(|spec| {
        let ports = spec.ports.iter().flatten().enumerate();
        let ports =
            ports.filter_map(|(index, port)| Some((node_port_field(index), port.node_port?)));
        let check = spec.health_check_node_port;
        ports.chain(check.map(|port| (HEALTH_CHECK.to_owned(), port)))
    })
    .filter(|(_, port)| *port > 0)
}

const HEALTH_CHECK: &str = "spec.healthCheckNodePort";

fn node_port_field(index: usize) -> String {
    format!("spec.ports[{index}].nodePort")
}

/// A Service with stand-ins for what the API server would give it: UID and node ports.
pub(super) fn fill(key: &ServiceKey, mut service: Service, stand_ins: &mut StandIns) -> Service {
    stand_ins.avoid(&service);
    if service.metadata.uid.is_none() {
        service.metadata.uid = Some(stand_ins.uid(key));
    }
    if let Some(spec) = &mut service.spec {
        let allocated = spec.allocate_load_balancer_node_ports.unwrap_or(true);
        let balanced = spec.type_.as_deref() == Some("LoadBalancer");
        if allocated && balanced {
            for (index, port) in spec.ports.iter_mut().flatten().enumerate() {
                if port.node_port.is_none_or(|port| port == 0) {
                    let given = stand_ins.node_port(key, node_port_field(index));
                    port.node_port = Some(given.into());
                }
            }
        }
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        if local && balanced && spec.health_check_node_port.is_none_or(|port| port == 0) {
            let given = stand_ins.node_port(key, HEALTH_CHECK.to_owned());
            spec.health_check_node_port = Some(given.into());
        }
    }
    service
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
                .map(|(_, port)| port)
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
        let key = ServiceKey::new("shop", "a");
        let mut stand_ins = StandIns::default();
        let filled = service(json!({
            "type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "ports": [{"port": 80}, {"port": 443, "nodePort": 32765}],
        }));
        let filled = fill(&key, filled, &mut stand_ins);
        let ports: Vec<_> = node_ports(&filled).collect();
        assert_eq!(
            ports,
            [
                ("spec.ports[0].nodePort".to_owned(), 32766),
                ("spec.ports[1].nodePort".to_owned(), 32765),
                ("spec.healthCheckNodePort".to_owned(), 32764),
            ],
            "none that is taken"
        );
        assert_eq!(stand_ins.words().len(), 2);
        let uid = filled.metadata.uid.as_deref();
        assert_eq!(uid, Some("known-after-apply-shop-a"));
        assert_eq!(stand_ins.all().len(), 3);
        let without = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]});
        let mut stand_ins = StandIns::default();
        fill(&key, service(without), &mut stand_ins);
        assert_eq!(stand_ins.words(), []);
    }
}
