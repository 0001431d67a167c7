//! The interfaces of this machine, over rtnetlink(7). Reads and writes; the only file that speaks it.
//!
//! Every address that is added carries a mark, `IFA_PROTO`, which Linux keeps since 5.18 (if_addr.h). It is /32 or /128, so that it
//! brings no route to a network. One of IPv6 is used at once, without duplicate address detection (RFC 4862, 5.4: bind(2)
//! fails until that is over), and is deprecated from its first moment: the machine chooses it for nothing of its own (RFC 6724).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    time::Duration,
};

use futures::StreamExt as _;
use rtnetlink::{
    Error, Handle,
    packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo},
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
};
use rustix::{
    io::Errno,
    thread::{CapabilitySet, capabilities},
};
use tokio_util::task::AbortOnDropHandle;

use super::decide::{Found, InterfaceAddress, Link, Seen, host_prefix};

/// Our mark. The kernel's own go up to 3 (if_addr.h); nobody registers the others.
const MARK: AddressProtocol = AddressProtocol::Other(77);

/// The first version of Linux that keeps marks.
const KEEPS_MARKS: (u32, u32) = (5, 18);

/// The kernel answers at once, or something is very wrong.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often addresses are read anew that changed while they were read.
const TRIES: usize = 20;

/// The way to the kernel.
pub(super) struct Kernel {
    handle: Handle,
    _connection: AbortOnDropHandle<()>,
}

/// Whether this process may change addresses, as far as it knows itself.
pub(super) fn may_change() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self {
            handle,
            _connection: AbortOnDropHandle::new(tokio::spawn(connection)),
        })
    }

    /// What is there of these interfaces and these addresses.
    pub(super) async fn look(
        &self,
        interfaces: &BTreeSet<&str>,
        addresses: &BTreeSet<IpAddr>,
    ) -> io::Result<Seen> {
        patiently(async {
            let mut seen = Seen::default();
            let mut names = BTreeMap::new();
            for name in interfaces {
                let link = self.handle.link().get().match_name(*name).execute();
                if let Some(link) = one(link).await? {
                    let index = link.header.index;
                    let up = link.header.flags.contains(LinkFlags::Up);
                    names.insert(index, (*name).to_owned());
                    seen.links.insert((*name).to_owned(), Link { index, up });
                }
            }
            let all = self.addresses().await?;
            seen.keeps_marks = keeps_marks() || all.iter().any(|one| mark(one).is_some());
            for message in all {
                let Some(address) = address(&message).filter(|one| addresses.contains(one)) else {
                    continue;
                };
                let index = message.header.index;
                let interface = match names.get(&index) {
                    Some(name) => name.clone(),
                    None => {
                        let link = self.handle.link().get().match_index(index).execute();
                        // An interface that is gone by now has no address.
                        let Some(name) = one(link).await?.and_then(name) else {
                            continue;
                        };
                        name
                    }
                };
                seen.found.push(Found {
                    at: InterfaceAddress { address, interface },
                    prefix: message.header.prefix_len,
                    marked: mark(&message) == Some(MARK),
                });
            }
            Ok(seen)
        })
        .await
    }

    /// Adds an address to the interface of this index.
    pub(super) async fn add(&self, index: u32, address: IpAddr) -> io::Result<()> {
        let prefix = host_prefix(address);
        let mut request = self.handle.address().add(index, address, prefix);
        request.message_mut().attributes = attributes(address);
        patiently(async { request.execute().await.map_err(system) }).await
    }

    /// Takes an address away. One that is not there, or whose interface is not, is no error.
    pub(super) async fn remove(&self, index: u32, address: IpAddr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.prefix_len = host_prefix(address);
        message.header.index = index;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
        ];
        let request = self.handle.address().del(message);
        let removed = patiently(async { request.execute().await.map_err(system) }).await;
        match removed {
            Err(error) if is(&error, Errno::ADDRNOTAVAIL) || is(&error, Errno::NODEV) => Ok(()),
            removed => removed,
        }
    }

    /// All addresses of all interfaces, as they were at one moment.
    async fn addresses(&self) -> io::Result<Vec<AddressMessage>> {
        'again: for _ in 0..TRIES {
            let ask = RouteNetlinkMessage::GetAddress(AddressMessage::default());
            let mut ask = NetlinkMessage::from(ask);
            ask.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            let mut answers = self.handle.clone().request(ask).map_err(system)?;
            let mut all = Vec::new();
            while let Some(answer) = answers.next().await {
                if answer.header.flags & NLM_F_DUMP_INTR != 0 {
                    continue 'again;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
                        all.push(message);
                    }
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
            return Ok(all);
        }
        Err(io::Error::other(
            "addresses of this machine change faster than they can be read",
        ))
    }
}

fn attributes(address: IpAddr) -> Vec<AddressAttribute> {
    let mut attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        AddressAttribute::Protocol(MARK),
    ];
    if address.is_ipv6() {
        let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_preferred = 0;
        lifetime.ifa_valid = u32::MAX;
        attributes.push(AddressAttribute::Flags(flags));
        attributes.push(AddressAttribute::CacheInfo(lifetime));
    }
    attributes
}

/// The interface that was asked about, if it is there.
async fn one(
    links: impl futures::Stream<Item = Result<LinkMessage, Error>>,
) -> io::Result<Option<LinkMessage>> {
    match std::pin::pin!(links).next().await {
        None => Ok(None),
        Some(Ok(link)) => Ok(Some(link)),
        Some(Err(error)) => match system(error) {
            error if is(&error, Errno::NODEV) => Ok(None),
            error => Err(error),
        },
    }
}

fn name(link: LinkMessage) -> Option<String> {
    link.attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        })
}

/// The address itself: IFA_LOCAL, and where there is none IFA_ADDRESS, which is the peer's on a point-to-point interface.
fn address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|one| match one {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|one| match one {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn mark(message: &AddressMessage) -> Option<AddressProtocol> {
    message.attributes.iter().find_map(|one| match one {
        AddressAttribute::Protocol(mark) => Some(*mark),
        _ => None,
    })
}

fn keeps_marks() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| is_recent(&release))
}

fn is_recent(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= KEEPS_MARKS,
        _ => false,
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn system(error: Error) -> io::Error {
    match error {
        Error::NetlinkError(error) => error.to_io(),
        error => io::Error::other(error),
    }
}

async fn patiently<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, what)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_says_whether_marks_are_kept() {
        for (release, want) in [
            ("5.18.0", true),
            ("5.17.15-arch1-1", false),
            ("5.4.0-216-generic", false),
            ("6.1.0-18-amd64\n", true),
            ("10.0", true),
            ("odd", false),
            ("", false),
        ] {
            assert_eq!(is_recent(release), want, "{release}");
        }
    }
}
