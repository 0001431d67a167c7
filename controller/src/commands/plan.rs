//! `evenkeel plan`: what the controller would do, step by step (Reads; writes neither to the cluster nor to a cloud).
//!
//! The Services come from the cluster or from files, the configuration from the running controller; the roster, the question
//! and the rehearsal are those of a run. A file is shown to the API server first, as a dry run, so that it has the defaults
//! and has passed the admission that it will meet.

mod admission;
mod defaults;
mod manifest;
mod merge;
mod offline;
mod rehearse;
mod stand_ins;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use evenkeel_core::{
    claim::{ClaimRules, owned_by},
    ids::{GroupKey, ServiceKey, ServiceRef},
};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, api::ListParams, runtime::watcher::Event};

use super::{
    cluster::{Cluster, answer, connect, failed},
    output, runtime,
    status::{service_key, why_not},
};
use crate::{
    args::{PlanArgs, PlanFormat},
    clock::Clock,
    providers::{self, Installed},
    sweep::sweep,
    view::{
        plan::{GroupPlan, Orphan, Plan, Skipped, Summary},
        status::API_VERSION,
    },
    watch::{item::Item, services::ServiceCache},
};
use manifest::Proposed;
use rehearse::{EndpointSource, Planner, node_sets};
pub(super) use rehearse::{endpoints_of, unreachable};
use stand_ins::StandIns;

/// There is something to do.
const CHANGES: u8 = 2;

/// What is proposed cannot be had: told by a plan that checks a proposal, before there is anything to keep.
const PROBLEMS: u8 = 1;

pub(super) fn execute(args: &PlanArgs) -> Result<ExitCode> {
    let plan = if args.offline {
        runtime(1)?.block_on(offline::make(args))?
    } else {
        runtime(1)?.block_on(make(args))?
    };
    let errors: BTreeSet<_> = plan
        .groups
        .iter()
        .filter_map(|group| group.error.as_deref())
        .collect();
    // Of a plan that is nothing but one error there is nothing to show.
    if plan.summary.failed == 0 || plan.summary.failed < plan.groups.len() {
        let text = match args.output {
            Some(PlanFormat::Json) => output::json(&plan)?,
            Some(PlanFormat::Yaml) => output::yaml(&plan)?,
            Some(PlanFormat::Text) | None => plan.render(output::ink()),
        };
        output::print(&text)?;
    }
    if !errors.is_empty() {
        let all: Vec<_> = errors.into_iter().collect();
        bail!(
            "{} of {} plans could not be made: {}",
            plan.summary.failed,
            plan.groups.len(),
            all.join("; ")
        );
    }
    Ok(if plan.summary.is_nothing() {
        ExitCode::SUCCESS
    } else if args.offline && plan.summary.has_problems() {
        ExitCode::from(PROBLEMS)
    } else {
        ExitCode::from(CHANGES)
    })
}

/// What is asked for.
#[derive(Default)]
struct Asked {
    /// The Services whose plans are wanted.
    targets: BTreeSet<ServiceKey>,
    /// Groups that one of them is in, or leaves.
    groups: BTreeSet<GroupKey>,
    /// Groups that one of them leaves, with that Service.
    left: Vec<(GroupKey, ServiceRef)>,
    skipped: Vec<Skipped>,
    /// Those that the API server would not take.
    refused: Vec<GroupPlan>,
    /// What the API server has not given yet.
    stand_ins: StandIns,
    /// How many objects of other kinds there are in the files.
    passed_over: usize,
}

async fn make(args: &PlanArgs) -> Result<Plan> {
    let mut cluster = connect(&args.look).await?;
    let identity = match &cluster.identity {
        Ok(identity) => identity.clone(),
        Err(why) => bail!(
            "the cluster's identity, the UID of the namespace kube-system, may not be read: {why}; have `get` on that namespace allowed"
        ),
    };
    cluster.assume_socket(&args.look);
    providers::aws::find_node(&mut cluster.config, &cluster.client).await;
    let installed = providers::install(&cluster.config, &identity)?;
    let mut services = ServiceCache::new(cluster.config.rules.clone());
    let mut asked = Asked {
        stand_ins: StandIns::new(&cluster.config.aws.node_ports),
        ..Asked::default()
    };
    if args.file.is_empty() {
        from_cluster(args, &cluster, &mut services, &mut asked).await?;
    } else {
        from_files(args, &mut cluster, &mut services, &mut asked).await?;
    }

    let mut plan = Plan {
        api_version: API_VERSION.to_owned(),
        kind: "Plan".to_owned(),
        controller: cluster.found.as_ref().map(super::cluster::Found::place),
        ..Plan::default()
    };
    if args.all {
        sweep_clouds(&installed, &services, &mut asked, &mut plan).await?;
    }
    let nodes = if asked.groups.is_empty() {
        HashMap::new()
    } else {
        node_sets(&mut cluster, &installed).await?
    };
    let planner = Planner {
        rules: &cluster.config.rules,
        identity: &identity,
        installed: &installed,
        nodes: &nodes,
        endpoints: EndpointSource::Cluster(&cluster.client),
        now: Clock::default().now(),
    };
    plan.assumed.clone_from(&cluster.assumed);
    finish(planner, &services, asked, plan).await
}

/// Plans for each group that is asked for.
async fn finish(
    planner: Planner<'_>,
    services: &ServiceCache,
    mut asked: Asked,
    mut plan: Plan,
) -> Result<Plan> {
    for key in &asked.groups {
        planner
            .group(key, services, &asked_of(&asked, key), &mut plan)
            .await;
    }
    let unknown = asked.stand_ins.words();
    for group in &mut plan.groups {
        group.hide(&unknown);
    }
    plan.stand_ins = asked.stand_ins.all();
    plan.passed_over = asked.passed_over;
    plan.groups.append(&mut asked.refused);
    plan.skipped.append(&mut asked.skipped);
    plan.groups
        .sort_by(|a, b| (&a.services, &a.provider).cmp(&(&b.services, &b.provider)));
    plan.skipped.sort_by(|a, b| a.service.cmp(&b.service));
    plan.skipped.dedup();
    plan.summary = Summary::of(&plan.groups);
    Ok(plan)
}

/// Who has left a group.
fn asked_of(asked: &Asked, key: &GroupKey) -> Vec<ServiceRef> {
    let left = asked.left.iter().filter(|(group, _)| group == key);
    left.map(|(_, service)| service.clone()).collect()
}

/// The Services as they are.
async fn from_cluster(
    args: &PlanArgs,
    cluster: &Cluster,
    services: &mut ServiceCache,
    asked: &mut Asked,
) -> Result<()> {
    let mut keys = BTreeSet::new();
    for text in &args.services {
        keys.insert(service_key(
            text,
            args.look.namespace.as_deref(),
            &cluster.namespace,
        )?);
    }
    let namespaces: BTreeSet<Option<String>> = if args.all {
        [None].into()
    } else if keys.is_empty() {
        [Some(cluster.namespace.clone())].into()
    } else {
        keys.iter()
            .map(|key| Some(key.namespace.to_string()))
            .collect()
    };
    let mut there = BTreeMap::new();
    for namespace in namespaces {
        there.extend(list(cluster, namespace.as_deref()).await?);
    }
    fill(services, there.values());
    choose(keys, &there, services, &cluster.config.rules, asked)
}

/// Those of the Services that are there for which plans are wanted: all without names.
fn choose(
    keys: BTreeSet<ServiceKey>,
    there: &BTreeMap<ServiceKey, Item<Service>>,
    services: &ServiceCache,
    rules: &ClaimRules,
    asked: &mut Asked,
) -> Result<()> {
    if keys.is_empty() {
        asked.groups = services.groups().cloned().collect();
        return Ok(());
    }
    for key in keys {
        match (there.get(&key), services.group(&key)) {
            (_, Some(group)) => {
                asked.groups.insert(group.clone());
                asked.targets.insert(key);
            }
            (Some(item), None) => {
                let why = match &item.body {
                    Ok(service) => why_not(service, rules),
                    Err(why) => Some(format!("it cannot be read: {why}")),
                };
                asked.skipped.push(skipped(&key, why));
            }
            (None, None) => bail!(
                "there is no Service {key}; `kubectl get services -A` names those there are, and -f plans for one that is to be made"
            ),
        }
    }
    Ok(())
}

/// The Services as they are to be.
async fn from_files(
    args: &PlanArgs,
    cluster: &mut Cluster,
    services: &mut ServiceCache,
    asked: &mut Asked,
) -> Result<()> {
    let manifests = manifest::read(
        &args.file,
        args.recursive,
        args.look.namespace.as_deref(),
        &cluster.namespace,
    )?;
    if manifests.services.is_empty() {
        bail!(
            "there is no Service in {}; name a file with one",
            manifests.places
        );
    }
    asked.passed_over = manifests.others;
    cluster.assumed.extend(manifests.passed_over());
    let namespaces: BTreeSet<_> = manifests
        .services
        .keys()
        .map(|key| key.namespace.to_string())
        .collect();
    let mut there = BTreeMap::new();
    for namespace in namespaces {
        there.extend(list(cluster, Some(&namespace)).await?);
    }
    fill(services, there.values());
    for (key, object) in manifests.services {
        let Proposed {
            service,
            later,
            assumed,
        } = manifest::propose(&cluster.client, &key, object, &mut asked.stand_ins).await?;
        cluster.assumed.extend(assumed);
        asked.stand_ins.will_be_given(&key, later);
        proposed(services, asked, &cluster.config.rules, key, &service)?;
    }
    cluster.assumed.sort();
    cluster.assumed.dedup();
    Ok(())
}

/// Puts a Service as it is to be in its place, and asks for the plans of the group that it is in and of the one that it leaves.
fn proposed(
    services: &mut ServiceCache,
    asked: &mut Asked,
    rules: &ClaimRules,
    key: ServiceKey,
    service: &Service,
) -> Result<()> {
    let before = services.group(&key).cloned();
    let owners = owned_by(service);
    let reference = crate::watch::services::reference(service);
    let item = serde_json::to_value(service)
        .and_then(serde_json::from_value::<Item<Service>>)
        .context("the Service as the API server would have it cannot be read")?;
    services.known(item);
    let after = services.group(&key).cloned();
    if let Some(before) =
        before.filter(|before| Some(before) != after.as_ref() && !owners.is_empty())
    {
        asked.left.push((before.clone(), reference));
        asked.groups.insert(before);
    }
    match after {
        Some(after) => {
            asked.groups.insert(after);
            asked.targets.insert(key);
        }
        None => asked.skipped.push(skipped(&key, why_not(service, rules))),
    }
    Ok(())
}

fn skipped(key: &ServiceKey, why: Option<String>) -> Skipped {
    Skipped {
        service: key.to_string(),
        why: why.unwrap_or_else(|| "there is nothing to plan".to_owned()),
    }
}

async fn list(
    cluster: &Cluster,
    namespace: Option<&str>,
) -> Result<BTreeMap<ServiceKey, Item<Service>>> {
    let api: Api<Item<Service>> = match namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let listed = answer(api.list(&ListParams::default())).await;
    let listed = listed.map_err(|error| failed("the list of Services", &error))?;
    let key = |item: &Item<Service>| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        ServiceKey::new(text(&item.meta.namespace), text(&item.meta.name))
    };
    Ok(listed
        .items
        .into_iter()
        .map(|item| (key(&item), item))
        .collect())
}

fn fill<'a>(services: &mut ServiceCache, items: impl IntoIterator<Item = &'a Item<Service>>) {
    services.event(Event::Init);
    for item in items {
        services.event(Event::InitApply(item.clone()));
    }
    services.event(Event::InitDone);
}

/// What is in the clouds beside what the Services ask: what they moved away from, and what nobody asks for.
async fn sweep_clouds(
    installed: &[Installed],
    services: &ServiceCache,
    asked: &mut Asked,
    plan: &mut Plan,
) -> Result<()> {
    for provider in installed {
        let found = provider
            .engine
            .inventory()
            .await
            .map_err(|error| unreachable(&provider.name, &error))?;
        let swept = sweep(
            &provider.name,
            found,
            services.all().map(|(service, group)| (&**service, group)),
        );
        for (group, service) in swept.left {
            asked.groups.insert(group.clone());
            asked.left.push((group, service));
        }
        plan.orphans
            .extend(swept.orphans.into_iter().map(|orphan| Orphan {
                provider: provider.name.to_string(),
                service: orphan.service,
                objects: orphan.objects,
            }));
    }
    Ok(())
}
