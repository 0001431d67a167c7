//! Services in the notation of the rows, and what they get.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_azure::{Context, Limits, desired, model::Desired, names};
use evenkeel_core::{
    claim::{ClassRule, Profile},
    group::Group,
    ids::{Cluster, ProviderName},
    intent::{self, Intent},
    problem::{PortError, Problems, Warning},
    provider::Verdict,
};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::serde::Deserialize as _;
use serde_json::{Value, json};

/// The UID of `default/web`.
pub(crate) const UID: &str = "0f6c1b52-7a0e-4c55-9a7b-2d8f5b1d9e01";
pub(crate) const SUBSCRIPTION: &str = "3f1f0a5e-0000-4000-8000-1d8a5c1c0001";

/// The cluster of all rows.
pub(crate) fn cluster() -> Cluster {
    Cluster::new("1c3cf4a0-7a52-4f0e-9a2b-6a1f0c9d0001", "prod-eu")
}

pub(crate) fn network(name: &str) -> Arc<str> {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-net/providers/Microsoft.Network/virtualNetworks/{name}").into()
}

/// The operator's settings of all rows.
pub(crate) fn context() -> Context {
    Context {
        cluster: cluster(),
        subscription: SUBSCRIPTION.into(),
        resource_group: "rg1".into(),
        location: "westeurope".into(),
        virtual_network: network("vnet1"),
        subnet: "nodes".into(),
        node_prefixes: vec!["10.20.0.0/20".parse().expect("a prefix")],
        load_balancer: None,
        security_group: true,
        tags: BTreeMap::new(),
        disable_outbound_snat: false,
        shared_probe: false,
        priorities: 1500..=3499,
        limits: Limits::default(),
    }
}

/// A Service that is ours, with policy Cluster and IPv4, under the profile `azure`.
#[derive(Clone)]
pub(crate) struct Asking {
    profile: Profile,
    name: String,
    uid: String,
    annotations: BTreeMap<String, String>,
    spec: Value,
}

/// `default/web` with the port of the first row.
pub(crate) fn web() -> Asking {
    with_ports(&["http:80/TCP>31080"])
}

/// `default/web` with ports such as `http:80/TCP>31080`; the node port is optional.
pub(crate) fn with_ports(ports: &[&str]) -> Asking {
    let port = |text: &&str| {
        let (name, rest) = text.split_once(':').expect("a name");
        let (port, node_port) = match rest.split_once('>') {
            Some((port, node_port)) => (port, node_port.parse().expect("a node port")),
            None => (rest, 0),
        };
        let (number, protocol) = port.split_once('/').expect("a protocol");
        let number: u16 = number.parse().expect("a number");
        json!({ "name": name, "port": number, "protocol": protocol, "nodePort": node_port })
    };
    let ports: Vec<Value> = ports.iter().map(port).collect();
    Asking {
        profile: Profile::Azure,
        name: "web".to_owned(),
        uid: UID.to_owned(),
        annotations: BTreeMap::new(),
        spec: json!({ "type": "LoadBalancer", "ports": ports, "ipFamilies": ["IPv4"] }),
    }
}

impl Asking {
    /// Under another profile.
    pub(crate) fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Where packets arrive at NodePorts.
    pub(crate) fn node_ports(self) -> Self {
        self.az("disable-load-balancer-floating-ip", "true")
    }

    /// Of another name.
    pub(crate) fn named(mut self, name: &str, number: u32) -> Self {
        name.clone_into(&mut self.name);
        self.uid = format!("{number:08x}-7a0e-4c55-9a7b-2d8f5b1d9e01");
        self
    }

    /// With an annotation of Azure's: what stands behind `azure-`.
    pub(crate) fn az(self, suffix: &str, value: &str) -> Self {
        self.annotated(&format!("service.beta.kubernetes.io/azure-{suffix}"), value)
    }

    /// With an annotation of a port: what stands behind `port_`.
    pub(crate) fn port(self, suffix: &str, value: &str) -> Self {
        self.annotated(&format!("service.beta.kubernetes.io/port_{suffix}"), value)
    }

    pub(crate) fn internal(self) -> Self {
        self.az("load-balancer-internal", "true")
    }

    /// With an annotation.
    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With a field of the spec.
    pub(crate) fn spec(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// With a field of its first port.
    pub(crate) fn of_port(mut self, field: &str, value: Value) -> Self {
        self.spec["ports"][0][field] = value;
        self
    }

    pub(crate) fn ranges(self, ranges: &[&str]) -> Self {
        self.spec("loadBalancerSourceRanges", json!(ranges))
    }

    pub(crate) fn families(self, families: &[&str]) -> Self {
        self.spec("ipFamilies", json!(families))
    }

    /// With policy Local and this health check node port.
    pub(crate) fn local(self, port: u16) -> Self {
        self.spec("externalTrafficPolicy", json!("Local"))
            .spec("healthCheckNodePort", json!(port))
    }

    /// As the API server has it.
    pub(crate) fn service(&self) -> Service {
        let document = json!({
            "metadata": {
                "name": self.name,
                "namespace": "default",
                "uid": self.uid,
                "annotations": self.annotations,
            },
            "spec": self.spec,
        });
        Service::deserialize(document).expect("a Service")
    }

    /// As the controller reads it.
    pub(crate) fn read(&self) -> Result<intent::Reading, Problems> {
        let rule = ClassRule {
            provider: ProviderName::from(evenkeel_azure::NAME),
            profile: self.profile,
        };
        intent::read(&self.service(), &rule)
    }

    pub(crate) fn intent(&self) -> Intent {
        self.read()
            .unwrap_or_else(|problems| panic!("{problems}"))
            .intent
    }

    pub(crate) fn group(&self) -> Group {
        Group {
            key: Group::key_of(&self.intent()),
            cluster: cluster(),
            members: vec![self.intent()],
            unknown: Vec::new(),
        }
    }

    /// What the names of its objects begin with.
    pub(crate) fn base(&self) -> String {
        names::group(&cluster(), &self.group().key)
    }

    /// What it gets.
    #[track_caller]
    pub(crate) fn gets(&self) -> Got {
        self.gets_by(&context())
    }

    #[track_caller]
    pub(crate) fn gets_by(&self, context: &Context) -> Got {
        let reading = self.read().unwrap_or_else(|problems| panic!("{problems}"));
        let mut got = got(context, &self.group());
        got.warnings.extend(reading.warnings);
        got.port_errors.extend(reading.port_errors);
        got
    }

    /// Why it gets nothing.
    #[track_caller]
    pub(crate) fn problems(&self) -> Problems {
        if let Err(problems) = self.read() {
            return problems;
        }
        match desired::desired(&context(), &self.group()) {
            Verdict::Rejected(problems) => {
                assert!(!problems.is_empty(), "rejected for no reason");
                problems
            }
            Verdict::Accepted { desired, .. } => panic!("it is accepted: {desired:#?}"),
        }
    }

    /// It gets nothing, because of exactly one thing: this annotation of Azure's.
    #[track_caller]
    pub(crate) fn is_refused_for(&self, suffix: &str) -> String {
        self.is_refused_at(&format!(
            "metadata.annotations[service.beta.kubernetes.io/{suffix}]"
        ))
    }

    /// It gets nothing, because of exactly one thing: this field.
    #[track_caller]
    pub(crate) fn is_refused_at(&self, field: &str) -> String {
        let problems = self.problems();
        let fields: Vec<_> = problems.iter().map(|problem| &*problem.field).collect();
        assert_eq!(fields, [field], "{problems}");
        for problem in problems.iter() {
            let advice = &problem.advice;
            assert!(
                advice.ends_with(['.', '?', ')']),
                "{problem}: says not what to do"
            );
        }
        problems.to_string()
    }
}

/// What a group gets.
pub(crate) struct Got {
    pub(crate) desired: Desired,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) port_errors: Vec<PortError>,
}

#[track_caller]
pub(crate) fn got(context: &Context, group: &Group) -> Got {
    match desired::desired(context, group) {
        Verdict::Rejected(problems) => panic!("it is rejected: {problems}"),
        Verdict::Accepted {
            desired,
            warnings,
            port_errors,
        } => Got {
            desired,
            warnings,
            port_errors,
        },
    }
}

impl Got {
    /// Nothing was worth a word.
    #[track_caller]
    pub(crate) fn silently(self) -> Self {
        assert_eq!(self.warnings, []);
        assert_eq!(self.port_errors, []);
        self
    }

    /// There is exactly one warning, and it has this in it.
    #[track_caller]
    pub(crate) fn warning_with(self, part: &str) -> Self {
        let told: Vec<_> = self.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains(part), "{told:#?}");
        self
    }
}
