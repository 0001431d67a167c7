//! What a cloud has of this cluster that no Service asks for (Decides).
//!
//! An orphan is reported and never deleted: a person looks at it. What a living Service of ours moved away from, while we
//! were not there, is no orphan: it serves until the Service is served where it is now, and is released then.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::{
    claim::owned_by,
    engine::Found,
    ids::{GroupKey, ProviderName, ServiceRef},
};
use k8s_openapi::api::core::v1::Service;

use crate::watch::services::reference;

/// What an inventory means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Groups that a living Service of ours is not in any more, with that Service.
    pub left: Vec<(GroupKey, ServiceRef)>,
    /// What nobody asks for.
    pub orphans: Vec<Found>,
}

/// Sorts what was found in a cloud by the Services there are, each with its group.
pub fn sweep<'a>(
    provider: &ProviderName,
    found: Vec<Found>,
    services: impl IntoIterator<Item = (&'a Service, &'a GroupKey)>,
) -> Swept {
    let mut living = BTreeSet::new();
    let mut owners: BTreeMap<String, (&GroupKey, ServiceRef)> = BTreeMap::new();
    for (service, group) in services {
        living.insert(group.identity());
        // Also one whose group cannot be read: it has not moved, and stays where it was, wherever that is.
        if owned_by(service).contains(provider) {
            let reference = reference(service);
            owners.insert(reference.uid.to_string(), (group, reference));
        }
    }
    let mut swept = Swept::default();
    for found in found {
        let lives = living.contains(&found.identity);
        let left = match GroupKey::shared(&found.identity) {
            // The identity of a group of its own is the Service's UID.
            None if lives => Vec::new(),
            None => owners
                .get(&found.identity)
                .map(|(_, owner)| (GroupKey::Service(owner.clone()), owner.clone()))
                .into_iter()
                .collect(),
            Some(group) => {
                let members = found.members.iter();
                let moved = members.filter_map(|member| owners.get(member.uid.as_str()));
                moved
                    .filter(|(now, _)| **now != group)
                    .map(|(_, owner)| (group.clone(), owner.clone()))
                    .collect()
            }
        };
        if left.is_empty() && !lives {
            swept.orphans.push(found);
        }
        swept.left.extend(left);
    }
    swept
}

#[cfg(test)]
mod tests {
    use evenkeel_core::ids::{ServiceKey, ServiceUid};
    use serde_json::json;

    use super::*;

    fn found(identity: &str, service: &str) -> Found {
        Found {
            identity: identity.into(),
            service: service.into(),
            objects: 3,
            members: Vec::new(),
        }
    }

    /// A shared group that serves these.
    fn serves(identity: &str, members: &[&str]) -> Found {
        let member = |name: &&str| ServiceRef {
            key: ServiceKey::new("shop", *name),
            uid: ServiceUid::new(format!("uid-{name}")),
        };
        Found {
            members: members.iter().map(member).collect(),
            ..found(identity, identity)
        }
    }

    /// A Service of ours, with its group.
    fn service(name: &str, group: Option<&str>, finalizer: Option<&str>) -> (Service, GroupKey) {
        let mut annotations = BTreeMap::new();
        annotations.extend(group.map(|group| ("evenkeel.dev/group", group)));
        let object = json!({"metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"),
            "annotations": annotations, "finalizers": finalizer.into_iter().collect::<Vec<_>>(),
        }});
        let reference = ServiceRef {
            key: ServiceKey::new("shop", name),
            uid: ServiceUid::new(format!("uid-{name}")),
        };
        let key = match group.filter(|group| !group.contains('!')) {
            Some(group) => GroupKey::Shared {
                namespace: "shop".into(),
                name: group.into(),
            },
            None => GroupKey::Service(reference),
        };
        (serde_json::from_value(object).expect("a Service"), key)
    }

    #[test]
    fn what_is_found_is_asked_for_or_left_or_an_orphan() {
        const OURS: Option<&str> = Some("evenkeel.dev/local");
        let own = service("a", None, OURS);
        for (name, services, found, left, orphans) in [
            (
                "asked for",
                vec![own.clone()],
                found("uid-a", "shop/a"),
                0,
                0,
            ),
            (
                "asked for by a group",
                vec![service("a", Some("edge"), OURS)],
                serves("shop/edge", &["a"]),
                0,
                0,
            ),
            ("nobody", vec![own.clone()], found("uid-b", "shop/b"), 0, 1),
            (
                "a namesake of another UID",
                vec![own.clone()],
                found("uid-old", "shop/a"),
                0,
                1,
            ),
            (
                "it joined a group",
                vec![service("a", Some("edge"), OURS)],
                found("uid-a", "shop/a"),
                1,
                0,
            ),
            (
                "it left a group",
                vec![own.clone()],
                serves("shop/edge", &["a"]),
                1,
                0,
            ),
            (
                "it left others, who stay",
                vec![own.clone(), service("b", Some("edge"), OURS)],
                serves("shop/edge", &["a", "b"]),
                1,
                0,
            ),
            (
                "it went from one group to another",
                vec![service("a", Some("new"), OURS)],
                serves("shop/edge", &["a"]),
                1,
                0,
            ),
            (
                "of two who were there one went for ever",
                vec![service("b", Some("edge"), OURS)],
                serves("shop/edge", &["a", "b"]),
                0,
                0,
            ),
            (
                "it was never ours",
                vec![service("a", Some("edge"), None)],
                found("uid-a", "shop/a"),
                0,
                1,
            ),
            (
                "its group cannot be read",
                vec![service("a", Some("no!"), OURS)],
                serves("shop/edge", &["a"]),
                1,
                0,
            ),
            (
                "a group of another namespace",
                vec![own],
                serves("cart/edge", &["b"]),
                0,
                1,
            ),
        ] {
            let services = services.iter().map(|(service, key)| (service, key));
            let swept = sweep(&ProviderName::from("local"), vec![found], services);
            assert_eq!(
                (swept.left.len(), swept.orphans.len()),
                (left, orphans),
                "{name}: {swept:?}"
            );
        }
    }
}
