//! What is kept of what was read.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::*;
use crate::api::{BackendSet, BackendSetStatus, Health, Target, TargetStatus};

fn client() -> Client {
    Client::new(
        "/nonexistent/dataplane.sock",
        "cluster".into(),
        Duration::from_secs(1),
    )
}

fn target(node: &str, port: u16) -> Target {
    let last = node.bytes().last().unwrap_or_default();
    Target {
        node: node.into(),
        address: IpAddr::from([10, 0, 0, last]),
        port,
    }
}

fn set(targets: &[Target], healthy: usize) -> BackendSet {
    let status = |(index, target): (usize, &Target)| TargetStatus {
        target: target.clone(),
        health: if index < healthy {
            Health::Healthy
        } else {
            Health::Unhealthy
        },
        reason: None,
    };
    BackendSet {
        name: "set".into(),
        marks: Marks {
            cluster: "cluster".into(),
            group: "group".into(),
            service: "shop/checkout".into(),
            member: "group".into(),
            retain: false,
            labels: Default::default(),
        },
        generation: 7,
        spec: api::BackendSetSpec {
            targets: targets.to_vec(),
            health_check: None,
            drain_seconds: 30,
            affinity_seconds: Some(600),
        },
        status: BackendSetStatus {
            targets: targets.iter().enumerate().map(status).collect(),
            draining: Vec::new(),
        },
    }
}

#[test]
fn a_set_is_its_members_and_their_port() {
    let seen =
        client().seen_backend_set(set(&[target("node-b", 31443), target("node-a", 31443)], 1));
    let nodes: Vec<_> = seen
        .spec
        .members
        .iter()
        .map(|member| member.node.as_str())
        .collect();
    assert_eq!(
        (seen.spec.node_port, nodes),
        (Some(31443), vec!["node-a", "node-b"])
    );
    assert_eq!((seen.generation, seen.status), (Some(7), Some(1)));
    let back = seen.spec.to_wire();
    assert_eq!(back.affinity_seconds, Some(600));
    assert_eq!(
        back.targets,
        [target("node-a", 31443), target("node-b", 31443)]
    );

    let mixed = client().seen_backend_set(set(&[target("node-a", 1), target("node-b", 2)], 0));
    assert_eq!(
        mixed.spec.node_port, None,
        "targets of several ports were not written by us"
    );
    let mut empty = set(&[], 0);
    assert_eq!(
        client().seen_backend_set(empty.clone()).spec.node_port,
        None
    );
    empty
        .marks
        .labels
        .insert("node-port".into(), "31443".into());
    assert_eq!(
        client().seen_backend_set(empty).spec.node_port,
        Some(31443),
        "the label remembers"
    );
}

#[test]
fn equal_members_are_kept_once() {
    let client = client();
    let one = client
        .seen_backend_set(set(&[target("node-a", 1), target("node-b", 1)], 0))
        .spec
        .members;
    let other_port = client
        .seen_backend_set(set(&[target("node-b", 2), target("node-a", 2)], 0))
        .spec
        .members;
    let fewer = client
        .seen_backend_set(set(&[target("node-a", 1)], 0))
        .spec
        .members;
    assert!(Arc::ptr_eq(&one, &other_port));
    assert!(!Arc::ptr_eq(&one, &fewer));

    let kept = || {
        client
            .members
            .0
            .lock()
            .expect("no test panicked in here")
            .values()
            .map(Vec::len)
            .sum::<usize>()
    };
    assert_eq!(kept(), 2);
    drop((one, other_port, fewer));
    client.seen_backend_set(set(&[target("node-c", 1)], 0));
    assert_eq!(kept(), 1, "what nobody has is forgotten");
}
