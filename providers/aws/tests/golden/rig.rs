//! Services in the notation of the rows, and what they get.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_aws::{
    Context, desired,
    model::{
        Desired, HealthCheck, Listener, ListenerProtocol, Rule, Security, TargetGroup,
        TargetProtocol,
    },
};
use evenkeel_core::{claim::Profile, group::Group, ids::Cluster, provider::Verdict};
use evenkeel_laws::asking::{self, Decisions};

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

/// What the crate decides, under the profile `lbc`.
#[derive(Debug)]
pub(crate) enum Aws {}

impl Decisions for Aws {
    const PROVIDER: &'static str = evenkeel_aws::NAME;
    const PROFILE: Profile = Profile::Lbc;
    type Context = Context;
    type Desired = Desired;

    fn cluster() -> Cluster {
        cluster()
    }

    fn context() -> Context {
        context()
    }

    fn desired(context: &Context, group: &Group) -> Verdict<Desired> {
        desired::desired(context, group)
    }
}

pub(crate) type Asking = asking::Asking<Aws>;
pub(crate) type Got = asking::Got<Desired>;

/// A Service with ports such as `h:8080/TCP>30080`; the node port is optional.
pub(crate) fn service(ports: &[&str]) -> Asking {
    Asking::web("uid-of-web", ports)
}

/// One with the port of the first row.
pub(crate) fn plain() -> Asking {
    service(&["a:7000/TCP>30700"])
}

/// AWS's own words.
pub(crate) trait OnAws {
    /// Of another name.
    fn named(self, name: &str) -> Self;
    /// With an annotation of AWS's: what stands behind `aws-load-balancer-`.
    fn aws(self, suffix: &str, value: &str) -> Self;
    /// It gets nothing, because of exactly one thing: this annotation of AWS's.
    fn is_refused_for(&self, suffix: &str) -> String;
}

impl OnAws for Asking {
    fn named(self, name: &str) -> Self {
        self.called(name, &format!("uid-of-{name}"))
    }

    fn aws(self, suffix: &str, value: &str) -> Self {
        let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
        self.annotated(&key, value)
    }

    #[track_caller]
    fn is_refused_for(&self, suffix: &str) -> String {
        self.is_refused_at(&field(suffix))
    }
}

/// The field that problems and warnings of an annotation of AWS's name.
pub(crate) fn field(suffix: &str) -> String {
    format!("metadata.annotations[service.beta.kubernetes.io/aws-load-balancer-{suffix}]")
}

/// What a group gets.
#[track_caller]
pub(crate) fn got(group: &Group) -> Got {
    Got::of(desired::desired(&context(), group))
}

/// The parts of what a group gets.
pub(crate) trait Parts {
    /// There is exactly one warning, and it begins with this annotation of AWS's.
    fn warning_of(self, suffix: &str) -> Self;
    /// The listeners, as `TLS:8443`.
    fn listeners(&self) -> Vec<String>;
    fn listener(&self, port: u16) -> &Listener;
    fn target_group(&self, port: u16) -> &TargetGroup;
    fn health_check(&self, port: u16) -> String;
    /// The attributes of a target group, as `key=value`.
    fn target_attributes(&self, port: u16) -> Vec<String>;
    fn protocols(&self, port: u16) -> (ListenerProtocol, TargetProtocol);
    /// The rules of the front-end group.
    fn rules(&self) -> Vec<String>;
}

impl Parts for Got {
    #[track_caller]
    fn warning_of(self, suffix: &str) -> Self {
        let told: Vec<_> = self.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].starts_with(&field(suffix)), "{told:#?}");
        self
    }

    fn listeners(&self) -> Vec<String> {
        let listeners = self.desired.listeners.iter();
        listeners
            .map(|listener| format!("{}:{}", listener.protocol, listener.port))
            .collect()
    }

    #[track_caller]
    fn listener(&self, port: u16) -> &Listener {
        let mut listeners = self.desired.listeners.iter();
        listeners
            .find(|listener| listener.port == port)
            .unwrap_or_else(|| panic!("no listener on {port}"))
    }

    #[track_caller]
    fn target_group(&self, port: u16) -> &TargetGroup {
        let mut target_groups = self.desired.target_groups.iter();
        target_groups
            .find(|target_group| target_group.port == port)
            .unwrap_or_else(|| panic!("no target group of {port}"))
    }

    #[track_caller]
    fn health_check(&self, port: u16) -> String {
        let health_check: &HealthCheck = &self.target_group(port).health_check;
        health_check.to_string()
    }

    #[track_caller]
    fn target_attributes(&self, port: u16) -> Vec<String> {
        pairs(&self.target_group(port).attributes)
    }

    #[track_caller]
    fn protocols(&self, port: u16) -> (ListenerProtocol, TargetProtocol) {
        (
            self.listener(port).protocol,
            self.target_group(port).protocol,
        )
    }

    #[track_caller]
    fn rules(&self) -> Vec<String> {
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
