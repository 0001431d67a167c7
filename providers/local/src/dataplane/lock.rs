//! One data plane per socket and state file. Reads and writes.
//!
//! The right to a path is a lock on a file beside it, which the kernel gives up when its holder ends, however it
//! ends. A lock file that is left behind means nothing, and is left behind on purpose: removing it would let two
//! processes lock two files of one name. In a handover the open file itself is passed on, and with it the lock.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::{FileTypeExt, OpenOptionsExt, PermissionsExt},
            net,
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::{UnixListener, UnixStream};

use super::files::suffixed;

/// What the socket's name ends with until it may be connected to.
pub(crate) const PENDING_SUFFIX: &str = ".new";
/// Callers of the API that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Why a path cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another data plane answers on the socket.
    #[error(
        "another data plane (pid {pid}) owns {}; start with --take-over to have it hand over its ports and end, or stop \
         it, or choose another path", .path.display()
    )]
    Runs {
        /// The path.
        path: PathBuf,
        /// Process id of the owner, or `unknown`.
        pid: String,
    },
    /// Another data plane has the state file.
    #[error("another data plane (pid {pid}) owns {}; stop it or choose another path", .path.display())]
    Owned {
        /// The path.
        path: PathBuf,
        /// Process id of the owner, or `unknown`.
        pid: String,
    },
    /// Something that is not a socket stands in the socket's place.
    #[error("{} is not a socket; remove it or choose another path", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{} cannot be used: {source}; choose another path or correct its permissions", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The right to a path, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Lock {
    /// Takes the right to `path`.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(Self::file_of(path))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The pid is only for the message.
                let _ = file.read_to_string(&mut pid);
                let pid = match pid.trim() {
                    "" => "unknown".to_owned(),
                    pid => pid.to_owned(),
                };
                return Err(LockError::Owned {
                    path: path.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut lock = Self { file };
        lock.sign();
        Ok(lock)
    }

    /// The file that is locked for the right to `path`.
    pub(crate) fn file_of(path: &Path) -> PathBuf {
        suffixed(path, ".lock")
    }

    /// A lock that another process has taken and shares with us.
    pub(crate) fn inherited(file: File) -> Self {
        Self { file }
    }

    /// Says who has it, for people.
    pub(crate) fn sign(&mut self) {
        let file = &mut self.file;
        let signed = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = signed {
            tracing::debug!(%error, "the process id could not be written into the lock file");
        }
    }
}

/// The API's socket; its file goes when this is dropped, if it is ours.
#[derive(Debug)]
pub(crate) struct ApiSocket {
    path: PathBuf,
    lock: Lock,
    /// Kept to be handed over.
    listener: Option<net::UnixListener>,
    ours: bool,
}

impl ApiSocket {
    /// Takes the right to the socket's path, and makes sure that nobody answers there.
    pub(crate) async fn claim(path: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let lock = Lock::take(path).map_err(|error| match error {
            LockError::Owned { path: _, pid } => LockError::Runs {
                path: path.to_owned(),
                pid,
            },
            other => other,
        })?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io(source)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(LockError::NotASocket {
                    path: path.to_owned(),
                });
            }
            // Without our lock it is no data plane of ours, yet somebody may live there.
            Ok(_) => match tokio::time::timeout(Duration::from_secs(1), UnixStream::connect(path))
                .await
            {
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tracing::info!(socket = %path.display(), "replacing the socket of a dead process");
                }
                Ok(Err(source)) => return Err(io(source)),
                Ok(Ok(stream)) => {
                    let pid = stream.peer_cred().ok().and_then(|owner| owner.pid());
                    let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
                    return Err(LockError::Runs {
                        path: path.to_owned(),
                        pid,
                    });
                }
                Err(_) => {
                    return Err(LockError::Runs {
                        path: path.to_owned(),
                        pid: "unknown".to_owned(),
                    });
                }
            },
        }
        Ok(Self {
            path: path.to_owned(),
            lock,
            listener: None,
            ours: true,
        })
    }

    /// A socket that another data plane listens on and shares with us; it stays that one's until [`Self::own`].
    pub(crate) fn inherited(path: &Path, lock: File, listener: net::UnixListener) -> Self {
        Self {
            path: path.to_owned(),
            lock: Lock::inherited(lock),
            listener: Some(listener),
            ours: false,
        }
    }

    /// Makes an inherited socket ours.
    pub(crate) fn own(&mut self) {
        self.ours = true;
        self.lock.sign();
        // Who connects sees the process that listened last (`SO_PEERCRED`, unix(7)).
        if let Some(listener) = &self.listener
            && let Err(error) = rustix::net::listen(listener, BACKLOG)
        {
            tracing::debug!(socket = %self.path.display(), %error, "callers still see the old owner's process id");
        }
    }

    /// Leaves the path to another data plane.
    pub(crate) fn leave(&mut self) {
        self.ours = false;
    }

    /// Keeps nothing that a client could connect to; who listens goes on.
    pub(crate) fn close(&mut self) {
        self.listener = None;
    }

    /// What a successor needs: what is listened on, and the lock.
    pub(crate) fn files(&self) -> io::Result<[BorrowedFd<'_>; 2]> {
        let listener = self
            .listener
            .as_ref()
            .ok_or_else(|| io::Error::other("the API is not open"))?;
        Ok([listener.as_fd(), self.lock.as_fd()])
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Listens. The path appears at once with its final permissions, and replaces what is there.
    pub(crate) fn listen(&mut self) -> Result<UnixListener, LockError> {
        let io = |source| LockError::Io {
            path: self.path.clone(),
            source,
        };
        if let Some(listener) = &self.listener {
            return listener
                .try_clone()
                .and_then(UnixListener::from_std)
                .map_err(io);
        }
        let pending = suffixed(&self.path, PENDING_SUFFIX);
        match fs::remove_file(&pending) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&pending).map_err(io)?;
        fs::set_permissions(&pending, Permissions::from_mode(0o600)).map_err(io)?;
        fs::rename(&pending, &self.path).map_err(io)?;
        let kept = listener.as_fd().try_clone_to_owned().map_err(io)?;
        self.listener = Some(kept.into());
        Ok(listener)
    }
}

impl Drop for ApiSocket {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(socket = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_path_has_one_owner_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run/dataplane.sock");
        let mut first = ApiSocket::claim(&path).await.expect("nobody has it");
        let listener = first.listen().expect("a socket");
        assert_eq!(
            fs::metadata(&path)
                .expect("the socket")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );

        let error = ApiSocket::claim(&path)
            .await
            .expect_err("it is taken")
            .to_string();
        assert!(
            error.contains(&format!("another data plane (pid {})", std::process::id())),
            "{error}"
        );

        drop((listener, first));
        assert!(!path.exists());
        ApiSocket::claim(&path).await.expect("it is free again");
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dataplane.sock");
        let stranger = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let error = ApiSocket::claim(&path)
            .await
            .expect_err("somebody listens")
            .to_string();
        assert!(
            error.contains(&format!("pid {}", std::process::id())),
            "{error}"
        );

        drop(stranger);
        assert!(path.exists());
        let mut claimed = ApiSocket::claim(&path)
            .await
            .expect("nobody listens any more");
        let _listener = claimed.listen().expect("a socket");
        UnixStream::connect(&path).await.expect("the new socket");
    }

    #[tokio::test]
    async fn a_file_in_the_sockets_place_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dataplane.sock");
        fs::write(&path, "precious").expect("a file");
        assert!(matches!(
            ApiSocket::claim(&path).await,
            Err(LockError::NotASocket { .. })
        ));
        assert_eq!(fs::read_to_string(&path).expect("the file"), "precious");
    }
}
