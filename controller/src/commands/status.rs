//! `evenkeel status`: where the Services of evenkeel's stand, once or as they change (Reads).

use std::{collections::HashMap, pin::pin, time::Duration};

use anyhow::{Result, bail};
use evenkeel_core::{
    claim::{Claim, ClaimRules, claim},
    ids::ServiceKey,
};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::{
    Api, ResourceExt as _,
    api::ListParams,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};

use super::{
    ask::ask,
    asked_to_end,
    cluster::{Cluster, Found, answer, connect, failed},
    output, runtime,
};
use crate::{
    args::{StatusArgs, StatusFormat},
    clock::Clock,
    view::{
        services::Row,
        standing::Scope,
        status::{API_VERSION, Controller, Page, Status},
    },
    watch::{item::Item, services::ServiceCache},
};

/// How often the controller is asked what it knows, while somebody watches: health changes without a Service changing.
const AGAIN: Duration = Duration::from_secs(2);

/// Changes come in bursts; one page shows them all.
const BURST: Duration = Duration::from_millis(100);

pub(super) fn execute(args: &StatusArgs) -> Result<()> {
    runtime(1)?.block_on(async {
        let mut cluster = connect(&args.look).await?;
        let scope = scope(args, &cluster)?;
        if args.watch {
            tokio::select! {
                ended = asked_to_end() => ended.map(drop),
                failed = follow(args, &mut cluster, &scope) => failed,
            }
        } else {
            let mut services = ServiceCache::new(cluster.config.rules.clone());
            list(&cluster, &scope, &mut services).await?;
            let status = gather(&cluster, &scope, &services).await;
            output::print(&shown(args, &scope, &status)?)
        }
    })
}

/// What was asked for.
fn scope(args: &StatusArgs, cluster: &Cluster) -> Result<Scope> {
    if args.all_namespaces {
        return Ok(Scope::default());
    }
    let Some(service) = &args.service else {
        return Ok(Scope {
            namespace: Some(cluster.namespace.clone()),
            ..Scope::default()
        });
    };
    let key = service_key(service, args.look.namespace.as_deref(), &cluster.namespace)?;
    Ok(Scope {
        namespace: Some(key.namespace.to_string()),
        name: Some(key.name.to_string()),
        ..Scope::default()
    })
}

fn api(cluster: &Cluster, scope: &Scope) -> Api<Item<Service>> {
    match &scope.namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    }
}

fn fields(scope: &Scope) -> Option<String> {
    let name = scope.name.as_ref()?;
    Some(format!("metadata.name={name}"))
}

/// Reads `NAME` or `NAMESPACE/NAME`.
pub(super) fn service_key(text: &str, named: Option<&str>, default: &str) -> Result<ServiceKey> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => {
            if named.is_some_and(|named| named != namespace) {
                bail!(
                    "{text:?} and -n {} name two namespaces; leave one of them out",
                    named.unwrap_or_default()
                );
            }
            (namespace, name)
        }
        None => (default, text),
    };
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        bail!(
            "{text:?} must be NAME or NAMESPACE/NAME of a Service; write for example shop/checkout"
        );
    }
    Ok(ServiceKey::new(namespace, name))
}

/// Reads the Services that were asked for.
async fn list(cluster: &Cluster, scope: &Scope, services: &mut ServiceCache) -> Result<()> {
    let mut parameters = ListParams::default();
    if let Some(fields) = fields(scope) {
        parameters = parameters.fields(&fields);
    }
    let listed = answer(api(cluster, scope).list(&parameters)).await;
    let listed = listed.map_err(|error| failed("the list of Services", &error))?;
    if let (Some(name), Some(namespace)) = (&scope.name, &scope.namespace) {
        let Some(item) = listed.items.first() else {
            bail!("there is no Service {namespace}/{name}; -A shows those of all namespaces");
        };
        if let Ok(service) = &item.body
            && let Some(why) = why_not(service, &cluster.config.rules)
        {
            bail!("{namespace}/{name} is none of evenkeel's: {why}");
        }
    }
    services.event(Event::Init);
    for item in listed.items {
        services.event(Event::InitApply(item));
    }
    services.event(Event::InitDone);
    Ok(())
}

/// Why a Service is none of evenkeel's business; None where it is.
pub(super) fn why_not(service: &Service, rules: &ClaimRules) -> Option<String> {
    let spec = service.spec.clone().unwrap_or_default();
    let type_ = spec.type_.as_deref().unwrap_or("ClusterIP");
    if claim(service, rules) != Claim::NotOurs
        || !evenkeel_core::claim::leaving(service, rules).is_empty()
    {
        return None;
    }
    if type_ != "LoadBalancer" {
        return Some(format!("its type is {type_}; only LoadBalancer gets one"));
    }
    if service.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted, and nothing of ours is left of it".to_owned());
    }
    let ours: Vec<_> = rules.classes.keys().map(String::as_str).collect();
    let classes = ours.join(", ");
    Some(match spec.load_balancer_class {
        Some(class) => format!("its class is {class}; evenkeel serves {classes}"),
        None => format!(
            "it has no class, and the controller has no --default-provider; set spec.loadBalancerClass to one of {classes} when you make it"
        ),
    })
}

/// What is known now.
async fn gather(cluster: &Cluster, scope: &Scope, services: &ServiceCache) -> Status {
    let told = ask(cluster, scope).await;
    let mut controller = Controller::default();
    if let Some(found) = &cluster.found {
        let about = &found.object.about;
        controller = Controller {
            object: Some(found.place()),
            version: about.version.clone(),
            identity: about.identity.clone(),
            pod: about.pod.clone(),
            conditions: found.object.conditions.clone(),
            ..controller
        };
    }
    let (told, unknown) = match told {
        Ok(told) => (Some(told), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    controller.asked = told.as_ref().map(|told| told.place.clone());
    controller.unknown = unknown;
    if let Some(told) = &told
        && controller.version.is_empty()
    {
        controller.version.clone_from(&told.standings.version);
    }
    let standings: HashMap<_, _> = told
        .iter()
        .flat_map(|told| &told.standings.services)
        .map(|standing| (standing.uid.as_str(), standing))
        .collect();
    let rules = &cluster.config.rules;
    let mut rows: Vec<_> = services
        .all()
        .filter(|(service, _)| {
            let named = scope.name.as_deref();
            named.is_none_or(|name| service.metadata.name.as_deref() == Some(name))
        })
        .map(|(service, _)| {
            let uid = service.metadata.uid.as_deref().unwrap_or_default();
            let mut row = Row::of(service, rules, standings.get(uid).copied());
            let key = (row.namespace.clone(), row.name.clone());
            row.traffic = told
                .as_ref()
                .and_then(|told| told.traffic.get(&key).cloned());
            row
        })
        .collect();
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Status {
        api_version: API_VERSION.to_owned(),
        kind: "Status".to_owned(),
        controller,
        figures: told.as_ref().and_then(|told| told.figures.clone()),
        services: rows,
        assumed: cluster.assumed.clone(),
    }
}

fn shown(args: &StatusArgs, scope: &Scope, status: &Status) -> Result<String> {
    match args.output {
        Some(StatusFormat::Json) => output::json(status),
        Some(StatusFormat::Yaml) => output::yaml(status),
        wide => Ok(status.render(Page {
            ink: output::ink(),
            wide: wide.is_some(),
            now: Clock::default().now(),
            namespace: scope.namespace.as_deref(),
        })),
    }
}

/// Shows each change, for ever.
async fn follow(args: &StatusArgs, cluster: &mut Cluster, scope: &Scope) -> Result<()> {
    let mut services = ServiceCache::new(cluster.config.rules.clone());
    let config = watcher::Config {
        field_selector: fields(scope),
        ..watcher::Config::default()
    };
    let mut events = pin!(watcher(api(cluster, scope), config).default_backoff());
    let (mut listed, mut last) = (false, None);
    let clear = output::is_terminal() && matches!(args.output, None | Some(StatusFormat::Wide));
    let mut again = tokio::time::interval(AGAIN);
    loop {
        let mut changing = false;
        tokio::select! {
            event = events.next() => {
                match event {
                    Some(Ok(event)) => {
                        listed |= services.event(event).1;
                        changing = true;
                    }
                    Some(Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)))
                        if matches!(&error, kube::Error::Api(status) if status.code == 403 || status.code == 401) =>
                    {
                        return Err(failed("the watch of Services", &error));
                    }
                    // It is begun again by itself, more slowly each time.
                    Some(Err(_)) => {}
                    None => bail!("the watch of Services ended by itself; run the command again"),
                }
            }
            _ = again.tick() => find_again(cluster).await,
        }
        // More of the same burst.
        if changing {
            while let Ok(Some(Ok(event))) = tokio::time::timeout(BURST, events.next()).await {
                listed |= services.event(event).1;
            }
        }
        if !listed {
            continue;
        }
        let status = gather(cluster, scope, &services).await;
        if last.as_ref() == Some(&status.without_figures()) {
            continue;
        }
        last = Some(status.without_figures());
        let page = shown(args, scope, &status)?;
        let (before, after) = if clear {
            (output::CLEAR, "")
        } else {
            ("", "\n")
        };
        output::print(&format!("{before}{page}{after}"))?;
    }
}

/// Reads the controller's own object anew: another may lead by now.
async fn find_again(cluster: &mut Cluster) {
    let Some(found) = &cluster.found else { return };
    let objects = Api::<ConfigMap>::namespaced(cluster.client.clone(), &found.namespace);
    if let Ok(Some(object)) = answer(objects.get_opt(&found.name)).await {
        cluster.found = Some(Found {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            object: crate::controller_object::ControllerObject::from_config_map(&object),
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_are_named_as_people_do() {
        for (text, named, want) in [
            ("checkout", None, Some("shop/checkout")),
            ("other/checkout", None, Some("other/checkout")),
            ("other/checkout", Some("other"), Some("other/checkout")),
            ("other/checkout", Some("shop"), None),
            ("", None, None),
            ("a/b/c", None, None),
            ("/b", None, None),
        ] {
            let key = service_key(text, named, "shop").map(|key| key.to_string());
            assert_eq!(key.ok().as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn why_a_service_is_left_alone() {
        let rules = ClaimRules::new([evenkeel_core::ids::ProviderName::from("local")]);
        for (spec, want) in [
            (json!({"type": "ClusterIP"}), Some("its type is ClusterIP")),
            (json!({"type": "LoadBalancer"}), Some("--default-provider")),
            (
                json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}),
                Some("its class is example.com/lb; evenkeel serves evenkeel.dev/local"),
            ),
            (
                json!({"type": "LoadBalancer", "loadBalancerClass": "evenkeel.dev/local"}),
                None,
            ),
        ] {
            let service = json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": spec});
            let service = serde_json::from_value(service).expect("a Service");
            let why = why_not(&service, &rules);
            match want {
                None => assert_eq!(why, None),
                Some(part) => assert!(
                    why.as_deref().is_some_and(|why| why.contains(part)),
                    "{why:?}"
                ),
            }
        }
    }
}
