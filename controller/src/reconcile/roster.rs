//! Who is in a group, who leaves it, and what that asks of the provider (Decides).

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::{
    claim::{Claim, ClaimRules, ClassRule, Hand, claim, leaving},
    engine::Ask,
    group,
    ids::{Cluster, GroupKey, ProviderName, ServiceRef},
    intent::{Reading, read},
    problem::Problems,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;

use crate::watch::services::reference;

/// A Service that is to be served.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) service: Arc<Service>,
    pub(super) reference: ServiceRef,
    /// What it asks, or why that cannot be used.
    pub(super) reading: Result<Reading, Problems>,
}

impl Member {
    pub(super) fn new(service: Arc<Service>, rule: &ClassRule) -> Self {
        Self {
            reading: read(&service, rule),
            reference: reference(&service),
            service,
        }
    }

    fn age(&self) -> (Option<Timestamp>, ServiceRef) {
        let created = self.service.metadata.creation_timestamp.as_ref();
        (created.map(|time| time.0), self.reference.clone())
    }
}

/// A Service that is to be released.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) reference: ServiceRef,
    /// It is being deleted.
    pub(super) deleting: bool,
    /// Whether what its status says is ours to clear: not what another provider of ours, or another controller, has put
    /// there since.
    pub(super) clear: bool,
}

/// The part of a group that one provider has to do with.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Oldest first.
    pub(super) staying: Vec<Member>,
    pub(super) leaving: Vec<Leaving>,
    /// Those who have moved to another group and are not served there yet: they are served here until then.
    pub(super) moving: Vec<Member>,
}

impl Group {
    /// Those who are to be served here, oldest first.
    pub(super) fn served(&self) -> Vec<&Member> {
        let mut served: Vec<_> = self.staying.iter().chain(&self.moving).collect();
        served.sort_by_cached_key(|member| member.age());
        served
    }

    pub(super) fn is_empty(&self) -> bool {
        self.staying.is_empty() && self.leaving.is_empty()
    }
}

/// The Services of a group, by provider.
#[derive(Debug, Default)]
pub(super) struct Roster {
    groups: BTreeMap<ProviderName, Group>,
    /// Services without a class on which another controller's hand is.
    pub(super) foreign: Vec<(ServiceRef, Hand)>,
}

impl Roster {
    pub(super) fn of(members: Vec<Arc<Service>>, rules: &ClaimRules) -> Self {
        let mut roster = Self::default();
        for service in members {
            let reference = reference(&service);
            let claim = claim(&service, rules);
            for provider in leaving(&service, rules) {
                roster
                    .groups
                    .entry(provider)
                    .or_default()
                    .leaving
                    .push(Leaving {
                        deleting: service.metadata.deletion_timestamp.is_some(),
                        clear: claim == Claim::NotOurs && !has_foreign_class(&service, rules),
                        reference: reference.clone(),
                    });
            }
            match claim {
                Claim::Ours(rule) => {
                    let group = roster.groups.entry(rule.provider.clone()).or_default();
                    group.staying.push(Member::new(service, &rule));
                }
                Claim::ForeignHand(hand) => roster.foreign.push((reference, hand)),
                Claim::NotOurs => {}
            }
        }
        for group in roster.groups.values_mut() {
            group.staying.sort_by_cached_key(Member::age);
        }
        roster
    }

    pub(super) fn take(&mut self, provider: &ProviderName) -> Group {
        self.groups.remove(provider).unwrap_or_default()
    }
}

/// Whether the Service is of type LoadBalancer, of a class that is not ours: then its status is another's by now.
fn has_foreign_class(service: &Service, rules: &ClaimRules) -> bool {
    let spec = service.spec.as_ref();
    let class = spec
        .and_then(|spec| spec.load_balancer_class.as_deref())
        .filter(|class| !class.is_empty());
    class.is_some_and(|class| !rules.classes.contains_key(class))
}

/// What the group asks of its provider. None: nothing, and nothing was ever made. `served` says that something may be there.
pub(super) fn ask(key: &GroupKey, cluster: &Cluster, group: &Group, served: bool) -> Option<Ask> {
    let members = group.served();
    if members.is_empty() {
        return (served || !group.leaving.is_empty()).then_some(Ask::Release);
    }
    let mut problems = Problems::none();
    let (mut intents, mut unknown) = (Vec::new(), Vec::new());
    for member in members {
        match &member.reading {
            Ok(reading) => intents.push(reading.intent.clone()),
            Err(wrong) => {
                problems.extend(wrong.clone());
                unknown.push(member.reference.clone());
            }
        }
    }
    if intents.is_empty() {
        return Some(Ask::Keep(problems));
    }
    Some(Ask::Serve(group::Group {
        key: key.clone(),
        cluster: cluster.clone(),
        members: intents,
        unknown,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(name: &str, changes: Value) -> Arc<Service> {
        let mut object = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": "2026-01-02T00:00:00Z"},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": "evenkeel.dev/local", "ports": [{"port": 80, "nodePort": 30080}]},
        });
        for (pointer, value) in changes.as_object().expect("a map") {
            let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
            object.pointer_mut(parent).expect("a parent")[field] = value.clone();
        }
        Arc::new(serde_json::from_value(object).expect("a Service"))
    }

    fn rules() -> ClaimRules {
        ClaimRules::new([ProviderName::from("local"), ProviderName::from("aws")])
    }

    fn broken() -> Value {
        json!({"/metadata/annotations": {"evenkeel.dev/scheme": "sideways"}})
    }

    fn released(changes: Value) -> Value {
        let mut all = json!({"/metadata/finalizers": ["evenkeel.dev/local"]});
        let changes = changes.as_object().cloned().unwrap_or_default();
        all.as_object_mut().expect("a map").extend(changes);
        all
    }

    fn asked(members: Vec<Arc<Service>>, served: bool) -> &'static str {
        let key = GroupKey::Shared {
            namespace: "shop".into(),
            name: "edge".into(),
        };
        let group = Roster::of(members, &rules()).take(&ProviderName::from("local"));
        match ask(&key, &Cluster::new("c", "c"), &group, served) {
            None => "nothing",
            Some(Ask::Release) => "release",
            Some(Ask::Keep(_) | Ask::KeepWithout(..)) => "keep",
            Some(Ask::Serve(group)) if group.unknown.is_empty() => "serve",
            Some(Ask::Serve(_)) => "serve what can be read",
        }
    }

    #[test]
    fn what_a_group_asks() {
        let deleted = || released(json!({"/metadata/deletionTimestamp": "2026-01-03T00:00:00Z"}));
        let (good, bad, gone) = (
            service("a", json!({})),
            service("b", broken()),
            service("c", deleted()),
        );
        for (name, members, served, want) in [
            ("nobody, never", vec![], false, "nothing"),
            ("nobody any more", vec![], true, "release"),
            ("one", vec![good.clone()], false, "serve"),
            ("one that cannot be read", vec![bad.clone()], true, "keep"),
            (
                "one of two",
                vec![good.clone(), bad.clone()],
                true,
                "serve what can be read",
            ),
            ("the last leaves", vec![gone.clone()], false, "release"),
            ("one leaves, one stays", vec![gone, good], true, "serve"),
        ] {
            assert_eq!(asked(members, served), want, "{name}");
        }
    }

    #[test]
    fn the_oldest_comes_first() {
        let older = service(
            "z",
            json!({"/metadata/creationTimestamp": "2026-01-01T00:00:00Z"}),
        );
        let members = vec![service("b", json!({})), older, service("a", json!({}))];
        let group = Roster::of(members, &rules()).take(&ProviderName::from("local"));
        let names: Vec<_> = group
            .staying
            .iter()
            .map(|member| member.reference.key.name.to_string())
            .collect();
        assert_eq!(names, ["z", "a", "b"]);
    }

    #[test]
    fn whose_status_it_is_when_a_service_leaves() {
        for (name, changes, clear) in [
            (
                "deleted",
                json!({"/metadata/deletionTimestamp": "2026-01-03T00:00:00Z"}),
                true,
            ),
            (
                "another type",
                json!({"/spec/type": "ClusterIP", "/spec/loadBalancerClass": null}),
                true,
            ),
            (
                "no class any more, no default",
                json!({"/spec/loadBalancerClass": null}),
                true,
            ),
            (
                "another controller's class",
                json!({"/spec/loadBalancerClass": "example.com/lb"}),
                false,
            ),
            (
                "another provider of ours",
                json!({"/spec/loadBalancerClass": "evenkeel.dev/aws"}),
                false,
            ),
        ] {
            let group = Roster::of(vec![service("a", released(changes))], &rules())
                .take(&ProviderName::from("local"));
            assert_eq!(
                group
                    .leaving
                    .iter()
                    .map(|leaving| leaving.clear)
                    .collect::<Vec<_>>(),
                [clear],
                "{name}"
            );
        }
    }

    #[test]
    fn a_foreign_hand_is_seen_and_nothing_else() {
        let rules = rules().with_default(ClassRule::neutral(ProviderName::from("local")));
        let claimed = service(
            "a",
            json!({"/spec/loadBalancerClass": null, "/metadata/finalizers": ["service.k8s.aws/resources"]}),
        );
        let roster = Roster::of(vec![claimed], &rules);
        assert_eq!(roster.foreign.len(), 1);
        assert!(roster.groups.is_empty());
    }
}
