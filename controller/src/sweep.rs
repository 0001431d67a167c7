//! What a cloud has of this cluster that no Service asks for (Decides).
//!
//! An orphan is reported and never deleted: a person looks at it. What a living Service of ours moved away from, while we
//! were not there, is no orphan: it is released.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::{
    annotation::{NEUTRAL, key},
    claim::owned_by,
    engine::Found,
    ids::{GroupKey, ProviderName, ServiceRef},
};
use k8s_openapi::api::core::v1::Service;

use crate::watch::services::reference;

/// What an inventory means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Groups that a living Service of ours has left, with that Service.
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
    let mut owners: BTreeMap<String, (&Service, ServiceRef)> = BTreeMap::new();
    for (service, group) in services {
        living.insert(group.identity());
        // One whose group cannot be read has not moved: it stays where it was, wherever that is.
        if owned_by(service).contains(provider) && group_is_readable(service) {
            let reference = reference(service);
            owners.insert(reference.uid.to_string(), (service, reference.clone()));
            owners.insert(reference.key.to_string(), (service, reference));
        }
    }
    let mut swept = Swept::default();
    for found in found {
        if living.contains(&found.identity) {
            continue;
        }
        match found.identity.split_once('/') {
            // The identity of a group of its own is the Service's UID.
            None => match owners.get(&found.identity) {
                Some((_, owner)) => swept
                    .left
                    .push((GroupKey::Service(owner.clone()), owner.clone())),
                None => swept.orphans.push(found),
            },
            Some((namespace, name)) => match owners.get(&found.service) {
                Some((_, owner)) if *owner.key.namespace == *namespace => {
                    let group = GroupKey::Shared {
                        namespace: namespace.into(),
                        name: name.into(),
                    };
                    swept.left.push((group, owner.clone()));
                }
                _ => swept.orphans.push(found),
            },
        }
    }
    swept
}

fn group_is_readable(service: &Service) -> bool {
    let annotations = service.metadata.annotations.clone().unwrap_or_default();
    NEUTRAL.reader(&annotations).text(key::GROUP).is_ok()
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
                found("shop/edge", "shop/a"),
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
                found("shop/edge", "shop/a"),
                1,
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
                found("shop/edge", "shop/a"),
                0,
                1,
            ),
            (
                "a group of another namespace",
                vec![own],
                found("cart/edge", "shop/a"),
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
