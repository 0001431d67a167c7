//! The old data plane's part of a handover. Reads and writes.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use tokio::{net::UnixStream, sync::OwnedSemaphorePermit};

use super::{
    super::{
        engine::{Engine, Frozen},
        gate::{Keeper, Shut},
        lock::{ApiSocket, Lock},
    },
    HandoverError, Line, Message, check_peer, patiently,
    wire::MAX_FILES,
};

/// Beliefs in one message.
const BELIEFS: usize = 1_000;
/// How long the new one may take for its last word before somebody has to look.
const LONG: Duration = Duration::from_secs(5);

/// A data plane that wants to take over; one at a time.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The name of its socket, beside ours.
    pub(crate) socket: String,
    /// Its version.
    pub(crate) by: String,
    /// The right to be the only one.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Nothing changes and no caller of the API comes in until this is dropped.
pub(crate) struct Still {
    _gate: Shut,
    frozen: Frozen,
}

/// Everything is offered and accepted.
pub(crate) struct Accepted {
    line: Line,
    still: Still,
    _permit: OwnedSemaphorePermit,
}

/// Offers everything, and waits until it is accepted.
pub(crate) async fn offer(
    asked: Asked,
    version: &str,
    socket: &ApiSocket,
    state_lock: &Lock,
    engine: &Engine,
    gate: &Keeper,
) -> Result<Accepted, HandoverError> {
    tracing::info!(by = asked.by, "another data plane wants to take over");
    let stream = UnixStream::connect(socket.path().with_file_name(&asked.socket)).await?;
    check_peer(&stream)?;
    let mut line = Line::new(stream);
    let offering = async {
        // Who is in already is answered before everything freezes.
        let gate = gate.shut();
        let still = Still {
            frozen: engine
                .freeze()
                .await
                .map_err(|error| HandoverError::NotNow(error.message))?,
            _gate: gate,
        };
        send(&line, version, socket, state_lock, &still.frozen).await?;
        match line.receive().await? {
            (Message::Ready, _) => Ok(still),
            _ => Err(HandoverError::Unexpected),
        }
    };
    match patiently(offering).await {
        Ok(still) => Ok(Accepted {
            line,
            still,
            _permit: asked.permit,
        }),
        Err(error) => {
            let reason = error.to_string();
            // Should it not be heard, the end of the line says the same.
            let _ = line.send(&Message::Refused { reason }, &[]).await;
            Err(error)
        }
    }
}

async fn send(
    line: &Line,
    version: &str,
    socket: &ApiSocket,
    state_lock: &Lock,
    frozen: &Frozen,
) -> Result<(), HandoverError> {
    let owner = Message::Owner {
        version: version.to_owned(),
        pid: std::process::id(),
    };
    let [api, api_lock] = socket.files()?;
    line.send(&owner, &[api, api_lock, state_lock.as_fd()])
        .await?;
    for part in frozen.sockets.chunks(MAX_FILES) {
        let files: Vec<BorrowedFd<'_>> = part.iter().map(|(_, file)| file.as_fd()).collect();
        let sockets = part.iter().map(|(socket, _)| *socket).collect();
        line.send(&Message::Sockets { sockets }, &files).await?;
    }
    for part in frozen.beliefs.chunks(BELIEFS) {
        let beliefs = part.to_vec();
        line.send(&Message::Beliefs { beliefs }, &[]).await?;
    }
    line.send(&Message::Offered, &[]).await
}

impl Accepted {
    /// Lets go. From here only the new data plane, or its end, says how it goes on. When it has taken over nothing may
    /// ever change here again: what is returned sees to that.
    ///
    /// # Errors
    /// The new one ended before it had taken over: everything is as before.
    pub(crate) async fn conclude(mut self) -> Result<Still, HandoverError> {
        self.line.send(&Message::Yours, &[]).await?;
        let line = &mut self.line;
        let last = async {
            match line.receive().await? {
                (Message::Mine, _) => Ok(()),
                _ => Err(HandoverError::Unexpected),
            }
        };
        tokio::pin!(last);
        if let Ok(last) = tokio::time::timeout(LONG, &mut last).await {
            return last.map(|()| self.still);
        }
        tracing::warn!(
            "the data plane that takes over has everything and says nothing; connections are served, changes wait; \
             end it, and this one goes on"
        );
        last.await.map(|()| self.still)
    }
}
