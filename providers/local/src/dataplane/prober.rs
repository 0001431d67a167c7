//! The health probes. Reads the network.
//!
//! There is one probe per address, port and check, whoever asks for it: all backend sets that want it share the
//! same [`Probe`], and it ends when the last one lets go. A probe of new settings starts from what the old one
//! believed, so that changing a check does not make good targets look unknown.
//!
//! One task knows when each probe is due. A probe that waits is an entry in a list and costs no task, no timer and
//! no file; only those that look have a task, and of them there are few at a time.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use tokio::sync::mpsc;

use self::{clock::Clock, look::Failure};
use super::health::{Judge, Standing};
use crate::api::{Health, HealthCheck};

mod beliefs;
mod clock;
mod look;

pub(crate) use beliefs::Belief;

/// Why a target that answers is not used.
const FLAPPING: &str = "flapping";

/// What a probe looks at and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: IpAddr,
    port: u16,
    check: HealthCheck,
}

impl Key {
    fn of(target: SocketAddr, check: &HealthCheck) -> Self {
        let port = check.port.unwrap_or(target.port());
        // Asking for a port by number or by being the target's own is the same probe.
        Self {
            address: target.ip(),
            port,
            check: HealthCheck {
                port: None,
                ..check.clone()
            },
        }
    }
}

type Running = Mutex<HashMap<Arc<Key>, Weak<Probe>>>;

/// All probes of the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probes {
    running: Arc<Running>,
    inherited: Arc<Mutex<beliefs::Inherited>>,
    /// The way to the task, which runs from the first probe on and ends with the last clone of this.
    task: Arc<OnceLock<mpsc::UnboundedSender<Weak<Probe>>>>,
}

impl Probes {
    /// The probe for a target, started when nobody has it yet. `believed` is the health that holds until its
    /// first result.
    pub(crate) fn want(
        &self,
        target: SocketAddr,
        check: &HealthCheck,
        believed: Health,
    ) -> Arc<Probe> {
        let key = Arc::new(Key::of(target, check));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(probe) = running.get(&key).and_then(Weak::upgrade) {
            return probe;
        }
        let judge = self.believing(&key, believed);
        let probe = Arc::new(Probe {
            key: Arc::clone(&key),
            standing: AtomicU8::new(judge.standing() as u8),
            judge: Mutex::new(judge),
            reason: Mutex::default(),
            running: Arc::downgrade(&self.running),
        });
        running.insert(key, Arc::downgrade(&probe));
        let task = self.task.get_or_init(|| {
            let (wanted, arriving) = mpsc::unbounded_channel();
            tokio::spawn(Clock::new(fastrand::Rng::new()).run(arriving));
            wanted
        });
        // When the runtime ends, so do the probes.
        let _ = task.send(Arc::downgrade(&probe));
        probe
    }

    /// How many probes run.
    pub(crate) fn count(&self) -> usize {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

/// A running probe; it ends with its last owner.
#[derive(Debug)]
pub(crate) struct Probe {
    key: Arc<Key>,
    judge: Mutex<Judge>,
    /// Its [`Standing`] by its number: read for every target of every connection.
    standing: AtomicU8,
    reason: Mutex<Option<Box<str>>>,
    running: Weak<Running>,
}

impl Probe {
    pub(crate) fn standing(&self) -> Standing {
        let number = self.standing.load(Relaxed);
        [Standing::Initial, Standing::Healthy, Standing::Flapping]
            .into_iter()
            .find(|standing| *standing as u8 == number)
            .unwrap_or(Standing::Unhealthy)
    }

    /// Why the latest probe failed, while the target counts as unhealthy; `flapping` when it answers and is not
    /// believed.
    pub(crate) fn reason(&self) -> Option<String> {
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.as_deref().map(str::to_owned)
    }

    /// Takes the result of a look into account, and logs it when it changes what is thought of the target.
    fn heed(&self, result: Result<(), &Failure>) {
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = judge.observe(result.is_ok(), &self.key.check);
        drop(judge);
        let failure = result.err();
        let reason = match standing {
            Standing::Initial | Standing::Healthy => None,
            Standing::Flapping => Some(FLAPPING.to_owned()),
            Standing::Unhealthy => failure.map(ToString::to_string),
        };
        let before = self.standing();
        if before != standing {
            let (reason, key) = (reason.as_deref().unwrap_or_default(), &self.key);
            tracing::info!(target_address = %key.address, port = key.port, health = ?standing, reason, "target health changed");
        }
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason.map(Into::into);
        self.standing.store(standing as u8, Relaxed);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let Some(running) = self.running.upgrade() else {
            return;
        };
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        // By now a successor may stand under the same key.
        if running
            .get(&self.key)
            .is_some_and(|probe| probe.strong_count() == 0)
        {
            running.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod scale;
#[cfg(test)]
mod tests;
