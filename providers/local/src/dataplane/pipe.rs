//! Pipes that carry bytes from socket to socket inside the kernel. Reads and writes.
//!
//! splice(2) moves the pages that hold a socket's bytes into a pipe and on to the other socket, and copies none. An
//! empty pipe goes back to its thread's spares when it is dropped, one that holds bytes is closed: nobody may ever get
//! what was another connection's.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

/// What a pipe should hold. The kernel gives less where the user has many (pipe(7), `pipe-user-pages-soft`).
const CAPACITY: usize = 256 << 10;
/// Most pipes of the process; each takes two file descriptors, of which connections need most.
pub(super) const MOST: usize = 128;
/// Empty pipes that each thread keeps for the next use.
const SPARE: usize = 8;

/// Pipes that are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SPARES: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// A pipe and what it holds.
#[derive(Debug)]
pub(super) struct Pipe {
    /// None only while it is dropped.
    ends: Option<Ends>,
    inside: usize,
}

#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Drop for Ends {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

impl Pipe {
    /// An empty pipe, if one may be had.
    pub(super) fn borrow() -> Option<Self> {
        let ends = SPARES.with_borrow_mut(Vec::pop).or_else(Ends::open)?;
        Some(Self {
            ends: Some(ends),
            inside: 0,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inside == 0
    }

    /// Takes what the socket has received, 0 when it has said all. The pipe must be empty, so that "would block" tells
    /// of the socket.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        debug_assert!(self.is_empty());
        let count = splice(
            from,
            None,
            &self.ends().writer,
            None,
            CAPACITY,
            SpliceFlags::NONBLOCK,
        )?;
        self.inside += count;
        #[cfg(test)]
        tests::SPLICED.set(tests::SPLICED.get() + count as u64);
        Ok(count)
    }

    /// Gives to the socket what it takes.
    pub(super) fn empty(&mut self, to: impl AsFd) -> io::Result<usize> {
        let count = splice(
            &self.ends().reader,
            None,
            to,
            None,
            self.inside,
            SpliceFlags::NONBLOCK,
        )?;
        self.inside -= count;
        Ok(count)
    }

    /// Takes everything back out, for a socket that cannot be spliced to.
    pub(super) fn take(&mut self) -> io::Result<Box<[u8]>> {
        let mut bytes = vec![0; self.inside].into_boxed_slice();
        while self.inside > 0 {
            let start = bytes.len() - self.inside;
            match rustix::io::read(&self.ends().reader, &mut bytes[start..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.inside -= count,
            }
        }
        Ok(bytes)
    }

    fn ends(&self) -> &Ends {
        self.ends
            .as_ref()
            .expect("a pipe has ends until it is dropped")
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take().filter(|_| self.is_empty()) else {
            return;
        };
        // A thread that ends has no place to keep it.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(ends);
            }
        });
    }
}

impl Ends {
    fn open() -> Option<Self> {
        #[cfg(test)]
        if tests::SHORTAGE.get() {
            return None;
        }
        let room = |open: usize| (open < MOST).then_some(open + 1);
        OPEN.fetch_update(Relaxed, Relaxed, room).ok()?;
        let Ok((reader, writer)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
            OPEN.fetch_sub(1, Relaxed);
            return None;
        };
        // A smaller one serves as well.
        let _ = fcntl_setpipe_size(&writer, CAPACITY);
        Some(Self { reader, writer })
    }
}

/// True for errors that mean "this socket cannot be spliced", and nothing about the connection.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::{cell::Cell, io::Read as _, io::Write as _, os::unix::net::UnixStream};

    use super::*;

    thread_local! {
        /// Bytes that went into pipes on this thread.
        pub(in super::super) static SPLICED: Cell<u64> = const { Cell::new(0) };
        /// Makes this thread get no new pipe.
        pub(in super::super) static SHORTAGE: Cell<bool> = const { Cell::new(false) };
    }

    /// Pipes that this thread keeps for the next use.
    pub(in super::super) fn spares() -> usize {
        SPARES.with_borrow(Vec::len)
    }

    #[test]
    fn only_an_empty_pipe_is_kept() {
        let (mut source, from) = UnixStream::pair().expect("sockets");
        let (to, mut sink) = UnixStream::pair().expect("sockets");
        source.write_all(b"bytes").expect("written");

        let mut pipe = Pipe::borrow().expect("a pipe");
        assert_eq!(pipe.fill(&from).expect("spliced"), 5);
        assert_eq!(pipe.empty(&to).expect("spliced"), 5);
        drop(pipe);
        assert_eq!(spares(), 1);

        source.write_all(b"other").expect("written");
        let mut pipe = Pipe::borrow().expect("the same pipe");
        assert_eq!((spares(), pipe.fill(&from).expect("spliced")), (0, 5));
        drop(pipe);
        assert_eq!(spares(), 0, "it holds what is of this connection");

        drop(to);
        let mut got = Vec::new();
        sink.read_to_end(&mut got).expect("read");
        assert_eq!(got, b"bytes");
    }

    #[test]
    fn what_is_inside_can_be_taken_out() {
        let (mut source, from) = UnixStream::pair().expect("sockets");
        source.write_all(b"bytes").expect("written");
        let mut pipe = Pipe::borrow().expect("a pipe");
        pipe.fill(&from).expect("spliced");
        assert_eq!(&*pipe.take().expect("bytes"), b"bytes");
        assert!(pipe.is_empty());
    }
}
