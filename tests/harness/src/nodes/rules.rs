//! Decides what the **loopback** form's service proxy forwards where, from Services and EndpointSlices. Pure.
//!
//! The rules are kube-proxy's (kubernetes/kubernetes pkg/proxy/topology.go and pkg/proxy/healthcheck/service_health.go):
//! ready endpoints; where there are none, those that terminate but still serve; with policy Local only those of the
//! node itself; and a health check port per Service of type LoadBalancer with policy Local. Zone hints are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::objects::Protocol;

/// One port of one Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FrontendKey {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// How one port of one Service is reached, and who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frontend {
    pub(crate) cluster_ips: Vec<IpAddr>,
    pub(crate) node_port: Option<u16>,
    /// `externalTrafficPolicy: Local`.
    pub(crate) local: bool,
    /// `sessionAffinity: ClientIP` and its timeout.
    pub(crate) affinity: Option<Duration>,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    address: SocketAddr,
    node: Option<String>,
    ready: bool,
    /// Terminating and still serving.
    fallback: bool,
}

/// A health check port: the Service it speaks for and its ready endpoints per node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    pub(crate) namespace: String,
    pub(crate) service: String,
    ready: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl HealthCheck {
    /// How many endpoints of the Service are ready on the node.
    pub(crate) fn local_endpoints(&self, node: &str) -> usize {
        self.ready.get(node).map_or(0, BTreeSet::len)
    }
}

/// Everything the service proxy needs to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) frontends: BTreeMap<FrontendKey, Frontend>,
    /// By `healthCheckNodePort`.
    pub(crate) health_checks: BTreeMap<u16, HealthCheck>,
}

impl Frontend {
    /// Who answers: on `node` alone for traffic under policy Local, anywhere for `None`.
    pub(crate) fn usable(&self, node: Option<&str>) -> Vec<SocketAddr> {
        let here = |e: &&Endpoint| node.is_none() || e.node.as_deref() == node;
        let pick = |wanted: fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
            self.endpoints
                .iter()
                .filter(here)
                .filter(|e| wanted(e))
                .map(|e| e.address)
                .collect()
        };
        let ready = pick(|e| e.ready);
        if ready.is_empty() {
            pick(|e| e.fallback)
        } else {
            ready
        }
    }

    /// Who answers a connection to the NodePort of a node.
    pub(crate) fn usable_from_outside(&self, node: &str) -> Vec<SocketAddr> {
        self.usable(self.local.then_some(node))
    }
}

impl Rules {
    /// The rules for all Services; IPv4 only, as everything in the loopback form.
    pub(crate) fn new<'a>(
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) -> Self {
        let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in slices.into_iter().filter(|s| s.address_type == "IPv4") {
            let labels = slice.metadata.labels.as_ref();
            let service = labels.and_then(|l| l.get("kubernetes.io/service-name"));
            if let (Some(namespace), Some(service)) = (slice.metadata.namespace.as_deref(), service)
            {
                by_service
                    .entry((namespace, service))
                    .or_default()
                    .push(slice);
            }
        }
        let mut rules = Self::default();
        for service in services {
            let (Some(namespace), Some(name), Some(spec)) = (
                service.metadata.namespace.as_deref(),
                service.metadata.name.as_deref(),
                service.spec.as_ref(),
            ) else {
                continue;
            };
            // Another service proxy has been asked for.
            let labels = service.metadata.labels.as_ref();
            if labels.is_some_and(|l| l.contains_key("service.kubernetes.io/service-proxy-name")) {
                continue;
            }
            let slices = by_service
                .get(&(namespace, name))
                .map(Vec::as_slice)
                .unwrap_or_default();
            rules.add(namespace, name, spec, slices);
        }
        rules
    }

    /// The port of a Service that a ClusterIP stands for.
    pub(crate) fn cluster_ip(
        &self,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Option<(&FrontendKey, &Frontend)> {
        self.frontends.iter().find(|(key, frontend)| {
            key.protocol == protocol
                && key.port == address.port()
                && frontend.cluster_ips.contains(&address.ip())
        })
    }

    fn add(
        &mut self,
        namespace: &str,
        service: &str,
        spec: &ServiceSpec,
        slices: &[&EndpointSlice],
    ) {
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        let cluster_ips: Vec<IpAddr> = spec
            .cluster_ips
            .iter()
            .flatten()
            .filter_map(|ip| ip.parse().ok())
            .collect();
        if cluster_ips.is_empty() {
            return;
        }
        for port in spec.ports.iter().flatten() {
            let (Some(protocol), Ok(number)) = (
                Protocol::parse(port.protocol.as_deref()),
                u16::try_from(port.port),
            ) else {
                continue;
            };
            let key = FrontendKey {
                namespace: namespace.into(),
                service: service.into(),
                protocol,
                port: number,
            };
            let frontend = Frontend {
                cluster_ips: cluster_ips.clone(),
                node_port: port
                    .node_port
                    .and_then(|n| u16::try_from(n).ok())
                    .filter(|n| *n != 0),
                local,
                affinity: affinity(spec),
                endpoints: endpoints(port, protocol, slices),
            };
            self.frontends.insert(key, frontend);
        }
        let check = spec
            .health_check_node_port
            .and_then(|n| u16::try_from(n).ok())
            .filter(|n| *n != 0);
        if let (Some("LoadBalancer"), true, Some(check)) = (spec.type_.as_deref(), local, check) {
            let mut ready: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
            let ports = spec.ports.iter().flatten();
            let all = ports.filter_map(|p| {
                Some(endpoints(
                    p,
                    Protocol::parse(p.protocol.as_deref())?,
                    slices,
                ))
            });
            for endpoint in all.flatten().filter(|e| e.ready) {
                if let Some(node) = endpoint.node {
                    ready.entry(node).or_default().insert(endpoint.address.ip());
                }
            }
            self.health_checks.insert(
                check,
                HealthCheck {
                    namespace: namespace.into(),
                    service: service.into(),
                    ready,
                },
            );
        }
    }
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec
        .session_affinity_config
        .as_ref()
        .and_then(|c| c.client_ip.as_ref());
    let seconds = config.and_then(|c| c.timeout_seconds).unwrap_or(10_800);
    Some(Duration::from_secs(seconds.max(0).unsigned_abs().into()))
}

/// The endpoints of the slices whose port has the name and the protocol of the Service's port.
fn endpoints(port: &ServicePort, protocol: Protocol, slices: &[&EndpointSlice]) -> Vec<Endpoint> {
    let wanted = port.name.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for slice in slices {
        let number = slice.ports.iter().flatten().find_map(|p| {
            let same = p.name.as_deref().unwrap_or_default() == wanted
                && Protocol::parse(p.protocol.as_deref()) == Some(protocol);
            p.port.filter(|_| same).and_then(|n| u16::try_from(n).ok())
        });
        let Some(number) = number else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.as_ref();
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
            let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
            let Some(ip) = endpoint.addresses.first().and_then(|a| a.parse().ok()) else {
                continue;
            };
            found.push(Endpoint {
                address: SocketAddr::new(ip, number),
                node: endpoint.node_name.clone(),
                ready,
                fallback: serving && terminating,
            });
        }
    }
    found.sort_by_key(|e| e.address);
    found.dedup_by_key(|e| e.address);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(change: Value) -> Service {
        let mut value = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {
                "type": "LoadBalancer", "clusterIPs": ["10.96.0.7"], "externalTrafficPolicy": "Cluster",
                "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
            },
        });
        for (key, new) in change.as_object().unwrap() {
            value["spec"][key] = new.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    /// One endpoint per row: address, node, ready, serving, terminating.
    fn slice(rows: &[(&str, &str, bool, bool, bool)]) -> EndpointSlice {
        let endpoints = rows.iter().map(|(ip, node, ready, serving, terminating)| {
            json!({"addresses": [ip], "nodeName": node,
                "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
        });
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints.collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    fn frontend(rules: &Rules) -> &Frontend {
        rules.frontends.values().next().unwrap()
    }

    fn addresses(list: Vec<SocketAddr>) -> Vec<String> {
        list.into_iter().map(|a| a.to_string()).collect()
    }

    const READY: (bool, bool, bool) = (true, true, false);
    const UNREADY: (bool, bool, bool) = (false, false, false);
    const LEAVING: (bool, bool, bool) = (false, true, true);

    #[test]
    fn ready_endpoints_answer_and_leaving_ones_only_when_none_is_ready() {
        for (case, a, b, cluster, local_a, local_b) in [
            (
                "both ready",
                READY,
                READY,
                vec!["a", "b"],
                vec!["a"],
                vec!["b"],
            ),
            ("one unready", READY, UNREADY, vec!["a"], vec!["a"], vec![]),
            (
                "one leaving",
                READY,
                LEAVING,
                vec!["a"],
                vec!["a"],
                vec!["b"],
            ),
            (
                "only a leaving one",
                UNREADY,
                LEAVING,
                vec!["b"],
                vec![],
                vec!["b"],
            ),
            ("none", UNREADY, UNREADY, vec![], vec![], vec![]),
        ] {
            let slice = slice(&[
                ("10.244.1.2", "a", a.0, a.1, a.2),
                ("10.244.2.2", "b", b.0, b.1, b.2),
            ]);
            let want = |names: &[&str]| -> Vec<String> {
                let ip = |n: &&str| {
                    if *n == "a" {
                        "10.244.1.2:8080"
                    } else {
                        "10.244.2.2:8080"
                    }
                };
                names.iter().map(|n| ip(n).to_owned()).collect()
            };
            let cluster_rules = Rules::new([&service(json!({}))], [&slice]);
            assert_eq!(
                addresses(frontend(&cluster_rules).usable_from_outside("a")),
                want(&cluster),
                "{case}: Cluster"
            );
            let local_rules = Rules::new(
                [&service(json!({"externalTrafficPolicy": "Local"}))],
                [&slice],
            );
            let local = frontend(&local_rules);
            assert_eq!(
                addresses(local.usable_from_outside("a")),
                want(&local_a),
                "{case}: Local on a"
            );
            assert_eq!(
                addresses(local.usable_from_outside("b")),
                want(&local_b),
                "{case}: Local on b"
            );
            assert_eq!(
                addresses(local.usable(None)),
                want(&cluster),
                "{case}: ClusterIP of a Local Service"
            );
        }
    }

    #[test]
    fn the_health_check_port_counts_ready_endpoints_of_the_node() {
        let spec = json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000});
        let rows = [
            ("10.244.1.2", "a", true, true, false),
            ("10.244.1.3", "a", true, true, false),
            ("10.244.2.2", "b", false, true, true),
        ];
        let rules = Rules::new([&service(spec)], [&slice(&rows)]);
        let check = &rules.health_checks[&32000];
        assert_eq!(
            (
                check.local_endpoints("a"),
                check.local_endpoints("b"),
                check.local_endpoints("c")
            ),
            (2, 0, 0)
        );
        for (case, spec) in [
            ("Cluster", json!({"healthCheckNodePort": 32000})),
            (
                "NodePort",
                json!({"type": "NodePort", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}),
            ),
        ] {
            assert_eq!(
                Rules::new([&service(spec)], []).health_checks,
                BTreeMap::new(),
                "{case}"
            );
        }
    }

    #[test]
    fn ports_match_by_name_and_protocol() {
        let slice = slice(&[("10.244.1.2", "a", true, true, false)]);
        for (case, ports, want) in [
            ("same name", json!([{"name": "http", "port": 80}]), 1),
            ("other name", json!([{"name": "admin", "port": 80}]), 0),
            ("no name", json!([{"port": 80}]), 0),
            (
                "other protocol",
                json!([{"name": "http", "port": 80, "protocol": "UDP"}]),
                0,
            ),
        ] {
            let rules = Rules::new([&service(json!({"ports": ports}))], [&slice]);
            assert_eq!(frontend(&rules).usable(None).len(), want, "{case}");
        }
    }

    #[test]
    fn a_cluster_ip_leads_to_its_service_and_headless_ones_have_none() {
        let rules = Rules::new([&service(json!({}))], []);
        let found =
            |text: &str, protocol| rules.cluster_ip(text.parse().unwrap(), protocol).is_some();
        assert!(found("10.96.0.7:80", Protocol::Tcp));
        assert!(!found("10.96.0.7:80", Protocol::Udp) && !found("10.96.0.8:80", Protocol::Tcp));
        let headless = service(json!({"type": "ClusterIP", "clusterIPs": ["None"]}));
        assert_eq!(Rules::new([&headless], []), Rules::default());
    }

    #[test]
    fn affinity_has_a_timeout() {
        for (spec, want) in [
            (json!({}), None),
            (json!({"sessionAffinity": "ClientIP"}), Some(10_800)),
            (
                json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}),
                Some(5),
            ),
        ] {
            let rules = Rules::new([&service(spec.clone())], []);
            assert_eq!(
                frontend(&rules).affinity,
                want.map(Duration::from_secs),
                "{spec}"
            );
        }
    }
}
