//! A flow's way to its target: a connected socket, so that only the target's datagrams come back and a refusal is heard.
//! Reads and writes the network.
//!
//! By itself Linux tells a connected socket of a closed port alone; that a host or network cannot be reached, which is what a
//! machine that lost its power looks like, it tells where errors are queued (`IP_RECVERR`, ip(7)).

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, send, sendmsg},
};
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use crate::dataplane::backends::{Backend, BackendSet, Place, Tenure};

/// A target as one flow reaches it.
#[derive(Debug)]
pub(super) struct Upstream {
    socket: Socket,
    place: Place,
    set: Arc<BackendSet>,
    tenure: Option<Tenure>,
}

impl Upstream {
    /// Connects to a target. What comes back is told by `waker` under the flow's number.
    pub(super) fn connect(
        set: &Arc<BackendSet>,
        place: Place,
        waker: BorrowedFd<'_>,
        id: usize,
    ) -> io::Result<Self> {
        let address = place.backend.address;
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM.nonblocking(),
            Some(socket2::Protocol::UDP),
        )?;
        // Without it some silent targets are found out later, or never.
        let _ = if address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)
        };
        socket.connect(&address.into())?;
        epoll::add(
            waker,
            &socket,
            EventData::new_u64(id as u64),
            EventFlags::IN,
        )?;
        Ok(Self {
            tenure: Some(set.tenure(&place.backend, None)),
            set: Arc::clone(set),
            socket,
            place,
        })
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.place.backend
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Empties the queue of errors: while there are some the socket is told to be ready.
    pub(super) fn forget_errors(&self) {
        let mut datagram = [0; 1];
        let queued = || {
            recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut datagram)],
                &mut RecvAncillaryBuffer::default(),
                RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT,
            )
        };
        std::iter::repeat_with(queued)
            .take_while(Result::is_ok)
            .for_each(drop);
    }

    /// Whether the flow may stay with this target.
    pub(super) fn holds(&mut self, now: Instant) -> bool {
        let tenure = self.set.tenure(&self.place.backend, self.tenure.take());
        let holds = tenure.holds(now);
        self.tenure = Some(tenure);
        holds
    }

    /// Sends one datagram, with a header in front of it if there is one.
    pub(super) fn send(&self, header: &[u8], bytes: &[u8]) -> io::Result<()> {
        if header.is_empty() {
            send(&self.socket, bytes, SendFlags::DONTWAIT)?;
        } else {
            let parts = [IoSlice::new(header), IoSlice::new(bytes)];
            sendmsg(
                &self.socket,
                &parts,
                &mut SendAncillaryBuffer::default(),
                SendFlags::DONTWAIT,
            )?;
        }
        Ok(())
    }
}
