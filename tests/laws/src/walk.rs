//! Random ways: whatever happens in whatever order, with calls failing in between, leads where the direct way leads.

use std::collections::BTreeMap;

use evenkeel_core::{
    nodes::{NodeReason, Placement},
    ports::Protocol,
};
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner},
};

use crate::{
    operator::Operator,
    rig::{Rig, World},
    samples,
    scene::{Scene, member},
    tap::Fault,
};

/// Services that have a load balancer of their own.
const ALONE: [&str; 3] = ["checkout", "search", "cart"];

/// Services that share one, each with a port of its own.
const TOGETHER: [(&str, u16); 2] = [("news", 18080), ("stock", 18443)];

/// Nodes.
const NODES: u8 = 5;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A Service is there, or is not.
    Present(usize, bool),
    /// It asks for something that is changed in place, or takes that back.
    Changed(usize, bool),
    /// It has one port more, or not.
    MorePorts(usize, bool),
    /// It has one port less, or not.
    FewerPorts(usize, bool),
    /// Its annotations cannot be read, or can again.
    Broken(usize, bool),
    /// It cannot be seen, or can again.
    Unreadable(usize, bool),
    /// A member of the group is there, or is not.
    Member(usize, bool),
    /// A node may be a target, must leave, or may stay.
    Node(u8, u8),
    /// The process starts anew, with an inventory or without.
    Restart(bool),
}

/// One step of a way: what happens, whether it is settled before the next, and which call fails how.
#[derive(Clone, Debug)]
struct Step {
    event: Event,
    settles: bool,
    fault: Option<(usize, Fault)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Service {
    present: bool,
    changed: bool,
    more_ports: bool,
    fewer_ports: bool,
    broken: bool,
    unreadable: bool,
}

/// What has happened so far.
#[derive(Clone, Debug)]
struct Story {
    services: [Service; ALONE.len()],
    members: [bool; TOGETHER.len()],
    placements: BTreeMap<u8, Placement>,
}

impl Story {
    fn new() -> Self {
        Self {
            services: Default::default(),
            members: Default::default(),
            placements: (1..=NODES).map(|number| (number, Placement::Add)).collect(),
        }
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Present(service, is) => self.services[service].present = is,
            Event::Changed(service, is) => self.services[service].changed = is,
            Event::MorePorts(service, is) => self.services[service].more_ports = is,
            Event::FewerPorts(service, is) => self.services[service].fewer_ports = is,
            Event::Broken(service, is) => self.services[service].broken = is,
            Event::Unreadable(service, is) => self.services[service].unreadable = is,
            Event::Member(number, is) => self.members[number] = is,
            Event::Node(number, placement) => {
                let placement = match placement {
                    0 => Placement::Add,
                    1 => Placement::Remove(NodeReason::ExcludedByLabel),
                    _ => Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler),
                };
                self.placements.insert(number, placement);
            }
            Event::Restart(_) => {}
        }
    }

    /// The end of every story, which does not depend on the way: what is broken keeps what it has, and nodes that may stay stay
    /// where they are, so both are mended.
    fn mend(&mut self) {
        for service in &mut self.services {
            (service.broken, service.unreadable) = (false, false);
        }
        for placement in self.placements.values_mut() {
            if matches!(placement, Placement::KeepIfPresent(_)) {
                *placement = Placement::Add;
            }
        }
        // Where no node is left, what is there stays.
        self.placements.insert(1, Placement::Add);
    }

    fn scene<R: Rig>(&self, rig: &R) -> Scene {
        let nodes = self.placements.iter().map(|(number, placement)| {
            let mut node = rig.node(*number);
            node.placement = placement.clone();
            node
        });
        let mut scene = Scene::new([], nodes);
        for (name, service) in ALONE
            .iter()
            .zip(&self.services)
            .filter(|(_, service)| service.present)
        {
            let mut intent = rig.service(name);
            if service.fewer_ports {
                intent.ports.truncate(1);
            }
            if service.more_ports {
                intent
                    .ports
                    .push(samples::port(rig.another_port(), Protocol::Tcp));
                intent.ports.sort();
            }
            if service.changed {
                rig.change(&mut intent);
            }
            if service.broken {
                rig.break_annotation(&mut intent);
            }
            if service.unreadable {
                scene.unreadable.insert(intent.service.clone());
            }
            scene.services.push(intent);
        }
        if rig.abilities().groups {
            let members = TOGETHER
                .iter()
                .zip(self.members)
                .filter(|(_, present)| *present);
            scene
                .services
                .extend(members.map(|((name, port), _)| member(rig, name, "front", *port)));
        }
        scene
    }
}

/// Random ways through all that can happen, with random faults, end where the direct way ends.
///
/// Not async: proptest drives it. It makes a runtime of its own.
///
/// # Errors
/// With the shortest way that fails. Its seed is kept in the file `seeds`.
pub fn random_walks<R: Rig>(rig: &R, seeds: &'static str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("a runtime cannot be made: {error}"))?;
    let config = Config {
        cases: rig.ways(),
        // Where a way fails by waiting for ever, every shorter one has to be waited out, too.
        max_shrink_time: 60_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        ..Config::default()
    };
    let ways = prop::collection::vec(step(rig.faults()), 1..12);
    TestRunner::new(config)
        .run(&ways, |way| {
            runtime
                .block_on(walk(rig, &way))
                .map_err(TestCaseError::fail)
        })
        .map_err(|error| match error {
            TestError::Fail(why, way) => format!("{why}\non the way {way:#?}"),
            TestError::Abort(why) => why.to_string(),
        })
}

fn step(faults: Vec<Fault>) -> impl Strategy<Value = Step> {
    let service = || 0..ALONE.len();
    let event = prop_oneof![
        4 => (service(), prop::bool::weighted(0.8)).prop_map(|(s, is)| Event::Present(s, is)),
        2 => (service(), any::<bool>()).prop_map(|(s, is)| Event::Changed(s, is)),
        2 => (service(), any::<bool>()).prop_map(|(s, is)| Event::MorePorts(s, is)),
        2 => (service(), any::<bool>()).prop_map(|(s, is)| Event::FewerPorts(s, is)),
        1 => (service(), any::<bool>()).prop_map(|(s, is)| Event::Broken(s, is)),
        1 => (service(), any::<bool>()).prop_map(|(s, is)| Event::Unreadable(s, is)),
        2 => (0..TOGETHER.len(), prop::bool::weighted(0.8)).prop_map(|(m, is)| Event::Member(m, is)),
        2 => (1..=NODES, 0..3_u8).prop_map(|(node, placement)| Event::Node(node, placement)),
        1 => any::<bool>().prop_map(Event::Restart),
    ];
    let fault = (0..24_usize, prop::sample::select(faults));
    (event, any::<bool>(), prop::option::of(fault)).prop_map(|(event, settles, fault)| Step {
        event,
        settles,
        fault,
    })
}

async fn walk<R: Rig>(rig: &R, way: &[Step]) -> Result<(), String> {
    let mut operator = Operator::new(rig).await;
    let mut story = Story::new();
    for step in way {
        story.happens(&step.event);
        operator.set(&story.scene(rig));
        operator.world.tap().reset();
        if let Some((number, fault)) = step.fault {
            operator.world.tap().fail(number, fault);
        }
        if let Event::Restart(take_inventory) = step.event {
            operator.restart().await;
            if take_inventory && operator.inventory().await.is_err() {
                operator.restart().await;
            }
        }
        if step.settles {
            operator.persist(true).await?;
        } else {
            // Once is not enough, which is the point.
            operator.once().await?;
        }
    }
    story.mend();
    let end = story.scene(rig);
    operator.world.tap().reset();
    operator.set(&end);
    operator.persist(false).await?;
    operator.expect_clean()?;
    operator.expect_served().await?;
    let mut direct = Operator::new(rig).await;
    direct.play(&end).await?;
    direct.state().await.expect(&operator.state().await)
}
