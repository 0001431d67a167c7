//! Decides which node an unbound pod is bound to. Pure.
//!
//! A scheduler's rules are not the subject of any test here, so there are three: the node is Ready and not cordoned,
//! it carries the labels of the pod's `nodeSelector`, and it has the fewest pods (by name where that is equal).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};

/// A node as the choice sees it.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) schedulable: bool,
    pub(crate) pods: usize,
}

impl Candidate {
    /// A node without pods, as its object describes it.
    pub(crate) fn from_node(node: &Node) -> Self {
        let cordoned = node
            .spec
            .as_ref()
            .and_then(|s| s.unschedulable)
            .unwrap_or(false);
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            schedulable: is_ready(node) && !cordoned && node.metadata.deletion_timestamp.is_none(),
            pods: 0,
        }
    }
}

/// Whether the node's Ready condition is True.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The index of the node for a pod, whose pod count is raised by one; `None` when no node will do.
pub(crate) fn choose(pod: &Pod, nodes: &mut [Candidate]) -> Option<usize> {
    let wanted = pod.spec.as_ref().and_then(|s| s.node_selector.as_ref());
    let fits = |node: &Candidate| {
        wanted.is_none_or(|w| {
            w.iter()
                .all(|(key, value)| node.labels.get(key) == Some(value))
        })
    };
    let (index, node) = nodes
        .iter_mut()
        .enumerate()
        .filter(|(_, node)| node.schedulable && fits(node))
        .min_by(|(_, a), (_, b)| (a.pods, &a.name).cmp(&(b.pods, &b.name)))?;
    node.pods += 1;
    Some(index)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, pods: usize, schedulable: bool) -> Candidate {
        let labels = BTreeMap::from([("disk".to_owned(), format!("{name}-disk"))]);
        Candidate {
            name: name.into(),
            labels,
            schedulable,
            pods,
        }
    }

    #[test]
    fn a_pod_goes_to_the_emptiest_node_that_fits() {
        let any = json!({});
        let on_b = json!({"nodeSelector": {"disk": "b-disk"}});
        let nowhere = json!({"nodeSelector": {"disk": "other"}});
        for (case, nodes, spec, want) in [
            (
                "fewest pods",
                vec![node("a", 2, true), node("b", 1, true)],
                &any,
                Some("b"),
            ),
            (
                "equal: by name",
                vec![node("b", 1, true), node("a", 1, true)],
                &any,
                Some("a"),
            ),
            (
                "not schedulable",
                vec![node("a", 0, false), node("b", 9, true)],
                &any,
                Some("b"),
            ),
            (
                "selector",
                vec![node("a", 0, true), node("b", 9, true)],
                &on_b,
                Some("b"),
            ),
            (
                "selector without a node",
                vec![node("a", 0, true)],
                &nowhere,
                None,
            ),
            ("no node", vec![], &any, None),
        ] {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap_or_default();
            let mut nodes = nodes;
            let chosen = choose(&pod, &mut nodes).map(|i| nodes[i].name.as_str());
            assert_eq!(chosen, want, "{case}");
        }
    }

    #[test]
    fn pods_of_one_pass_spread() {
        let mut nodes = [node("a", 0, true), node("b", 0, true)];
        let chosen: Vec<String> = (0..4)
            .filter_map(|_| choose(&Pod::default(), &mut nodes).map(|i| nodes[i].name.clone()))
            .collect();
        assert_eq!(chosen, ["a", "b", "a", "b"]);
    }

    #[test]
    fn cordoned_leaving_and_unready_nodes_take_no_pods() {
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        for (case, value, want) in [
            ("ready", json!({"status": ready}), true),
            ("no conditions", json!({}), false),
            (
                "cordoned",
                json!({"spec": {"unschedulable": true}, "status": ready}),
                false,
            ),
            (
                "leaving",
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": ready}),
                false,
            ),
            (
                "not ready",
                json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
                false,
            ),
        ] {
            let node: Node = serde_json::from_value(value).unwrap();
            assert_eq!(Candidate::from_node(&node).schedulable, want, "{case}");
        }
    }
}
