//! Services in the notation of the rows, and what they get.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_azure::{Context, Limits, desired, model::Desired, names};
use evenkeel_core::{claim::Profile, group::Group, ids::Cluster, provider::Verdict};
use evenkeel_laws::asking::{self, Decisions};
use serde_json::json;

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
        security_group: Some("/nsg1".into()),
        tags: BTreeMap::new(),
        disable_outbound_snat: false,
        shared_probe: false,
        priorities: 1500..=3499,
        limits: Limits::default(),
    }
}

/// What the crate decides, under the profile `azure`.
#[derive(Debug)]
pub(crate) enum Azure {}

impl Decisions for Azure {
    const PROVIDER: &'static str = evenkeel_azure::NAME;
    const PROFILE: Profile = Profile::Azure;
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

pub(crate) type Asking = asking::Asking<Azure>;
pub(crate) type Got = asking::Got<Desired>;

/// `default/web` with the port of the first row.
pub(crate) fn web() -> Asking {
    with_ports(&["http:80/TCP>31080"])
}

/// `default/web` with ports such as `http:80/TCP>31080`; the node port is optional.
pub(crate) fn with_ports(ports: &[&str]) -> Asking {
    Asking::web(UID, ports)
}

/// Azure's own words.
pub(crate) trait OnAzure {
    /// Where packets arrive at NodePorts.
    fn node_ports(self) -> Self;
    /// Of another name.
    fn named(self, name: &str, number: u32) -> Self;
    /// With an annotation of Azure's: what stands behind `azure-`.
    fn az(self, suffix: &str, value: &str) -> Self;
    /// With an annotation of a port: what stands behind `port_`.
    fn port(self, suffix: &str, value: &str) -> Self;
    fn internal(self) -> Self;
    fn ranges(self, ranges: &[&str]) -> Self;
    fn families(self, families: &[&str]) -> Self;
    /// What the names of its objects begin with.
    fn base(&self) -> String;
    /// It gets nothing, because of exactly one thing: this annotation of Azure's.
    fn is_refused_for(&self, suffix: &str) -> String;
}

impl OnAzure for Asking {
    fn node_ports(self) -> Self {
        self.az("disable-load-balancer-floating-ip", "true")
    }

    fn named(self, name: &str, number: u32) -> Self {
        self.called(name, &format!("{number:08x}-7a0e-4c55-9a7b-2d8f5b1d9e01"))
    }

    fn az(self, suffix: &str, value: &str) -> Self {
        self.annotated(&format!("service.beta.kubernetes.io/azure-{suffix}"), value)
    }

    fn port(self, suffix: &str, value: &str) -> Self {
        self.annotated(&format!("service.beta.kubernetes.io/port_{suffix}"), value)
    }

    fn internal(self) -> Self {
        self.az("load-balancer-internal", "true")
    }

    fn ranges(self, ranges: &[&str]) -> Self {
        self.spec("loadBalancerSourceRanges", json!(ranges))
    }

    fn families(self, families: &[&str]) -> Self {
        self.spec("ipFamilies", json!(families))
    }

    fn base(&self) -> String {
        names::group(&cluster(), &self.group().key)
    }

    #[track_caller]
    fn is_refused_for(&self, suffix: &str) -> String {
        self.is_refused_at(&format!(
            "metadata.annotations[service.beta.kubernetes.io/{suffix}]"
        ))
    }
}

/// What a group gets.
#[track_caller]
pub(crate) fn got(context: &Context, group: &Group) -> Got {
    Got::of(desired::desired(context, group))
}
