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
    /// The digests that owners approved, with spaces between.
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
            approval = group.approvals();
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

#[cfg(test)]
mod tests {
    use evenkeel_core::claim::ClassRule;
    use serde_json::{Value, json};

    use super::*;

    fn service(
        name: &str,
        annotations: Value,
        finalizer: Option<&str>,
        type_: &str,
    ) -> Arc<Service> {
        let class = (type_ == "LoadBalancer").then_some("evenkeel.dev/local");
        let object = json!({
            "metadata": {
                "name": name, "namespace": "shop", "uid": name, "annotations": annotations,
                "finalizers": finalizer.into_iter().collect::<Vec<_>>(),
            },
            "spec": {"type": type_, "loadBalancerClass": class, "ports": [{"port": 80, "nodePort": 30080}]},
        });
        Arc::new(serde_json::from_value(object).expect("a Service"))
    }

    fn asked(members: Vec<Arc<Service>>, left: bool) -> Vec<String> {
        let local = ProviderName::from("local");
        let rules = ClaimRules::new([local.clone()]).with_default(ClassRule::neutral(local));
        let key = GroupKey::Shared {
            namespace: "shop".into(),
            name: "edge".into(),
        };
        let (all, _) = foresee(&key, &Cluster::new("u", "c"), members, &rules, left);
        let one = |foreseen: &Foreseen| {
            let what = match &foreseen.ask {
                Ask::Serve(_) => "serve",
                Ask::Release => "release",
                _ => "keep",
            };
            let (staying, leaving) = (foreseen.staying.len(), foreseen.leaving.len());
            let paused = if foreseen.paused { " paused" } else { "" };
            let approval = foreseen.approval.as_deref().unwrap_or_default();
            format!("{what} {staying} release {leaving}{paused} {approval}")
                .trim()
                .to_owned()
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn what_a_run_would_ask() {
        const OURS: Option<&str> = Some("evenkeel.dev/local");
        let lb = |name, annotations| service(name, annotations, None, "LoadBalancer");
        let none = || json!({});
        for (name, members, left, want) in [
            ("nobody", vec![], false, vec![]),
            (
                "somebody has left",
                vec![],
                true,
                vec!["release 0 release 0"],
            ),
            (
                "one",
                vec![lb("a", none())],
                false,
                vec!["serve 1 release 0"],
            ),
            (
                "another type, with something left",
                vec![lb("a", none()), service("b", none(), OURS, "ClusterIP")],
                false,
                vec!["serve 1 release 1"],
            ),
            (
                "paused",
                vec![lb("a", json!({"evenkeel.dev/paused": "true"}))],
                false,
                vec!["serve 1 release 0 paused"],
            ),
            (
                "approved",
                vec![lb("a", json!({"evenkeel.dev/approve": "3f9a0c21d4"}))],
                false,
                vec!["serve 1 release 0 3f9a0c21d4"],
            ),
            (
                "approved by a younger member too",
                vec![
                    lb("a", json!({"evenkeel.dev/approve": "0123456789"})),
                    lb("b", none()),
                    lb("c", json!({"evenkeel.dev/approve": " 3f9a0c21d4"})),
                ],
                false,
                vec!["serve 3 release 0 0123456789 3f9a0c21d4"],
            ),
            (
                "rejected: neither pause nor approval count",
                vec![lb(
                    "a",
                    json!({"evenkeel.dev/scheme": "sideways", "evenkeel.dev/paused": "true"}),
                )],
                false,
                vec!["keep 1 release 0"],
            ),
        ] {
            assert_eq!(asked(members, left), want, "{name}");
        }
    }
}
