//! Messages with open files, over a Unix socket. Reads and writes.
//!
//! A message is its length and its number of files (32 bits each, big endian), then JSON. The files travel with its first
//! byte (`SCM_RIGHTS`, unix(7)), so by the time a message is whole its files are there, unless the kernel had to drop them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{io::Interest, net::UnixStream};

use super::{HandoverError, Message};

/// Most files of one message; the kernel's own limit is 253 (`SCM_MAX_FD`).
pub(super) const MAX_FILES: usize = 128;
/// Largest message that is read, in bytes.
const MAX_MESSAGE: usize = 16 << 20;
/// Bytes of the two numbers before a message.
const HEAD: usize = 8;

/// A connection between two data planes.
#[derive(Debug)]
pub(crate) struct Line {
    stream: UnixStream,
    bytes: Vec<u8>,
    files: VecDeque<OwnedFd>,
}

impl Line {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            files: VecDeque::new(),
        }
    }

    pub(super) async fn send(
        &self,
        message: &Message,
        mut files: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverError> {
        let text = serde_json::to_vec(message).map_err(io::Error::from)?;
        let number = |number: usize| {
            u32::try_from(number)
                .map(u32::to_be_bytes)
                .map_err(io::Error::other)
        };
        let mut bytes = Vec::with_capacity(HEAD + text.len());
        bytes.extend(number(text.len())?);
        bytes.extend(number(files.len())?);
        bytes.extend(text);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let write = || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
                    return Err(io::Error::other("too many files for one message"));
                }
                let sent = sendmsg(
                    &self.stream,
                    &[IoSlice::new(rest)],
                    &mut control,
                    SendFlags::empty(),
                )?;
                Ok(sent)
            };
            let sent = self.stream.async_io(Interest::WRITABLE, write).await?;
            files = &[];
            rest = &rest[sent..];
        }
        tracing::debug!("said {}", message.name());
        Ok(())
    }

    /// The next message and its files. A reason why it comes to nothing is an error.
    pub(super) async fn receive(&mut self) -> Result<(Message, Vec<OwnedFd>), HandoverError> {
        loop {
            if let Some((message, files)) = self.next()? {
                tracing::debug!("heard {}", message.name());
                return match message {
                    Message::Refused { reason } => Err(HandoverError::Refused(reason)),
                    message => Ok((message, files)),
                };
            }
            let mut buffer = vec![0; 64 << 10];
            let (stream, queue) = (&self.stream, &mut self.files);
            let read = || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let flags = RecvFlags::CMSG_CLOEXEC;
                let got = recvmsg(
                    stream,
                    &mut [IoSliceMut::new(&mut buffer)],
                    &mut control,
                    flags,
                )?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(files) = message {
                        queue.extend(files);
                    }
                }
                Ok(got.bytes)
            };
            match stream.async_io(Interest::READABLE, read).await? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                bytes => self.bytes.extend_from_slice(&buffer[..bytes]),
            }
        }
    }

    /// Takes a whole message out of what was read.
    fn next(&mut self) -> Result<Option<(Message, Vec<OwnedFd>)>, HandoverError> {
        let Some((head, rest)) = self.bytes.split_at_checked(HEAD) else {
            return Ok(None);
        };
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number: usize, byte| number << 8 | usize::from(*byte))
        };
        let (length, count) = (number(&head[..4]), number(&head[4..]));
        if length > MAX_MESSAGE || count > MAX_FILES {
            return Err(HandoverError::Unexpected);
        }
        let Some(text) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(text).map_err(|_| HandoverError::Unexpected)?;
        // The kernel drops files that the process may not open, and says so nowhere else.
        if self.files.len() < count {
            return Err(HandoverError::TooFewFiles);
        }
        let files = self.files.drain(..count).collect();
        self.bytes.drain(..HEAD + length);
        Ok(Some((message, files)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use tokio::net::TcpListener;

    use super::*;
    use crate::{api::Protocol, dataplane::handover::Socket};

    fn pair() -> (Line, Line) {
        let (a, b) = UnixStream::pair().expect("a pair");
        (Line::new(a), Line::new(b))
    }

    #[tokio::test]
    async fn a_message_comes_with_its_files_and_no_others() {
        let (old, mut new) = pair();
        let mut listeners = Vec::new();
        for _ in 0..3 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a port"));
        }
        let sockets = |listeners: &[TcpListener]| {
            let socket = |listener: &TcpListener| Socket {
                protocol: Protocol::Tcp,
                address: listener.local_addr().expect("bound"),
            };
            Message::Sockets {
                sockets: listeners.iter().map(socket).collect(),
            }
        };
        let sending = async {
            for part in [&listeners[..2], &[], &listeners[2..]] {
                let files: Vec<_> = part.iter().map(AsFd::as_fd).collect();
                old.send(&sockets(part), &files).await.expect("sent");
            }
            // More than the kernel takes at once.
            let reason = "x".repeat(1 << 20);
            old.send(&Message::Refused { reason }, &[])
                .await
                .expect("sent");
        };
        let receiving = async {
            for want in [2, 0, 1] {
                let (message, files) = new.receive().await.expect("a message");
                let Message::Sockets { sockets } = message else {
                    panic!("{message:?}");
                };
                assert_eq!((sockets.len(), files.len()), (want, want));
                for (socket, file) in sockets.into_iter().zip(files) {
                    let twin = std::net::TcpListener::from(file);
                    assert_eq!(twin.local_addr().expect("bound"), socket.address);
                }
            }
            let refused = new.receive().await.expect_err("a refusal").to_string();
            assert!(refused.len() > 1 << 20);
        };
        tokio::join!(sending, receiving);
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        for bytes in [
            &[0xff; 8][..],
            &[0, 0, 0, 1, 0, 0, 0, 0, b'x'],
            &[0, 0, 0, 1, 0, 0, 0xff, 0xff],
            b"\0\0\0\x0e\0\0\0\x01{\"type\":\"Ready\"}",
        ] {
            let (old, mut new) = pair();
            old.stream.try_write(bytes).expect("written");
            drop(old);
            new.receive().await.expect_err("nonsense");
        }
    }
}
