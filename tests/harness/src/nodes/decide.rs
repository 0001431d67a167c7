//! Decides what the pool does next about each pod. Pure.
//!
//! In comes what the API server says and what is going on already; out come actions, each of which is safe
//! to lose: the next look at the same state decides the same again.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod};

use super::objects::{annotated_unready, finished, node_name};
use super::schedule::{Candidate, choose};

/// What is known about a pod, by UID, beside its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// Something is under way; its end is reported.
    Busy,
    /// Bound by us; the watch may not have shown it yet.
    Bound { node: String },
    /// Its servers run, and its Ready condition was last written as this.
    Serving { ready: bool },
    /// Stopped and deleted by us; other finalizers may still hold the object.
    Deleted,
}

/// What to do about one pod.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action<'a> {
    /// Bind it to a node.
    Bind { pod: &'a Pod, node: &'a str },
    /// Start its servers and report it Running.
    Start { pod: &'a Pod, ready: bool },
    /// Report another readiness.
    Report { pod: &'a Pod, ready: bool },
    /// Stop its servers politely, then let the object go.
    Stop { pod: &'a Pod },
    /// Its node is gone: cut everything, delete the object as the pod garbage collector would.
    Abandon { pod: &'a Pod },
    /// The object is gone: stop whatever still runs and forget it.
    Forget { uid: &'a str },
}

/// The world as it is.
pub(crate) struct World<'a> {
    pub(crate) pods: &'a [&'a Pod],
    pub(crate) nodes: &'a [&'a Node],
    /// Names of the pool's nodes.
    pub(crate) ours: &'a BTreeSet<String>,
    /// Names of nodes that the pool had and took away.
    pub(crate) removed: &'a BTreeSet<String>,
    /// UIDs of pods that a test made unready.
    pub(crate) unready: &'a BTreeSet<String>,
    pub(crate) known: &'a BTreeMap<String, Known>,
}

/// Every action that can be taken now; the order does not matter.
///
/// `candidates` must come from [`candidates`] for the same world.
pub(crate) fn decide<'a>(world: &World<'a>, candidates: &'a mut [Candidate]) -> Vec<Action<'a>> {
    let mut unbound = Vec::new();
    let mut actions = Vec::new();
    let mut seen = BTreeSet::new();
    for pod in world.pods.iter().copied() {
        let Some(uid) = pod.metadata.uid.as_deref() else {
            continue;
        };
        seen.insert(uid);
        let ready = !annotated_unready(pod) && !world.unready.contains(uid);
        let deleting = pod.metadata.deletion_timestamp.is_some();
        match (world.known.get(uid), node_name(pod)) {
            (Some(Known::Busy | Known::Deleted), _) => {}
            (_, Some(node)) if world.removed.contains(node) => {
                actions.push(Action::Abandon { pod })
            }
            (_, Some(node)) if !world.ours.contains(node) => {}
            (_, Some(_)) if deleting => actions.push(Action::Stop { pod }),
            (Some(Known::Serving { ready: written }), Some(_)) if *written == ready => {}
            (Some(Known::Serving { .. }), Some(_)) => actions.push(Action::Report { pod, ready }),
            (None | Some(Known::Bound { .. }), Some(_)) if finished(pod) => {}
            (None | Some(Known::Bound { .. }), Some(_)) => {
                actions.push(Action::Start { pod, ready })
            }
            (None, None) if !deleting && !finished(pod) => unbound.push(pod),
            (_, None) => {}
        }
    }
    for uid in world
        .known
        .iter()
        .filter(|(_, known)| **known != Known::Busy)
        .map(|(uid, _)| uid.as_str())
    {
        if !seen.contains(uid) {
            actions.push(Action::Forget { uid });
        }
    }
    // Oldest first, so that a busy pass places pods in the order in which they were asked for.
    unbound.sort_by_key(|pod| {
        (
            pod.metadata.creation_timestamp.as_ref().map(|t| t.0),
            pod.metadata.name.clone(),
        )
    });
    let chosen: Vec<_> = unbound
        .into_iter()
        .filter_map(|pod| choose(pod, candidates).map(|i| (pod, i)))
        .collect();
    let candidates: &'a [Candidate] = candidates;
    actions.extend(chosen.into_iter().map(|(pod, index)| Action::Bind {
        pod,
        node: &candidates[index].name,
    }));
    actions
}

/// The pool's nodes with the number of pods that count against each.
pub(crate) fn candidates(world: &World<'_>) -> Vec<Candidate> {
    let mut candidates: Vec<_> = world
        .nodes
        .iter()
        .map(|node| Candidate::from_node(node))
        .filter(|candidate| world.ours.contains(&candidate.name))
        .collect();
    for pod in world.pods.iter().filter(|p| !finished(p)) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let bound = node_name(pod).or(match world.known.get(uid) {
            Some(Known::Bound { node }) => Some(node),
            _ => None,
        });
        if let Some(candidate) = candidates
            .iter_mut()
            .find(|c| Some(c.name.as_str()) == bound)
        {
            candidate.pods += 1;
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, node: Option<&str>, change: Value) -> Pod {
        let mut value = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"containers": [], "nodeName": node},
        });
        for (key, new) in change.as_object().unwrap() {
            value["metadata"][key] = new.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    fn node(name: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    /// The actions for one pod in a pool of the nodes `a` and `b` that had a node `gone`; the pod `down` is unready.
    fn actions(pod: &Pod, known: Option<Known>) -> Vec<String> {
        let nodes = [node("a"), node("b"), node("foreign")];
        let known = known
            .map(|k| (pod.metadata.uid.clone().unwrap(), k))
            .into_iter()
            .collect();
        let world = World {
            pods: &[pod],
            nodes: &nodes.iter().collect::<Vec<_>>(),
            ours: &set(&["a", "b"]),
            removed: &set(&["gone"]),
            unready: &set(&["down"]),
            known: &known,
        };
        let mut candidates = candidates(&world);
        decide(&world, &mut candidates).iter().map(text).collect()
    }

    fn text(action: &Action<'_>) -> String {
        match action {
            Action::Bind { node, .. } => format!("bind to {node}"),
            Action::Start { ready, .. } => format!("start, ready {ready}"),
            Action::Report { ready, .. } => format!("report ready {ready}"),
            Action::Stop { .. } => "stop".into(),
            Action::Abandon { .. } => "abandon".into(),
            Action::Forget { uid } => format!("forget {uid}"),
        }
    }

    #[test]
    fn each_state_of_a_pod_leads_to_the_next() {
        let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let annotated = json!({"annotations": {"test.evenkeel.dev/ready": "false"}});
        let serving = |ready| Some(Known::Serving { ready });
        let bound = || Some(Known::Bound { node: "a".into() });
        for (case, pod, known, want) in [
            ("new", pod("p", None, json!({})), None, vec!["bind to a"]),
            (
                "new, leaving",
                pod("p", None, deleting.clone()),
                None,
                vec![],
            ),
            (
                "bound, not seen yet",
                pod("p", None, json!({})),
                bound(),
                vec![],
            ),
            (
                "bound",
                pod("p", Some("a"), json!({})),
                bound(),
                vec!["start, ready true"],
            ),
            (
                "bound by another",
                pod("p", Some("b"), json!({})),
                None,
                vec!["start, ready true"],
            ),
            (
                "bound elsewhere",
                pod("p", Some("foreign"), json!({})),
                None,
                vec![],
            ),
            (
                "annotated",
                pod("p", Some("a"), annotated.clone()),
                None,
                vec!["start, ready false"],
            ),
            (
                "busy",
                pod("p", Some("a"), deleting.clone()),
                Some(Known::Busy),
                vec![],
            ),
            (
                "serving",
                pod("p", Some("a"), json!({})),
                serving(true),
                vec![],
            ),
            (
                "annotated later",
                pod("p", Some("a"), annotated),
                serving(true),
                vec!["report ready false"],
            ),
            (
                "made unready",
                pod("down", Some("a"), json!({})),
                serving(true),
                vec!["report ready false"],
            ),
            (
                "ready again",
                pod("p", Some("a"), json!({})),
                serving(false),
                vec!["report ready true"],
            ),
            (
                "deleted",
                pod("p", Some("a"), deleting.clone()),
                serving(true),
                vec!["stop"],
            ),
            (
                "deleted before it ran",
                pod("p", Some("a"), deleting.clone()),
                None,
                vec!["stop"],
            ),
            (
                "held by a finalizer",
                pod("p", Some("a"), deleting),
                Some(Known::Deleted),
                vec![],
            ),
            (
                "its node is gone",
                pod("p", Some("gone"), json!({})),
                serving(true),
                vec!["abandon"],
            ),
        ] {
            assert_eq!(actions(&pod, known), want, "{case}");
        }
    }

    #[test]
    fn a_pod_without_an_object_is_forgotten_unless_it_is_busy() {
        let known = BTreeMap::from([
            ("x".to_owned(), Known::Serving { ready: true }),
            ("y".to_owned(), Known::Busy),
            ("z".to_owned(), Known::Deleted),
        ]);
        let empty = BTreeSet::new();
        let world = World {
            pods: &[],
            nodes: &[],
            ours: &empty,
            removed: &empty,
            unready: &empty,
            known: &known,
        };
        let actions: Vec<_> = decide(&world, &mut []).iter().map(text).collect();
        assert_eq!(actions, ["forget x", "forget z"]);
    }

    #[test]
    fn pods_that_are_bound_but_not_seen_yet_count() {
        let pods = [pod("p", None, json!({})), pod("q", None, json!({}))];
        let nodes = [node("a"), node("b")];
        let known = BTreeMap::from([("p".to_owned(), Known::Bound { node: "a".into() })]);
        let world = World {
            pods: &pods.iter().collect::<Vec<_>>(),
            nodes: &nodes.iter().collect::<Vec<_>>(),
            ours: &set(&["a", "b"]),
            removed: &BTreeSet::new(),
            unready: &BTreeSet::new(),
            known: &known,
        };
        let mut candidates = candidates(&world);
        assert_eq!(
            decide(&world, &mut candidates)
                .iter()
                .map(text)
                .collect::<Vec<_>>(),
            ["bind to b"]
        );
    }
}
