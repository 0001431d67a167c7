//! `evenkeel facts`: writes a cluster and its clouds down, for plans without them (Reads; what it writes is a file).

pub(super) mod file;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail};
use evenkeel_core::{
    Timestamp,
    ids::Cluster as Identity,
    net::{Cidr, IpFamily},
    record::{Cloud, ClusterRecord, Document, EndpointsRecord, KubeProxyHealth, NodeRecord},
};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::{Api, api::ListParams};
use serde_json::{Map, Value};

use super::{
    ask::ask,
    cluster::{Cluster, answer, connect, failed},
    output, plan, runtime,
};
use crate::{
    args::FactsArgs,
    clock::Clock,
    providers,
    reconcile::foresee::foresee,
    view::standing::{HeldNode, NodesOf, Scope},
    watch::{
        item::Item,
        services::{ServiceCache, reference},
    },
};

/// The options that decide what becomes of a Service.
const DECIDING: [&str; 11] = [
    "provider",
    "default-provider",
    "class",
    "aws-tag",
    "aws-ssl-policy",
    "aws-node-ports",
    "aws-quota",
    "azure-outbound",
    "azure-shared-probe",
    "azure-tag",
    "azure-limit",
];

pub(super) fn execute(args: &FactsArgs) -> Result<()> {
    let text = runtime(1)?.block_on(write(args))?;
    match &args.output {
        Some(path) if path.as_os_str() != "-" => save(path, &text),
        _ => output::print(&text),
    }
}

fn save(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| {
        format!(
            "-o: {} cannot be written; name another file, or - for standard output",
            path.display()
        )
    })
}

/// A document for each provider.
async fn write(args: &FactsArgs) -> Result<String> {
    let mut cluster = connect(&args.look).await?;
    let identity = match &cluster.identity {
        Ok(identity) => identity.clone(),
        Err(why) => bail!(
            "the cluster's identity, the UID of the namespace kube-system, may not be read: {why}; have `get` on that namespace allowed"
        ),
    };
    providers::aws::find_node(&mut cluster.config, &cluster.client).await;
    let nodes = nodes(&cluster).await?;
    let (cache, services) = services(&cluster).await?;
    let told = told(&cluster).await;
    let record = ClusterRecord {
        ip_families: families(&cluster, &nodes).await?,
        ..ClusterRecord::new(&identity)
    };
    let shared = Document {
        taken_at: Some(now()),
        configuration: options(&cluster)?,
        services,
        endpoints: all_endpoints(&cluster, &identity, &cache).await?,
        ..Document::bare(record)
    };
    let mut text = String::new();
    for provider in &cluster.config.rules.enabled {
        let told = told.iter().find(|told| told.provider == provider.as_str());
        let known = Document {
            nodes: with_held(&nodes, told),
            kube_proxy_health: match told {
                Some(told) if told.proxy_health_silent => KubeProxyHealth::Silent,
                _ => KubeProxyHealth::Answers,
            },
            ..shared.clone()
        };
        let failed = |error| plan::unreachable(provider, &error);
        if provider.as_str() == evenkeel_aws::NAME {
            let aws = providers::aws::connect(&cluster.config, &identity);
            let cloud = evenkeel_aws::record::look(&aws).await.map_err(failed)?;
            text.push_str(&document(known, cloud)?);
        } else if let (evenkeel_azure::NAME, Some(config)) =
            (provider.as_str(), &cluster.config.azure)
        {
            let azure = providers::azure::connect(&cluster.config, config, &identity)?;
            let cloud = evenkeel_azure::record::look(&azure).await.map_err(failed)?;
            text.push_str(&document(known, cloud)?);
        } else if provider.as_str() == evenkeel_local::NAME {
            let local = providers::connect_local(&cluster.config, &identity);
            let cloud = evenkeel_local::record::look(&local).await.map_err(failed)?;
            text.push_str(&document(known, cloud)?);
        }
    }
    Ok(text)
}

fn document<C: Cloud>(shared: Document<()>, cloud: C) -> Result<String> {
    output::yaml(&shared.with(cloud))
}

/// The time in whole seconds.
fn now() -> Timestamp {
    let now = Clock::default().now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The options that decide, of the configuration that the controller runs with.
fn options(cluster: &Cluster) -> Result<BTreeMap<String, Value>> {
    let Some(file) = &cluster.file else {
        return Ok(BTreeMap::new());
    };
    let strict = serde_saphyr::options! { strict_booleans: true };
    let all: Option<BTreeMap<String, Value>> =
        serde_saphyr::from_str_with_options(&file.text, strict)
            .with_context(|| format!("{} cannot be read", file.path.display()))?;
    let mut all = all.unwrap_or_default();
    all.retain(|name, _| DECIDING.contains(&name.as_str()));
    Ok(all)
}

async fn nodes(cluster: &Cluster) -> Result<Vec<Node>> {
    let api = Api::<Node>::all(cluster.client.clone());
    let listed = answer(api.list(&ListParams::default())).await;
    let mut nodes = listed
        .map_err(|error| failed("the list of Nodes", &error))?
        .items;
    nodes.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(nodes)
}

/// What the controller knows of nodes beyond that; nothing where it cannot be asked.
async fn told(cluster: &Cluster) -> Vec<NodesOf> {
    let scope = Scope {
        without_services: true,
        ..Scope::default()
    };
    let told = ask(cluster, &scope).await;
    told.map(|told| told.standings.nodes).unwrap_or_default()
}

fn with_held(nodes: &[Node], told: Option<&NodesOf>) -> Vec<NodeRecord> {
    let mut records: Vec<NodeRecord> = nodes.iter().map(NodeRecord::of).collect();
    for held in told.iter().flat_map(|told| &told.held) {
        let record = held_node(held);
        match records.iter_mut().find(|known| known.name == held.name) {
            Some(known) => *known = record,
            None => records.push(record),
        }
    }
    records
}

fn held_node(held: &HeldNode) -> NodeRecord {
    NodeRecord {
        name: held.name.clone(),
        provider_id: held.provider_id.clone(),
        zone: held.zone.clone(),
        addresses: held.addresses.clone(),
        held: true,
        ..NodeRecord::default()
    }
}

/// The families that Services get: that of the API server's own Service, and the others that pods have.
async fn families(cluster: &Cluster, nodes: &[Node]) -> Result<Vec<IpFamily>> {
    let api = Api::<Service>::namespaced(cluster.client.clone(), "default");
    let own = answer(api.get_opt("kubernetes")).await;
    let own = own.map_err(|error| failed("the Service default/kubernetes", &error))?;
    let own = own
        .and_then(|service| service.spec?.ip_families)
        .unwrap_or_default();
    let of_pods = nodes
        .iter()
        .find_map(|node| node.spec.as_ref()?.pod_cidrs.as_ref());
    let of_pods = of_pods
        .into_iter()
        .flatten()
        .filter_map(|cidr| cidr.parse().ok());
    let of_pods = of_pods.map(Cidr::family);
    let named = own.iter().filter_map(|text| match text.as_str() {
        "IPv4" => Some(IpFamily::V4),
        "IPv6" => Some(IpFamily::V6),
        _ => None,
    });
    let mut families = Vec::new();
    for family in named.chain(of_pods) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    if families.is_empty() {
        families.push(IpFamily::V4);
    }
    Ok(families)
}

/// The Services that the controller has to do with, as the API server has them.
async fn services(cluster: &Cluster) -> Result<(ServiceCache, Vec<Map<String, Value>>)> {
    let api = Api::<Service>::all(cluster.client.clone());
    let listed = answer(api.list(&ListParams::default())).await;
    let listed = listed.map_err(|error| failed("the list of Services", &error))?;
    let mut cache = ServiceCache::new(cluster.config.rules.clone());
    let mut all = BTreeMap::new();
    for service in listed.items {
        let key = reference(&service).key;
        let object = trimmed(&service)?;
        let item: Item<Service> = serde_json::from_value(Value::Object(object.clone()))
            .with_context(|| format!("the Service {key} cannot be read"))?;
        cache.known(item);
        if cache.get(&key).is_some() {
            all.insert(key, object);
        }
    }
    Ok((cache, all.into_values().collect()))
}

/// A Service without what says nothing about it.
fn trimmed(service: &Service) -> Result<Map<String, Value>> {
    let mut object = serde_json::to_value(service)?;
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in UNREAD {
            metadata.remove(field);
        }
    }
    match object {
        Value::Object(object) => Ok(object),
        _ => bail!("a Service that is no object"),
    }
}

/// What of a Service's metadata decides nothing.
const UNREAD: [&str; 4] = [
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "generation",
];

/// The endpoints of the Services whose targets are or may be endpoints.
async fn all_endpoints(
    cluster: &Cluster,
    identity: &Identity,
    services: &ServiceCache,
) -> Result<Vec<EndpointsRecord>> {
    let installed = providers::install(&cluster.config, identity)?;
    let mut records = BTreeMap::new();
    for key in services.groups() {
        let members = services.members(key);
        let (all, _) = foresee(key, identity, members.clone(), &cluster.config.rules, false);
        let follows = all.iter().any(|foreseen| {
            let mut installed = installed.iter();
            let provider = installed.find(|one| one.name == foreseen.provider);
            provider.is_some_and(|provider| {
                provider.follows_endpoints
                    && provider.engine.follows_endpoints(key, &foreseen.ask) != Some(false)
            })
        });
        for service in members.iter().filter(|_| follows) {
            let found = plan::endpoints_of(&cluster.client, service).await?;
            let name = reference(service).key.to_string();
            records.insert(name.clone(), EndpointsRecord::of(name, &found));
        }
    }
    Ok(records.into_values().collect())
}
