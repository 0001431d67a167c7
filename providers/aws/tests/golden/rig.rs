//! Services in the notation of the rows, and what they get.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_aws::{
    Context, desired,
    model::{
        Desired, HealthCheck, Listener, ListenerProtocol, Rule, Security, TargetGroup,
        TargetProtocol,
    },
};
use evenkeel_core::{
    claim::{ClassRule, Profile},
    group::Group,
    ids::{Cluster, ProviderName},
    intent::{self, Intent},
    problem::{PortError, Problems, Warning},
    provider::Verdict,
};
use k8s_openapi::api::core::v1::Service;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// The certificates of the rows.
pub(crate) const A: &str = "arn:aws:acm:eu-west-1:123456789012:certificate/a";
pub(crate) const B: &str = "arn:aws:acm:eu-west-1:123456789012:certificate/b";

/// The cluster of all rows.
pub(crate) fn cluster() -> Cluster {
    Cluster::new("1c3cf4a0-7a52-4f0e-9a2b-6a1f0c9d0001", "c1")
}

pub(crate) fn context() -> Context {
    Context::new(cluster())
}

/// A Service that is ours, with policy Cluster and IPv4.
pub(crate) struct Asking {
    profile: Profile,
    name: String,
    annotations: BTreeMap<String, String>,
    spec: Value,
}

/// A Service with ports such as `h:8080/TCP>30080`; the node port is optional.
pub(crate) fn service(ports: &[&str]) -> Asking {
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
        profile: Profile::Lbc,
        name: "web".to_owned(),
        annotations: BTreeMap::new(),
        spec: json!({ "type": "LoadBalancer", "ports": ports, "ipFamilies": ["IPv4"] }),
    }
}

/// One with the port of the first row.
pub(crate) fn plain() -> Asking {
    service(&["a:7000/TCP>30700"])
}

impl Asking {
    /// Under another profile.
    pub(crate) fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Of another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// With an annotation of AWS's: what stands behind `aws-load-balancer-`.
    pub(crate) fn aws(self, suffix: &str, value: &str) -> Self {
        let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
        self.annotated(&key, value)
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
                "uid": format!("uid-of-{}", self.name),
                "annotations": self.annotations,
            },
            "spec": self.spec,
        });
        Service::deserialize(document).expect("a Service")
    }

    /// As the controller reads it.
    pub(crate) fn read(&self) -> Result<intent::Reading, Problems> {
        let rule = ClassRule {
            provider: ProviderName::from(evenkeel_aws::NAME),
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
        Group::single(cluster(), self.intent())
    }

    /// What it gets.
    #[track_caller]
    pub(crate) fn gets(&self) -> Got {
        let reading = self.read().unwrap_or_else(|problems| panic!("{problems}"));
        let mut got = got(&Group::single(cluster(), reading.intent));
        got.warnings.extend(reading.warnings);
        got.port_errors.extend(reading.port_errors);
        got
    }

    /// Why it gets nothing.
    #[track_caller]
    pub(crate) fn problems(&self) -> Problems {
        let group = match self.read() {
            Ok(reading) => Group::single(cluster(), reading.intent),
            Err(problems) => return problems,
        };
        match desired::desired(&context(), &group) {
            Verdict::Rejected(problems) => {
                assert!(!problems.is_empty(), "rejected for no reason");
                problems
            }
            Verdict::Accepted { desired, .. } => panic!("it is accepted: {desired:#?}"),
        }
    }

    /// It gets nothing, because of exactly one thing: this annotation of AWS's.
    #[track_caller]
    pub(crate) fn is_refused_for(&self, suffix: &str) -> String {
        self.is_refused_at(&field(suffix))
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

/// The field that problems and warnings of an annotation of AWS's name.
pub(crate) fn field(suffix: &str) -> String {
    format!("metadata.annotations[service.beta.kubernetes.io/aws-load-balancer-{suffix}]")
}

/// What a group gets.
pub(crate) struct Got {
    pub(crate) desired: Desired,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) port_errors: Vec<PortError>,
}

#[track_caller]
pub(crate) fn got(group: &Group) -> Got {
    match desired::desired(&context(), group) {
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

    /// There is exactly one warning, and it begins with this annotation of AWS's.
    #[track_caller]
    pub(crate) fn warning_of(self, suffix: &str) -> Self {
        let told: Vec<_> = self.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].starts_with(&field(suffix)), "{told:#?}");
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

    /// The listeners, as `TLS:8443`.
    pub(crate) fn listeners(&self) -> Vec<String> {
        let listeners = self.desired.listeners.iter();
        listeners
            .map(|listener| format!("{}:{}", listener.protocol, listener.port))
            .collect()
    }

    #[track_caller]
    pub(crate) fn listener(&self, port: u16) -> &Listener {
        let mut listeners = self.desired.listeners.iter();
        listeners
            .find(|listener| listener.port == port)
            .unwrap_or_else(|| panic!("no listener on {port}"))
    }

    #[track_caller]
    pub(crate) fn target_group(&self, port: u16) -> &TargetGroup {
        let mut target_groups = self.desired.target_groups.iter();
        target_groups
            .find(|target_group| target_group.port == port)
            .unwrap_or_else(|| panic!("no target group of {port}"))
    }

    #[track_caller]
    pub(crate) fn health_check(&self, port: u16) -> String {
        let health_check: &HealthCheck = &self.target_group(port).health_check;
        health_check.to_string()
    }

    /// The attributes of a target group, as `key=value`.
    #[track_caller]
    pub(crate) fn target_attributes(&self, port: u16) -> Vec<String> {
        pairs(&self.target_group(port).attributes)
    }

    #[track_caller]
    pub(crate) fn protocols(&self, port: u16) -> (ListenerProtocol, TargetProtocol) {
        (
            self.listener(port).protocol,
            self.target_group(port).protocol,
        )
    }

    /// The rules of the front-end group.
    #[track_caller]
    pub(crate) fn rules(&self) -> Vec<String> {
        match &self.desired.load_balancer.security {
            Security::Managed(rules) => rules.iter().map(Rule::to_string).collect(),
            other => panic!("no group of its own: {other:?}"),
        }
    }
}

pub(crate) fn pairs(pairs: &BTreeMap<Arc<str>, Arc<str>>) -> Vec<String> {
    let pairs = pairs.iter();
    pairs.map(|(key, value)| format!("{key}={value}")).collect()
}
