//! What can go wrong with a call, and with which one it shall. Decides; the server does it.
//!
//! A scenario runs once without faults; each of its calls is then a kind and an occurrence ([`At::all_of`]), which says the same in the next
//! run even where calls run side by side and their order differs. Occurrences are counted from [`super::FakeAzure::inject`] on.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use super::calls::Call;

/// Which calls are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The kind, as in [`Call::kind`].
    pub kind: String,
    /// The how-manieth call of the kind, from 1.
    pub occurrence: usize,
    /// How many calls of the kind in a row, from there.
    pub times: usize,
}

impl At {
    /// The first call of a kind: `PUT loadBalancers`.
    #[must_use]
    pub fn first(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            occurrence: 1,
            times: 1,
        }
    }

    /// Another occurrence.
    #[must_use]
    pub fn occurrence(mut self, occurrence: usize) -> Self {
        self.occurrence = occurrence;
        self
    }

    /// So many calls in a row.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Each call of a run without faults: the k-th is the k-th of these.
    #[must_use]
    pub fn all_of(calls: &[Call]) -> Vec<Self> {
        let nth = |index: usize, call: &Call| {
            let earlier = calls[..=index].iter();
            earlier.filter(|other| other.kind == call.kind).count()
        };
        let all = calls.iter().enumerate();
        all.map(|(index, call)| Self::first(&call.kind).occurrence(nth(index, call)))
            .collect()
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {} of {}", self.occurrence, self.kind)
    }
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens for so long: connections are refused, open ones are cut. The call does not reach Azure.
    Refused(Duration),
    /// The connection is reset before the call reaches Azure.
    Reset,
    /// 500 in place of the effect.
    ErrorBefore,
    /// 500 after the effect.
    ErrorAfter,
    /// The effect is there, the connection ends without a reply.
    ReplyLost,
    /// The reply comes later.
    Slow(Duration),
    /// 429 with `Retry-After` in place of the effect.
    Throttled {
        /// In seconds.
        after: u64,
    },
    /// An error of Azure's in place of the effect.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The error code.
        code: String,
        /// The text.
        message: String,
        /// Codes and texts of what lies behind it.
        details: Vec<(String, String)>,
    },
    /// The write is accepted, and its operation fails.
    FailsLate {
        /// The error code.
        code: String,
        /// The text.
        message: String,
    },
    /// The write is accepted, and its operation is canceled as if by somebody else's; what it would have changed is lost.
    Superseded,
    /// The write has its effect, and its operation is found by nobody.
    OperationLost,
    /// The call is held before it reaches Azure, until [`Injected::release`] or the connection's end.
    HoldBefore,
    /// The call has its effect, and its reply is held likewise.
    HoldAfter,
}

impl Fault {
    /// One of each kind that passes by itself: what a scenario must survive at each of its calls.
    #[must_use]
    pub fn passing() -> Vec<Self> {
        vec![
            Self::Refused(Duration::from_millis(200)),
            Self::Reset,
            Self::ErrorBefore,
            Self::ErrorAfter,
            Self::ReplyLost,
            Self::Slow(Duration::from_millis(300)),
            Self::Throttled { after: 1 },
        ]
    }

    /// One of each kind that meets only writes, and passes by itself.
    #[must_use]
    pub fn passing_of_writes() -> Vec<Self> {
        vec![
            Self::FailsLate {
                code: "InternalServerError".to_owned(),
                message: "An error occurred.".to_owned(),
            },
            Self::Superseded,
            Self::OperationLost,
        ]
    }

    /// An error of Azure's, with the status that Azure gives most of them.
    #[must_use]
    pub fn answer(status: u16, code: &str, message: &str) -> Self {
        Self::Answer {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            details: Vec::new(),
        }
    }
}

/// A fault on its way. It stays when this is dropped.
#[derive(Debug)]
pub struct Injected {
    what: String,
    fired: watch::Receiver<usize>,
    release: watch::Sender<bool>,
}

impl Injected {
    /// How many calls it has broken so far.
    #[must_use]
    pub fn fired(&self) -> usize {
        *self.fired.borrow()
    }

    /// Waits until it has broken a call.
    ///
    /// # Errors
    /// When it has not by the deadline.
    pub async fn wait(&self, deadline: Duration) -> Result<()> {
        let mut fired = self.fired.clone();
        tokio::time::timeout(deadline, fired.wait_for(|count| *count > 0))
            .await
            .with_context(|| format!("{} did not happen within {deadline:?}", self.what))?
            .with_context(|| format!("{}: the fake is gone", self.what))?;
        Ok(())
    }

    /// Lets calls that are held go on.
    pub fn release(&self) {
        self.release.send_replace(true);
    }

    /// Fails unless it has broken as many calls as it should: a test of a fault that never fired shows nothing.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self, times: usize) -> Result<()> {
        let fired = self.fired();
        anyhow::ensure!(
            fired == times,
            "{}: it fired {fired} times, not {times}",
            self.what
        );
        Ok(())
    }
}

/// A fault that has met its call.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) fault: Fault,
    pub(super) released: watch::Receiver<bool>,
}

/// All faults.
#[derive(Debug, Default)]
pub(super) struct Faults {
    planned: Mutex<Vec<Planned>>,
}

#[derive(Debug)]
struct Planned {
    at: At,
    met: Met,
    seen: usize,
    fired: watch::Sender<usize>,
}

impl Faults {
    pub(super) fn add(&self, at: &At, fault: Fault) -> Injected {
        let (fired, receiver) = watch::channel(0);
        let (release, released) = watch::channel(false);
        let injected = Injected {
            what: format!("{fault:?} at {at}"),
            fired: receiver,
            release,
        };
        self.lock().push(Planned {
            at: at.clone(),
            met: Met { fault, released },
            seen: 0,
            fired,
        });
        injected
    }

    /// What to do with a call that has arrived.
    pub(super) fn on(&self, kind: &str) -> Option<Met> {
        let mut result = None;
        for planned in self.lock().iter_mut() {
            if planned.at.kind != kind {
                continue;
            }
            planned.seen += 1;
            let first = planned.at.occurrence;
            // One fault a call; the others count the call all the same.
            if result.is_none() && (first..first + planned.at.times).contains(&planned.seen) {
                planned.fired.send_modify(|count| *count += 1);
                result = Some(planned.met.clone());
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Planned>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
