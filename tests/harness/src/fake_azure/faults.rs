//! What can go wrong with a call, and with which one it shall. Decides; the server does it.
//!
//! Occurrences are counted from [`super::FakeAzure::inject`] on; see [`faults`].

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;

use crate::cloud::faults;

/// Which calls are meant, by [`Call::kind`](super::Call::kind).
pub type At = faults::At<String>;

impl At {
    /// The first call of a kind: `PUT loadBalancers`.
    #[must_use]
    pub fn first(kind: &str) -> Self {
        Self::first_of(kind.to_owned())
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
    /// Whether the call is carried out all the same.
    #[must_use]
    pub fn takes_effect(&self) -> bool {
        !matches!(
            self,
            Self::Refused(_)
                | Self::Reset
                | Self::ErrorBefore
                | Self::Throttled { .. }
                | Self::Answer { .. }
                | Self::HoldBefore
        )
    }

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

/// A fault on its way. It stays when this is dropped. With what lets go of the calls that it holds.
pub type Injected = faults::Injected<watch::Sender<bool>>;

impl Injected {
    /// Lets calls that are held go on.
    pub fn release(&self) {
        self.handle.send_replace(true);
    }

    /// Fails unless it has broken as many calls as it should: a test of a fault that never fired shows nothing.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self, times: usize) -> Result<()> {
        self.hold_to(self.fired(), times)
    }
}

/// A fault that has met its call.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) fault: Fault,
    pub(super) released: watch::Receiver<bool>,
}

impl Met {
    /// One that nobody releases.
    pub(super) fn for_good(fault: Fault) -> Self {
        let (_, released) = watch::channel(false);
        Self { fault, released }
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fault)
    }
}

/// All faults.
pub(super) type Faults = faults::Faults<String, Met>;
