//! A flow's way to its target: a connected socket, so that only the target's datagrams come back and a refusal is heard.
//! Reads and writes the network.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use rustix::{
    event::epoll::{self, EventData, EventFlags},
    net::{SendAncillaryBuffer, SendFlags, send, sendmsg},
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
