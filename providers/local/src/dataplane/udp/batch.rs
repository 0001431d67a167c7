//! Many datagrams per system call. Reads and writes the network.
//!
//! Each thread has one set of buffers, which holds nothing between two uses: a UDP listener costs no buffer of its own, and
//! a datagram is never copied between the calls that read and write it.

use std::{
    cell::RefCell,
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use rustix::net::{
    MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, addr::SocketAddrArg, sendmmsg,
};

/// Datagrams that one call receives or sends.
pub(super) const BATCH: usize = 32;
/// Room for the largest datagram there is (65,507 bytes over IPv4, 65,527 over IPv6).
const ROOM: usize = 64 << 10;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::new());
}

/// Lends this thread's buffers.
pub(super) fn with_buffers<T>(use_them: impl FnOnce(&mut Buffers) -> T) -> T {
    BUFFERS.with_borrow_mut(use_them)
}

/// Room for a batch of datagrams.
pub(super) struct Buffers {
    /// Pages that no datagram ever touched take no memory.
    rooms: Vec<Box<[u8]>>,
    v4: MultiHeaders<SockaddrIn>,
    v6: MultiHeaders<SockaddrIn6>,
    received: Vec<Received>,
}

/// A datagram in the buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Who sent it.
    pub(super) from: SocketAddr,
    len: usize,
}

impl Buffers {
    fn new() -> Self {
        Self {
            rooms: (0..BATCH)
                .map(|_| vec![0; ROOM].into_boxed_slice())
                .collect(),
            v4: MultiHeaders::preallocate(BATCH, None),
            v6: MultiHeaders::preallocate(BATCH, None),
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Receives at most so many datagrams, behind the first of those received before; returns how many are new.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        ipv4: bool,
        first: usize,
        most: usize,
    ) -> io::Result<usize> {
        self.received.truncate(first);
        let rooms = &mut self.rooms[first..];
        let count = rooms.len().min(most);
        let rooms = &mut rooms[..count];
        if ipv4 {
            let from = |address: SockaddrIn| SocketAddr::V4(address.into());
            fill(socket, &mut self.v4, rooms, &mut self.received, from)
        } else {
            let from = |address: SockaddrIn6| SocketAddr::V6(address.into());
            fill(socket, &mut self.v6, rooms, &mut self.received, from)
        }
    }

    pub(super) fn clear(&mut self) {
        self.received.clear();
    }

    /// The datagrams in the buffers.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.received
            .iter()
            .zip(&self.rooms)
            .map(|(received, room)| (received.from, &room[..received.len]))
    }

    /// Sends each datagram to the address beside it, and returns how many the system took. What it takes not is lost, as
    /// on any full link.
    pub(super) fn send(&self, socket: BorrowedFd<'_>, to: &[SocketAddr]) -> Sent {
        let addresses: Vec<SocketAddrAny> = to.iter().map(SocketAddrArg::as_any).collect();
        let slices: Vec<[IoSlice<'_>; 1]> = self
            .datagrams()
            .map(|(_, bytes)| [IoSlice::new(bytes)])
            .collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            to.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<MMsgHdr<'_>> = addresses
            .iter()
            .zip(&slices)
            .zip(&mut controls)
            .map(|((address, slice), control)| MMsgHdr::new_with_addr(address, slice, control))
            .collect();
        let mut sent = Sent::default();
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            match sendmmsg(socket, rest, SendFlags::DONTWAIT) {
                Ok(count) => {
                    sent.datagrams += count;
                    sent.bytes += rest[..count].iter().map(MMsgHdr::bytes_sent).sum::<usize>();
                    rest = &mut rest[count..];
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => break,
                // About the first one only, such as a client that cannot be reached.
                Err(_) => rest = &mut rest[1..],
            }
        }
        sent
    }
}

/// What the system took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) datagrams: usize,
    pub(super) bytes: usize,
}

fn fill<S: SockaddrLike + Copy>(
    socket: BorrowedFd<'_>,
    headers: &mut MultiHeaders<S>,
    rooms: &mut [Box<[u8]>],
    received: &mut Vec<Received>,
    from: impl Fn(S) -> SocketAddr,
) -> io::Result<usize> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> = rooms
        .iter_mut()
        .map(|room| [IoSliceMut::new(room)])
        .collect();
    let results = recvmmsg(
        socket.as_raw_fd(),
        headers,
        slices.iter_mut(),
        MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    let before = received.len();
    received.extend(results.map(|message| {
        Received {
            from: message
                .address
                .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), &from),
            len: message.bytes,
        }
    }));
    Ok(received.len() - before)
}
