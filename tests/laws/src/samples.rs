//! Services and nodes that every provider can serve.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use evenkeel_core::{
    claim::Profile,
    ids::{Cluster, NodeName, ServiceKey, ServiceRef, ServiceUid},
    intent::{Affinity, Intent, Options, PortIntent, SourceRanges, TargetPort, TrafficPolicy},
    net::IpFamily,
    nodes::{Node, Placement},
    ports::{PortKey, Protocol},
};

/// The namespace of all samples.
pub const NAMESPACE: &str = "shop";

/// The cluster of all samples.
pub fn cluster() -> Cluster {
    Cluster::new("2d9f6c1e-0000-4000-8000-00000000c001", "harbour")
}

/// The Service of this name.
pub fn service_ref(name: &str) -> ServiceRef {
    ServiceRef {
        key: ServiceKey::new(NAMESPACE, name),
        uid: ServiceUid::new(format!("uid-{name}")),
    }
}

/// A Service with TCP ports 18080 and 18443, IPv4, open to everyone.
pub fn service(name: &str) -> Intent {
    Intent {
        service: service_ref(name),
        profile: Profile::Neutral,
        ports: vec![port(18080, Protocol::Tcp), port(18443, Protocol::Tcp)],
        families: vec![IpFamily::V4],
        traffic_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        source_ranges: SourceRanges::All,
        allocate_node_ports: true,
        options: Options::default(),
        annotations: BTreeMap::new(),
    }
}

/// A port whose node port follows from its number.
pub fn port(number: u16, protocol: Protocol) -> PortIntent {
    PortIntent {
        key: PortKey {
            port: number,
            protocol,
        },
        name: None,
        node_port: Some(30000 + number % 2768),
        target_port: TargetPort::Number(number),
        app_protocol: None,
    }
}

/// The node of this number: `node-3` at 10.0.0.3.
pub fn node(number: u8) -> Node {
    Node {
        name: NodeName::new(format!("node-{number}")),
        provider_id: Some(format!("toy://node-{number}").into()),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))],
        zone: None,
        placement: Placement::Add,
    }
}
