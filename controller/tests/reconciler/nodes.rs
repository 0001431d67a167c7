//! Targets follow the nodes: who is one, in how few writes, and what happens when most of them vanish.
//!
//! Nodes are cluster-wide, so these tests have a control plane of their own, and on it each has a providerID scheme of its
//! own: the nodes of one are strangers to the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use evenkeel::standing::{condition, reason};
use evenkeel_core::{
    converge::Journal,
    engine::{AnyProvider, Found, Rehearsal, Report, Request},
    error::CloudError,
    ids::{GroupKey, NodeName},
    nodes::{NodeRules, NodeSet, Placement},
    provider::Wake,
};
use evenkeel_harness::{
    control_plane::{ControlPlane, Options},
    wait::eventually,
};
use evenkeel_laws::{tap::Fault, toys::own::cloud::Spec};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Node},
    events::v1::Event,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::scene::{LIMIT, Scene, ingress, merge, status};

static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();

/// The second list comes this long after the loss.
const CONFIRM: Duration = Duration::from_secs(60);

/// An operator's word is looked for this often.
const POLL: Duration = Duration::from_secs(3);

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A scene with nodes of its own, whose provider needs a providerID; its controller does not run yet.
async fn prepare() -> Result<Fleet> {
    let plane = PLANE
        .get_or_try_init(|| ControlPlane::start(Options::default()))
        .await?;
    let mut scene = Scene::on(plane, None).await?;
    scene.nodes = NodeRules {
        // A rule is a constant of a provider; a test has a provider of its own.
        provider_id_scheme: Some(Box::leak(scene.provider.clone().into_boxed_str())),
        needs_address: false,
        drains: true,
    };
    // Long enough that what a test does in one go is one change.
    scene.node_debounce = (Duration::from_secs(1), Duration::from_secs(10));
    Ok(Fleet(scene))
}

/// The same with these nodes and a Service that they are the targets of.
async fn serving(nodes: &str) -> Result<Fleet> {
    let mut scene = prepare().await?;
    for node in nodes.chars() {
        scene.node(node, json!({})).await?;
    }
    scene.run();
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    scene.targets(nodes).await?;
    Ok(scene)
}

fn merged(mut object: Value, changes: Value) -> Value {
    merge(&mut object, changes);
    object
}

/// A scene with nodes. A node is a letter.
struct Fleet(Scene);

impl Deref for Fleet {
    type Target = Scene;
    fn deref(&self) -> &Scene {
        &self.0
    }
}

impl DerefMut for Fleet {
    fn deref_mut(&mut self) -> &mut Scene {
        &mut self.0
    }
}

impl Fleet {
    fn all_nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Keeps the sets of nodes that the provider is given from the next start on.
    fn record(&mut self) -> Sets {
        let sets = Sets::default();
        self.between = Arc::new({
            let sets = sets.clone();
            move |provider| {
                let sets = sets.clone();
                Arc::new(Recorder { provider, sets })
            }
        });
        sets
    }

    fn node_name(&self, node: impl std::fmt::Display) -> String {
        format!("{}-{node}", self.provider)
    }

    /// Creates a node, with these changes.
    async fn node(&self, node: impl std::fmt::Display, changes: Value) -> Result<()> {
        let name = self.node_name(node);
        let whole = json!({
            "metadata": {"name": name},
            "spec": {"providerID": format!("{}://{name}", self.provider)},
        });
        let node = serde_json::from_value(merged(whole, changes))?;
        self.all_nodes()
            .create(&PostParams::default(), &node)
            .await?;
        Ok(())
    }

    async fn change(&self, node: char, patch: Value) -> Result<()> {
        let (name, patch) = (self.node_name(node), Patch::Merge(patch));
        self.all_nodes()
            .patch(&name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn ready(&self, node: char, status: &str) -> Result<()> {
        let patch = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        let (name, patch) = (self.node_name(node), Patch::Merge(patch));
        self.all_nodes()
            .patch_status(&name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn vanish(&self, nodes: &str) -> Result<()> {
        for node in nodes.chars() {
            self.all_nodes()
                .delete(&self.node_name(node), &DeleteParams::default())
                .await?;
        }
        Ok(())
    }

    /// The targets of every load balancer, or of one Service's.
    fn target_sets(&self, service: Option<&str>) -> Vec<String> {
        let of = |object: &evenkeel_laws::toys::own::cloud::Object| {
            let name = object.marks.as_ref().map(|marks| marks.service.clone());
            name.is_some_and(|name| {
                service.is_none_or(|service| name.ends_with(&format!("/{service}")))
            })
        };
        let prefix = self.node_name("");
        let letter = |node: &NodeName| {
            let name = node.as_str();
            name.strip_prefix(&prefix).unwrap_or(name).to_owned()
        };
        let objects = self.cloud.list().into_iter().filter(of);
        objects
            .filter_map(|object| match object.spec {
                Spec::TargetSet { targets, .. } => Some(targets.iter().map(letter).collect()),
                _ => None,
            })
            .collect()
    }

    /// Waits until these are the targets of every load balancer.
    async fn targets(&self, want: &str) -> Result<()> {
        self.targets_of(None, want).await
    }

    async fn targets_of(&self, service: Option<&str>, want: &str) -> Result<()> {
        eventually(format!("the targets {want:?}"), LIMIT, || async {
            let sets = self.target_sets(service);
            ensure!(
                !sets.is_empty() && sets.iter().all(|targets| targets == want),
                "there are {sets:?}"
            );
            Ok(())
        })
        .await
    }

    /// The writes to target sets since the last reset.
    fn target_writes(&self) -> Vec<String> {
        let writes = self.written().into_iter();
        writes.filter(|write| write.ends_with("set")).collect()
    }

    /// The events about an object that is no Service: reason, note, count.
    async fn events_of(&self, kind: &str, name: &str) -> Result<Vec<(String, String, i32)>> {
        let events: Api<Event> = Api::all(self.client.clone());
        let events = events.list(&ListParams::default()).await?.into_iter();
        let about = |event: &Event| {
            let regarding = event.regarding.clone().unwrap_or_default();
            regarding.kind.as_deref() == Some(kind) && regarding.name.as_deref() == Some(name)
        };
        let text = |event: Event| {
            let count = event.series.map_or(1, |series| series.count);
            (
                event.reason.unwrap_or_default(),
                event.note.unwrap_or_default(),
                count,
            )
        };
        Ok(events.filter(about).map(text).collect())
    }

    /// Waits until so many events of this reason are beside the controller's own object; returns the notes.
    async fn own_events(&self, reason: &str, want: usize) -> Result<Vec<String>> {
        eventually(format!("{want} events {reason}"), LIMIT, || async {
            let events = self.events_of("ConfigMap", &self.provider).await?;
            let found = events.iter().filter(|(found, ..)| found == reason);
            let notes: Vec<_> = found.map(|(_, note, _)| note.clone()).collect();
            ensure!(notes.len() == want, "there are {events:?}");
            Ok(notes)
        })
        .await
    }

    fn own_objects(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), self.namespace())
    }

    /// Annotates the controller's own object, which may not be there.
    async fn approve(&self, digest: &str) -> Result<()> {
        let patch = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"annotations": {"evenkeel.dev/release-nodes": digest}},
        });
        let parameters = PatchParams::apply("kubectl-annotate").force();
        self.own_objects()
            .patch(&self.provider, &parameters, &Patch::Apply(patch))
            .await?;
        Ok(())
    }

    /// Waits until the controller has looked for an operator's word once more, begun after now.
    async fn looked_for_approval(&self) -> Result<()> {
        let path = format!("/configmaps/{}", self.provider);
        let looks = || {
            let sent = self.line.sent().into_iter();
            sent.filter(|sent| {
                sent.method == "GET" && sent.path.ends_with(&path) && sent.code.is_some()
            })
            .count()
        };
        // The first may be under way already.
        for _ in 0..2 {
            let before = looks();
            self.clock.put_forward(POLL);
            eventually("a look for an approval", LIMIT, || async {
                ensure!(looks() > before, "there were {before}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn digest_in(note: &str) -> Result<String> {
    let (_, rest) = note
        .split_once("evenkeel.dev/release-nodes=")
        .context("no digest")?;
    Ok(rest.chars().take_while(char::is_ascii_hexdigit).collect())
}

#[tokio::test]
async fn nodes_come_and_go_and_only_what_matters_is_written() -> Result<()> {
    let scene = serving("ab").await?;
    let taint = |key: &str| json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}});
    let label = |value: Value| json!({"metadata": {"labels": {EXCLUDE: value}}});

    // What does not matter, and then something that does: one write.
    scene.tap.reset();
    for status in ["True", "False", "Unknown"] {
        scene.ready('a', status).await?;
    }
    scene
        .change('a', json!({"spec": {"unschedulable": true}}))
        .await?;
    scene.change('b', taint("example.com/dedicated")).await?;
    scene
        .change('b', json!({"metadata": {"labels": {"tier": "front"}}}))
        .await?;
    scene.change('b', label(json!("false"))).await?;
    scene.node('c', json!({})).await?;
    scene.targets("abc").await?;
    ensure!(
        scene.target_writes() == ["Change set"],
        "{:?}",
        scene.tap.writes()
    );

    for (what, node, patch, want) in [
        ("excluded", 'b', label(json!("")), "ac"),
        ("not excluded", 'b', label(json!("0")), "abc"),
        (
            "excluded in odd words",
            'b',
            label(json!("karpenter")),
            "ac",
        ),
        ("the label is gone", 'b', label(Value::Null), "abc"),
        (
            "shut down",
            'c',
            taint("node.cloudprovider.kubernetes.io/shutdown"),
            "ab",
        ),
        (
            "started again",
            'c',
            json!({"spec": {"taints": null}}),
            "abc",
        ),
        (
            "out of service",
            'c',
            taint("node.kubernetes.io/out-of-service"),
            "ab",
        ),
        ("in service", 'c', json!({"spec": {"taints": null}}), "abc"),
        (
            "marked by the autoscaler",
            'c',
            taint("ToBeDeletedByClusterAutoscaler"),
            "ab",
        ),
        ("spared", 'c', json!({"spec": {"taints": null}}), "abc"),
    ] {
        scene.tap.reset();
        scene.change(node, patch).await?;
        scene.targets(want).await.context(what)?;
        ensure!(
            scene.target_writes() == ["Change set"],
            "{what}: {:?}",
            scene.tap.writes()
        );
    }
    scene.vanish("a").await?;
    scene.targets("bc").await?;
    scene
        .change(
            'b',
            json!({"metadata": {"finalizers": ["example.com/machine"]}}),
        )
        .await?;
    scene.vanish("b").await?;
    scene.targets("c").await?;
    scene
        .change('b', json!({"metadata": {"finalizers": null}}))
        .await?;
    let events = scene.events("checkout").await?;
    ensure!(
        events
            .iter()
            .any(|(reason, note, _)| reason == "UpdatedLoadBalancer"
                && note == "The targets follow the nodes: 3 of them."),
        "{events:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_marked_node_stays_where_connections_do_not_drain_and_is_added_to_nothing_new()
-> Result<()> {
    let mut scene = prepare().await?;
    scene.nodes.drains = false;
    for node in ['a', 'b'] {
        scene.node(node, json!({})).await?;
    }
    scene.run();
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    scene.targets("ab").await?;
    let taints = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    scene
        .change('b', json!({"spec": {"taints": taints}}))
        .await?;
    scene.node('c', json!({})).await?;
    scene.targets("abc").await?;
    scene.create("search", json!({})).await?;
    scene.served("search").await?;
    scene.targets_of(Some("search"), "ac").await?;
    scene.targets_of(Some("checkout"), "abc").await
}

/// The sets of nodes that a provider was given.
type Sets = Arc<Mutex<Vec<Arc<NodeSet>>>>;

/// Keeps them.
struct Recorder {
    provider: Arc<dyn AnyProvider>,
    sets: Sets,
}

fn last(sets: &Sets) -> Result<Arc<NodeSet>> {
    let sets = sets.lock().unwrap_or_else(PoisonError::into_inner);
    sets.last().cloned().context("no run")
}

impl Recorder {
    fn given(&self, nodes: &Arc<NodeSet>) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.push(nodes.clone());
    }
}

#[async_trait]
impl AnyProvider for Recorder {
    fn name(&self) -> &'static str {
        self.provider.name()
    }
    async fn run(&self, request: Request, journal: &dyn Journal) -> Report {
        self.given(&request.nodes);
        self.provider.run(request, journal).await
    }
    async fn rehearse(&self, request: &Request) -> Result<Rehearsal, CloudError> {
        self.provider.rehearse(request).await
    }
    async fn inventory(&self) -> Result<Vec<Found>, CloudError> {
        self.provider.inventory().await
    }
    fn attach(&self, wake: Wake) {
        self.provider.attach(wake);
    }
    fn forget(&self, key: &GroupKey) {
        self.provider.forget(key);
    }
}

#[tokio::test]
async fn a_node_made_again_under_its_name_is_another_machine() -> Result<()> {
    let mut scene = prepare().await?;
    let sets = scene.record();
    for node in ['a', 'b'] {
        scene.node(node, json!({})).await?;
    }
    scene.run();
    scene.create("checkout", json!({})).await?;
    scene.targets("ab").await?;
    scene.vanish("b").await?;
    let other = format!("{}://another-machine", scene.provider);
    scene
        .node('b', json!({"spec": {"providerID": other}}))
        .await?;
    let name = NodeName::new(scene.node_name('b'));
    eventually("the other machine", LIMIT, || async {
        let last = last(&sets)?;
        let node = last.get(&name).context("no node")?;
        ensure!(
            node.placement == Placement::Add && node.provider_id.as_deref() == Some(other.as_str()),
            "{node:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_node_without_a_provider_id_joins_when_it_has_one_and_is_told_once() -> Result<()> {
    let scene = serving("a").await?;
    let without = json!({"spec": {"providerID": null}});
    let initializing = json!({"spec": {"providerID": null, "taints": [
        {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"},
    ]}});
    scene.node('b', without).await?;
    scene.node('c', initializing).await?;
    let foreign = json!({"spec": {"providerID": "elsewhere://i-0abc"}});
    scene.node('d', foreign).await?;
    // The others are served.
    scene.node('e', json!({})).await?;
    scene.targets("ae").await?;
    for (node, want) in [
        ('b', "spec.providerID is not set"),
        ('d', "elsewhere://i-0abc"),
    ] {
        let name = scene.node_name(node);
        eventually(format!("the event of {node}"), LIMIT, || async {
            let events = scene.events_of("Node", &name).await?;
            let ours = events.iter().filter(|(reason, note, _)| {
                reason == "NodeSkipped" && note.contains(&format!("of {}:", scene.provider))
            });
            let ours: Vec<_> = ours.collect();
            ensure!(
                ours.len() == 1 && ours[0].1.contains(want) && ours[0].2 == 1,
                "there are {events:?}"
            );
            Ok(())
        })
        .await?;
    }
    for (node, targets) in [('b', "abe"), ('c', "abce")] {
        let id = format!("{}://{}", scene.provider, scene.node_name(node));
        scene
            .change(node, json!({"spec": {"providerID": id, "taints": null}}))
            .await?;
        scene.targets(targets).await?;
    }
    let events = scene.events_of("Node", &scene.node_name('c')).await?;
    ensure!(
        !events
            .iter()
            .any(|(_, note, _)| note.contains(&format!("of {}:", scene.provider))),
        "its cloud had not seen to it yet: {events:?}"
    );
    Ok(())
}

#[tokio::test]
async fn what_was_found_before_the_lead_is_told_by_who_leads() -> Result<()> {
    let mut scene = prepare().await?;
    scene.election = true;
    scene
        .node('a', json!({"spec": {"providerID": null}}))
        .await?;
    scene.run();
    let name = scene.node_name('a');
    is_told_what_it_lacks(&scene, &name).await
}

#[tokio::test]
async fn more_nodes_than_are_told_at_once_are_all_told_what_they_lack() -> Result<()> {
    let mut scene = prepare().await?;
    for number in 0..45 {
        let lacking = json!({"spec": {"providerID": null}});
        scene.node(number, lacking).await?;
    }
    scene.run();
    for number in 0..45 {
        is_told_what_it_lacks(&scene, &scene.node_name(number)).await?;
    }
    Ok(())
}

/// Nodes of other scenes are told too, a few at once.
async fn is_told_what_it_lacks(scene: &Fleet, name: &str) -> Result<()> {
    eventually("the event", LIMIT, || async {
        let events = scene.events_of("Node", name).await?;
        let ours = format!("of {}:", scene.provider);
        ensure!(
            events.iter().any(|(_, note, _)| note.contains(&ours)),
            "there are {events:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_nodes_there_is_an_address_and_a_warning() -> Result<()> {
    let mut scene = prepare().await?;
    scene.run();
    scene.create("checkout", json!({})).await?;
    let service = scene
        .until("checkout", "an address", |service| {
            !ingress(service).is_empty()
        })
        .await?;
    let address = ingress(&service).to_vec();
    scene.targets("").await?;
    scene.event("checkout", "UnAvailableLoadBalancer").await?;
    scene.node('a', json!({})).await?;
    scene.targets("a").await?;
    let service = scene.served("checkout").await?;
    ensure!(ingress(&service) == address, "{:?}", ingress(&service));
    Ok(())
}

#[tokio::test]
async fn two_hundred_nodes_and_fifty_services_are_two_writes_each_and_one_event() -> Result<()> {
    const NODES: usize = 200;
    const SERVICES: usize = 50;
    let mut scene = prepare().await?;
    scene.node_debounce = (Duration::from_secs(2), Duration::from_secs(10));
    scene.node("first", json!({})).await?;
    scene.run();
    for number in 0..SERVICES {
        scene
            .create(&format!("service-{number}"), json!({}))
            .await?;
    }
    eventually("the Services to have targets", LIMIT, || async {
        let sets = scene.target_sets(None);
        ensure!(
            sets.len() == SERVICES && sets.iter().all(|targets| targets == "first"),
            "there are {sets:?}"
        );
        Ok(())
    })
    .await?;
    for number in 0..SERVICES {
        scene.served(&format!("service-{number}")).await?;
    }
    // A node of another cloud is told what it lacks, and is no change of the targets.
    scene
        .node(
            "stranger",
            json!({"spec": {"providerID": "elsewhere:///1"}}),
        )
        .await?;
    let stranger = scene.node_name("stranger");
    eventually("the stranger to be seen", LIMIT, || async {
        let told = scene.events_of("Node", &stranger).await?;
        ensure!(
            told.iter().any(|(reason, ..)| reason == "NodeSkipped"),
            "there are {told:?}"
        );
        Ok(())
    })
    .await?;
    scene.forget_calls();
    let began = std::time::Instant::now();
    let nodes = (0..NODES).map(|number| scene.node(number, json!({})));
    futures::future::try_join_all(nodes).await?;
    let took = began.elapsed();
    eventually("all nodes as targets", LIMIT, || async {
        let sizes: Vec<_> = scene
            .cloud
            .list()
            .into_iter()
            .filter_map(|object| match object.spec {
                Spec::TargetSet { targets, .. } => Some(targets.len()),
                _ => None,
            })
            .collect();
        ensure!(
            sizes.len() == SERVICES && sizes.iter().all(|size| *size == NODES + 1),
            "{NODES} nodes made in {took:?}; there are {sizes:?}"
        );
        Ok(())
    })
    .await?;
    let mut writes = BTreeMap::new();
    for call in scene.tap.writes() {
        *writes.entry(call.target).or_insert(0) += 1;
    }
    ensure!(
        writes.len() == SERVICES && writes.values().all(|count| *count <= 2),
        "{writes:?}"
    );
    let notes = scene.own_events("UpdatedLoadBalancer", 1).await?;
    ensure!(
        notes[0].contains("201 of them, 1 before"),
        "{notes:?}, {NODES} nodes made in {took:?}"
    );
    let events = scene.events("service-0").await?;
    ensure!(
        !events
            .iter()
            .any(|(reason, ..)| reason == "UpdatedLoadBalancer"),
        "{events:?}"
    );
    ensure!(
        scene.line.all_writes().is_empty(),
        "a change of nodes is no change of a status: {:?}",
        scene.line.all_writes()
    );
    Ok(())
}

#[tokio::test]
async fn a_write_of_targets_that_fails_is_made_again() -> Result<()> {
    let scene = serving("a").await?;
    scene.tap.reset();
    scene.tap.fail(0, Fault::Unreachable);
    scene.node('b', json!({})).await?;
    scene.targets("ab").await?;
    scene.vanish("a").await?;
    scene.targets("b").await
}

#[tokio::test]
async fn nodes_that_change_while_the_cloud_is_at_work_are_targets_in_the_end() -> Result<()> {
    let mut scene = prepare().await?;
    let sets = scene.record();
    for node in ['a', 'b'] {
        scene.node(node, json!({})).await?;
    }
    scene.run();
    scene.tap.block_writes(true);
    scene.create("checkout", json!({})).await?;
    scene.wrote().await?;
    scene.vanish("b").await?;
    scene.node('c', json!({})).await?;
    // Others are given the new nodes meanwhile.
    let (b, c) = (scene.node_name('b'), scene.node_name('c'));
    eventually("the change to be known", LIMIT, || async {
        scene.barrier().await?;
        let last = last(&sets)?;
        let has = |name: &str| last.get(&NodeName::from(name)).is_some();
        ensure!(has(&c) && !has(&b), "{last:?}");
        Ok(())
    })
    .await?;
    let under_way: BTreeSet<_> = scene.tap.writes().iter().map(ToString::to_string).collect();
    ensure!(
        under_way.len() == scene.tap.writes().len(),
        "nothing is written twice at once: {:?}",
        scene.tap.writes()
    );
    scene.tap.block_writes(false);
    scene.targets("ac").await?;
    scene.served("checkout").await?;
    Ok(())
}

#[tokio::test]
async fn targets_follow_the_nodes_while_annotations_are_rejected() -> Result<()> {
    let scene = serving("ab").await?;
    for broken in [
        json!({"toy.evenkeel.dev/idle": "soon"}),
        json!({"evenkeel.dev/scheme": "sideways", "toy.evenkeel.dev/idle": null}),
    ] {
        scene
            .patch("checkout", json!({"metadata": {"annotations": broken}}))
            .await?;
        scene
            .until("checkout", "the rejection", |service| {
                crate::scene::condition(service, "evenkeel.dev/Degraded")
                    .is_some_and(|found| found.reason == "InvalidConfiguration")
            })
            .await?;
        scene.node('c', json!({})).await?;
        scene.targets("abc").await?;
        scene.vanish("c").await?;
        scene.targets("ab").await?;
        let service = scene.get("checkout").await?;
        ensure!(
            status(&service, "evenkeel.dev/Serving") == "True",
            "{:?}",
            service.status
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_mass_removal_is_held_and_confirmed_by_a_second_list() -> Result<()> {
    let scene = serving("abcdef").await?;
    scene.vanish("cdef").await?;
    let notes = scene.own_events(reason::NODES_HELD, 1).await?;
    ensure!(
        notes[0].starts_with(&format!(
            "4 of the 6 nodes of the provider {} vanished at once",
            scene.provider
        )),
        "{notes:?}"
    );
    // What else happens goes on, and what is held is added to nothing new.
    scene.node('g', json!({})).await?;
    scene.targets("abcdefg").await?;
    scene.create("search", json!({})).await?;
    scene.served("search").await?;
    scene.targets_of(Some("search"), "abg").await?;
    scene
        .change('b', json!({"metadata": {"labels": {EXCLUDE: "true"}}}))
        .await?;
    scene.targets_of(Some("checkout"), "acdefg").await?;
    // One of those that vanished is back.
    scene.node('f', json!({})).await?;
    scene.targets_of(Some("search"), "afg").await?;
    scene.targets_of(Some("checkout"), "acdefg").await?;

    scene.clock.put_forward(CONFIRM);
    scene.targets("afg").await?;
    scene.own_events(condition::NODES_TRUSTED, 1).await?;
    scene.own_events(reason::NODES_HELD, 1).await?;
    Ok(())
}

#[tokio::test]
async fn all_nodes_vanish_and_nothing_is_emptied() -> Result<()> {
    let scene = serving("abc").await?;
    let before = scene.get("checkout").await?;
    scene.forget_calls();
    scene.vanish("abc").await?;
    scene.own_events(reason::NODES_HELD, 1).await?;
    scene.barrier().await?;
    ensure!(scene.tap.writes().is_empty(), "{:?}", scene.tap.writes());
    let held = scene.get("checkout").await?;
    ensure!(
        held.status == before.status,
        "what is held is no trouble of a Service: {:?}",
        held.status
    );
    let reads = |path: &str| {
        let sent = scene.line.sent().into_iter();
        sent.filter(|sent| sent.method == "GET" && sent.path == path)
            .count()
    };
    let lists = reads("/api/v1/nodes");
    scene.clock.put_forward(CONFIRM);
    scene.own_events(condition::NODES_TRUSTED, 1).await?;
    ensure!(reads("/api/v1/nodes") > lists, "{:?}", scene.line.sent());
    scene.event("checkout", "UnAvailableLoadBalancer").await?;
    scene.barrier().await?;
    ensure!(
        scene.target_sets(None) == ["abc"],
        "{:?}",
        scene.target_sets(None)
    );
    scene.node('d', json!({})).await?;
    scene.targets("d").await
}

#[tokio::test]
async fn nodes_that_register_anew_end_the_hold() -> Result<()> {
    let scene = serving("abcd").await?;
    scene.tap.reset();
    scene.vanish("abcd").await?;
    scene.own_events(reason::NODES_HELD, 1).await?;
    for node in "abcd".chars() {
        scene.node(node, json!({})).await?;
    }
    scene.own_events(condition::NODES_TRUSTED, 1).await?;
    ensure!(scene.tap.writes().is_empty(), "{:?}", scene.tap.writes());
    scene.targets("abcd").await
}

#[tokio::test]
async fn an_operator_gives_up_held_nodes_and_no_others_later() -> Result<()> {
    let scene = serving("abcd").await?;
    scene.approve("0123456789").await?;
    scene.vanish("bcd").await?;
    let notes = scene.own_events(reason::NODES_HELD, 1).await?;
    scene.looked_for_approval().await?;
    ensure!(
        scene.target_sets(None) == ["abcd"],
        "another digest approves nothing"
    );
    let digest = digest_in(&notes[0])?;
    scene.approve(&digest).await?;
    scene.clock.put_forward(POLL);
    scene.targets("a").await?;
    scene.own_events(condition::NODES_TRUSTED, 1).await?;

    // The same nodes come back and vanish again, with the approval still there.
    for node in "bcd".chars() {
        scene.node(node, json!({})).await?;
    }
    scene.targets("abcd").await?;
    scene.vanish("bcd").await?;
    let notes = scene.own_events(reason::NODES_HELD, 2).await?;
    scene.looked_for_approval().await?;
    ensure!(scene.target_sets(None) == ["abcd"], "{notes:?}");
    let own = scene.own_objects().get(&scene.provider).await?;
    ensure!(own.annotations().get("evenkeel.dev/release-nodes") == Some(&digest));
    let digests: BTreeSet<_> = notes
        .iter()
        .map(|note| digest_in(note))
        .collect::<Result<_>>()?;
    ensure!(
        digests.len() == 2 && digests.contains(&digest),
        "{digests:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_start_without_nodes_empties_nothing() -> Result<()> {
    let mut scene = serving("abc").await?;
    scene.stop().await?;
    scene.vanish("abc").await?;
    scene.tap.reset();
    scene.run();
    scene.event("checkout", "UnAvailableLoadBalancer").await?;
    scene.barrier().await?;
    ensure!(
        scene.target_sets(None) == ["abc"],
        "{:?}",
        scene.target_sets(None)
    );
    ensure!(scene.tap.writes().is_empty(), "{:?}", scene.tap.writes());
    Ok(())
}
