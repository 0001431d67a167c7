//! How the laws meet this toy.

use std::sync::Arc;

use async_trait::async_trait;
use evenkeel_core::{
    group::Group,
    ids::{Cluster, GroupKey, ServiceRef},
    intent::Intent,
    ports::Protocol,
};

use super::{
    Own,
    annotations::{self, Pool},
    client::Client,
    cloud::{Cloud, Marks, Spec},
    model::Observed,
    names,
};
use crate::{
    rig::{Abilities, Object, Picture, Rig, World},
    samples,
    tap::Tap,
};

/// The rig.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnRig;

/// Its world.
#[derive(Debug, Default)]
pub struct OwnWorld {
    cloud: Arc<Cloud>,
    tap: Tap,
}

impl OwnWorld {
    /// The cloud.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }
}

#[async_trait]
impl Rig for OwnRig {
    type Provider = Own;
    type World = OwnWorld;

    async fn world(&self) -> OwnWorld {
        OwnWorld::default()
    }

    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    fn normalise(&self, mut seen: Observed) -> Observed {
        for object in seen.objects.values_mut() {
            object.name.clear();
            (object.id, object.version, object.ip) = (0, 0, None);
        }
        seen
    }

    fn change(&self, intent: &mut Intent) {
        intent
            .annotations
            .insert(annotations::IDLE.into(), "60s".into());
    }

    fn break_annotation(&self, intent: &mut Intent) {
        intent
            .annotations
            .insert(annotations::IDLE.into(), "soon".into());
    }

    fn replace(&self, intent: &mut Intent) -> bool {
        intent
            .annotations
            .insert(annotations::POOL.into(), "west".into());
        true
    }

    fn add_unservable_port(&self, intent: &mut Intent) -> bool {
        intent
            .ports
            .push(samples::port(self.another_port(), Protocol::Sctp));
        true
    }

    fn ask_the_refused(&self, intent: &mut Intent) -> bool {
        intent
            .annotations
            .insert(annotations::TIER.into(), "golden".into());
        true
    }
}

#[async_trait]
impl World for OwnWorld {
    type Provider = Own;

    async fn provider(&self) -> Own {
        Own::new(
            samples::cluster(),
            Client::new(self.cloud.clone(), self.tap.clone()),
        )
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    async fn objects(&self) -> Vec<Object> {
        let object = |object: super::cloud::Object| Object {
            kind: object.spec.kind().to_owned(),
            group: object.marks.as_ref().map(|marks| marks.group.clone()),
            member: object
                .marks
                .as_ref()
                .and_then(|marks| Some(marks.member.as_ref()?.uid.to_string())),
            body: format!(
                "{}; {}",
                object.spec,
                object
                    .marks
                    .as_ref()
                    .map_or(String::new(), ToString::to_string)
            ),
            cluster: object.marks.as_ref().map(|marks| marks.cluster.to_string()),
            name: object.name,
        };
        self.cloud.list().into_iter().map(object).collect()
    }

    async fn picture(&self) -> Picture {
        self.cloud.picture()
    }

    async fn advance(&self) {
        self.cloud.advance();
        self.tap.saw(self.cloud.picture());
    }

    async fn plant_neighbours(&self) {
        let service = samples::service_ref("checkout");
        let key = Group::key_of(&samples::service("checkout"));
        // A cluster restored from a copy of ours has the same Services, to the UID.
        let twin = Cluster::new("2d9f6c1e-0000-4000-8000-00000000c002", "harbour");
        self.plant(&twin, &key, Some(service));
        self.cloud.plant(
            "by-hand",
            None,
            Spec::TargetSet {
                node_port: 30080,
                targets: [samples::node(1).name].into(),
            },
        );
    }

    async fn plant_in_the_way(&self, key: &GroupKey) -> bool {
        let twin = Cluster::new("2d9f6c1e-0000-4000-8000-00000000c002", "harbour");
        let id = names::address(Pool::East);
        let name = names::object(&samples::cluster(), key, &id);
        self.cloud.plant(
            &name,
            Some(marks(&twin, key, id, None)),
            Spec::Address { pool: Pool::East },
        );
        true
    }
}

impl OwnWorld {
    fn plant(&self, cluster: &Cluster, key: &GroupKey, member: Option<ServiceRef>) {
        let (address, set) = (names::address(Pool::East), names::set(30080));
        let port = samples::port(18080, Protocol::Tcp).key;
        let listener = names::listener(Pool::East, port);
        let name = |id: &evenkeel_core::ids::ResourceId| names::object(cluster, key, id);
        let listen = Spec::Listener {
            address: name(&address),
            port,
            set: name(&set),
            idle_seconds: 350,
            tier: "standard".to_owned(),
        };
        for (id, spec) in [
            (address.clone(), Spec::Address { pool: Pool::East }),
            (
                set.clone(),
                Spec::TargetSet {
                    node_port: 30080,
                    targets: [samples::node(1).name].into(),
                },
            ),
            (listener, listen),
        ] {
            self.cloud.plant(
                &name(&id),
                Some(marks(cluster, key, id.clone(), member.clone())),
                spec,
            );
        }
    }
}

fn marks(
    cluster: &Cluster,
    key: &GroupKey,
    id: evenkeel_core::ids::ResourceId,
    member: Option<ServiceRef>,
) -> Marks {
    Marks {
        cluster: cluster.uid.clone(),
        group: key.identity(),
        service: format!("{}/{}", key.namespace(), key.name()),
        id,
        member,
        retain: false,
    }
}
