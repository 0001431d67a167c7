//! What is believed of targets, on its way from one data plane to the next. Decides: no IO.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, Weak},
};

use serde::{Deserialize, Serialize};

use super::{Key, Probe, Probes};
use crate::api::{Health, HealthCheck};

/// What is believed of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Belief {
    address: IpAddr,
    port: u16,
    check: HealthCheck,
    health: Health,
}

/// What another data plane believed of targets that nobody has asked for yet.
pub(super) type Inherited = HashMap<Key, Health>;

impl Probes {
    /// What is believed of all targets.
    pub(crate) fn beliefs(&self) -> Vec<Belief> {
        // Taken out first: a probe that ends with what is held here wants the lock too.
        let running: Vec<Arc<Probe>> = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.values().filter_map(Weak::upgrade).collect()
        };
        let belief = |probe: Arc<Probe>| {
            let Key {
                address,
                port,
                check,
            } = &*probe.key;
            Belief {
                address: *address,
                port: *port,
                check: check.clone(),
                health: probe.standing().into(),
            }
        };
        running.into_iter().map(belief).collect()
    }

    /// Has new probes start from what another data plane believed, until they inherit something else.
    pub(crate) fn inherit(&self, beliefs: Vec<Belief>) {
        let known = |belief: Belief| {
            let Belief {
                address,
                port,
                check,
                health,
            } = belief;
            let key = Key {
                address,
                port,
                check,
            };
            (key, health)
        };
        *self
            .inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = beliefs.into_iter().map(known).collect();
    }

    /// What a new probe starts from.
    pub(super) fn believed(&self, key: &Key, believed: Health) -> Health {
        let inherited = self
            .inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match believed {
            Health::Initial => inherited.get(key).copied().unwrap_or(believed),
            known => known,
        }
    }
}
