//! Keyed comparison of what should be with what is (Decides).

use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// What to do to bring the observed to the desired, each list in the order of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff<'a, K, D, O> {
    /// Desired and not there.
    pub create: Vec<(&'a K, &'a D)>,
    /// There and not as desired.
    pub change: Vec<Change<'a, K, D, O>>,
    /// There and not desired.
    pub destroy: Vec<(&'a K, &'a O)>,
    /// As desired.
    pub keep: Vec<(&'a K, &'a O)>,
}

/// One thing that is not as desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'a, K, D, O> {
    /// Which.
    pub key: &'a K,
    /// As it is.
    pub from: &'a O,
    /// As it should be.
    pub to: &'a D,
}

impl<K, D, O> Diff<'_, K, D, O> {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.change.is_empty() && self.destroy.is_empty()
    }
}

/// Compares by key; `same` says whether something observed is as desired.
pub fn diff<'a, K: Ord, D, O>(
    desired: &'a BTreeMap<K, D>,
    observed: &'a BTreeMap<K, O>,
    same: impl Fn(&D, &O) -> bool,
) -> Diff<'a, K, D, O> {
    let mut diff = Diff {
        create: Vec::new(),
        change: Vec::new(),
        destroy: Vec::new(),
        keep: Vec::new(),
    };
    for (key, to) in desired {
        match observed.get(key) {
            None => diff.create.push((key, to)),
            Some(from) if same(to, from) => diff.keep.push((key, from)),
            Some(from) => diff.change.push(Change { key, from, to }),
        }
    }
    diff.destroy = observed
        .iter()
        .filter(|(key, _)| !desired.contains_key(key))
        .collect();
    diff
}
