//! What a run would ask of a provider, for those who only want to know (Decides).
//!
//! The same roster and the same question as in a run, so that a plan is what a run does.

use std::sync::Arc;

use evenkeel_core::{
    claim::{ClaimRules, Hand},
    engine::Ask,
    ids::{Cluster, GroupKey, ProviderName, ServiceRef},
    problem::{PortError, Warning},
};
use k8s_openapi::api::core::v1::Service;

use super::roster::{Roster, ask};

/// What one group would ask of one provider.
#[derive(Clone, Debug)]
pub(crate) struct Foreseen {
    pub(crate) provider: ProviderName,
    /// Who is to be served, oldest first.
    pub(crate) staying: Vec<ServiceRef>,
    /// Who is to be released.
    pub(crate) leaving: Vec<ServiceRef>,
    pub(crate) ask: Ask,
    /// The digest that an owner approved.
    pub(crate) approval: Option<Arc<str>>,
    /// Whether somebody asks that nothing be written.
    pub(crate) paused: bool,
    /// What the owners should know of what they ask.
    pub(crate) warnings: Vec<Warning>,
    /// Ports that nobody can serve.
    pub(crate) port_errors: Vec<PortError>,
}

/// What the members of a group ask, provider by provider; and those without a class on which another's hand is. `left` says
/// that a member has left it, of whom something may be there.
pub(crate) fn foresee(
    key: &GroupKey,
    cluster: &Cluster,
    members: Vec<Arc<Service>>,
    rules: &ClaimRules,
    left: bool,
) -> (Vec<Foreseen>, Vec<(ServiceRef, Hand)>) {
    let mut roster = Roster::of(members, rules);
    let mut all = Vec::new();
    for provider in &rules.enabled {
        let group = roster.take(provider);
        let Some(ask) = ask(key, cluster, &group, left) else {
            continue;
        };
        let (mut approval, mut paused) = (None, false);
        if let Ask::Serve(group) = &ask {
            approval = group
                .members
                .iter()
                .find_map(|member| member.options.approve.clone());
            // What is rejected only follows the nodes, and a deletion never waits for an annotation.
            paused = group.members.iter().any(|member| member.options.paused);
        }
        let readings = || {
            let members = group.staying.iter();
            members.filter_map(|member| member.reading.as_ref().ok())
        };
        all.push(Foreseen {
            provider: provider.clone(),
            warnings: readings()
                .flat_map(|reading| reading.warnings.clone())
                .collect(),
            port_errors: readings()
                .flat_map(|reading| reading.port_errors.clone())
                .collect(),
            staying: group
                .staying
                .into_iter()
                .map(|member| member.reference)
                .collect(),
            leaving: group
                .leaving
                .into_iter()
                .map(|leaving| leaving.reference)
                .collect(),
            ask,
            approval,
            paused,
        });
    }
    (all, roster.foreign)
}
