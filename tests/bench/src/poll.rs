//! The readiness of many sockets, with as little of our own work around it as can be. Reads.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

pub(crate) use epoll::{Event, EventFlags};

/// Ready to be read, or closed by the other side.
pub(crate) const READ: EventFlags = EventFlags::IN;
/// Ready to be written.
pub(crate) const WRITE: EventFlags = EventFlags::OUT;

/// An epoll instance. Sockets leave it when they are closed.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(256),
        })
    }

    pub(crate) fn add(&self, socket: impl AsFd, token: usize, flags: EventFlags) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, socket, data, flags)?)
    }

    pub(crate) fn modify(
        &self,
        socket: impl AsFd,
        token: usize,
        flags: EventFlags,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::modify(&self.epoll, socket, data, flags)?)
    }

    /// The tokens and flags of the sockets that are ready; none when `timeout` has passed before.
    pub(crate) fn wait(
        &mut self,
        timeout: Duration,
    ) -> io::Result<impl Iterator<Item = (usize, EventFlags)> + use<'_>> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self
            .events
            .iter()
            .map(|event| (event.data.u64() as usize, event.flags)))
    }
}
