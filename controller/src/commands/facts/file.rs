//! Files of facts: what a plan is made with where there is neither cluster nor cloud (Reads).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use evenkeel_aws::record::AwsCloud;
use evenkeel_azure::record::AzureCloud;
use evenkeel_core::{
    annotation::nearest,
    ids::ProviderName,
    problem::Problems,
    record::{Cloud, Document},
};
use evenkeel_local::record::LocalCloud;
use serde_json::{Map, Value};

use super::super::all_of;
use crate::{
    args::RunArgs,
    config::{Config, File, Surroundings},
};

/// What the cloud of one provider says.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::commands) enum CloudFacts {
    /// AWS.
    Aws(Box<AwsCloud>),
    /// Azure.
    Azure(Box<AzureCloud>),
    /// The data plane of this machine.
    Local(Box<LocalCloud>),
}

/// The kinds of documents.
const KINDS: [&str; 3] = [AwsCloud::KIND, AzureCloud::KIND, LocalCloud::KIND];

impl CloudFacts {
    /// The provider that they are of.
    pub(in crate::commands) fn provider(&self) -> ProviderName {
        match self {
            Self::Aws(_) => evenkeel_aws::NAME.into(),
            Self::Azure(_) => evenkeel_azure::NAME.into(),
            Self::Local(_) => evenkeel_local::NAME.into(),
        }
    }
}

/// A document of one file.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::commands) struct Facts {
    /// Where it stands.
    pub(in crate::commands) place: PathBuf,
    /// What Kubernetes says.
    pub(in crate::commands) cluster: Document<()>,
    /// What the cloud says.
    pub(in crate::commands) cloud: CloudFacts,
}

/// Reads all documents of these files.
pub(in crate::commands) fn read(paths: &[PathBuf]) -> Result<Vec<Facts>> {
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "--facts: {} cannot be read; have `evenkeel facts -o FILE` write it",
                path.display()
            )
        })?;
        all.extend(parse(path, &text)?);
    }
    agree(&all)?;
    Ok(all)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Facts>> {
    let place = path.display();
    // A text stays a text: `no`, `on` and `1e3` are none of YAML 1.1's other things.
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let why = error.to_string();
            let why = why.lines().next().unwrap_or_default();
            anyhow!("--facts: {place} is no YAML ({why}); correct it")
        })?;
    let mut all = Vec::new();
    for document in documents.iter().filter(|document| !document.is_null()) {
        let read = one(path, document)
            .map_err(|problems| told(format!("--facts: {place} cannot be used"), &problems))?;
        all.push(read);
    }
    if all.is_empty() {
        bail!("--facts: {place} is empty; have `evenkeel facts -o FILE` write it");
    }
    Ok(all)
}

fn one(path: &Path, document: &Value) -> Result<Facts, Problems> {
    let kind = document.get("kind").and_then(Value::as_str);
    let (cluster, cloud) = match kind {
        Some(AwsCloud::KIND) => {
            let (cluster, cloud) = Document::<AwsCloud>::read(document)?.split();
            (cluster, CloudFacts::Aws(Box::new(cloud)))
        }
        Some(AzureCloud::KIND) => {
            let (cluster, cloud) = Document::<AzureCloud>::read(document)?.split();
            (cluster, CloudFacts::Azure(Box::new(cloud)))
        }
        Some(LocalCloud::KIND) => {
            let (cluster, cloud) = Document::<LocalCloud>::read(document)?.split();
            (cluster, CloudFacts::Local(Box::new(cloud)))
        }
        kind => {
            let kind = kind.unwrap_or_default();
            let advice = match nearest(kind, KINDS) {
                Some(near) => format!("Did you mean {near}?"),
                None => "Have `evenkeel facts` write the file.".to_owned(),
            };
            let message = format!("must be one of {}", KINDS.join(", "));
            return Err(evenkeel_core::problem::Problem::new("kind", kind, message, advice).into());
        }
    };
    Ok(Facts {
        place: path.to_owned(),
        cluster,
        cloud,
    })
}

/// Problems, one line each.
pub(in crate::commands) fn told(what: String, problems: &Problems) -> anyhow::Error {
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| format!("  {problem}"))
        .collect();
    anyhow!("{what}:\n{}", lines.join("\n"))
}

/// Several documents are of one cluster, and of each provider there is one.
fn agree(all: &[Facts]) -> Result<()> {
    let Some((first, others)) = all.split_first() else {
        return Ok(());
    };
    for (index, facts) in others.iter().enumerate() {
        let place = facts.place.display();
        let (a, b) = (&first.cluster, &facts.cluster);
        for (field, same) in [
            ("cluster", a.cluster == b.cluster),
            ("configuration", a.configuration == b.configuration),
            ("services", a.services == b.services),
            ("endpoints", a.endpoints == b.endpoints),
        ] {
            if !same {
                bail!(
                    "--facts: {place} and {} say different things in {field}; write all files at one time, with `evenkeel facts`",
                    first.place.display()
                );
            }
        }
        let provider = facts.cloud.provider();
        if all[..=index]
            .iter()
            .any(|other| other.cloud.provider() == provider)
        {
            bail!(
                "--facts: {place} is a second one of the provider {provider}; leave one of them out"
            );
        }
    }
    Ok(())
}

/// The controller's configuration as the facts tell it.
pub(in crate::commands) fn config(all: &[Facts]) -> Result<Config> {
    let Some(first) = all.first() else {
        bail!("--facts: no file is named; have `evenkeel facts -o FILE` write one");
    };
    let mut options: Map<String, Value> = first.cluster.configuration.clone().into_iter().collect();
    options.entry("provider").or_insert_with(|| {
        all.iter()
            .map(|facts| Value::from(facts.cloud.provider().as_str()))
            .collect()
    });
    for facts in all {
        if let CloudFacts::Azure(cloud) = &facts.cloud {
            for (option, value) in place(cloud) {
                options.entry(option).or_insert_with(|| value.into());
            }
        }
    }
    let file = File {
        path: first.place.clone(),
        // JSON is YAML.
        text: Value::Object(options).to_string(),
    };
    Config::of_run(&RunArgs::default(), Some(&file), &Surroundings::default())
        .map_err(|wrong| all_of(&wrong).context(format!("--facts: {}", first.place.display())))
}

/// The options for which the facts have fields of their own: where a cluster is on Azure.
fn place(cloud: &AzureCloud) -> [(&'static str, &str); 5] {
    let name = cloud.virtual_network.get("name").and_then(Value::as_str);
    let place = &cloud.place;
    [
        ("azure-subscription-id", &place.subscription),
        ("azure-resource-group", &place.resource_group),
        ("azure-location", &place.location),
        ("azure-subnet", &place.subnet),
        ("azure-vnet", name.unwrap_or_default()),
    ]
}
