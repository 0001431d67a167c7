//! What stands in for what the API server gives later (Decides).
//!
//! All that decides needs numbers, so stand-ins for node ports are real ones: of the range that real ones are of, and none that a
//! Service of the plan has anywhere. On a page they are shown as words.

use std::{collections::BTreeSet, ops::RangeInclusive};

use evenkeel_core::ids::ServiceKey;
use k8s_openapi::api::core::v1::Service;

use crate::view::plan::StandIn;

/// The words in place of a value.
const LATER: &str = "(known after apply)";

/// The API server's default of `--service-node-port-range`.
const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// The stand-ins of a plan.
#[derive(Clone, Debug)]
pub(super) struct StandIns {
    range: RangeInclusive<u16>,
    taken: BTreeSet<u16>,
    ports: Vec<u16>,
    all: Vec<StandIn>,
}

impl Default for StandIns {
    fn default() -> Self {
        Self::new(&NODE_PORTS)
    }
}

impl StandIns {
    /// None yet; node ports will be of this range.
    pub(super) fn new(range: &RangeInclusive<u16>) -> Self {
        Self {
            range: range.clone(),
            // The ends of the range may stand in a plan as such.
            taken: [*range.start(), *range.end()].into(),
            ports: Vec::new(),
            all: Vec::new(),
        }
    }

    /// No stand-in is a number that this Service has.
    pub(super) fn avoid(&mut self, service: &Service) {
        self.taken.extend(numbers(service));
    }

    /// A node port for a field of a Service. The highest that is free, because the API server gives others first.
    pub(super) fn node_port(&mut self, service: &ServiceKey, field: String) -> u16 {
        let free = self
            .range
            .clone()
            .rev()
            .find(|port| !self.taken.contains(port));
        // A plan with more ports than there are node ports is none that could be carried out.
        let port = free.unwrap_or(*self.range.end());
        self.taken.insert(port);
        self.ports.push(port);
        self.tell(service, field, port.to_string());
        port
    }

    /// A UID for a Service.
    pub(super) fn uid(&mut self, service: &ServiceKey) -> String {
        let uid = format!("known-after-apply-{}-{}", service.namespace, service.name);
        self.tell(service, "metadata.uid".to_owned(), uid.clone());
        uid
    }

    /// The API server answered these to a dry run, and will give others.
    pub(super) fn will_be_given(&mut self, service: &ServiceKey, ports: Vec<(String, u16)>) {
        for (field, port) in ports {
            self.ports.push(port);
            self.tell(service, field, port.to_string());
        }
    }

    fn tell(&mut self, service: &ServiceKey, field: String, value: String) {
        self.all.push(StandIn {
            service: service.to_string(),
            field,
            value,
        });
    }

    /// Node ports with the words to show in their place.
    pub(super) fn words(&self) -> Vec<(u16, String)> {
        let ports = self.ports.iter();
        ports.map(|port| (*port, LATER.to_owned())).collect()
    }

    /// All of them.
    pub(super) fn all(self) -> Vec<StandIn> {
        self.all
    }
}

/// Every port number that a Service has anywhere.
fn numbers(service: &Service) -> impl Iterator<Item = u16> {
    let spec = service.spec.iter();
    spec.flat_map(|spec| {
        let ports = spec.ports.iter().flatten();
        let ports = ports.flat_map(|port| [Some(port.port), port.node_port]);
        ports.chain([spec.health_check_node_port]).flatten()
    })
    .filter_map(|port| u16::try_from(port).ok())
}
