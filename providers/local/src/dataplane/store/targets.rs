//! The targets of a backend set as they are kept. Decides: no IO.
//!
//! A thousand Services on a thousand nodes have a million targets, of a thousand names and addresses. So sets with the same
//! nodes share one list of them, and a set has only its port for itself.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::lists::Lists;
use crate::api::{BackendSetSpec, Target};

/// A node's name and address.
pub(crate) type Node = (String, IpAddr);

/// Targets in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Targets {
    nodes: Arc<[Node]>,
    /// One for all nodes, or one for each.
    ports: Box<[u16]>,
}

impl Targets {
    /// These nodes with one port for all, or one for each; None when there are more or fewer.
    pub(crate) fn new(nodes: Arc<[Node]>, mut ports: Vec<u16>) -> Option<Self> {
        let fit = match ports.len() {
            1 => !nodes.is_empty(),
            count => count == nodes.len(),
        };
        if ports.windows(2).all(|pair| pair[0] == pair[1]) {
            ports.truncate(1);
        }
        fit.then(|| Self {
            nodes,
            ports: ports.into(),
        })
    }

    pub(crate) fn nodes(&self) -> &Arc<[Node]> {
        &self.nodes
    }

    pub(crate) fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The port of all of them, unless there is none, or they differ.
    pub(crate) fn port(&self) -> Option<u16> {
        match *self.ports {
            [port] => Some(port),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The target at an index below [`len`](Self::len).
    pub(crate) fn get(&self, index: usize) -> Target {
        let address = self.address(index);
        Target {
            node: self.nodes[index].0.clone(),
            address: address.ip(),
            port: address.port(),
        }
    }

    /// Where it is.
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        let port = self.port().unwrap_or_else(|| self.ports[index]);
        SocketAddr::new(self.nodes[index].1, port)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Target> {
        (0..self.len()).map(|index| self.get(index))
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        (0..self.len()).map(|index| self.address(index))
    }

    /// Whether they are these.
    fn are(&self, targets: &[Target]) -> bool {
        let same = |(index, target): (usize, &Target)| {
            self.nodes[index].0 == target.node
                && self.address(index) == SocketAddr::new(target.address, target.port)
        };
        self.len() == targets.len() && targets.iter().enumerate().all(same)
    }
}

/// A backend set as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeptSet {
    pub(crate) targets: Targets,
    /// All but its targets.
    pub(crate) rest: BackendSetSpec,
}

impl KeptSet {
    /// What was asked, with nodes from the lists.
    pub(crate) fn of(mut spec: BackendSetSpec, lists: &Lists) -> Self {
        let targets = std::mem::take(&mut spec.targets);
        let ports = targets.iter().map(|target| target.port).collect();
        let nodes = targets.into_iter();
        let nodes = nodes.map(|target| (target.node, target.address)).collect();
        Self {
            targets: Targets::new(lists.share(nodes), ports).expect("each node has a port"),
            rest: spec,
        }
    }

    /// What was asked.
    pub(crate) fn spec(&self) -> BackendSetSpec {
        BackendSetSpec {
            targets: self.targets.iter().collect(),
            ..self.rest.clone()
        }
    }

    /// Whether this is what was asked.
    pub(crate) fn is(&self, spec: &BackendSetSpec) -> bool {
        let BackendSetSpec {
            targets,
            health_check,
            drain_seconds,
            affinity_seconds,
        } = spec;
        let rest = &self.rest;
        self.targets.are(targets)
            && rest.health_check == *health_check
            && rest.drain_seconds == *drain_seconds
            && rest.affinity_seconds == *affinity_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(targets: &[(&str, u8, u16)]) -> BackendSetSpec {
        let target = |(node, last, port): &(&str, u8, u16)| Target {
            node: (*node).to_owned(),
            address: [127, 0, 0, *last].into(),
            port: *port,
        };
        BackendSetSpec {
            targets: targets.iter().map(target).collect(),
            drain_seconds: 7,
            ..BackendSetSpec::default()
        }
    }

    #[test]
    fn what_is_kept_is_what_was_asked() {
        let lists = Lists::default();
        let asked = [
            spec(&[]),
            spec(&[("a", 1, 1)]),
            spec(&[("a", 1, 1), ("b", 2, 1)]),
            spec(&[("a", 1, 1), ("b", 2, 2)]),
            spec(&[("a", 1, 1), ("b", 1, 2)]),
            spec(&[("b", 1, 1), ("a", 2, 1)]),
            BackendSetSpec {
                drain_seconds: 8,
                ..spec(&[("a", 1, 1)])
            },
        ];
        for (at, one) in asked.iter().enumerate() {
            let kept = KeptSet::of(one.clone(), &lists);
            assert_eq!(kept.spec(), *one);
            let addresses = one
                .targets
                .iter()
                .map(|t| SocketAddr::new(t.address, t.port));
            assert!(kept.targets.addresses().eq(addresses), "{one:?}");
            for (other_at, other) in asked.iter().enumerate() {
                assert_eq!(kept.is(other), at == other_at, "{one:?} {other:?}");
                let other = KeptSet::of(other.clone(), &lists);
                assert_eq!(kept == other, at == other_at, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn sets_on_the_same_nodes_share_them() {
        let lists = Lists::default();
        let [first, second] = [1, 2].map(|port| {
            let spec = spec(&[("a", 1, port), ("b", 2, port)]);
            KeptSet::of(spec, &lists).targets
        });
        assert!(Arc::ptr_eq(first.nodes(), second.nodes()));
        assert_eq!((first.ports(), second.ports()), (&[1][..], &[2][..]));
    }

    #[test]
    fn ports_that_do_not_fit_are_refused() {
        let nodes = |count: u8| {
            let nodes = (0..count).map(|last| (last.to_string(), [127, 0, 0, last].into()));
            nodes.collect::<Arc<[Node]>>()
        };
        for (count, ports, fit) in [
            (0, &[][..], true),
            (0, &[1], false),
            (2, &[], false),
            (2, &[1], true),
            (2, &[1, 2], true),
            (2, &[1, 2, 3], false),
            (2, &[1, 1, 1], false),
        ] {
            let targets = Targets::new(nodes(count), ports.to_vec());
            assert_eq!(targets.is_some(), fit, "{count} {ports:?}");
        }
    }
}
