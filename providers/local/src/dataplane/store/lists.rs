//! Lists of nodes, each with a number. Decides: no IO.
//!
//! Thousands of backend sets have the same nodes. Memory and the state file have each list once, and in the file a set names
//! it by its number. A number means one list for as long as a set in the file names it, across restarts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::targets::Node;

/// All lists that are in use; copies share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists(Arc<Mutex<Numbers>>);

#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    known: HashMap<Arc<[Node]>, u64>,
}

impl Lists {
    /// Lists that have numbers already.
    pub(crate) fn numbered(lists: HashMap<u64, Arc<[Node]>>) -> Self {
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

    /// The one list of these nodes.
    pub(crate) fn share(&self, nodes: Vec<Node>) -> Arc<[Node]> {
        let mut numbers = self.lock();
        if let Some((known, _)) = numbers.known.get_key_value(&nodes[..]) {
            return Arc::clone(known);
        }
        let nodes = nodes.into();
        numbers.number(&nodes);
        nodes
    }

    /// The number of a list.
    pub(crate) fn number(&self, nodes: &Arc<[Node]>) -> u64 {
        self.lock().number(nodes)
    }

    /// Shows the lists of these numbers, and forgets all others.
    pub(crate) fn keep<T>(
        &self,
        used: &BTreeSet<u64>,
        show: impl FnOnce(&BTreeMap<u64, &[Node]>) -> T,
    ) -> T {
        let mut numbers = self.lock();
        numbers.known.retain(|_, number| used.contains(number));
        let known = numbers.known.iter();
        show(&known.map(|(nodes, number)| (*number, &nodes[..])).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbers {
    fn number(&mut self, nodes: &Arc<[Node]>) -> u64 {
        let Self { next, known } = self;
        *known.entry(Arc::clone(nodes)).or_insert_with(|| {
            *next += 1;
            *next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<Node> {
        let node = |name: &&str| ((*name).to_owned(), [127, 0, 0, 1].into());
        names.iter().map(node).collect()
    }

    #[test]
    fn the_same_nodes_have_one_number_until_nobody_uses_it() {
        let lists = Lists::default();
        let number = |names: &[&str]| lists.number(&lists.share(nodes(names)));
        let first = number(&["a", "b"]);
        assert_eq!(number(&["a", "b"]), first);
        let second = number(&["b", "a"]);
        assert_ne!(second, first);

        let kept = |used: &[u64]| {
            let used = used.iter().copied().collect();
            lists.keep(&used, |lists| lists.keys().copied().collect::<Vec<_>>())
        };
        assert_eq!(kept(&[first, second]), [first, second]);
        assert_eq!(kept(&[second]), [second]);
        let again = number(&["a", "b"]);
        assert!(
            ![first, second].contains(&again),
            "a number does not come back"
        );
    }
}
