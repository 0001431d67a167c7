//! Labels of nodes, as far as somebody looks at them, and what chooses nodes by them (Decides).
//!
//! A node has dozens of labels, and nobody asks for most of them: only those are kept that a selector names, beside the nodes and
//! not in them, so that they cost nothing where no selector is. Nodes with equal labels share one value.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::Serialize;

use crate::{annotation::value::quote, ids::NodeName};

#[cfg(test)]
mod tests;

/// Labels of one node.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// The longest name or value of a label ("Labels and Selectors").
const LONGEST: usize = 63;

/// The longest prefix of a label's name.
const LONGEST_PREFIX: usize = 253;

/// Which labels of all nodes are known, and what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLabels {
    /// None: all.
    keys: Option<BTreeSet<Arc<str>>>,
    /// Of the nodes that have any of them.
    of: BTreeMap<NodeName, Arc<Labels>>,
}

impl NodeLabels {
    /// The labels of these names alone.
    pub fn of(keys: BTreeSet<Arc<str>>, of: BTreeMap<NodeName, Arc<Labels>>) -> Self {
        Self {
            keys: Some(keys),
            of,
        }
    }

    /// All labels.
    pub fn all(of: BTreeMap<NodeName, Arc<Labels>>) -> Self {
        Self { keys: None, of }
    }

    /// The names of the labels that are known; None: all.
    pub(super) fn keys(&self) -> Option<&BTreeSet<Arc<str>>> {
        self.keys.as_ref()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.keys.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Whether it is known of every node whether it is chosen.
    pub fn tell(&self, selector: &NodeSelector) -> bool {
        let known = |key| self.keys.as_ref().is_none_or(|keys| keys.contains(key));
        selector.keys().all(known)
    }

    /// Those of a node; None where it has none of them.
    pub fn get(&self, node: &NodeName) -> Option<&Arc<Labels>> {
        self.of.get(node)
    }
}

/// What a node must have to be chosen: every one of these labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeSelector(BTreeMap<Arc<str>, Option<Arc<str>>>);

impl NodeSelector {
    /// Chooses the nodes that have each of these labels, with this value, or with any where there is none. Of no labels: all nodes.
    ///
    /// # Errors
    /// What is wrong with names and values, by Kubernetes' rules for labels: such a label can be on no node.
    pub fn new(labels: BTreeMap<Arc<str>, Option<Arc<str>>>) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        for (key, value) in &labels {
            if !is_key(key) {
                wrong.push(format!("{:?} can be no label's name", quote(key)));
            }
            let value = value.as_deref().unwrap_or_default();
            if !value.is_empty() && !is_word(value) {
                wrong.push(format!("{:?} can be no label's value", quote(value)));
            }
        }
        if wrong.is_empty() {
            return Ok(Self(labels));
        }
        Err(wrong)
    }

    /// The selector of these terms: `pool=edge` for a value, `pool` for any.
    pub fn of_terms<'a>(terms: impl IntoIterator<Item = &'a str>) -> Self {
        let label = |term: &'a str| match term.split_once('=') {
            Some((key, value)) => (key.into(), Some(value.into())),
            None => (term.into(), None),
        };
        Self(terms.into_iter().map(label).collect())
    }

    /// What [`NodeSelector::of_terms`] reads.
    pub fn terms(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.to_string(),
        })
    }

    /// Whether it chooses all nodes.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of the labels that it looks at.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// Whether a node with these labels is chosen.
    pub fn chooses(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, value)| {
            let found = labels.get(key);
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        })
    }
}

impl fmt::Display for NodeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.terms().collect::<Vec<_>>().join(","))
    }
}

fn is_key(key: &str) -> bool {
    let (prefix, name) = key
        .rsplit_once('/')
        .map_or((None, key), |(p, n)| (Some(p), n));
    let label = |part: &str| {
        is_word(part) && !part.contains(['_', '.']) && !part.contains(char::is_uppercase)
    };
    let domain = |prefix: &str| prefix.len() <= LONGEST_PREFIX && prefix.split('.').all(label);
    prefix.is_none_or(domain) && is_word(name)
}

/// Letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_word(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.len() <= LONGEST
        && text.starts_with(ends)
        && text.ends_with(ends)
        && text.chars().all(|c| ends(c) || "-_.".contains(c))
}
