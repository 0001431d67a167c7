//! What Kubernetes says, in a document of facts (Decides).

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node as Resource, NodeAddress, NodeSpec, NodeStatus, Taint},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    endpoints::{Endpoint, Endpoints, Use},
    ids::Cluster,
    net::IpFamily,
    nodes::{
        Labels, Node, NodeFacts, NodeLabels, NodeReason, NodeRules, NodeSet, Placement,
        ProxyHealth, node_set,
    },
    ports::{PortKey, Protocol},
};

/// The label with a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Which cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterRecord {
    /// The UID of the namespace kube-system: owner tags carry it.
    pub uid: String,
    /// Its name, for people.
    #[serde(default = "kubernetes")]
    pub name: String,
    /// The families that the API server gives a Service which asks for none, the primary one first.
    #[serde(default = "ipv4")]
    pub ip_families: Vec<IpFamily>,
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

fn ipv4() -> Vec<IpFamily> {
    vec![IpFamily::V4]
}

impl ClusterRecord {
    /// A cluster whose Services have IPv4.
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            uid: cluster.uid.to_string(),
            name: cluster.name.to_string(),
            ip_families: ipv4(),
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> Cluster {
        Cluster::new(self.uid.as_str(), self.name.as_str())
    }
}

/// Whether kube-proxy's own health answers on the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KubeProxyHealth {
    /// It does, or nobody has asked.
    #[default]
    Answers,
    /// It was asked and does not.
    Silent,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeRecord {
    /// Its name.
    pub name: String,
    /// `spec.providerID`: `aws:///eu-west-1a/i-0abc`.
    #[serde(
        rename = "providerID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub provider_id: Option<String>,
    /// Its zone [default: the label topology.kubernetes.io/zone].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its InternalIP addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its taints: some say that it is about to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<TaintRecord>,
    /// Whether it is ready. For people: it decides nothing, because the load balancer's own health checks see the data path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Whether it is being deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub being_deleted: bool,
    /// Whether it vanished with many others and is held as a target until somebody confirms it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaintRecord {
    /// Its key.
    pub key: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub effect: String,
}

impl NodeRecord {
    /// What a document says of a Node.
    pub fn of(node: &Resource) -> Self {
        let facts = NodeFacts::from_resource(node);
        let spec = node.spec.clone().unwrap_or_default();
        let conditions = node.status.iter().flat_map(|status| &status.conditions);
        let taint = |taint: Taint| TaintRecord {
            key: taint.key,
            effect: taint.effect,
        };
        Self {
            name: facts.name.to_string(),
            provider_id: facts.provider_id.as_deref().map(str::to_owned),
            // The label tells it.
            zone: None,
            addresses: facts.addresses.into_vec(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.taints.into_iter().flatten().map(taint).collect(),
            ready: conditions
                .flatten()
                .find(|condition| condition.type_ == "Ready")
                .map(|condition| condition.status == "True"),
            being_deleted: facts.being_deleted,
            held: false,
        }
    }

    /// As the API server would have it, so that there is one way to read a Node.
    fn resource(&self) -> Resource {
        let mut labels = self.labels.clone();
        if let Some(zone) = &self.zone {
            labels.insert(ZONE_LABEL.to_owned(), zone.clone());
        }
        let taint = |taint: &TaintRecord| Taint {
            key: taint.key.clone(),
            effect: taint.effect.clone(),
            ..Taint::default()
        };
        let address = |address: &IpAddr| NodeAddress {
            address: address.to_string(),
            type_: "InternalIP".to_owned(),
        };
        Resource {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels),
                // Nobody looks at the time.
                deletion_timestamp: self.being_deleted.then_some(Time(Timestamp::UNIX_EPOCH)),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                provider_id: self.provider_id.clone(),
                taints: Some(self.taints.iter().map(taint).collect()),
                ..NodeSpec::default()
            }),
            status: Some(NodeStatus {
                addresses: Some(self.addresses.iter().map(address).collect()),
                ..NodeStatus::default()
            }),
        }
    }

    fn held(&self) -> Node {
        let facts = NodeFacts::from_resource(&self.resource());
        Node {
            name: facts.name,
            provider_id: facts.provider_id,
            addresses: facts.addresses.into_vec(),
            zone: facts.zone,
            placement: Placement::KeepIfPresent(NodeReason::HeldByBrake),
        }
    }
}

/// The nodes of a document as a provider sees them.
pub(super) fn nodes(records: &[NodeRecord], health: KubeProxyHealth, rules: &NodeRules) -> NodeSet {
    let listed = records.iter().filter(|node| !node.held);
    let facts: Vec<_> = listed
        .map(|node| NodeFacts::from_resource(&node.resource()))
        .collect();
    let held = records
        .iter()
        .filter(|node| node.held)
        .map(NodeRecord::held);
    let all = node_set(&facts, rules)
        .nodes()
        .iter()
        .cloned()
        .chain(held)
        .collect();
    let labels = records.iter().map(|node| {
        let labels = node.resource().metadata.labels.unwrap_or_default();
        let labels: Labels = labels
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        (node.name.as_str().into(), labels.into())
    });
    let health = match health {
        KubeProxyHealth::Answers => ProxyHealth::Answers,
        KubeProxyHealth::Silent => ProxyHealth::Silent,
    };
    let set = NodeSet::new(all);
    let set = match health {
        ProxyHealth::Answers => set,
        ProxyHealth::Silent => set.with_proxy_health(health),
    };
    set.with_labels(NodeLabels::all(labels.collect()).into())
}

/// The endpoints of one Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointsRecord {
    /// `namespace/name`.
    pub service: String,
    /// By port.
    pub ports: Vec<PortEndpoints>,
}

/// The endpoints of one port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortEndpoints {
    /// The Service's port.
    pub port: u16,
    /// Its protocol.
    #[serde(default = "tcp")]
    pub protocol: Protocol,
    /// The endpoints.
    pub endpoints: Vec<EndpointRecord>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointRecord {
    /// Its address.
    pub address: IpAddr,
    /// The port that it listens on.
    pub port: u16,
    /// Whether it is ready; one that is not stays a target while no other is.
    #[serde(default = "yes")]
    pub ready: bool,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The name of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

fn tcp() -> Protocol {
    Protocol::Tcp
}

fn yes() -> bool {
    true
}

impl EndpointsRecord {
    /// What a document says of a Service's endpoints.
    pub fn of(service: String, endpoints: &Endpoints) -> Self {
        let one = |endpoint: &Endpoint| EndpointRecord {
            address: endpoint.address,
            port: endpoint.port,
            // One that only waits for the load balancer is a target as one that is ready.
            ready: endpoint.use_ != Use::LastResort,
            zone: endpoint.zone.as_deref().map(str::to_owned),
            pod: endpoint.pod.as_deref().map(str::to_owned),
        };
        let port = |(key, all): (&PortKey, &Vec<Endpoint>)| PortEndpoints {
            port: key.port,
            protocol: key.protocol,
            endpoints: all.iter().map(one).collect(),
        };
        Self {
            service,
            ports: endpoints.iter().map(port).collect(),
        }
    }

    /// The endpoints by port.
    pub fn endpoints(&self) -> Endpoints {
        let one = |record: &EndpointRecord| Endpoint {
            address: record.address,
            port: record.port,
            use_: if record.ready {
                Use::Add
            } else {
                Use::LastResort
            },
            zone: record.zone.as_deref().map(Into::into),
            pod: record.pod.as_deref().map(Into::into),
            waits: None,
        };
        let mut all = Endpoints::new();
        for port in &self.ports {
            let key = PortKey {
                port: port.port,
                protocol: port.protocol,
            };
            let list = all.entry(key).or_default();
            list.extend(port.endpoints.iter().map(one));
            list.sort();
            list.dedup();
        }
        all
    }
}
