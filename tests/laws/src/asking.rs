//! Services in the notation of golden rows, and what a provider's decisions make of them (Decides).

use std::{collections::BTreeMap, fmt::Debug, marker::PhantomData};

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

/// The decisions of a provider, as its rows ask for them.
pub trait Decisions {
    /// The provider.
    const PROVIDER: &'static str;
    /// The profile of rows that name none.
    const PROFILE: Profile;
    /// What the operator decides.
    type Context;
    /// What there should be.
    type Desired: Debug;

    /// The cluster of all rows.
    fn cluster() -> Cluster;

    /// The operator's settings of rows that name none.
    fn context() -> Self::Context;

    /// Decides.
    fn desired(context: &Self::Context, group: &Group) -> Verdict<Self::Desired>;
}

/// A Service that is ours, with policy Cluster and IPv4 where it does not say otherwise.
#[derive(Debug)]
pub struct Asking<D> {
    profile: Profile,
    name: String,
    uid: String,
    annotations: BTreeMap<String, String>,
    spec: Value,
    decisions: PhantomData<D>,
}

impl<D> Clone for Asking<D> {
    fn clone(&self) -> Self {
        Self {
            profile: self.profile,
            name: self.name.clone(),
            uid: self.uid.clone(),
            annotations: self.annotations.clone(),
            spec: self.spec.clone(),
            decisions: PhantomData,
        }
    }
}

impl<D: Decisions> Asking<D> {
    /// `default/web` with ports such as `http:80/TCP>31080`; the node port is optional.
    ///
    /// # Panics
    /// Where a port is none.
    #[must_use]
    pub fn web(uid: &str, ports: &[&str]) -> Self {
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
        Self {
            profile: D::PROFILE,
            name: "web".to_owned(),
            uid: uid.to_owned(),
            annotations: BTreeMap::new(),
            spec: json!({ "type": "LoadBalancer", "ports": ports, "ipFamilies": ["IPv4"] }),
            decisions: PhantomData,
        }
    }

    /// Under another profile.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Another Service.
    #[must_use]
    pub fn called(mut self, name: &str, uid: &str) -> Self {
        name.clone_into(&mut self.name);
        uid.clone_into(&mut self.uid);
        self
    }

    /// With an annotation.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With a field of the spec.
    #[must_use]
    pub fn spec(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// With a field of its first port.
    #[must_use]
    pub fn of_port(mut self, field: &str, value: Value) -> Self {
        self.spec["ports"][0][field] = value;
        self
    }

    /// With policy Local and this health check node port.
    #[must_use]
    pub fn local(self, port: u16) -> Self {
        self.spec("externalTrafficPolicy", json!("Local"))
            .spec("healthCheckNodePort", json!(port))
    }

    /// As the API server has it.
    ///
    /// # Panics
    /// Where it is no Service.
    #[must_use]
    pub fn service(&self) -> Service {
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
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(&self) -> Result<intent::Reading, Problems> {
        let rule = ClassRule {
            provider: ProviderName::from(D::PROVIDER),
            profile: self.profile,
        };
        intent::read(&self.service(), &rule)
    }

    /// What it asks.
    ///
    /// # Panics
    /// Where it cannot be read.
    #[must_use]
    #[track_caller]
    pub fn intent(&self) -> Intent {
        self.read()
            .unwrap_or_else(|problems| panic!("{problems}"))
            .intent
    }

    /// It alone in its group.
    ///
    /// # Panics
    /// As [`Asking::intent`].
    #[must_use]
    #[track_caller]
    pub fn group(&self) -> Group {
        let intent = self.intent();
        Group {
            key: Group::key_of(&intent),
            ..Group::single(D::cluster(), intent)
        }
    }

    /// What it gets.
    ///
    /// # Panics
    /// Where it gets nothing.
    #[track_caller]
    pub fn gets(&self) -> Got<D::Desired> {
        self.gets_by(&D::context())
    }

    /// What it gets with other settings of the operator's.
    ///
    /// # Panics
    /// Where it gets nothing.
    #[track_caller]
    pub fn gets_by(&self, context: &D::Context) -> Got<D::Desired> {
        let reading = self.read().unwrap_or_else(|problems| panic!("{problems}"));
        let mut got = Got::of(D::desired(context, &self.group()));
        got.warnings.extend(reading.warnings);
        got.port_errors.extend(reading.port_errors);
        got
    }

    /// Why it gets nothing.
    ///
    /// # Panics
    /// Where it gets something, or nobody says why not.
    #[track_caller]
    pub fn problems(&self) -> Problems {
        if let Err(problems) = self.read() {
            return problems;
        }
        match D::desired(&D::context(), &self.group()) {
            Verdict::Rejected(problems) => {
                assert!(!problems.is_empty(), "rejected for no reason");
                problems
            }
            Verdict::Accepted { desired, .. } => panic!("it is accepted: {desired:#?}"),
        }
    }

    /// It gets nothing, because of exactly one thing: this field. Returns what is said of it.
    ///
    /// # Panics
    /// Where it is otherwise, or what is said does not end with what to do.
    #[track_caller]
    pub fn is_refused_at(&self, field: &str) -> String {
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
#[derive(Clone, Debug)]
pub struct Got<Desired> {
    /// What there should be.
    pub desired: Desired,
    /// What is worth a word.
    pub warnings: Vec<Warning>,
    /// Ports that get nothing.
    pub port_errors: Vec<PortError>,
}

impl<Desired> Got<Desired> {
    /// What a provider decided.
    ///
    /// # Panics
    /// Where that is nothing.
    #[must_use]
    #[track_caller]
    pub fn of(verdict: Verdict<Desired>) -> Self {
        match verdict {
            Verdict::Rejected(problems) => panic!("it is rejected: {problems}"),
            Verdict::Accepted {
                desired,
                warnings,
                port_errors,
            } => Self {
                desired,
                warnings,
                port_errors,
            },
        }
    }

    /// Nothing was worth a word.
    ///
    /// # Panics
    /// Where something was.
    #[track_caller]
    pub fn silently(self) -> Self {
        assert_eq!(self.warnings, []);
        assert_eq!(self.port_errors, []);
        self
    }

    /// There is exactly one warning, and it has this in it.
    ///
    /// # Panics
    /// Where it is otherwise.
    #[track_caller]
    pub fn warning_with(self, part: &str) -> Self {
        let told: Vec<_> = self.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains(part), "{told:#?}");
        self
    }
}
