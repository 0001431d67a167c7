//! A plan without cluster and cloud: both are what files say (Reads files, and nothing else).
//!
//! The question, the providers' decisions and the rehearsal are those of a plan with a cluster. Instead of the API server the rules of
//! [`super::admission`] say what becomes of a Service of a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result, anyhow};
use evenkeel_core::{
    claim::{Claim, claim},
    endpoints::Endpoints,
    ids::ServiceKey,
    nodes::NodeSet,
    problem::Problems,
    record::Document,
};
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use super::{
    super::facts::file::{self, Facts},
    Asked,
    admission::ApiServer,
    choose, fill, finish, manifest, merge, proposed,
    rehearse::{EndpointSource, Planner},
    service_key,
    stand_ins::StandIns,
    sweep_clouds,
};
use crate::{
    args::PlanArgs,
    clock::Clock,
    config::Config,
    providers::{self, Installed},
    view::{
        plan::{GroupPlan, Plan},
        standing::Fault,
        status::API_VERSION,
    },
    watch::{item::Item, services::ServiceCache},
};

/// The namespace of Services that name none.
const NAMESPACE: &str = "default";

/// Plans with the facts of files.
pub(super) async fn make(args: &PlanArgs) -> Result<Plan> {
    let facts = file::read(&args.facts)?;
    let config = file::config(&facts)?;
    let cluster = &facts[0].cluster;
    let identity = cluster.cluster.cluster();
    let installed = installed(&config, &facts)?;
    let now = cluster.taken_at.unwrap_or_else(|| Clock::default().now());
    let live = live(cluster)?;
    let mut services = ServiceCache::new(config.rules.clone());
    let mut asked = Asked {
        stand_ins: StandIns::new(&config.aws.node_ports),
        ..Asked::default()
    };
    fill(&mut services, live.values().map(|live| &live.item));
    let mut plan = Plan {
        api_version: API_VERSION.to_owned(),
        kind: "Plan".to_owned(),
        assumed: vec![assumed(&facts)],
        ..Plan::default()
    };
    if args.file.is_empty() {
        let named = args.services.iter().map(|text| {
            let namespace = args.look.namespace.as_deref();
            service_key(text, namespace, namespace.unwrap_or(NAMESPACE))
        });
        let named: BTreeSet<ServiceKey> = named.collect::<Result<_>>()?;
        let there = live
            .iter()
            .map(|(key, live)| (key.clone(), live.item.clone()))
            .collect();
        choose(named, &there, &services, &config.rules, &mut asked)?;
        if args.all {
            sweep_clouds(&installed, &services, &mut asked, &mut plan).await?;
        }
    } else {
        let mut server = ApiServer {
            families: &cluster.cluster.ip_families,
            node_ports: &config.aws.node_ports,
            now,
            allocated: BTreeMap::new(),
        };
        let world = (&config, &live);
        let mut whom = (&mut services, &mut asked);
        from_files(args, world, &mut server, &mut whom, &mut plan)?;
    }
    let endpoints: BTreeMap<ServiceKey, Endpoints> = cluster
        .endpoints
        .iter()
        .map(|record| {
            let key = service_key(&record.service, None, NAMESPACE)?;
            Ok((key, record.endpoints()))
        })
        .collect::<Result<_>>()
        .context("--facts: endpoints")?;
    let nodes = facts.iter().zip(&installed).map(|(facts, installed)| {
        let set: NodeSet = facts.cluster.nodes(&installed.nodes);
        (installed.name.clone(), set.into())
    });
    let nodes: HashMap<_, _> = nodes.collect();
    let planner = Planner {
        rules: &config.rules,
        identity: &identity,
        installed: &installed,
        nodes: &nodes,
        endpoints: EndpointSource::Known(&endpoints),
        now,
    };
    finish(planner, &services, asked, plan).await
}

/// What is taken for granted: all that the files say.
fn assumed(facts: &[Facts]) -> String {
    let places: Vec<String> = facts
        .iter()
        .map(|facts| match facts.cluster.taken_at {
            Some(at) => format!("{} (of {at:.0})", facts.place.display()),
            None => facts.place.display().to_string(),
        })
        .collect();
    format!(
        "cluster and cloud are as {} says; neither was asked",
        places.join(", ")
    )
}

fn installed(config: &Config, facts: &[Facts]) -> Result<Vec<Installed>> {
    let cluster = facts[0].cluster.cluster.cluster();
    let one = |facts: &Facts| {
        let recorded = match &facts.cloud {
            file::CloudFacts::Aws(cloud) => providers::aws::recorded(config, &cluster, cloud),
            file::CloudFacts::Azure(cloud) => providers::azure::recorded(config, &cluster, cloud),
            file::CloudFacts::Local(cloud) => providers::recorded_local(&cluster, cloud),
        };
        recorded.map_err(|problems| {
            let place = facts.place.display();
            file::told(format!("--facts: {place} cannot be used"), &problems)
        })
    };
    facts.iter().map(one).collect()
}

/// A Service of the cluster.
struct Live {
    object: Value,
    item: Item<Service>,
}

/// The Services that the facts say are in the cluster.
fn live(cluster: &Document<()>) -> Result<BTreeMap<ServiceKey, Live>> {
    let mut all = BTreeMap::new();
    for (index, service) in cluster.services.iter().enumerate() {
        let at = format!("--facts: services[{index}]");
        let mut object = Value::Object(service.clone());
        let text = |field: &str| object.pointer(&format!("/metadata/{field}"))?.as_str();
        let name = text("name").with_context(|| format!("{at} has no metadata.name; write it"))?;
        let key = ServiceKey::new(text("namespace").unwrap_or(NAMESPACE), name);
        if text("uid").is_none() {
            return Err(anyhow!(
                "{at}: {key} has no metadata.uid; write it, or leave the Service out, which is new then"
            ));
        }
        object["metadata"]["namespace"] = key.namespace.to_string().into();
        let item: Item<Service> = serde_json::from_value(object.clone())
            .map_err(|error| anyhow!("{at}: {key} cannot be read: {error}; correct it"))?;
        if let Err(why) = &item.body {
            return Err(anyhow!("{at}: {key} cannot be read: {why}; correct it"));
        }
        if all.insert(key.clone(), Live { object, item }).is_some() {
            return Err(anyhow!("{at}: {key} stands twice; keep one of the two"));
        }
    }
    Ok(all)
}

/// The Services of files, as the API server would have them.
fn from_files(
    args: &PlanArgs,
    (config, live): (&Config, &BTreeMap<ServiceKey, Live>),
    server: &mut ApiServer<'_>,
    (services, asked): &mut (&mut ServiceCache, &mut Asked),
    plan: &mut Plan,
) -> Result<()> {
    let namespace = args.look.namespace.as_deref();
    let manifests = manifest::read(&args.file, args.recursive, namespace, NAMESPACE)?;
    asked.passed_over = manifests.others;
    plan.assumed.extend(manifests.passed_over());
    let mut wanted = Vec::new();
    for (key, live) in live {
        if let Ok(service) = &live.item.body {
            server.knows(key, service);
            asked.stand_ins.avoid(service);
        }
    }
    for (key, object) in manifests.services {
        let live = live.get(&key).map(|live| &live.object);
        let object = match live {
            Some(live) => merge::applied(live, &object),
            None => object,
        };
        let live = live.map(|live| manifest::read_service(&key, live.clone()));
        let service = manifest::read_service(&key, object)?;
        server.knows(&key, &service);
        asked.stand_ins.avoid(&service);
        wanted.push((key, live.transpose()?, service));
    }
    for (key, live, service) in wanted {
        let admitted = server.admit(&key, live.as_ref(), service.clone(), &mut asked.stand_ins);
        match admitted {
            Ok(service) => proposed(services, asked, &config.rules, key, &service)?,
            Err(problems) => asked
                .refused
                .push(refused(&key, &service, config, &problems)),
        }
    }
    Ok(())
}

/// The plan of a Service that the API server would not take: nothing changes.
fn refused(key: &ServiceKey, service: &Service, config: &Config, problems: &Problems) -> GroupPlan {
    let provider = match claim(service, &config.rules) {
        Claim::Ours(rule) => rule.provider.to_string(),
        Claim::ForeignHand(_) | Claim::NotOurs => String::new(),
    };
    GroupPlan {
        services: vec![key.to_string()],
        provider,
        problems: problems.iter().map(Fault::from).collect(),
        ..GroupPlan::default()
    }
}
