//! What a group of Services shares with all others in words: the cluster's backend group, and the groups of its nodes (Decides).

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RuleRecord, SecurityGroupRecord, objects::texts};
use crate::{
    Context,
    model::{
        CloudId, Facts, NodeGroup, Observed, Rule, Source,
        facts::{Instance, node_rules},
    },
    names,
};

/// A security group of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeGroupRecord {
    /// `sg-…`; one that begins with `known after apply` is looked up when it is opened.
    pub id: String,
    /// The instances whose group it is.
    pub instances: Vec<String>,
    /// Its ingress rules that are the controller's. Rules of others stay as they are, and are not here.
    pub rules: Vec<RuleRecord>,
}

/// The backend group, where load balancers of the group have it.
pub(super) fn backend_group(context: &Context, seen: &Observed) -> Option<SecurityGroupRecord> {
    let facts = &seen.facts;
    let id = facts.backend_group.as_ref()?;
    let mut all = seen.load_balancers.values();
    all.any(|lb| lb.security_groups.contains(id))
        .then(|| SecurityGroupRecord {
            id: id.to_string(),
            name: names::backend_group(&context.cluster, &facts.vpc).to_string(),
            tags: texts(&names::backend_tags(&context.cluster)),
            // Nobody connects to it: it is what the nodes' rules name.
            rules: Vec::new(),
        })
}

/// The groups of nodes that admit the load balancers of the group, or what targets need beside.
pub(super) fn node_groups(context: &Context, seen: &Observed) -> Vec<NodeGroupRecord> {
    let facts = &seen.facts;
    let backend = facts.backend_group.as_ref();
    let mut all = seen.load_balancers.values();
    let is_admitted = all.any(|lb| {
        lb.is_open() || backend.is_some_and(|backend| lb.security_groups.contains(backend))
    });
    if !is_admitted && seen.openings().is_empty() {
        return Vec::new();
    }
    let groups = facts.node_groups.iter();
    let records = groups.map(|(id, group)| NodeGroupRecord {
        id: id.to_string(),
        instances: instances(facts, id),
        rules: rules(context, facts, id, group),
    });
    records.filter(|record| !record.rules.is_empty()).collect()
}

fn instances(facts: &Facts, of: &CloudId) -> Vec<String> {
    let all = facts.instances.iter();
    let theirs = all
        .filter(|(_, known)| matches!(known, Instance::Group { group, .. } if group == of))
        .map(|(id, _)| id.to_string());
    theirs.collect()
}

fn rules(context: &Context, facts: &Facts, id: &CloudId, group: &NodeGroup) -> Vec<RuleRecord> {
    let Some(backend) = &facts.backend_group else {
        return Vec::new();
    };
    let names_backend =
        |rule: &&Rule| matches!(&rule.source, Source::Group(from) if from == backend);
    let mut rules: BTreeSet<Rule> = group.rules.iter().filter(names_backend).cloned().collect();
    if facts.admitted.contains(id) {
        rules.extend(node_rules(backend, context.node_ports.clone()));
    }
    rules.extend(group.openings.iter().cloned());
    let record = |rule: &Rule| RuleRecord {
        description: match group.openings.contains(rule) {
            true => names::opening(&context.cluster.uid),
            false => String::new(),
        },
        ..RuleRecord::of(rule)
    };
    rules.iter().map(record).collect()
}
