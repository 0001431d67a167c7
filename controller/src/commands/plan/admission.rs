//! A Service as the API server would take it: with its defaults, or with what it would refuse (Decides).
//!
//! Not all that the API server checks is checked here, but what people get wrong in files. From the API reference of Service and from
//! `pkg/apis/core/v1/defaults.go` and `pkg/apis/core/validation` of Kubernetes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use evenkeel_core::{
    Timestamp,
    annotation::nearest,
    ids::ServiceKey,
    net::{Cidr, IpFamily},
    problem::{Problem, Problems},
};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::Time, util::intstr::IntOrString},
};

use super::{defaults, stand_ins::StandIns};

/// What the API server would know.
pub(super) struct ApiServer<'a> {
    /// The families of the cluster, the primary one first.
    pub(super) families: &'a [IpFamily],
    /// Its `--service-node-port-range`.
    pub(super) node_ports: &'a RangeInclusive<u16>,
    /// When a new Service would be made.
    pub(super) now: Timestamp,
    /// The node ports that Services have.
    pub(super) allocated: BTreeMap<(u16, String), ServiceKey>,
}

impl ApiServer<'_> {
    /// Takes down the node ports of a Service.
    pub(super) fn knows(&mut self, key: &ServiceKey, service: &Service) {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter());
        for port in ports.flatten() {
            let number = port.node_port.and_then(|port| u16::try_from(port).ok());
            if let Some(number) = number.filter(|number| *number > 0) {
                self.allocated
                    .entry((number, protocol(port).to_owned()))
                    .or_insert_with(|| key.clone());
            }
        }
    }

    /// A Service as it would be made, or put in the place of the live one.
    ///
    /// # Errors
    /// Why it would be refused.
    pub(super) fn admit(
        &self,
        key: &ServiceKey,
        live: Option<&Service>,
        mut service: Service,
        stand_ins: &mut StandIns,
    ) -> Result<Service, Problems> {
        let spec = service.spec.get_or_insert_default();
        spec.type_.get_or_insert_with(|| "ClusterIP".to_owned());
        if spec.type_.as_deref() != Some("LoadBalancer") {
            return Ok(service);
        }
        let mut problems = Problems::none();
        self.check(key, live, spec, &mut problems);
        problems.check()?;
        self.default(spec);
        if let Some(live) = live.and_then(|live| live.spec.as_ref()) {
            keep_node_ports(spec, live);
        }
        service
            .metadata
            .creation_timestamp
            .get_or_insert(Time(self.now));
        Ok(defaults::fill(key, service, stand_ins))
    }

    fn default(&self, spec: &mut ServiceSpec) {
        let text = |field: &mut Option<String>, value: &str| {
            field.get_or_insert_with(|| value.to_owned());
        };
        text(&mut spec.external_traffic_policy, "Cluster");
        text(&mut spec.internal_traffic_policy, "Cluster");
        text(&mut spec.session_affinity, "None");
        text(&mut spec.ip_family_policy, "SingleStack");
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
        if spec.ip_families.as_ref().is_none_or(Vec::is_empty) {
            let several = spec.ip_family_policy.as_deref() != Some("SingleStack");
            let count = if several { self.families.len() } else { 1 };
            let families = self.families.iter().take(count).map(ToString::to_string);
            spec.ip_families = Some(families.collect());
        }
        if spec.session_affinity.as_deref() == Some("ClientIP") {
            let config = spec.session_affinity_config.get_or_insert_default();
            let client_ip = config.client_ip.get_or_insert_default();
            client_ip.timeout_seconds.get_or_insert(10_800);
        }
        for port in spec.ports.iter_mut().flatten() {
            text(&mut port.protocol, "TCP");
            port.target_port.get_or_insert(IntOrString::Int(port.port));
        }
    }

    fn check(
        &self,
        key: &ServiceKey,
        live: Option<&Service>,
        spec: &ServiceSpec,
        problems: &mut Problems,
    ) {
        if !is_label(&key.name)
            || !key
                .name
                .starts_with(|first: char| first.is_ascii_lowercase())
        {
            problems.push(Problem::new(
                "metadata.name",
                &*key.name,
                "must be 1 to 63 of a-z, 0-9 and -, begin with a letter and not end with -",
                "Choose another name.",
            ));
        }
        let word =
            |field: &str, value: &Option<String>, words: &[&str], problems: &mut Problems| {
                problems.take(one_of(field, value.as_deref(), words));
            };
        let policies = ["Cluster", "Local"];
        word(
            "spec.externalTrafficPolicy",
            &spec.external_traffic_policy,
            &policies,
            problems,
        );
        word(
            "spec.internalTrafficPolicy",
            &spec.internal_traffic_policy,
            &policies,
            problems,
        );
        word(
            "spec.sessionAffinity",
            &spec.session_affinity,
            &["None", "ClientIP"],
            problems,
        );
        let families = ["SingleStack", "PreferDualStack", "RequireDualStack"];
        word(
            "spec.ipFamilyPolicy",
            &spec.ip_family_policy,
            &families,
            problems,
        );
        if spec.ip_family_policy.as_deref() == Some("RequireDualStack") && self.families.len() < 2 {
            problems.push(Problem::new(
                "spec.ipFamilyPolicy",
                "RequireDualStack",
                format!(
                    "needs a cluster with both families; this one has {}",
                    self.families[0]
                ),
                "Write PreferDualStack or SingleStack, or correct cluster.ipFamilies in the facts.",
            ));
        }
        if spec.cluster_ip.as_deref() == Some("None") {
            problems.push(Problem::new(
                "spec.clusterIP",
                "None",
                "may not stand in a Service of type LoadBalancer",
                "Remove it.",
            ));
        }
        for (index, range) in spec
            .load_balancer_source_ranges
            .iter()
            .flatten()
            .enumerate()
        {
            if range.parse::<Cidr>().is_err() {
                problems.push(Problem::new(
                    format!("spec.loadBalancerSourceRanges[{index}]"),
                    range,
                    "must be a prefix",
                    "Write it as 192.0.2.0/24.",
                ));
            }
        }
        let check = spec.health_check_node_port.filter(|port| *port != 0);
        if let Some(port) = check
            && spec.external_traffic_policy.as_deref() != Some("Local")
        {
            problems.push(Problem::new(
                "spec.healthCheckNodePort",
                port.to_string(),
                "may only stand beside externalTrafficPolicy: Local",
                "Remove it, or set that policy.",
            ));
        }
        same_class(live, spec, problems);
        self.check_ports(key, spec, problems);
    }

    fn check_ports(&self, key: &ServiceKey, spec: &ServiceSpec, problems: &mut Problems) {
        let ports = spec.ports.as_deref().unwrap_or_default();
        if ports.is_empty() {
            problems.push(Problem::new(
                "spec.ports",
                "",
                "must have at least one port",
                "Write one.",
            ));
        }
        let (mut names, mut numbers, mut node_ports) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (index, port) in ports.iter().enumerate() {
            let at = |field: &str| format!("spec.ports[{index}].{field}");
            let name = port.name.as_deref().unwrap_or_default();
            if name.is_empty() && ports.len() > 1 {
                problems.push(Problem::new(
                    at("name"),
                    "",
                    "is missing: of several ports each has a name",
                    "Give it one.",
                ));
            } else if !name.is_empty() && !is_label(name) {
                problems.push(Problem::new(
                    at("name"),
                    name,
                    "must be 1 to 63 of a-z, 0-9 and -, and neither begin nor end with -",
                    "Choose another name.",
                ));
            } else if !name.is_empty() && !names.insert(name) {
                problems.push(Problem::new(
                    at("name"),
                    name,
                    "stands twice",
                    "Choose another name.",
                ));
            }
            let words = ["TCP", "UDP", "SCTP"];
            problems.take(one_of(&at("protocol"), port.protocol.as_deref(), &words));
            if u16::try_from(port.port).is_ok_and(|port| port > 0) {
                if !numbers.insert((port.port, protocol(port))) {
                    let value = format!("{}/{}", port.port, protocol(port));
                    problems.push(Problem::new(
                        at("port"),
                        value,
                        "stands twice",
                        "Remove one of the two.",
                    ));
                }
            } else {
                problems.push(Problem::new(
                    at("port"),
                    port.port.to_string(),
                    "must be from 1 to 65535",
                    "Correct the number.",
                ));
            }
            let target = match &port.target_port {
                Some(IntOrString::Int(number)) => u16::try_from(*number).is_ok_and(|port| port > 0),
                Some(IntOrString::String(name)) => name.len() <= 15 && is_label(name),
                None => true,
            };
            if !target {
                let value = match &port.target_port {
                    Some(IntOrString::Int(number)) => number.to_string(),
                    Some(IntOrString::String(name)) => name.clone(),
                    None => String::new(),
                };
                problems.push(Problem::new(
                    at("targetPort"),
                    value,
                    "must be a number from 1 to 65535, or the name of a port of at most 15 of a-z, 0-9 and -",
                    "Correct it.",
                ));
            }
            let Some(number) = port.node_port.filter(|port| *port != 0) else {
                continue;
            };
            let place = (
                u16::try_from(number).unwrap_or_default(),
                protocol(port).to_owned(),
            );
            let holder = self.allocated.get(&place).filter(|holder| *holder != key);
            let (message, advice) = if !self.node_ports.contains(&place.0) {
                let (first, last) = (self.node_ports.start(), self.node_ports.end());
                (
                    format!("must be of the node ports, {first} to {last}"),
                    "Leave it out to be given one; the range is the option aws-node-ports in the facts' configuration.",
                )
            } else if let Some(holder) = holder {
                (
                    format!("is the node port of {holder}"),
                    "Leave it out to be given one.",
                )
            } else if !node_ports.insert(place) {
                ("stands twice".to_owned(), "Leave one of the two out.")
            } else {
                continue;
            };
            problems.push(Problem::new(
                at("nodePort"),
                number.to_string(),
                message,
                advice,
            ));
        }
    }
}

/// The class of a load balancer cannot be changed, only given at the beginning.
fn same_class(live: Option<&Service>, spec: &ServiceSpec, problems: &mut Problems) {
    let Some(live) = live.and_then(|live| live.spec.as_ref()) else {
        return;
    };
    let class = |spec: &ServiceSpec| spec.load_balancer_class.clone().unwrap_or_default();
    if live.type_.as_deref() == Some("LoadBalancer") && class(live) != class(spec) {
        problems.push(Problem::new(
            "spec.loadBalancerClass",
            class(spec),
            format!("may not change: it is {:?}", class(live)),
            "Make another Service, or set type to ClusterIP in between.",
        ));
    }
}

/// The node ports that a live Service has stay, where a file does not name others.
fn keep_node_ports(spec: &mut ServiceSpec, live: &ServiceSpec) {
    for port in spec.ports.iter_mut().flatten() {
        let same =
            |other: &&ServicePort| other.port == port.port && protocol(other) == protocol(port);
        let before = live.ports.iter().flatten().find(same);
        if port.node_port.is_none_or(|port| port == 0) {
            port.node_port = before.and_then(|port| port.node_port);
        }
    }
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

fn one_of(field: &str, value: Option<&str>, words: &[&str]) -> Result<(), Problem> {
    let Some(value) = value.filter(|value| !words.contains(value)) else {
        return Ok(());
    };
    let advice = match nearest(value, words.iter().copied()) {
        Some(near) => format!("Did you mean {near}?"),
        None => format!("Leave it out for {}.", words[0]),
    };
    let message = format!("must be one of {}", words.join(", "));
    Err(Problem::new(field, value, message, advice))
}

/// Whether a text is a label of DNS (RFC 1123).
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn admitted(live: Option<Value>, spec: Value) -> Result<Service, String> {
        let read = |spec: Value| -> Service {
            serde_json::from_value(
                json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": spec}),
            )
            .expect("a Service")
        };
        let other = read(json!({"ports": [{"port": 1, "nodePort": 30_999}]}));
        let mut server = ApiServer {
            families: &[IpFamily::V6],
            node_ports: &(30_000..=32_767),
            now: Timestamp::UNIX_EPOCH,
            allocated: BTreeMap::new(),
        };
        server.knows(&ServiceKey::new("shop", "other"), &other);
        let live = live.map(read);
        let key = ServiceKey::new("shop", "a");
        server
            .admit(&key, live.as_ref(), read(spec), &mut StandIns::default())
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn what_the_api_server_adds_is_added() {
        let spec =
            json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]});
        let service = admitted(None, spec).expect("is taken");
        assert!(service.metadata.creation_timestamp.is_some());
        let spec = serde_json::to_value(service.spec).expect("is written");
        for (pointer, want) in [
            ("/externalTrafficPolicy", json!("Cluster")),
            ("/ipFamilies", json!(["IPv6"])),
            ("/ipFamilyPolicy", json!("SingleStack")),
            (
                "/sessionAffinityConfig/clientIP/timeoutSeconds",
                json!(10_800),
            ),
            ("/ports/0/protocol", json!("TCP")),
            ("/ports/0/targetPort", json!(80)),
            ("/ports/0/nodePort", json!(32_766)),
        ] {
            assert_eq!(spec.pointer(pointer), Some(&want), "{pointer}");
        }
    }

    #[test]
    fn a_live_service_keeps_its_node_ports() {
        let port = |node_port: i32| json!([{"port": 80, "protocol": "TCP", "nodePort": node_port}]);
        let live = json!({"type": "LoadBalancer", "ports": port(30_080)});
        let spec =
            json!({"type": "LoadBalancer", "ports": [{"port": 80}, {"port": 443, "name": "b"}]});
        let spec =
            json!({"type": spec["type"], "ports": [{"port": 80, "name": "a"}, spec["ports"][1]]});
        let service = admitted(Some(live), spec).expect("is taken");
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let ports: Vec<_> = ports.iter().map(|port| port.node_port).collect();
        assert_eq!(ports, [Some(30_080), Some(32_766)]);
    }

    #[test]
    fn what_the_api_server_would_refuse_is_told_at_once() {
        let spec = json!({
            "type": "LoadBalancer", "externalTrafficPolicy": "local", "ipFamilyPolicy": "RequireDualStack",
            "loadBalancerClass": "evenkeel.dev/aws", "healthCheckNodePort": 32_000,
            "loadBalancerSourceRanges": ["10.0.0.0/33"],
            "ports": [
                {"port": 80, "name": "web", "nodePort": 80},
                {"port": 80, "name": "web", "nodePort": 30_999},
                {"port": 0, "protocol": "TCPP", "targetPort": "a-name-that-is-too-long"},
            ],
        });
        let live = json!({"type": "LoadBalancer", "ports": []});
        let text = admitted(Some(live), spec).expect_err("is refused");
        for part in [
            "spec.externalTrafficPolicy: \"local\" must be one of Cluster, Local. Did you mean Local?",
            "spec.ipFamilyPolicy: \"RequireDualStack\" needs a cluster with both families",
            "spec.loadBalancerClass: \"evenkeel.dev/aws\" may not change",
            "spec.healthCheckNodePort: \"32000\" may only stand",
            "spec.loadBalancerSourceRanges[0]: \"10.0.0.0/33\" must be a prefix",
            "spec.ports[0].nodePort: \"80\" must be of the node ports",
            "spec.ports[1].name: \"web\" stands twice",
            "spec.ports[1].port: \"80/TCP\" stands twice",
            "spec.ports[1].nodePort: \"30999\" is the node port of shop/other",
            "spec.ports[2].name: \"\" is missing",
            "spec.ports[2].port: \"0\" must be from 1 to 65535",
            "spec.ports[2].protocol: \"TCPP\" must be one of TCP, UDP, SCTP. Did you mean TCP?",
            "spec.ports[2].targetPort",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn of_other_types_nothing_is_checked() {
        let service = admitted(None, json!({"ports": []})).expect("is taken");
        assert_eq!(
            service.spec.and_then(|spec| spec.type_).as_deref(),
            Some("ClusterIP")
        );
    }
}
