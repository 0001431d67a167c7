//! Cases in YAML: what a cluster asks, step by step.
//!
//! A file holds one document per step. A document is a Service, or a List with Services (oldest first, those of one group)
//! and Nodes; without Nodes there are three. A Service whose annotations cannot be read is a member that is there and unknown.

#![allow(
    dead_code,
    reason = "two test binaries share this, and each uses a part of it"
)]

use std::{fmt::Write as _, path::Path};

use evenkeel_core::{
    claim::ClassRule,
    group::Group,
    ids::{Cluster, GroupKey, ProviderName, ServiceKey, ServiceRef, ServiceUid},
    intent::{self, Reading},
    nodes::{NodeFacts, NodeSet, node_set},
    problem::{PortError, Problems, Warning},
};
use evenkeel_local::{Local, LocalConfig, NAME, NODE_RULES};
use k8s_openapi::api::core::v1::{Node, Service};
use serde::Deserialize;
use serde_json::{Value, json};

/// What is asked in one step.
pub(crate) struct Asked {
    /// The group; None when nobody in it can be read.
    pub(crate) group: Option<Group>,
    /// Why Services cannot be read.
    pub(crate) problems: Vec<Problems>,
    /// What reading the Services had to say.
    pub(crate) warnings: Vec<Warning>,
    /// Ports that no provider serves.
    pub(crate) port_errors: Vec<PortError>,
    /// The nodes.
    pub(crate) nodes: NodeSet,
}

/// The cluster of all cases.
pub(crate) fn cluster() -> Cluster {
    Cluster::new("1c3cf4a0-7a52-4f0e-9a2b-6a1f0c9d0001", "harbour")
}

/// A provider whose data plane nobody runs: it decides all the same.
pub(crate) fn provider() -> Local {
    Local::new(LocalConfig::new("/nonexistent/dataplane.sock", cluster()))
}

/// The steps of a case.
pub(crate) fn read(path: &Path) -> Vec<Asked> {
    let text = std::fs::read_to_string(path).expect("a case");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    documents.into_iter().map(asked).collect()
}

fn asked(document: Value) -> Asked {
    let items = match document["kind"].as_str() {
        Some("List") => document["items"].as_array().expect("items").clone(),
        _ => vec![document],
    };
    let of_kind = |kind: &str| {
        items
            .iter()
            .filter(|item| item["kind"] == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut asked = Asked {
        group: None,
        problems: Vec::new(),
        warnings: Vec::new(),
        port_errors: Vec::new(),
        nodes: nodes(of_kind("Node")),
    };
    let (mut members, mut unknown) = (Vec::new(), Vec::new());
    for service in of_kind("Service").into_iter().map(service) {
        match intent::read(&service, &ClassRule::neutral(ProviderName::from(NAME))) {
            Ok(Reading {
                intent,
                warnings,
                port_errors,
            }) => {
                members.push(intent);
                asked.warnings.extend(warnings);
                asked.port_errors.extend(port_errors);
            }
            Err(problems) => {
                asked.problems.push(problems);
                unknown.push(reference(&service));
            }
        }
    }
    if let Some(first) = members.first() {
        let key = Group::key_of(first);
        assert!(
            members.iter().all(|member| Group::key_of(member) == key),
            "the members of a step are one group"
        );
        asked.group = Some(Group {
            key,
            cluster: cluster(),
            members,
            unknown,
        });
    }
    asked
}

/// The Service, with a UID made of its name where it has none, as the API server gives one.
fn service(mut document: Value) -> Service {
    let metadata = document["metadata"].as_object_mut().expect("metadata");
    let uid = format!("uid-of-{}", metadata["name"].as_str().expect("a name"));
    metadata.entry("uid").or_insert(json!(uid));
    metadata.entry("namespace").or_insert(json!("shop"));
    Service::deserialize(document).expect("a Service")
}

fn reference(service: &Service) -> ServiceRef {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let metadata = &service.metadata;
    ServiceRef {
        key: ServiceKey::new(text(&metadata.namespace), text(&metadata.name)),
        uid: ServiceUid::new(text(&metadata.uid)),
    }
}

fn nodes(documents: Vec<Value>) -> NodeSet {
    let documents = if documents.is_empty() {
        ["a", "b", "c"]
            .iter()
            .enumerate()
            .map(default_node)
            .collect()
    } else {
        documents
    };
    let facts: Vec<NodeFacts> = documents
        .into_iter()
        .map(|node| NodeFacts::from_resource(&Node::deserialize(node).expect("a Node")))
        .collect();
    node_set(facts, &NODE_RULES)
}

fn default_node((index, letter): (usize, &&str)) -> Value {
    json!({
        "metadata": { "name": format!("node-{letter}") },
        "status": { "addresses": [{ "type": "InternalIP", "address": format!("10.0.0.{}", index + 1) }] },
    })
}

/// What a user is told, one line each.
pub(crate) fn told(
    asked: &Asked,
    problems: Option<&Problems>,
    warnings: &[Warning],
    port_errors: &[PortError],
) -> String {
    let mut text = String::new();
    for problem in asked
        .problems
        .iter()
        .chain(problems)
        .flat_map(Problems::iter)
    {
        let _ = writeln!(text, "problem: {problem} [{}]", problem.reason);
    }
    for warning in asked.warnings.iter().chain(warnings) {
        let _ = writeln!(text, "warning: {warning} [{}]", warning.reason);
    }
    for error in asked.port_errors.iter().chain(port_errors) {
        let _ = writeln!(
            text,
            "port error: {}: {error} [{}]",
            error.service, error.reason
        );
    }
    text
}

/// The key of the group in question: of the first step that has one.
pub(crate) fn key(steps: &[Asked]) -> Option<GroupKey> {
    steps
        .iter()
        .find_map(|step| Some(step.group.as_ref()?.key.clone()))
}
