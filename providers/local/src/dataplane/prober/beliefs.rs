//! What is believed of targets, on its way from one data plane to the next. Decides: no IO.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, Weak},
};

use serde::{Deserialize, Serialize};

use super::{Key, Probe, Probes};
use crate::{
    api::{Health, HealthCheck},
    dataplane::health::{Judge, Memory},
};

/// What is believed of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Belief {
    address: IpAddr,
    port: u16,
    check: HealthCheck,
    health: Health,
    /// Of a target that is not steady. Data planes before this one say nothing about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
}

/// What another data plane believed of targets that nobody has asked for yet.
pub(super) type Inherited = HashMap<Key, Judge>;

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
            let judge = probe.judge.lock().unwrap_or_else(PoisonError::into_inner);
            Belief {
                address: *address,
                port: *port,
                check: check.clone(),
                health: judge.standing().into(),
                memory: judge.memory(),
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
                memory,
            } = belief;
            let judge = match memory {
                Some(memory) => Judge::following(memory),
                None => Judge::new(health),
            };
            let key = Key {
                address,
                port,
                check,
            };
            (key, judge)
        };
        *self
            .inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = beliefs.into_iter().map(known).collect();
    }

    /// Whom a new probe starts with: where nobody knows better, with the judge that was inherited.
    pub(super) fn believing(&self, key: &Key, believed: Health) -> Judge {
        let inherited = self
            .inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let heir = inherited.get(key).filter(|_| believed == Health::Initial);
        heir.cloned().unwrap_or_else(|| Judge::new(believed))
    }
}
