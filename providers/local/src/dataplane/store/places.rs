//! Who has which port of which address. Decides: no IO.

use std::net::IpAddr;

use super::{Held, Store};
use crate::{
    api::{LeaseSpec, ListenerSpec, Marks, Port, Protocol},
    dataplane::allocate::Holdings,
};

impl Store {
    /// What is held, for the choice of a new lease's address.
    pub(super) fn holdings(&self, asked: &LeaseSpec) -> Holdings<'_> {
        let mut holdings = Holdings::default();
        for lease in self.leases.values() {
            let of = holdings.leases.entry(lease.spec.address).or_default();
            of.push(&**lease);
        }
        // Only an address that is shared can have ports that are taken.
        if asked.ports.is_empty() || !self.pools.iter().any(|pool| pool.shared) {
            return holdings;
        }
        let mut take = |address: IpAddr, port: Port, marks: &Marks| {
            if asked.ports.contains(&port) {
                let holder = holdings.ports.entry((address, port));
                holder.or_insert_with(|| marks.service.clone());
            }
        };
        // Who listens has the port; of several who want it one will.
        for listener in self.listeners.values() {
            let lease = self.leases.get(&listener.spec.lease);
            if let Some(lease) = lease.filter(|lease| lease.spec.shared) {
                take(lease.spec.address, listener.spec.place(), &listener.marks);
            }
        }
        for lease in self.leases.values().filter(|lease| lease.spec.shared) {
            for port in &lease.spec.asked.ports {
                take(lease.spec.address, *port, &lease.marks);
            }
        }
        for port in &asked.ports {
            for (address, service) in self.node_ports(*port) {
                let holder = holdings.ports.entry((address, *port));
                holder.or_insert_with(|| node_port_of(service));
            }
        }
        holdings
    }

    /// Who keeps a new listener from its port, and at which address.
    pub(super) fn rival(&self, name: &str, spec: &ListenerSpec) -> Option<(IpAddr, String)> {
        let Held {
            address, shared, ..
        } = self.leases.get(&spec.lease)?.spec;
        let at_address = |lease: &str| {
            self.leases
                .get(lease)
                .is_some_and(|lease| lease.spec.address == address)
        };
        let rival = self.listeners.values().find(|other| {
            other.name != name
                && other.spec.place() == spec.place()
                && (other.spec.lease == spec.lease || shared && at_address(&other.spec.lease))
        });
        if let Some(rival) = rival {
            let holder = format!("listener `{}` of {}", rival.name, rival.marks.service);
            return Some((address, holder));
        }
        if !shared {
            return None;
        }
        self.node_ports(spec.place())
            .find(|(node, _)| *node == address)
            .map(|(_, service)| (address, node_port_of(service)))
    }

    /// The addresses whose port leads to a Service, because they are a node's. A machine that is a node forwards its NodePorts
    /// before any listener sees them.
    fn node_ports(&self, place: Port) -> impl Iterator<Item = (IpAddr, &str)> {
        let Port { protocol, port } = place;
        self.backend_sets
            .values()
            // All targets of a set have one port, that of the Service.
            .filter(move |set| {
                set.spec.targets.ports().first() == Some(&port)
                    && self.is_reached_by(&set.name, protocol)
            })
            .flat_map(move |set| {
                let targets = set.spec.targets.addresses();
                targets
                    .filter(move |target| target.port() == port)
                    .map(|target| (target.ip(), set.marks.service.as_str()))
            })
    }

    /// Whether targets of a set are reached by a protocol, which only its listeners tell. Without one it may be either.
    fn is_reached_by(&self, set: &str, protocol: Protocol) -> bool {
        let mut protocols = self
            .listeners
            .values()
            .filter(|listener| listener.spec.backend_set == set)
            .map(|listener| listener.spec.protocol)
            .peekable();
        protocols.peek().is_none() || protocols.any(|known| known == protocol)
    }
}

fn node_port_of(service: &str) -> String {
    format!("{service} as its NodePort on this machine")
}
