//! Lists of nodes, each with a number. Decides: no IO.
//!
//! Thousands of backend sets have the same nodes. The state file has each list once, and a set names it by its number. A
//! number means one list for as long as a set in the file names it, across restarts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::api::Target;

/// A node's name and address.
pub(crate) type Node = (String, IpAddr);

/// All lists that are in use; copies share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists(Arc<Mutex<Numbers>>);

#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    known: HashMap<Vec<Node>, u64>,
}

impl Lists {
    /// Lists that have numbers already.
    pub(crate) fn numbered(lists: HashMap<u64, Vec<Node>>) -> Self {
        let next = lists.keys().max().copied().unwrap_or_default();
        // Of two that are the same, which a file of ours never has, the lower number stays, so that it is always the same.
        let mut lists: Vec<_> = lists.into_iter().collect();
        lists.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let known = lists.into_iter().map(|(number, nodes)| (nodes, number));
        Self(Arc::new(Mutex::new(Numbers {
            next,
            known: known.collect(),
        })))
    }

    /// The number of the list of these targets' nodes.
    pub(crate) fn number(&self, targets: &[Target]) -> u64 {
        let nodes = targets
            .iter()
            .map(|target| (target.node.clone(), target.address))
            .collect();
        let numbers = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *numbers.known.entry(nodes).or_insert_with(|| {
            numbers.next += 1;
            numbers.next
        })
    }

    /// Shows the lists of these numbers, and forgets all others.
    pub(crate) fn keep<T>(
        &self,
        used: &BTreeSet<u64>,
        show: impl FnOnce(&BTreeMap<u64, &[Node]>) -> T,
    ) -> T {
        let numbers = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.known.retain(|_, number| used.contains(number));
        let known = numbers.known.iter();
        show(&known.map(|(nodes, number)| (*number, &nodes[..])).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(nodes: &[&str], port: u16) -> Vec<Target> {
        let address = "127.0.0.1".parse().expect("an address");
        let target = |node: &&str| Target {
            node: (*node).into(),
            address,
            port,
        };
        nodes.iter().map(target).collect()
    }

    #[test]
    fn the_same_nodes_have_one_number_until_nobody_uses_it() {
        let lists = Lists::default();
        let first = lists.number(&targets(&["a", "b"], 1));
        assert_eq!(lists.number(&targets(&["a", "b"], 2)), first);
        let second = lists.number(&targets(&["b", "a"], 1));
        assert_ne!(second, first);

        let kept = |used: &[u64]| {
            let used = used.iter().copied().collect();
            lists.keep(&used, |lists| lists.keys().copied().collect::<Vec<_>>())
        };
        assert_eq!(kept(&[first, second]), [first, second]);
        assert_eq!(kept(&[second]), [second]);
        let again = lists.number(&targets(&["a", "b"], 1));
        assert!(
            ![first, second].contains(&again),
            "a number does not come back"
        );
    }
}
