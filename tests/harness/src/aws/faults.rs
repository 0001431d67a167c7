//! What can go wrong with a call, and with which one it shall. Decides; the proxy does it.
//!
//! A scenario runs once without faults; each of its calls is then an operation and an occurrence ([`At::all_of`]), which says the same in
//! the next run even where calls run side by side and their order differs. Occurrences are counted from [`super::Aws::inject`] on.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use super::calls::Call;
use super::microburst::Microburst;

/// Which calls are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The service as botocore names it: `elbv2`, `ec2`.
    pub service: String,
    /// The operation: `CreateLoadBalancer`.
    pub operation: String,
    /// The how-manieth call of the operation, from 1.
    pub occurrence: usize,
    /// How many calls of the operation in a row, from there. An SDK tries some failures again by itself: these are calls too.
    pub times: usize,
}

impl At {
    /// The first call of an operation.
    #[must_use]
    pub fn first(service: &str, operation: &str) -> Self {
        Self {
            service: service.to_owned(),
            operation: operation.to_owned(),
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
            calls[..=index]
                .iter()
                .filter(|other| other.name() == call.name())
                .count()
        };
        calls
            .iter()
            .enumerate()
            .map(|(index, call)| {
                Self::first(&call.service, &call.operation).occurrence(nth(index, call))
            })
            .collect()
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "call {} of {}:{}",
            self.occurrence, self.service, self.operation
        )
    }
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens for so long: connections are refused, open ones are cut. The call does not reach AWS.
    Refused(Duration),
    /// The connection is reset before the call reaches AWS.
    Reset,
    /// 500 in place of the effect.
    ErrorBefore,
    /// 500 after the effect.
    ErrorAfter,
    /// The effect is there, the connection ends without a reply.
    ReplyLost,
    /// The reply comes later.
    Slow(Duration),
    /// The account's rate is used up: `Throttling`, of EC2 `RequestLimitExceeded`. The call has no effect.
    Throttled,
    /// An error of AWS's in place of the effect.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The error code.
        code: String,
        /// The text.
        message: String,
    },
    /// The call is held before it reaches AWS, until the connection ends: whoever waits for it can be ended there ([`Injected::wait`]).
    HoldBefore,
    /// The call has its effect, and its reply is held until the connection ends.
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
            Self::Throttled,
        ]
    }

    /// An error of AWS's, with the status that AWS gives most of them.
    #[must_use]
    pub fn answer(code: &str, message: &str) -> Self {
        Self::Answer {
            status: 400,
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Whether the call has its effect.
    #[must_use]
    pub fn takes_effect(&self) -> bool {
        matches!(
            self,
            Self::ErrorAfter | Self::ReplyLost | Self::Slow(_) | Self::HoldAfter
        )
    }
}

/// What the proxy does with a call.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Fault(Fault),
    /// Marks the request for microburst, which has a rule for this mark.
    Label(String),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault:?}"),
            Self::Label(_) => f.write_str("by microburst"),
        }
    }
}

/// A fault on its way. It stays when this is dropped.
#[derive(Debug)]
pub struct Injected {
    what: String,
    fired: watch::Receiver<usize>,
    microburst: Option<(&'static Microburst, String)>,
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
            .with_context(|| format!("{}: the proxy is gone", self.what))?;
        Ok(())
    }

    /// Fails unless it has broken as many calls as it should: a test of a fault that never fired shows nothing. Asks microburst's own
    /// log when microburst does it.
    ///
    /// # Errors
    /// As said.
    pub async fn check(&self, times: usize) -> Result<()> {
        let fired = match &self.microburst {
            Some((microburst, label)) => microburst.fired(label).await?.len(),
            None => self.fired(),
        };
        anyhow::ensure!(
            fired == times,
            "{}: it fired {fired} times, not {times}",
            self.what
        );
        Ok(())
    }
}

/// All faults of a proxy.
#[derive(Debug, Default)]
pub(super) struct Faults {
    planned: Mutex<Vec<Planned>>,
}

#[derive(Debug)]
struct Planned {
    at: At,
    action: Action,
    seen: usize,
    fired: watch::Sender<usize>,
}

impl Faults {
    pub(super) fn add(
        &self,
        at: &At,
        action: Action,
        microburst: Option<&'static Microburst>,
    ) -> Injected {
        let (fired, receiver) = watch::channel(0);
        let microburst = match (&action, microburst) {
            (Action::Label(label), Some(microburst)) => Some((microburst, label.clone())),
            _ => None,
        };
        let injected = Injected {
            what: format!("{action} at {at}"),
            fired: receiver,
            microburst,
        };
        self.lock().push(Planned {
            at: at.clone(),
            action,
            seen: 0,
            fired,
        });
        injected
    }

    /// What to do with a call that has arrived.
    pub(super) fn on(&self, service: &str, operation: &str) -> Option<Action> {
        let mut result = None;
        for planned in self.lock().iter_mut() {
            if planned.at.service != service || planned.at.operation != operation {
                continue;
            }
            planned.seen += 1;
            let first = planned.at.occurrence;
            // One fault a call; the others count the call all the same.
            if result.is_none() && (first..first + planned.at.times).contains(&planned.seen) {
                planned.fired.send_modify(|count| *count += 1);
                result = Some(planned.action.clone());
            }
        }
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Planned>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::tests::call;
    use super::*;

    #[test]
    fn the_kth_call_of_a_run_is_an_operation_and_an_occurrence() {
        let run = [
            "CreateTargetGroup",
            "CreateLoadBalancer",
            "CreateTargetGroup",
        ]
        .map(|operation| call("elbv2", operation));
        let found: Vec<_> = At::all_of(&run).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "call 1 of elbv2:CreateTargetGroup",
                "call 1 of elbv2:CreateLoadBalancer",
                "call 2 of elbv2:CreateTargetGroup"
            ]
        );
    }

    #[test]
    fn a_fault_meets_its_occurrences_only() {
        let faults = Faults::default();
        let at = At::first("elbv2", "CreateListener").occurrence(2).times(2);
        let injected = faults.add(&at, Action::Fault(Fault::Reset), None);
        let other = faults.add(
            &At::first("ec2", "CreateListener"),
            Action::Fault(Fault::Reset),
            None,
        );
        let met: Vec<_> = (0..5)
            .map(|_| faults.on("elbv2", "CreateListener").is_some())
            .collect();
        assert_eq!(met, [false, true, true, false, false]);
        assert!(faults.on("elbv2", "DeleteListener").is_none());
        assert_eq!((injected.fired(), other.fired()), (2, 0));
    }
}
