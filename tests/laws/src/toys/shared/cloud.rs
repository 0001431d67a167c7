//! A small cloud in memory with one object. A write names the version it is over, takes time, and shuts out every other write
//! meanwhile. It refuses what clouds refuse, sometimes without saying which part was wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::watch;

use super::{
    commit::{part_of, raw},
    model::{Given, Part},
};
use crate::{
    rig::{Frontend, Picture},
    samples,
    tap::Fault,
};

/// How many steps of time a write takes.
const TAKES: u8 = 2;

/// How many fronts there may be.
const QUOTA: usize = 120;

/// A tier that is refused with the name of the part that asks for it.
pub const REFUSED_BY_NAME: &str = "golden";

/// A tier that is refused without a word about who asks for it.
pub const REFUSED_UNNAMED: &str = "leaden";

/// The object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// Counts writes.
    pub version: u64,
    /// Whether a write is in progress. What it makes is shown from its start, as clouds do; clients meet it at its end.
    pub updating: bool,
    /// Everything in it, by name.
    pub parts: BTreeMap<String, Value>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// It is another version than the one named.
    Changed,
    /// Another write is in progress.
    Busy,
    /// A part cannot be had.
    Refused {
        /// Which, where the cloud says so.
        part: Option<String>,
        /// Why.
        why: String,
    },
    /// No address is left.
    QuotaExceeded,
    /// It failed on the way.
    Line(Fault),
}

impl ApiError {
    /// The code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Changed => "Changed",
            Self::Busy => "Busy",
            Self::Refused { .. } => "Refused",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::Line(_) => "Line",
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { why, .. } => f.write_str(why),
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

#[derive(Debug, Default)]
struct State {
    live: Body,
    /// The write in progress: what it makes, and the steps of time it still takes.
    next: Option<(Body, u8)>,
    given: u64,
}

/// The cloud.
#[derive(Debug, Default)]
pub struct Cloud {
    state: Mutex<State>,
    idle: watch::Sender<bool>,
}

impl Cloud {
    /// The object.
    pub fn get(&self) -> Body {
        let state = self.state();
        match &state.next {
            Some((next, _)) => Body {
                updating: true,
                ..next.clone()
            },
            None => state.live.clone(),
        }
    }

    /// Begins to write it whole.
    ///
    /// # Errors
    /// As clouds refuse.
    pub fn put(&self, version: u64, mut parts: BTreeMap<String, Value>) -> Result<(), ApiError> {
        let mut state = self.state();
        if state.next.is_some() {
            return Err(ApiError::Busy);
        }
        if state.live.version != version {
            return Err(ApiError::Changed);
        }
        let mut known: Vec<(String, Part)> = parts
            .iter()
            .filter_map(|(name, raw)| Some((name.clone(), known(raw)?)))
            .collect();
        for (name, part) in &known {
            check(name, part)?;
        }
        let fronts = || known.iter().flat_map(|(_, part)| part.fronts.values());
        if fronts().count() > QUOTA {
            return Err(ApiError::QuotaExceeded);
        }
        let mut taken: BTreeSet<_> = fronts()
            .filter_map(|front| front.given)
            .map(|given| given.address)
            .collect();
        for (name, part) in &mut known {
            for front in part
                .fronts
                .values_mut()
                .filter(|front| front.given.is_none())
            {
                let address = free_address(&taken);
                taken.insert(address);
                state.given += 1;
                front.given = Some(Given {
                    id: state.given,
                    address,
                });
            }
            parts.insert(name.clone(), raw(part));
        }
        state.next = Some((
            Body {
                version: version + 1,
                parts,
                updating: false,
            },
            TAKES,
        ));
        self.idle.send_replace(false);
        Ok(())
    }

    /// Puts in a part that nobody of ours made.
    pub fn plant(&self, name: &str, part: Value) {
        let mut state = self.state();
        state.live.parts.insert(name.to_owned(), part);
        state.live.version += 1;
    }

    /// Returns when no write is in progress.
    pub async fn until_idle(&self) {
        // The sender lives as long as this cloud, so waiting cannot fail.
        let _ = self.idle.subscribe().wait_for(|idle| *idle).await;
    }

    /// A step of time.
    pub fn advance(&self) {
        let mut state = self.state();
        match state.next.take() {
            Some((next, 1)) => {
                state.live = next;
                self.idle.send_replace(true);
            }
            Some((next, steps)) => state.next = Some((next, steps - 1)),
            None => {}
        }
    }

    /// What the clients of our cluster's load balancers meet.
    pub fn picture(&self) -> Picture {
        let mut picture = Picture::default();
        for part in self
            .get()
            .parts
            .values()
            .filter_map(|raw| part_of(raw, &samples::cluster()))
        {
            for (front, given) in part
                .fronts
                .values()
                .filter_map(|front| Some((front, front.given?)))
            {
                for listener in &front.listeners {
                    let address = given.address.to_string();
                    let frontend = Frontend {
                        member: listener.member.uid.clone(),
                        port: listener.port,
                        address,
                    };
                    picture.frontends.insert(frontend, part.targets.clone());
                }
            }
        }
        picture
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part that this cloud understands; whatever else is in the object is kept as it is.
fn known(raw: &Value) -> Option<Part> {
    serde_json::from_value(raw.clone()).ok()
}

fn check(name: &str, part: &Part) -> Result<(), ApiError> {
    let tiers = || {
        part.fronts
            .values()
            .flat_map(|front| &front.listeners)
            .map(|listener| listener.tier.as_str())
    };
    if tiers().any(|tier| tier == REFUSED_UNNAMED) {
        return Err(ApiError::Refused {
            part: None,
            why: "A tier is not offered. Choose another.".to_owned(),
        });
    }
    if tiers().any(|tier| tier == REFUSED_BY_NAME) {
        let why = format!("{name}: tier {REFUSED_BY_NAME} is not offered. Choose another.");
        return Err(ApiError::Refused {
            part: Some(name.to_owned()),
            why,
        });
    }
    Ok(())
}

fn free_address(taken: &BTreeSet<IpAddr>) -> IpAddr {
    (1..=u8::MAX)
        .map(|number| IpAddr::V4(Ipv4Addr::new(198, 51, 100, number)))
        .find(|address| !taken.contains(address))
        .expect("the quota is smaller than the pool")
}
