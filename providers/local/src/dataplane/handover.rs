//! A new data plane takes the place of the one that runs, without losing a connection attempt.
//!
//! The new one asks over the API (`POST /v1/handover`) and waits on a socket of its own beside the API's. There the old
//! one hands over open files, which stay open and locked whoever ends: its locks, the API's socket and every port.
//!
//! | step | old | new |
//! | --- | --- | --- |
//! | asked | changes nothing any more; requests wait | waits |
//! | offered | sends everything; accepts connections as before | loads the state, checks all |
//! | `Ready` | may still take it back: an end of the line is the end of the attempt | holds everything, uses nothing |
//! | `Yours` | waits for the last word | accepts connections, opens the API |
//! | `Mine` | closes its files and drains | changes what it likes |
//!
//! A new one whose line breaks because the old one ended takes the place as if nobody had been there.
//!
//! Nothing on disk changes before `Mine`. That is why the old one goes on as if nothing had been when the line ends
//! sooner, and why neither a change nor a port can have two masters. [`give`] is the old one's part, [`take`] the new one's.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use super::prober::Belief;
use crate::api::Protocol;

pub(crate) mod give;
pub(crate) mod take;
mod wire;

pub(crate) use wire::Line;

/// How long each side waits for the other while the old one can still take everything back: time to load a large state.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the two say to each other; see the table above.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Message {
    /// Old: who runs. With its files: the API's listening socket, the lock of the API, the lock of the state.
    Owner { version: String, pid: u32 },
    /// Old: ports that are open, each with its file.
    Sockets { sockets: Vec<Socket> },
    /// Old: what it believes of the targets' health.
    Beliefs { beliefs: Vec<Belief> },
    /// Old: that was all.
    Offered,
    /// New: everything is in hand.
    Ready,
    /// Old: go.
    Yours,
    /// New: gone.
    Mine,
    /// Either: it comes to nothing, for this reason.
    Refused { reason: String },
}

impl Message {
    /// For the log.
    fn name(&self) -> &'static str {
        match self {
            Self::Owner { .. } => "Owner",
            Self::Sockets { .. } => "Sockets",
            Self::Beliefs { .. } => "Beliefs",
            Self::Offered => "Offered",
            Self::Ready => "Ready",
            Self::Yours => "Yours",
            Self::Mine => "Mine",
            Self::Refused { .. } => "Refused",
        }
    }
}

/// A port that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Socket {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The data plane that runs refused, or does not know how.
    #[error("the running data plane hands nothing over: {0}")]
    Asked(String),
    /// The two data planes run as different users.
    #[error(
        "the other data plane runs as user {theirs} and this one as user {ours}; start both as the same user"
    )]
    OtherUser {
        /// Its user id.
        theirs: u32,
        /// Our user id.
        ours: u32,
    },
    /// The two data planes have different state files.
    #[error(
        "{} is not the state of the running data plane; start with its --state-dir", .path.display()
    )]
    OtherState {
        /// The configured file.
        path: PathBuf,
    },
    /// The other side gave up.
    #[error("the other data plane gave up: {0}")]
    Refused(String),
    /// The other side is silent.
    #[error("the other data plane did not answer within {} s; look at its log, and start again", PATIENCE.as_secs())]
    Slow,
    /// The other side says what it should not say now.
    #[error("the other data plane said something unexpected; look at its log, and start again")]
    Unexpected,
    /// Files got lost on the way.
    #[error(
        "the limit of open files is too low for the ports of the running data plane; raise it (LimitNOFILE=) and start again"
    )]
    TooFewFiles,
    /// Our own state cannot be written or frozen now.
    #[error("{0}")]
    NotNow(String),
    /// The line between the two broke.
    #[error("the connection between the two data planes broke: {0}; start again")]
    Broken(#[from] io::Error),
}

/// Says no when the other end of a line is neither our user nor root.
fn check_peer(stream: &UnixStream) -> Result<(), HandoverError> {
    let theirs = stream.peer_cred()?.uid();
    let ours = rustix::process::geteuid().as_raw();
    if theirs == ours || theirs == 0 {
        Ok(())
    } else {
        Err(HandoverError::OtherUser { theirs, ours })
    }
}

/// Waits, but not for ever.
async fn patiently<T>(
    what: impl Future<Output = Result<T, HandoverError>>,
) -> Result<T, HandoverError> {
    tokio::time::timeout(PATIENCE, what)
        .await
        .unwrap_or(Err(HandoverError::Slow))
}
