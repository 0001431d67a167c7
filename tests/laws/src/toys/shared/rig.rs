//! How the laws meet this toy.

use std::sync::Arc;

use async_trait::async_trait;
use evenkeel_core::{
    group::Group,
    ids::{Cluster, GroupKey},
    intent::Intent,
    ports::Protocol,
};
use serde_json::{Value, json};

use super::{
    Shared,
    annotations::{self, Pool},
    client::Client,
    cloud::{Cloud, REFUSED_BY_NAME, REFUSED_UNNAMED},
    commit::raw,
    model::{Front, Observed, Part},
    names,
};
use crate::{
    rig::{Abilities, Object, Picture, Rig, World},
    samples,
    tap::Tap,
};

/// The rig.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharedRig {
    /// Whether the cloud refuses without naming the part.
    pub refuses_unnamed: bool,
}

/// Its world.
#[derive(Debug, Default)]
pub struct SharedWorld {
    cloud: Arc<Cloud>,
    tap: Tap,
}

impl SharedWorld {
    /// The cloud.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }
}

#[async_trait]
impl Rig for SharedRig {
    type Provider = Shared;
    type World = SharedWorld;

    async fn world(&self) -> SharedWorld {
        SharedWorld::default()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            shared_writer: true,
            ..Abilities::default()
        }
    }

    fn normalise(&self, mut seen: Observed) -> Observed {
        // A claim is a means: what is live in the end is compared.
        seen.claim = None;
        seen.part = seen.part.map(|part| part.as_claimed());
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
        let tier = if self.refuses_unnamed {
            REFUSED_UNNAMED
        } else {
            REFUSED_BY_NAME
        };
        intent
            .annotations
            .insert(annotations::TIER.into(), tier.into());
        true
    }
}

#[async_trait]
impl World for SharedWorld {
    type Provider = Shared;

    async fn provider(&self) -> Shared {
        Shared::start(
            samples::cluster(),
            Client::new(self.cloud.clone(), self.tap.clone()),
        )
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    async fn objects(&self) -> Vec<Object> {
        let parts = self.cloud.get().parts;
        parts
            .into_iter()
            .map(|(name, raw)| object(name, &raw))
            .collect()
    }

    async fn picture(&self) -> Picture {
        self.cloud.picture()
    }

    async fn advance(&self) {
        self.cloud.advance();
        self.tap.saw(self.cloud.picture());
    }

    async fn plant_neighbours(&self) {
        // A cluster restored from a copy of ours has the same Services, to the UID.
        let key = Group::key_of(&samples::service("checkout"));
        self.cloud
            .plant(&names::part(&twin(), &key), raw(&part(&twin(), &key)));
        self.cloud.plant(
            "by-hand",
            json!({ "weights": [0.25, 0.75], "until": null, "who": { "mail": "ops" } }),
        );
    }

    async fn plant_in_the_way(&self, key: &GroupKey) -> bool {
        self.cloud.plant(
            &names::part(&samples::cluster(), key),
            raw(&part(&twin(), key)),
        );
        true
    }
}

fn twin() -> Cluster {
    Cluster::new("2d9f6c1e-0000-4000-8000-00000000c002", "harbour")
}

fn part(cluster: &Cluster, key: &GroupKey) -> Part {
    Part {
        cluster: cluster.uid.clone(),
        group: key.identity(),
        service: format!("{}/{}", key.namespace(), key.name()),
        retain: false,
        fronts: [(
            Pool::East,
            Front {
                given: None,
                listeners: Vec::new(),
            },
        )]
        .into(),
        targets: [samples::node(1).name].into(),
    }
}

fn object(name: String, raw: &Value) -> Object {
    let known = serde_json::from_value::<Part>(raw.clone()).ok();
    Object {
        kind: "part".to_owned(),
        group: known.as_ref().map(|part| part.group.clone()),
        member: None,
        body: known.as_ref().map_or_else(
            || raw.to_string(),
            |part| super::commit::raw(&part.as_claimed()).to_string(),
        ),
        cluster: known.map(|part| part.cluster.to_string()),
        name,
    }
}
