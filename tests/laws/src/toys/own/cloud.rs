//! A small cloud in memory: addresses, target sets, listeners. It refuses what clouds refuse: a name twice, a change of
//! another version, removing what is used, using what is not ready, more than the quota.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use evenkeel_core::{
    ids::{NodeName, ResourceId, ServiceRef},
    ports::PortKey,
};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::{annotations::Pool, ways::Ways};
use crate::{
    rig::{Frontend, Picture},
    samples,
    tap::Fault,
};

/// How many steps of time an object takes until it is ready.
const TAKES: u8 = 2;

/// How many addresses there are.
const QUOTA: usize = 120;

/// The tiers that this cloud has.
const TIERS: [&str; 2] = ["standard", "premium"];

/// Who an object belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Marks {
    /// UID of the cluster.
    pub cluster: Arc<str>,
    /// The group's identity.
    pub group: String,
    /// The group's name, for people.
    pub service: String,
    /// The logical id within the group.
    pub id: ResourceId,
    /// The member it serves.
    pub member: Option<ServiceRef>,
    /// Whether it stays when its Services go.
    pub retain: bool,
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.id, self.service)?;
        if let Some(member) = &self.member {
            write!(f, " for {member}")?;
        }
        f.write_str(if self.retain { ", retained" } else { "" })
    }
}

/// What is asked of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Spec {
    /// An address from a pool, for ever.
    Address {
        /// The pool.
        pool: Pool,
    },
    /// Nodes that get connections.
    TargetSet {
        /// Where on the nodes.
        node_port: u16,
        /// The nodes.
        targets: BTreeSet<NodeName>,
    },
    /// A port of an address.
    Listener {
        /// Name of the address.
        address: String,
        /// The port.
        port: PortKey,
        /// Name of the target set.
        set: String,
        /// Idle seconds.
        idle_seconds: u32,
        /// The tier.
        tier: String,
    },
}

impl Spec {
    /// What kind of object, in the cloud's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Address { .. } => "address",
            Self::TargetSet { .. } => "target set",
            Self::Listener { .. } => "listener",
        }
    }

    /// Whether it refers to the object of this name.
    pub fn refers_to(&self, name: &str) -> bool {
        matches!(self, Self::Listener { address, set, .. } if address == name || set == name)
    }

    /// Whether it is a target set without targets.
    pub fn is_empty_set(&self) -> bool {
        matches!(self, Self::TargetSet { targets, .. } if targets.is_empty())
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { pool } => write!(f, "address from {}", pool.as_str()),
            Self::TargetSet { node_port, targets } => {
                let targets: Vec<_> = targets.iter().map(NodeName::as_str).collect();
                write!(f, "{} :{node_port}", targets.join(", "))
            }
            Self::Listener {
                port,
                set,
                idle_seconds,
                tier,
                ..
            } => {
                write!(f, "{port} -> {set}, idle {idle_seconds} s, {tier}")
            }
        }
    }
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name, chosen by who made it.
    pub name: String,
    /// Its number, chosen by the cloud and never given again.
    pub id: u64,
    /// Counts its changes.
    pub version: u64,
    /// Whose it is; None for one that nobody marked.
    pub marks: Option<Marks>,
    /// What was asked.
    pub spec: Spec,
    /// The address that an address is.
    pub ip: Option<IpAddr>,
    /// Steps of time until it is ready.
    pub ready_in: u8,
    /// It was deleted, and takes this long to go.
    pub leaving: Option<Duration>,
}

impl Object {
    /// Whether it can be used.
    pub fn is_ready(&self) -> bool {
        self.ready_in == 0 && self.leaving.is_none()
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// The name is taken.
    Exists,
    /// There is no such object.
    NotFound,
    /// Others refer to it.
    InUse,
    /// It is another version than the one named.
    Changed,
    /// What it refers to cannot be used yet.
    NotReady,
    /// It cannot be had at all.
    Invalid(String),
    /// No address is left.
    QuotaExceeded,
    /// It failed on the way.
    Line(Fault),
}

impl ApiError {
    /// The code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists => "Exists",
            Self::NotFound => "NotFound",
            Self::InUse => "InUse",
            Self::Changed => "Changed",
            Self::NotReady => "NotReady",
            Self::Invalid(_) => "Invalid",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::Line(_) => "Line",
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) => f.write_str(why),
            Self::Line(fault) => write!(f, "the line failed: {fault:?}"),
            other => f.write_str(other.code()),
        }
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Self::Line(fault)
    }
}

/// How often what takes time takes a step, where nobody counts them.
const STEP: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    given: u64,
}

/// The cloud.
#[derive(Debug, Default)]
pub struct Cloud {
    ways: Ways,
    state: Mutex<State>,
}

impl Cloud {
    /// A cloud with these ways.
    pub fn with(ways: Ways) -> Self {
        Self {
            ways,
            state: Mutex::default(),
        }
    }

    /// What takes time in the cloud takes a little of it, until the task is aborted.
    pub fn let_time_pass(self: &Arc<Self>) -> JoinHandle<()> {
        let cloud = self.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(STEP);
            loop {
                tick.tick().await;
                cloud.advance();
            }
        })
    }

    /// Its ways.
    pub fn ways(&self) -> &Ways {
        &self.ways
    }

    /// Everything.
    pub fn list(&self) -> Vec<Object> {
        self.state().objects.values().cloned().collect()
    }

    /// One object.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self, name: &str) -> Result<Object, ApiError> {
        self.state()
            .objects
            .get(name)
            .cloned()
            .ok_or(ApiError::NotFound)
    }

    /// Makes an object.
    ///
    /// # Errors
    /// As clouds refuse.
    pub fn create(&self, name: &str, marks: Marks, spec: Spec) -> Result<Object, ApiError> {
        self.state().create(name, Some(marks), spec)
    }

    /// Puts in an object that nobody of ours made.
    pub fn plant(&self, name: &str, marks: Option<Marks>, spec: Spec) {
        let mut state = self.state();
        let planted = state
            .create(name, marks, spec)
            .expect("there is room for it");
        state.objects.insert(
            name.to_owned(),
            Object {
                ready_in: 0,
                ..planted
            },
        );
    }

    /// Changes an object in place.
    ///
    /// # Errors
    /// As clouds refuse.
    pub fn change(
        &self,
        name: &str,
        version: u64,
        marks: Marks,
        spec: Spec,
    ) -> Result<Object, ApiError> {
        let mut state = self.state();
        let object = state.objects.get(name).cloned().ok_or(ApiError::NotFound)?;
        if object.version != version {
            return Err(ApiError::Changed);
        }
        let immutable = |what| Err(ApiError::Invalid(format!("{what} cannot be changed")));
        match (&object.spec, &spec) {
            (Spec::Address { pool: old }, Spec::Address { pool: new }) if old == new => {}
            (Spec::TargetSet { node_port: old, .. }, Spec::TargetSet { node_port: new, .. })
                if old == new => {}
            (
                Spec::Listener {
                    address: a,
                    port: p,
                    ..
                },
                Spec::Listener { address, port, .. },
            ) if (a, p) == (address, port) => {
                state.check_listener(&spec)?;
            }
            _ => return immutable(spec.kind()),
        }
        let object = Object {
            version: version + 1,
            marks: Some(marks),
            spec,
            ..object
        };
        state.objects.insert(name.to_owned(), object.clone());
        Ok(object)
    }

    /// Removes an object.
    ///
    /// # Errors
    /// When it is not there, or used.
    pub fn delete(&self, name: &str) -> Result<(), ApiError> {
        let mut state = self.state();
        if state
            .objects
            .values()
            .any(|object| object.spec.refers_to(name))
        {
            return Err(ApiError::InUse);
        }
        if let Some(time) = self.ways.leaves_in {
            let object = state.objects.get_mut(name).ok_or(ApiError::NotFound)?;
            object.leaving = Some(time);
            return Ok(());
        }
        state
            .objects
            .remove(name)
            .map(drop)
            .ok_or(ApiError::NotFound)
    }

    /// What was deleted goes now.
    pub fn let_leave(&self) {
        self.state()
            .objects
            .retain(|_, object| object.leaving.is_none());
    }

    /// Takes an object away behind everybody's back.
    pub fn lose(&self, name: &str) {
        self.state().objects.remove(name);
    }

    /// A step of time.
    pub fn advance(&self) {
        for object in self.state().objects.values_mut() {
            object.ready_in = object.ready_in.saturating_sub(1);
        }
    }

    /// What the clients of our cluster's load balancers meet.
    pub fn picture(&self) -> Picture {
        let state = self.state();
        let ready = |name: &str| state.objects.get(name).filter(|object| object.is_ready());
        let ours = samples::cluster();
        let mut picture = Picture::default();
        for object in state.objects.values().filter(|object| object.is_ready()) {
            let (
                Spec::Listener {
                    address, port, set, ..
                },
                Some(marks),
            ) = (&object.spec, &object.marks)
            else {
                continue;
            };
            let (Some(member), Some(ip)) =
                (&marks.member, ready(address).and_then(|address| address.ip))
            else {
                continue;
            };
            if marks.cluster == ours.uid {
                let targets = match ready(set).map(|set| &set.spec) {
                    Some(Spec::TargetSet { targets, .. }) => targets.clone(),
                    _ => BTreeSet::new(),
                };
                let frontend = Frontend {
                    member: member.uid.clone(),
                    port: *port,
                    address: ip.to_string(),
                };
                picture.frontends.insert(frontend, targets);
            }
        }
        picture
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn create(&mut self, name: &str, marks: Option<Marks>, spec: Spec) -> Result<Object, ApiError> {
        if self.objects.contains_key(name) {
            return Err(ApiError::Exists);
        }
        let ip = match &spec {
            Spec::Address { .. } => Some(self.free_address()?),
            Spec::TargetSet { .. } => None,
            Spec::Listener {
                address: new, port, ..
            } => {
                self.check_listener(&spec)?;
                let same = |object: &Object| matches!(&object.spec, Spec::Listener { address, port: p, .. } if address == new && p == port);
                if self.objects.values().any(same) {
                    return Err(ApiError::Exists);
                }
                None
            }
        };
        self.given += 1;
        let object = Object {
            name: name.to_owned(),
            id: self.given,
            version: 1,
            marks,
            spec,
            ip,
            ready_in: TAKES,
            leaving: None,
        };
        self.objects.insert(name.to_owned(), object.clone());
        Ok(object)
    }

    fn check_listener(&self, spec: &Spec) -> Result<(), ApiError> {
        let Spec::Listener {
            address, set, tier, ..
        } = spec
        else {
            return Ok(());
        };
        if !TIERS.contains(&tier.as_str()) {
            return Err(ApiError::Invalid(format!(
                "tier: {tier:?} is not offered. Choose one of {}.",
                TIERS.join(", ")
            )));
        }
        for name in [address, set] {
            match self.objects.get(name) {
                None => return Err(ApiError::NotFound),
                Some(object) if !object.is_ready() => return Err(ApiError::NotReady),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn free_address(&self) -> Result<IpAddr, ApiError> {
        let taken: BTreeSet<_> = self
            .objects
            .values()
            .filter_map(|object| object.ip)
            .collect();
        (1..=QUOTA)
            .filter_map(|number| u8::try_from(number).ok())
            .map(|number| IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
            .find(|ip| !taken.contains(ip))
            .ok_or(ApiError::QuotaExceeded)
    }
}
