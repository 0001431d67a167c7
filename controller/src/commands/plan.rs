//! `evenkeel plan`: what the controller would do, step by step (Reads; writes neither to the cluster nor to a cloud).
//!
//! The Services come from the cluster or from files, the configuration from the running controller; the roster, the question
//! and the rehearsal are those of a run. A file is shown to the API server first, as a dry run, so that it has the defaults
//! and has passed the admission that it will meet.

mod defaults;
mod manifest;
mod merge;
mod rehearse;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use evenkeel_core::{
    claim::owned_by,
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
    providers::{self, Installed},
    sweep::sweep,
    view::{
        plan::{Orphan, Plan, Skipped, Summary},
        status::API_VERSION,
    },
    watch::{item::Item, services::ServiceCache},
};
use manifest::Proposed;
use rehearse::{Planner, node_sets, unreachable};

/// There is something to do.
const CHANGES: u8 = 2;

pub(super) fn execute(args: &PlanArgs) -> Result<ExitCode> {
    let plan = runtime(1)?.block_on(make(args))?;
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
            None => plan.render(output::ink()),
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
    /// Node ports that the API server has not given yet.
    unknown: Vec<(u16, String)>,
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
    let installed = providers::install(&cluster.config, &identity);
    let mut services = ServiceCache::new(cluster.config.rules.clone());
    let mut asked = Asked::default();
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
        cluster: &cluster,
        identity: &identity,
        installed: &installed,
        nodes: &nodes,
    };
    for key in &asked.groups {
        planner
            .group(key, &services, &asked_of(&asked, key), &mut plan)
            .await;
    }
    for group in &mut plan.groups {
        group.hide(&asked.unknown);
    }
    plan.skipped.append(&mut asked.skipped);
    plan.groups
        .sort_by(|a, b| (&a.services, &a.provider).cmp(&(&b.services, &b.provider)));
    plan.skipped.sort_by(|a, b| a.service.cmp(&b.service));
    plan.skipped.dedup();
    plan.summary = Summary::of(&plan.groups);
    plan.assumed = cluster.assumed;
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
                    Ok(service) => why_not(service, &cluster.config.rules),
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
        args.look.namespace.as_deref(),
        &cluster.namespace,
    )?;
    if manifests.services.is_empty() {
        bail!(
            "there is no Service in {}; name a file with one",
            manifests.places
        );
    }
    if manifests.others > 0 {
        cluster.assumed.push(format!(
            "objects of other kinds, {} in {}, are there already or follow",
            manifests.others, manifests.places
        ));
    }
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
        let before = services.group(&key).cloned();
        let Proposed {
            service,
            unknown,
            assumed,
        } = manifest::propose(&cluster.client, &key, object).await?;
        cluster.assumed.extend(assumed);
        asked.unknown.extend(unknown);
        let owners = owned_by(&service);
        let reference = crate::watch::services::reference(&service);
        let item = serde_json::to_value(&service)
            .and_then(serde_json::from_value::<Item<Service>>)
            .context("the Service that the API server answered cannot be read")?;
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
            None => asked
                .skipped
                .push(skipped(&key, why_not(&service, &cluster.config.rules))),
        }
    }
    cluster.assumed.sort();
    cluster.assumed.dedup();
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
