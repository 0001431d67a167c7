//! Everything that is there, by id. Decides.

use jiff::Timestamp;
use serde_json::Value;

use super::json::{self, Parts as _};
use super::refusal::Refusal;
use crate::cloud::Settle;
use crate::cloud::history::{self, Replay};
use crate::table::{Change, Table};

/// All moments so far. A moment begins with each call that changed something, and whenever an operation came to its end.
pub type History = history::History<State>;

/// Everything at one time.
pub type Moment<'a> = history::Moment<'a, State>;

/// A subscription at one moment.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// By id in small letters; resource groups too.
    pub resources: Table<Resource>,
    /// By their GUIDs.
    pub operations: Table<Operation>,
}

/// What one call, or the passing of time, changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    resources: Vec<Change<Resource>>,
    operations: Vec<Change<Operation>>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.operations.is_empty()
    }
}

/// What a resource is to the fake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A resource group.
    Group,
    /// A load balancer.
    LoadBalancer,
    /// A public address.
    PublicIp,
    /// A network security group.
    SecurityGroup,
    /// What is only read: virtual networks, interfaces, machines.
    Other,
}

/// The state of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What was asked for is in effect.
    Succeeded,
    /// It is on its way.
    Updating,
    /// It goes away.
    Deleting,
    /// The last write failed. The next one that succeeds repairs it.
    Failed,
}

impl Phase {
    /// As `provisioningState` says it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Updating => "Updating",
            Self::Deleting => "Deleting",
            Self::Failed => "Failed",
        }
    }
}

/// A resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// Its id, as Azure writes it.
    pub id: String,
    /// Changes with each effective write.
    pub etag: String,
    /// How far the last write is.
    pub phase: Phase,
    /// As last asked for, with Azure's defaults: what reads show.
    pub goal: Value,
    /// What is in effect: what traffic meets. None before the first write is over.
    pub live: Option<Value>,
    /// The operation under way.
    pub(super) operation: Option<String>,
    pub(super) guid: String,
}

impl Resource {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or_default()
    }

    /// The names in one of its collections, in effect: `names("loadBalancingRules")`.
    #[must_use]
    pub fn names(&self, collection: &str) -> Vec<&str> {
        let live = self.live.as_ref();
        let all = live.map_or(&[][..], |live| json::children(live, collection));
        all.iter().map(json::name_of).collect()
    }

    /// One of a collection, in effect.
    #[must_use]
    pub fn child(&self, collection: &str, name: &str) -> Option<&Value> {
        json::child(self.live.as_ref()?, collection, name)
    }

    /// One of its tags.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        let tags = self.goal.get("tags")?.as_object()?;
        let (_, value) = tags.iter().find(|(tag, _)| json::same(tag, name))?;
        value.as_str()
    }

    /// Its region.
    pub(super) fn location(&self) -> &str {
        self.goal.text("/location").unwrap_or_default()
    }
}

/// How an operation ends.
#[derive(Clone, Debug)]
pub enum Status {
    /// Not yet.
    InProgress,
    /// As asked.
    Succeeded,
    /// With an error: code and text.
    Failed(String, String),
    /// Another one took its place.
    Canceled,
}

/// A write that takes time.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The key of the resource.
    pub resource: String,
    /// `PUT loadBalancers`
    pub call: String,
    /// How it stands.
    pub status: Status,
    /// When it began.
    pub began: Timestamp,
    pub(super) settle: Settle,
    /// How many have looked and found it under way.
    pub(super) looks: u32,
    /// How it shall fail.
    pub(super) fails: Option<Refusal>,
    /// Whether nobody will find it.
    pub(super) lost: bool,
    /// Whether it shall be canceled as if by somebody else.
    pub(super) superseded: bool,
    pub(super) deletes: bool,
}

impl Operation {
    /// Whether it is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self.status, Status::InProgress)
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.is_under_way()
            && self.looks >= self.settle.calls
            && now >= self.began + self.settle.after
    }
}

impl State {
    /// The load balancer of this name.
    #[must_use]
    pub fn load_balancer(&self, name: &str) -> Option<&Resource> {
        self.of(Kind::LoadBalancer)
            .find(|one| json::same(one.name(), name))
    }

    /// The public address of this name.
    #[must_use]
    pub fn public_ip(&self, name: &str) -> Option<&Resource> {
        self.of(Kind::PublicIp)
            .find(|one| json::same(one.name(), name))
    }

    /// The network security group of this name.
    #[must_use]
    pub fn security_group(&self, name: &str) -> Option<&Resource> {
        self.of(Kind::SecurityGroup)
            .find(|one| json::same(one.name(), name))
    }

    /// All of a kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Resource> {
        self.resources.values().filter(move |one| one.kind == kind)
    }

    pub(super) fn undo(&mut self) {
        self.resources.undo();
        self.operations.undo();
    }

    pub(super) fn take_changes(&mut self) -> Changes {
        Changes {
            resources: self.resources.take_changes(),
            operations: self.operations.take_changes(),
        }
    }
}

impl Replay for State {
    type Changes = Changes;

    fn apply(&mut self, changes: &Changes) {
        self.resources.apply(&changes.resources);
        self.operations.apply(&changes.operations);
    }
}
