//! What the machine is, for the choice of an address. Reads: interfaces, and whether ports are free.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{
    allocate::{Facts, pool_of},
    bind,
    pool::{HostAddress, Pool},
};
use crate::api::LeaseSpec;

/// Most addresses of a shared pool whose ports are tried. Where a pool has more, another process that has a port of one
/// of them is met when the port is opened.
const TRIED: usize = 16;

/// Looks at what matters for a new lease.
pub(crate) fn look(pools: &[Pool], asked: &LeaseSpec) -> Facts {
    let host = host(pools);
    let mut busy = BTreeSet::new();
    for pool in pools.iter().filter(|pool| pool.shared) {
        let automatic = pool.addresses(asked.family, &host);
        let particular = asked
            .address
            .filter(|address| pool_of(pools, &host, *address).is_some_and(|of| of == pool));
        for address in automatic.take(TRIED).chain(particular) {
            for port in &asked.ports {
                let at = SocketAddr::new(address, port.port);
                if bind::is_taken(at, port.protocol) {
                    busy.insert((address, *port));
                }
            }
        }
    }
    Facts { host, busy }
}

/// The machine's addresses on interfaces that are up, where a pool needs to know them.
pub(crate) fn host(pools: &[Pool]) -> Vec<HostAddress> {
    if !pools.iter().any(Pool::is_host) {
        return Vec::new();
    }
    let interfaces = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::error!(%error, "the machine's addresses cannot be read; pools of them are empty");
            return Vec::new();
        }
    };
    interfaces
        .into_iter()
        .filter(|found| found.is_oper_up())
        .map(|found| HostAddress {
            address: found.ip(),
            loopback: found.is_loopback(),
            interface: found.name,
        })
        .collect()
}
