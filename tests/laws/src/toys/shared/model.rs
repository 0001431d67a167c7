//! What is wanted, what is seen, what is done (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use evenkeel_core::{
    ids::{NodeName, ServiceRef, ServiceUid},
    ports::PortKey,
    published::{Ingress, IpMode, Published, PublishedPort},
    shared::{Claim, Standing},
};
use serde::{Deserialize, Serialize};

use super::annotations::Pool;

/// What a group shall have, but for the targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// The pool of its front.
    pub pool: Pool,
    /// Whether all stays when its Services go.
    pub retain: bool,
    /// What is listened on, by port.
    pub listeners: Vec<Listener>,
    /// The members that cannot be read: what serves them stays.
    pub unknown: BTreeSet<ServiceUid>,
}

/// A port that is listened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The port.
    pub port: PortKey,
    /// For whom.
    pub member: ServiceRef,
    /// Where connections go on the targets.
    pub node_port: u16,
    /// Idle seconds.
    pub idle_seconds: u32,
    /// The tier.
    pub tier: String,
}

/// An address and what is listened on there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// What the cloud chose for it; None in a claim, which leaves the choice alone.
    pub given: Option<Given>,
    /// By port.
    pub listeners: Vec<Listener>,
}

/// What the cloud chooses for a front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// A number that no later front has.
    pub id: u64,
    /// The address.
    pub address: IpAddr,
}

/// A group's part of the shared object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// UID of the cluster it belongs to.
    pub cluster: Arc<str>,
    /// The group's identity.
    pub group: String,
    /// The group's name, for people.
    pub service: String,
    /// Whether it stays when its Services go.
    pub retain: bool,
    /// Its fronts: one, and for the time of a replacement two.
    pub fronts: BTreeMap<Pool, Front>,
    /// The nodes that get connections.
    pub targets: BTreeSet<NodeName>,
}

impl Part {
    /// The same without what the cloud chose: what can be claimed.
    #[must_use]
    pub fn as_claimed(&self) -> Self {
        let mut part = self.clone();
        for front in part.fronts.values_mut() {
            front.given = None;
        }
        part
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pool, front) in &self.fronts {
            write!(f, "{}:", pool.as_str())?;
            for Listener {
                port,
                node_port,
                idle_seconds,
                tier,
                member,
            } in &front.listeners
            {
                write!(
                    f,
                    " {port} -> :{node_port} for {member}, idle {idle_seconds} s, {tier};"
                )?;
            }
            f.write_str(" ")?;
        }
        let targets: Vec<_> = self.targets.iter().map(NodeName::as_str).collect();
        write!(
            f,
            "targets {}{}",
            targets.join(", "),
            if self.retain { "; retained" } else { "" }
        )
    }
}

/// What a group has, and where its claim stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its part of the live object.
    pub part: Option<Part>,
    /// Somebody else's part has our part's name.
    pub in_the_way: bool,
    /// A write of the object is in progress.
    pub updating: bool,
    /// What it claims.
    pub claim: Option<(Claim<Part>, Standing)>,
}

impl Observed {
    /// What can be told: of two fronts the newer.
    pub fn published(&self) -> Published {
        let fronts = self.part.iter().flat_map(|part| part.fronts.values());
        let newest = fronts
            .filter_map(|front| Some((front.given?, front)))
            .max_by_key(|(given, _)| given.id);
        newest.map_or_else(Published::default, |(given, front)| Published {
            ingress: vec![Ingress::Ip {
                ip: given.address,
                mode: IpMode::Vip,
            }],
            ports: front
                .listeners
                .iter()
                .map(|listener| PublishedPort {
                    service: listener.member.clone(),
                    port: listener.port,
                })
                .collect(),
            targets: None,
            pools: Vec::new(),
        })
    }
}

/// One write: a claim handed to the writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The claim.
    pub claim: Claim<Part>,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The writer has the claim; the group will be woken.
    Handed(Claim<Part>),
    /// The live object has it: only ever foretold.
    Live(Option<Part>),
}
