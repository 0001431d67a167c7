//! A cluster and its cloud written down as facts, so that plans can be made where neither is at hand (Decides).
//!
//! A document of facts has two parts: what Kubernetes says, which is the same for every provider and is here, and what the cloud
//! says, in a type of each provider's. [`Recorded`] is a provider whose cloud is such a document: it decides as the provider does,
//! looks into the document, and writes nothing. Documents are written by people too, so everything that is wrong with one is told
//! at once ([`check`]).

pub mod check;
mod cluster;
mod provider;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use cluster::{
    ClusterRecord, EndpointRecord, EndpointsRecord, KubeProxyHealth, NodeRecord, PortEndpoints,
    TaintRecord,
};
pub use provider::{Record, Recorded};

use crate::{
    nodes::{NodeRules, NodeSet},
    problem::{Problem, Problems},
};

/// The API version of documents of facts. Within it fields are added and never removed, renamed or given another meaning.
pub const API_VERSION: &str = "facts.evenkeel.dev/v1";

/// What stands before the version.
const API_GROUP: &str = "facts.evenkeel.dev/";

/// The part of a document that is a cloud's.
pub trait Cloud: Serialize + DeserializeOwned + JsonSchema {
    /// The kind of the document: `AwsFacts`.
    const KIND: &'static str;
}

/// A cluster and its cloud, as they were at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Facts")]
pub struct Document<C> {
    /// `facts.evenkeel.dev/v1`.
    pub api_version: String,
    /// The kind: one per provider.
    pub kind: String,
    /// When it was so. Plans are made for this time; without it, for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// Which cluster.
    pub cluster: ClusterRecord,
    /// The controller's configuration: options of `evenkeel run` without their dashes. Without `provider` it is the one of this
    /// document; all other options have their defaults.
    #[serde(default)]
    pub configuration: BTreeMap<String, Value>,
    /// Whether kube-proxy's own health answers on the nodes, at port 10256.
    #[serde(default)]
    pub kube_proxy_health: KubeProxyHealth,
    /// The nodes.
    #[serde(default)]
    pub nodes: Vec<NodeRecord>,
    /// Services that are in the cluster, as the API server has them. What a file says of one is applied to it; one that is not here
    /// is new.
    #[serde(default)]
    pub services: Vec<Map<String, Value>>,
    /// The endpoints of Services, where pods are targets. Of a Service that is not here nothing is known.
    #[serde(default)]
    pub endpoints: Vec<EndpointsRecord>,
    /// What the cloud says.
    pub cloud: C,
}

impl<C> Document<C> {
    /// The nodes as a provider with these rules sees them.
    pub fn nodes(&self, rules: &NodeRules) -> NodeSet {
        cluster::nodes(&self.nodes, self.kube_proxy_health, rules)
    }

    /// What Kubernetes says, and what the cloud says.
    pub fn split(self) -> (Document<()>, C) {
        self.having(())
    }

    /// With another cloud in the place of this one, which is given back.
    fn having<D>(self, cloud: D) -> (Document<D>, C) {
        let document = Document {
            api_version: self.api_version,
            kind: self.kind,
            taken_at: self.taken_at,
            cluster: self.cluster,
            configuration: self.configuration,
            kube_proxy_health: self.kube_proxy_health,
            nodes: self.nodes,
            services: self.services,
            endpoints: self.endpoints,
            cloud,
        };
        (document, self.cloud)
    }
}

impl Document<()> {
    /// A document of a cluster, which says nothing but which one it is.
    pub fn bare(cluster: ClusterRecord) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: String::new(),
            taken_at: None,
            cluster,
            configuration: BTreeMap::new(),
            kube_proxy_health: KubeProxyHealth::default(),
            nodes: Vec::new(),
            services: Vec::new(),
            endpoints: Vec::new(),
            cloud: (),
        }
    }

    /// The same with what a cloud says.
    pub fn with<C: Cloud>(self, cloud: C) -> Document<C> {
        Document {
            kind: C::KIND.to_owned(),
            ..self.having(cloud).0
        }
    }
}

impl<C: Cloud> Document<C> {
    /// Reads a document whose kind is this one's.
    ///
    /// # Errors
    /// Everything that is wrong with its form: unknown fields with the nearest spelling, missing ones, values of another kind.
    pub fn read(value: &Value) -> Result<Self, Problems> {
        version(value)?;
        check::check(value, &schema::<Self>())?;
        serde_json::from_value(value.clone()).map_err(|error| {
            let advice = "Correct it; the schema is in docs/schemas.";
            Problem::new("facts", "", format!("cannot be read: {error}"), advice).into()
        })
    }
}

/// The JSON schema of a type, as it is written and read.
pub fn schema<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// The JSON schema of what is only written: fields that are always there are required.
pub fn schema_of_output<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// Refuses the documents of other versions, and what is no document of facts.
fn version(value: &Value) -> Result<(), Problem> {
    let field = "apiVersion";
    let Some(version) = value.get(field).and_then(Value::as_str) else {
        let advice =
            format!("Write apiVersion: {API_VERSION}, or have `evenkeel facts` write the file.");
        return Err(Problem::new(field, "", "is missing", advice));
    };
    if version == API_VERSION {
        return Ok(());
    }
    let advice = if version.starts_with(API_GROUP) {
        "It is of another version of evenkeel: use the one that wrote it, or write the file anew with `evenkeel facts` of this one."
            .to_owned()
    } else {
        format!("Write {API_VERSION}, or have `evenkeel facts` write the file.")
    };
    Err(Problem::new(
        field,
        version,
        format!("must be {API_VERSION}"),
        advice,
    ))
}
