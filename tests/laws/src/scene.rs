//! Scenes: what a cluster asks at one time; and scenarios, which lead from one to the next (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    engine::Ask,
    group::Group,
    ids::{Cluster, GroupKey, ServiceRef},
    intent::Intent,
    nodes::{Labels, Node, NodeLabels, NodeReason, NodeSet, Placement},
    ports::Protocol,
    problem::{Problem, Problems},
};

use crate::{
    rig::{Abilities, Rig},
    samples,
};

/// What a cluster asks.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The Services, oldest first.
    pub services: Vec<Intent>,
    /// Services among them whose Intent cannot be read.
    pub unreadable: BTreeSet<ServiceRef>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Whether the owners approve what is refused for want of approval.
    pub approving: bool,
}

impl Scene {
    /// A scene of these Services and nodes.
    pub fn new(
        services: impl IntoIterator<Item = Intent>,
        nodes: impl IntoIterator<Item = Node>,
    ) -> Self {
        Self {
            services: services.into_iter().collect(),
            nodes: nodes.into_iter().collect(),
            ..Self::default()
        }
    }

    /// What is asked of each group that has members.
    pub fn asks(&self, cluster: &Cluster) -> BTreeMap<GroupKey, Ask> {
        let mut groups: BTreeMap<GroupKey, (Vec<Intent>, Vec<ServiceRef>)> = BTreeMap::new();
        for intent in &self.services {
            let (members, unknown) = groups.entry(Group::key_of(intent)).or_default();
            if self.unreadable.contains(&intent.service) {
                unknown.push(intent.service.clone());
            } else {
                members.push(intent.clone());
            }
        }
        groups
            .into_iter()
            .map(|(key, (members, unknown))| {
                let ask = if members.is_empty() {
                    Ask::Keep(Problems::from(Problem::new(
                        "spec.ports",
                        "",
                        "cannot be read",
                        "Write it as the API documents it.",
                    )))
                } else {
                    Ask::Serve(Group {
                        key: key.clone(),
                        cluster: cluster.clone(),
                        members,
                        unknown,
                    })
                };
                (key, ask)
            })
            .collect()
    }

    /// Its nodes as providers get them; all have the label `pool=harbour`.
    pub fn node_set(&self) -> Arc<NodeSet> {
        let labels: Arc<Labels> = Arc::new([("pool".into(), "harbour".into())].into());
        let nodes = self.nodes.iter();
        let labels = nodes.map(|node| (node.name.clone(), labels.clone()));
        let labels = NodeLabels::all(labels.collect());
        Arc::new(NodeSet::new(self.nodes.clone()).with_labels(Arc::new(labels)))
    }

    /// The same scene with one Service changed.
    #[must_use]
    pub fn with(&self, name: &str, change: impl FnOnce(&mut Intent)) -> Self {
        let mut scene = self.clone();
        let service = samples::service_ref(name);
        let intent = scene
            .services
            .iter_mut()
            .find(|intent| intent.service == service);
        change(intent.unwrap_or_else(|| panic!("no Service {name} in the scene")));
        scene
    }

    /// The same scene with other nodes.
    #[must_use]
    pub fn on(&self, nodes: impl IntoIterator<Item = Node>) -> Self {
        Self {
            nodes: nodes.into_iter().collect(),
            ..self.clone()
        }
    }

    /// The same scene without a Service.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut scene = self.clone();
        let service = samples::service_ref(name);
        scene.services.retain(|intent| intent.service != service);
        scene
    }
}

/// A way through scenes. What a law looks at is the last step of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What happens.
    pub name: &'static str,
    /// The scenes, in order. The first follows on an empty cloud.
    pub scenes: Vec<Scene>,
}

impl Scenario {
    /// The scenes before the last, and the last.
    pub fn split(&self) -> (&[Scene], &Scene) {
        let (last, before) = self.scenes.split_last().expect("a scenario has a scene");
        (before, last)
    }
}

/// Three nodes, all of them targets.
pub fn three_nodes<R: Rig>(rig: &R) -> Vec<Node> {
    (1..=3).map(|number| rig.node(number)).collect()
}

/// One node leaves, one may stay where it is, one comes; and one that may only stay is new.
pub fn other_nodes<R: Rig>(rig: &R) -> Vec<Node> {
    let placed = |number, placement| Node {
        placement,
        ..rig.node(number)
    };
    vec![
        placed(1, Placement::Remove(NodeReason::ExcludedByLabel)),
        placed(2, Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler)),
        rig.node(3),
        rig.node(4),
        placed(5, Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler)),
    ]
}

/// A Service that shares a load balancer with the others of this group, on one port of its own.
pub fn member<R: Rig>(rig: &R, name: &str, group: &str, port: u16) -> Intent {
    let mut intent = rig.service(name);
    intent.options.group = Some(group.into());
    intent.ports = vec![samples::port(port, Protocol::Tcp)];
    intent
}

/// Everything that happens to Services, as far as it applies to the provider.
pub fn scenarios<R: Rig>(rig: &R) -> Vec<Scenario> {
    let nodes = three_nodes(rig);
    let empty = Scene::new([], nodes.clone());
    let one = Scene::new([rig.service("checkout")], nodes.clone());
    let two = Scene::new([rig.service("checkout"), rig.service("search")], nodes);
    let broken = one
        .with("checkout", |intent| rig.break_annotation(intent))
        .on(other_nodes(rig));
    let unreadable = {
        let mut scene = two.on(other_nodes(rig));
        scene.unreadable.insert(samples::service_ref("checkout"));
        scene
    };
    let more_ports = one.with("checkout", |intent| {
        intent
            .ports
            .push(samples::port(rig.another_port(), Protocol::Tcp));
        intent.ports.sort();
    });
    let other_node_port = one.with("checkout", |intent| {
        for port in &mut intent.ports {
            port.node_port = port.node_port.map(|port| port + 1);
        }
    });
    let changed = one.with("checkout", |intent| rig.change(intent));

    let mut all = vec![
        scenario("create", [one.clone()]),
        scenario("create two", [two.clone()]),
        scenario("add a port", [one.clone(), more_ports.clone()]),
        scenario("remove a port", [more_ports, one.clone()]),
        scenario("change a node port", [one.clone(), other_node_port]),
        scenario("change an annotation", [one.clone(), changed.clone()]),
        scenario("take a change back", [changed, one.clone()]),
        scenario("change nodes", [one.clone(), one.on(other_nodes(rig))]),
        scenario(
            "exchange all nodes",
            [one.clone(), one.on([rig.node(7), rig.node(8)])],
        ),
        scenario("lose all nodes", [one.clone(), one.on([])]),
        scenario(
            "break an annotation while nodes change",
            [one.clone(), broken.clone()],
        ),
        scenario("mend an annotation", [one.clone(), broken, one.clone()]),
        scenario(
            "lose sight of a Service while nodes change",
            [two.clone(), unreadable],
        ),
        scenario("delete", [one.clone(), empty.clone()]),
        scenario("delete one of two", [two.clone(), two.without("search")]),
        scenario(
            "change one of two",
            [two.clone(), two.with("search", |intent| rig.change(intent))],
        ),
    ];
    let Abilities { groups, .. } = rig.abilities();
    if groups {
        let pair = Scene::new(
            [
                member(rig, "checkout", "front", 18080),
                member(rig, "search", "front", 18443),
            ],
            three_nodes(rig),
        );
        all.push(scenario("create a shared group", [pair.clone()]));
        all.push(scenario(
            "a member leaves its group",
            [pair.clone(), pair.without("checkout")],
        ));
        all.push(scenario(
            "a member joins a group",
            [pair.without("search"), pair.clone()],
        ));
        all.push(scenario("delete a shared group", [pair, empty]));
    }
    let mut replacement = one.clone();
    replacement.approving = true;
    if rig.replace(&mut replacement.services[0]) {
        all.push(scenario("replace", [one.clone(), replacement]));
    }
    let mut unservable = one.clone();
    if rig.add_unservable_port(&mut unservable.services[0]) {
        all.push(scenario(
            "add a port that cannot be served",
            [one, unservable],
        ));
    }
    all
}

fn scenario<const N: usize>(name: &'static str, scenes: [Scene; N]) -> Scenario {
    Scenario {
        name,
        scenes: scenes.into(),
    }
}
