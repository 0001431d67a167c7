//! The interfaces of a machine on which addresses are not added: no pool asks for it there.

use std::{collections::BTreeSet, io, net::IpAddr};

use super::decide::Seen;

/// There is no way to the kernel.
pub(super) enum Kernel {}

/// Whether this process may change addresses.
pub(super) fn may_change() -> bool {
    false
}

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) async fn look(
        &self,
        _interfaces: &BTreeSet<&str>,
        _addresses: &BTreeSet<IpAddr>,
    ) -> io::Result<Seen> {
        match *self {}
    }

    pub(super) async fn add(&self, _index: u32, _address: IpAddr) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn remove(&self, _index: u32, _address: IpAddr) -> io::Result<()> {
        match *self {}
    }
}
