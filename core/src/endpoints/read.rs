//! From EndpointSlices to the endpoints of a Service's ports (Decides).
//!
//! A Service has many slices: for many endpoints, for each family, and for each number that a named target port stands for
//! on different pods. Read is what kube-proxy reads too: of several addresses of an endpoint the first, and ports by the
//! name that they have in the Service.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{EndpointPort, EndpointSlice},
};

use super::{Endpoint, Endpoints, Use};
use crate::ports::{PortKey, Protocol};

/// The label that names the Service of a slice.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What matters of an EndpointSlice. Two equal facts need no second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFacts {
    /// The name of its Service; None where no label names one.
    pub service: Option<Arc<str>>,
    ports: Box<[SlicePort]>,
    /// Each with the port 0, which the slice's ports replace.
    endpoints: Box<[Endpoint]>,
}

/// A port of all endpoints of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SlicePort {
    /// The name that it has in the Service; empty for the only one.
    name: Box<str>,
    protocol: Protocol,
    number: u16,
}

impl SliceFacts {
    /// The facts of a slice. What cannot be read (an address that is none, a port without a number) is left out.
    pub fn from_resource(slice: &EndpointSlice) -> Self {
        let label = slice
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        Self {
            service: label.map(|name| name.as_str().into()),
            ports: slice
                .ports
                .iter()
                .flatten()
                .filter_map(slice_port)
                .collect(),
            endpoints: slice
                .endpoints
                .iter()
                .flatten()
                .filter_map(endpoint)
                .collect(),
        }
    }
}

fn slice_port(port: &EndpointPort) -> Option<SlicePort> {
    Some(SlicePort {
        name: port.name.as_deref().unwrap_or_default().into(),
        protocol: Protocol::parse(port.protocol.as_deref())?,
        number: u16::try_from(port.port?).ok()?,
    })
}

fn endpoint(endpoint: &k8s_openapi::api::discovery::v1::Endpoint) -> Option<Endpoint> {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions
        .and_then(|conditions| conditions.ready)
        .unwrap_or(true);
    let serving = conditions
        .and_then(|conditions| conditions.serving)
        .unwrap_or(ready);
    let terminating = conditions
        .and_then(|conditions| conditions.terminating)
        .unwrap_or(false);
    let use_ = match (ready, terminating, serving) {
        // Also one that leaves, where the Service publishes those that are not ready.
        (true, ..) => Use::Add,
        (false, false, _) | (false, true, true) => Use::LastResort,
        (false, true, false) => return None,
    };
    let pod = endpoint
        .target_ref
        .as_ref()
        .filter(|of| of.kind.as_deref() == Some("Pod"))
        .and_then(|of| of.name.as_deref());
    Some(Endpoint {
        address: endpoint.addresses.first()?.parse().ok()?,
        port: 0,
        use_,
        zone: endpoint.zone.as_deref().map(Arc::from),
        pod: pod.map(Arc::from),
        waits: None,
    })
}

/// The endpoints of each port of a Service, from all of its slices.
pub fn endpoints<'a>(
    service: &Service,
    slices: impl IntoIterator<Item = &'a SliceFacts> + Clone,
) -> Endpoints {
    let ports = service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten());
    let mut all = Endpoints::new();
    for port in ports {
        let (Ok(number), Some(protocol)) = (
            u16::try_from(port.port),
            Protocol::parse(port.protocol.as_deref()),
        ) else {
            continue;
        };
        let name = port.name.as_deref().unwrap_or_default();
        let mut found: BTreeMap<_, Endpoint> = BTreeMap::new();
        for slice in slices.clone() {
            let numbers = slice
                .ports
                .iter()
                .filter(|port| *port.name == *name && port.protocol == protocol);
            for number in numbers.map(|port| port.number) {
                for endpoint in &slice.endpoints {
                    let place = (endpoint.address, number);
                    // An endpoint that moves from one slice to another is in both for a while.
                    let better = found
                        .get(&place)
                        .is_none_or(|known| endpoint.use_ < known.use_);
                    if better {
                        let endpoint = Endpoint {
                            port: number,
                            ..endpoint.clone()
                        };
                        found.insert(place, endpoint);
                    }
                }
            }
        }
        let key = PortKey {
            port: number,
            protocol,
        };
        all.insert(key, found.into_values().collect());
    }
    all
}
