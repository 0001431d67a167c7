//! What can go wrong with a call, and with which one it shall. Decides; the proxy does it.
//!
//! Occurrences are counted from [`super::Aws::inject`] on; see [`faults`].

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use super::calls::Operation;
use super::microburst::Microburst;
use crate::cloud::faults;

/// Which calls are meant.
pub type At = faults::At<Operation>;

impl At {
    /// The first call of an operation.
    #[must_use]
    pub fn first(service: &str, operation: &str) -> Self {
        Self::first_of(Operation::new(service, operation))
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

/// All faults of a proxy.
pub(super) type Faults = faults::Faults<Operation, Action>;

/// A fault on its way. It stays when this is dropped. With microburst and its label, where microburst does it.
pub type Injected = faults::Injected<Option<(&'static Microburst, String)>>;

impl Injected {
    /// Fails unless it has broken as many calls as it should: a test of a fault that never fired shows nothing. Asks microburst's own
    /// log when microburst does it.
    ///
    /// # Errors
    /// As said.
    pub async fn check(&self, times: usize) -> Result<()> {
        let fired = match &self.handle {
            Some((microburst, label)) => microburst.fired(label).await?.len(),
            None => self.fired(),
        };
        self.hold_to(fired, times)
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
}
