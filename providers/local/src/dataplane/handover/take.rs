//! The new data plane's part of a handover. Reads and writes.

use std::{
    collections::HashMap,
    fs::{self, File, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::{UnixListener, UnixStream},
};

use super::{
    super::{
        lock::{ApiSocket, Lock},
        prober::Belief,
    },
    HandoverError, Line, Message, Socket, check_peer, patiently,
};
use crate::{
    api::{HANDOVER_VERSION, Handover, code},
    client::Client,
};

/// How long the running data plane may take to say whether it hands over.
const ANSWER: Duration = Duration::from_secs(10);

/// What the old data plane left running, to be taken up by whoever needs it.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Several of one port where the kernel shares its clients among them.
    pub(crate) sockets: HashMap<Socket, Vec<OwnedFd>>,
    pub(crate) beliefs: Vec<Belief>,
}

/// Everything that is offered. Dropped, it comes to nothing and the old data plane goes on.
#[derive(Debug)]
pub(crate) struct Offered {
    line: Line,
    version: String,
    pid: u32,
    api: OwnedFd,
    api_lock: File,
    state_lock: File,
    inherited: Inherited,
}

/// Has the data plane at this socket offer what it has.
pub(crate) async fn ask(socket: &Path, state: &Path) -> Result<Offered, HandoverError> {
    let meeting = Meeting::open(socket)?;
    let ask = Handover {
        version: HANDOVER_VERSION,
        socket: meeting.name.clone(),
        by: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let client = Client::new(socket, Arc::from(""), ANSWER);
    client.hand_over(&ask).await.map_err(|error| match error.code.as_deref() {
        Some(code::NOT_FOUND) => HandoverError::Asked(
            "it is of a version that cannot; stop it, which ends its connections, and start this one".to_owned(),
        ),
        Some(_) => HandoverError::Asked(error.to_string()),
        // No answer.
        None => HandoverError::Broken(io::Error::other(error)),
    })?;
    // Ends with the old one, and says so when nothing else does.
    let mut life = UnixStream::connect(socket).await?;
    patiently(async {
        let (stream, _) = tokio::select! {
            met = meeting.listener.accept() => met?,
            _ = life.read_u8() => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        };
        drop((meeting, life));
        check_peer(&stream)?;
        let offered = receive(Line::new(stream)).await?;
        // The very same file, whatever its path: the two may run in different containers.
        let theirs = offered.state_lock.metadata()?;
        let same = fs::metadata(Lock::file_of(state))
            .is_ok_and(|ours| (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()));
        if same {
            Ok(offered)
        } else {
            let error = HandoverError::OtherState {
                path: state.to_owned(),
            };
            offered.refuse(&error).await;
            Err(error)
        }
    })
    .await
}

async fn receive(mut line: Line) -> Result<Offered, HandoverError> {
    let (Message::Owner { version, pid }, files) = line.receive().await? else {
        return Err(HandoverError::Unexpected);
    };
    let Ok([api, api_lock, state_lock]) = <[OwnedFd; 3]>::try_from(files) else {
        return Err(HandoverError::Unexpected);
    };
    let mut inherited = Inherited::default();
    loop {
        match line.receive().await? {
            (Message::Sockets { sockets }, files) if sockets.len() == files.len() => {
                for (socket, file) in sockets.into_iter().zip(files) {
                    inherited.sockets.entry(socket).or_default().push(file);
                }
            }
            (Message::Beliefs { beliefs }, _) => inherited.beliefs.extend(beliefs),
            (Message::Offered, _) => break,
            _ => return Err(HandoverError::Unexpected),
        }
    }
    Ok(Offered {
        line,
        version,
        pid,
        api,
        api_lock: api_lock.into(),
        state_lock: state_lock.into(),
        inherited,
    })
}

impl Offered {
    /// Says that nothing comes of it.
    pub(crate) async fn refuse(self, error: &impl ToString) {
        let reason = error.to_string();
        // Should it not be heard, the end of the line says the same.
        let _ = self.line.send(&Message::Refused { reason }, &[]).await;
    }

    /// Accepts what is offered, and waits until it may be used.
    pub(crate) async fn accept(self, socket: &Path) -> Result<Taken, HandoverError> {
        let Self {
            mut line,
            version,
            pid,
            api,
            api_lock,
            state_lock,
            inherited,
        } = self;
        line.send(&Message::Ready, &[]).await?;
        match patiently(line.receive()).await? {
            (Message::Yours, _) => {}
            _ => return Err(HandoverError::Unexpected),
        }
        tracing::info!(
            version,
            pid,
            ports = inherited.sockets.len(),
            "taking over from the data plane that runs"
        );
        Ok(Taken {
            line,
            socket: ApiSocket::inherited(socket, api_lock, api.into()),
            state_lock: Lock::inherited(state_lock),
            inherited,
        })
    }
}

/// What may be used, and is ours once the old data plane has heard so.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) line: Line,
    pub(crate) socket: ApiSocket,
    pub(crate) state_lock: Lock,
    pub(crate) inherited: Inherited,
}

/// The last word.
pub(crate) async fn done(line: Line) {
    // Should the old one have ended meanwhile, there is nobody left who would have to know.
    if let Err(error) = line.send(&Message::Mine, &[]).await {
        tracing::info!(%error, "the data plane that ran has ended");
    }
}

/// Where the old data plane comes to: a socket beside the API's, gone when this is dropped.
#[derive(Debug)]
struct Meeting {
    name: String,
    path: PathBuf,
    listener: UnixListener,
}

impl Meeting {
    fn open(socket: &Path) -> Result<Self, HandoverError> {
        // No longer than the name of the API's socket by default, so that its path is short enough too.
        let name = format!("take-{:08x}", fastrand::u32(..));
        let path = socket.with_file_name(&name);
        let listener = UnixListener::bind(&path)?;
        let meeting = Self {
            name,
            path,
            listener,
        };
        fs::set_permissions(&meeting.path, Permissions::from_mode(0o600))?;
        Ok(meeting)
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(socket = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}
