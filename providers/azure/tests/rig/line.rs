//! The line between provider and Azure: counts the calls at the tap, and breaks those that it says, as Azure or a network breaks them.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_harness::fake_azure::{self, FakeAzure, Watcher};
use evenkeel_laws::tap::{Call, Fault, Tap};
use futures::FutureExt as _;

use super::sight;

/// For how long nobody listens where connections are refused.
const REFUSED: Duration = Duration::from_millis(10);

/// The line.
#[derive(Debug)]
pub(super) struct Line {
    tap: Tap,
    /// Azure goes with the world.
    azure: Weak<FakeAzure>,
    /// Which process may call: a call of one that was killed goes nowhere.
    process: AtomicUsize,
    /// How many calls were broken, to break the next one another way.
    broken: AtomicUsize,
    /// Whether the process dies once the call is carried out.
    dies: AtomicUsize,
}

impl Line {
    pub(super) fn new(azure: &Arc<FakeAzure>) -> Self {
        Self {
            tap: Tap::new(),
            azure: Arc::downgrade(azure),
            process: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
            dies: AtomicUsize::new(0),
        }
    }

    pub(super) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Calls of the process before go nowhere any more.
    pub(super) fn next_process(&self) {
        self.process.fetch_add(1, Ordering::Relaxed);
        self.dies.store(0, Ordering::Relaxed);
    }

    /// How Azure, or the network, does it.
    fn breaks(&self, fault: Fault) -> fake_azure::Fault {
        let turn = self.broken.fetch_add(1, Ordering::Relaxed);
        let one_of = |ways: &[fake_azure::Fault]| ways[turn % ways.len()].clone();
        match fault {
            Fault::Unreachable => one_of(&[
                fake_azure::Fault::ErrorBefore,
                fake_azure::Fault::Reset,
                fake_azure::Fault::Refused(REFUSED),
            ]),
            Fault::Throttled => fake_azure::Fault::Throttled { after: 0 },
            Fault::Conflict => {
                fake_azure::Fault::answer(412, "PreconditionFailed", "it is another")
            }
            Fault::Rejected => fake_azure::Fault::answer(400, "InvalidRequestFormat", "not so"),
            // None is late here: the harness has an answer lost at once or not at all.
            Fault::LostAnswer | Fault::Late => {
                one_of(&[fake_azure::Fault::ReplyLost, fake_azure::Fault::ErrorAfter])
            }
            Fault::KilledBefore => fake_azure::Fault::HoldBefore,
            Fault::KilledAfter => fake_azure::Fault::HoldAfter,
            Fault::Expired => {
                fake_azure::Fault::answer(401, "ExpiredAuthenticationToken", "expired")
            }
        }
    }

    /// The process is dead.
    fn die(&self) {
        // It never ends; saying so takes no time.
        assert!(self.tap.die().now_or_never().is_none());
    }
}

fn counted(call: &fake_azure::Call) -> Call {
    if call.is_read() {
        return Call::read(&call.kind, &call.path);
    }
    let body = call.body.as_ref().map(ToString::to_string);
    let target = format!("{} {}", call.path, body.unwrap_or_default());
    Call::write(&call.kind, target)
}

#[async_trait]
impl Watcher for Line {
    async fn arrived(&self, call: &fake_azure::Call) -> Option<fake_azure::Fault> {
        if call.kind == "TOKEN" {
            return None;
        }
        let process = self.process.load(Ordering::Relaxed);
        let fault = self.tap.arrive(counted(call)).await;
        if self.process.load(Ordering::Relaxed) != process {
            return Some(fake_azure::Fault::HoldBefore);
        }
        match fault {
            Some(Fault::KilledBefore) => self.die(),
            Some(Fault::KilledAfter) => self.dies.store(1, Ordering::Relaxed),
            _ => {}
        }
        fault.map(|fault| self.breaks(fault))
    }

    async fn carried_out(&self, call: &fake_azure::Call) {
        if !call.is_read()
            && let Some(azure) = self.azure.upgrade()
        {
            self.tap.saw(sight::picture(&azure.state()));
        }
        if self.dies.swap(0, Ordering::Relaxed) > 0 {
            self.die();
        }
    }
}
