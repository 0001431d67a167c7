//! What AWS's requests and answers look like: the inputs and outputs of operations, from botocore's `service-2.json`. Reads what `aws/models.py` wrote.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use regex::Regex;
use serde::Deserialize;

use crate::progress::Progress;

/// The services whose requests are checked.
const SERVICES: [&str; 6] = [
    "elbv2",
    "ec2",
    "sts",
    "acm",
    "iam",
    "resourcegroupstaggingapi",
];

/// The models of all services that the proxy lets pass.
#[derive(Debug)]
pub(crate) struct Models {
    services: Vec<Model>,
}

/// One service.
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    /// As botocore names it.
    pub(crate) service: String,
    /// The service in the scope of a signature: `elasticloadbalancing`.
    pub(crate) signing_name: String,
    pub(crate) api_version: String,
    pub(crate) protocol: Protocol,
    /// What precedes the operation in the header `X-Amz-Target`.
    pub(crate) target_prefix: Option<String>,
    /// The XML name space of its replies.
    pub(crate) namespace: Option<String>,
    /// Operations with the shape of their input.
    operations: BTreeMap<String, Option<String>>,
    /// Operations with the shape of their output.
    outputs: BTreeMap<String, Option<String>>,
    shapes: HashMap<String, Shape>,
}

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// A form, lists as `Names.member.1`.
    Query,
    /// A form, lists as `VpcId.1`; names have their own rules.
    Ec2,
    /// JSON, the operation in a header.
    Json,
}

/// What a value may be.
#[derive(Debug, Deserialize)]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: Type,
    #[serde(default)]
    pub(crate) members: BTreeMap<String, Reference>,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    /// Of a list.
    pub(crate) member: Option<Reference>,
    /// Of a map.
    pub(crate) key: Option<Reference>,
    /// Of a map.
    pub(crate) value: Option<Reference>,
    #[serde(rename = "enum")]
    pub(crate) values: Option<Vec<String>>,
    /// Of a number its value, of a text its characters, of a list its items.
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pattern: Option<String>,
    #[serde(skip)]
    compiled: OnceLock<Option<Regex>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Type {
    Structure,
    List,
    Map,
    String,
    Integer,
    Long,
    Boolean,
    Double,
    Float,
    Timestamp,
    Blob,
}

/// A shape in its place.
#[derive(Debug, Deserialize)]
pub(crate) struct Reference {
    pub(crate) shape: String,
    #[serde(rename = "locationName")]
    pub(crate) location_name: Option<String>,
    #[serde(rename = "queryName")]
    pub(crate) query_name: Option<String>,
}

impl Models {
    /// Installs the emulators if they are not there and reads the models that came with them.
    pub(crate) async fn load() -> Result<Self> {
        tokio::task::spawn_blocking(|| {
            let venv = super::PROGRAMS.ensure(&Progress::new())?;
            Self::read(&venv.models())
        })
        .await?
    }

    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let read = |service: &&str| -> Result<Model> {
            let path = directory.join(format!("{service}.json"));
            let text = std::fs::read(&path)
                .with_context(|| format!("cannot read the model {}", path.display()))?;
            serde_json::from_slice(&text)
                .with_context(|| format!("{} is not a model of requests", path.display()))
        };
        let services = SERVICES.iter().map(read).collect::<Result<_>>()?;
        Ok(Self { services })
    }

    pub(crate) fn by_signing_name(&self, name: &str) -> Option<&Model> {
        self.services
            .iter()
            .find(|model| model.signing_name == name)
    }

    /// Of a form that is not signed: the versions of the services differ.
    pub(crate) fn by_api_version(&self, version: &str) -> Option<&Model> {
        self.services
            .iter()
            .find(|model| model.api_version == version)
    }
}

impl Model {
    /// The input of an operation: `None` when there is no such operation, `Some(None)` when it takes nothing.
    pub(crate) fn input(&self, operation: &str) -> Option<Option<&Shape>> {
        let input = self.operations.get(operation)?;
        Some(input.as_ref().and_then(|name| self.shapes.get(name)))
    }

    /// The output of an operation: `None` when it answers nothing, or nobody needs to know what.
    pub(crate) fn output(&self, operation: &str) -> Option<&Shape> {
        self.shapes.get(self.outputs.get(operation)?.as_ref()?)
    }

    pub(crate) fn shape(&self, reference: &Reference) -> Option<&Shape> {
        self.shapes.get(&reference.shape)
    }
}

impl Shape {
    /// The pattern that the whole text must match, if this machine can: Rust's expressions do not look ahead, and one of AWS's names
    /// characters that are none.
    pub(crate) fn pattern(&self) -> Option<&Regex> {
        let compile = || Regex::new(&format!("^(?:{})$", self.pattern.as_ref()?)).ok();
        self.compiled.get_or_init(compile).as_ref()
    }
}
