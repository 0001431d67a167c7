//! Which nodes may be targets of a Service's ports, by their labels (Decides).

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::{
    annotation::{Asked, value},
    claim::Profile,
    nodes::NodeSelector,
    problem::Problem,
};

use crate::{
    annotations::key,
    names::{self, tag},
};

/// How many tags of a target group may say which nodes are chosen. Its other tags need the room.
const MOST_TAGS: usize = 2;

/// Reads which nodes are chosen.
pub(super) fn selector(asked: &mut Asked<'_>) -> NodeSelector {
    const KEY: &str = key::TARGET_NODE_LABELS;
    let read = labels(asked);
    let Some(labels) = asked.take(read) else {
        return NodeSelector::default();
    };
    let selector = match NodeSelector::new(labels) {
        Ok(selector) => selector,
        Err(wrong) => {
            asked.wrong(
                KEY,
                format!("must be labels of nodes, but {}", wrong.join(" and ")),
                "Write name=value as `kubectl get nodes --show-labels` shows them: a name of at most 63 letters, digits, -, _ and . \
                 after an optional domain and a slash, and a value of the same kind.",
            );
            return NodeSelector::default();
        }
    };
    let terms: Vec<String> = selector.terms().collect();
    let tags = names::list(tag::NODE_LABELS, terms.iter().map(String::as_str));
    if tags.len() > MOST_TAGS || tags.values().any(|text| text.len() > names::TAG_VALUE) {
        asked.wrong(
            KEY,
            format!(
                "is too long: it is noted in {MOST_TAGS} tags of each target group, with {} characters each, and no label in two",
                names::TAG_VALUE
            ),
            "Choose nodes by fewer or shorter labels.",
        );
        return NodeSelector::default();
    }
    selector
}

type Labels = BTreeMap<Arc<str>, Option<Arc<str>>>;

/// The labels with their values. For the cloud controller manager a label without one may have any.
fn labels(asked: &Asked<'_>) -> Result<Option<Labels>, Problem> {
    const KEY: &str = key::TARGET_NODE_LABELS;
    let any = asked.intent.profile == Profile::Ccm;
    let read = asked.keys.map(KEY).or_else(|problem| {
        let bare = |entry: &str| match entry.trim() {
            "" => String::new(),
            entry if entry.contains('=') => entry.to_owned(),
            entry => format!("{entry}="),
        };
        let written = asked.keys.raw(KEY).filter(|_| any);
        let pairs = written.map(|text| text.split(',').map(bare).collect::<Vec<_>>().join(","));
        let read = pairs.and_then(|pairs| value::escaped(KEY, &pairs).ok());
        read.map(Some).ok_or(problem)
    })?;
    let value = |text: Arc<str>| Some(text).filter(|text| !any || !text.is_empty());
    Ok(read.map(|pairs| {
        let labels = pairs.into_iter();
        labels.map(|(key, text)| (key, value(text))).collect()
    }))
}
