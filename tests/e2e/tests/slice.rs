//! The slice from a Service to traffic and back: the real program, the real data plane, a real API server. Nodes and pods
//! are addresses of 127.0.0.0/8, so that it runs anywhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_e2e::{World, WorldOptions};
use evenkeel_harness::nodes::{NodesKind, NodesOptions};
use evenkeel_harness::wait::eventually;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

const NAMESPACE: &str = "default";
const FINALIZER: &str = "evenkeel.dev/local";

async fn world() -> Result<World> {
    let nodes = NodesOptions {
        kind: NodesKind::Loopback,
        ..NodesOptions::default()
    };
    let world = World::start(WorldOptions {
        nodes: Some(nodes),
        ..WorldOptions::default()
    })
    .await?;
    world.deploy(NAMESPACE, "web", 2).await?;
    Ok(world)
}

async fn create(world: &World, name: &str, more: Value) -> Result<Service> {
    let mut service = json!({
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/local",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 8080, "targetPort": "http"}],
        },
    });
    merge(&mut service, more);
    let service = serde_json::from_value(service)?;
    Ok(world
        .services(NAMESPACE)
        .create(&PostParams::default(), &service)
        .await?)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

async fn patch(world: &World, name: &str, patch: Value) -> Result<Service> {
    let services = world.services(NAMESPACE);
    Ok(services
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?)
}

async fn patch_status(world: &World, name: &str, patch: Value) -> Result<Service> {
    let services = world.services(NAMESPACE);
    Ok(services
        .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?)
}

async fn delete(world: &World, name: &str) -> Result<()> {
    world
        .services(NAMESPACE)
        .delete(name, &DeleteParams::default())
        .await?;
    Ok(())
}

/// Waits until a Service is as `check` says.
async fn until(
    world: &World,
    name: &str,
    what: &str,
    check: impl Fn(&Service) -> bool,
) -> Result<Service> {
    eventually(what, LIMIT, || async {
        let service = world.services(NAMESPACE).get(name).await?;
        ensure!(
            check(&service),
            "finalizers {:?}, status {:?}",
            service.finalizers(),
            service.status
        );
        Ok(service)
    })
    .await
    .with_context(|| {
        format!(
            "the end of the controller's log:\n{}",
            world.controller_log()
        )
    })
}

fn conditions(service: &Service) -> Vec<Condition> {
    service
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default()
}

fn status(service: &Service, type_: &str) -> String {
    let found = conditions(service)
        .into_iter()
        .find(|condition| condition.type_ == type_);
    found.map(|condition| condition.status).unwrap_or_default()
}

fn is_served(service: &Service) -> bool {
    !ingress(service).is_empty()
        && status(service, "evenkeel.dev/Serving") == "True"
        && status(service, "evenkeel.dev/Provisioning") == "False"
}

/// Waits until a Service is served and a request is answered.
async fn serves(world: &World, name: &str, port: u16) -> Result<SocketAddr> {
    until(world, name, "the Service to be served", is_served).await?;
    let address = world.address(NAMESPACE, name, port).await?;
    eventually("an answer", LIMIT, || async { world.ask(address).await }).await?;
    Ok(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_an_address_keeps_it_and_gives_it_back() -> Result<()> {
    let world = world().await?;
    the_finalizer_comes_before_the_address(&world)
        .await
        .context("finalizer first")?;
    the_status_is_applied_beside_others(&world)
        .await
        .context("status")?;
    a_broken_annotation_takes_nothing_down(&world)
        .await
        .context("broken annotation")?;
    a_paused_service_is_left_as_it_is(&world)
        .await
        .context("paused")?;
    a_type_change_gives_back_and_takes_again(&world)
        .await
        .context("type change")?;
    another_class_is_not_touched(&world)
        .await
        .context("another class")?;
    a_deletion_leaves_nothing(&world)
        .await
        .context("deletion")?;
    world.stop().await
}

async fn the_finalizer_comes_before_the_address(world: &World) -> Result<()> {
    let services = world.services(NAMESPACE);
    let version = services
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version
        .context("a version")?;
    create(world, "shop", json!({})).await?;
    let watched = WatchParams::default()
        .fields("metadata.name=shop")
        .timeout(60);
    let mut states = services.watch(&watched, &version).await?.boxed();
    let mut had_finalizer = false;
    while let Some(event) = states.next().await {
        let (WatchEvent::Added(service) | WatchEvent::Modified(service)) = event? else {
            continue;
        };
        let has = service.finalizers().iter().any(|name| name == FINALIZER);
        let served = !ingress(&service).is_empty();
        ensure!(
            !served || had_finalizer,
            "an address came without or with the finalizer, not after it"
        );
        had_finalizer |= has;
        if served {
            break;
        }
    }
    ensure!(had_finalizer, "the watch ended before an address came");
    serves(world, "shop", 8080).await?;
    Ok(())
}

async fn the_status_is_applied_beside_others(world: &World) -> Result<()> {
    let service = world.services(NAMESPACE).get("shop").await?;
    let entries = ingress(&service);
    ensure!(
        entries.len() == 1 && entries[0].ip_mode.as_deref() == Some("Proxy"),
        "{entries:?}"
    );
    let ports = entries[0].ports.clone().unwrap_or_default();
    ensure!(
        ports.len() == 1 && ports[0].port == 8080 && ports[0].error.is_none(),
        "{ports:?}"
    );
    let ours = |operation: &str| {
        service.managed_fields().iter().any(|fields| {
            fields.manager.as_deref() == Some("evenkeel")
                && fields.operation.as_deref() == Some(operation)
                && fields.subresource.as_deref() == Some("status")
        })
    };
    ensure!(
        ours("Apply"),
        "the status is not applied: {:?}",
        service.managed_fields()
    );

    // Somebody adds a condition and wipes the address.
    let mut all = serde_json::to_value(conditions(&service))?;
    let foreign = json!({"type": "other.example/Ready", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    all.as_array_mut().context("a list")?.push(foreign);
    patch_status(
        world,
        "shop",
        json!({"status": {"loadBalancer": null, "conditions": all}}),
    )
    .await?;
    let service = until(world, "shop", "the address to be back", |service| {
        ingress(service) == entries
    })
    .await?;
    ensure!(
        status(&service, "other.example/Ready") == "True",
        "{:?}",
        service.status
    );
    Ok(())
}

async fn a_broken_annotation_takes_nothing_down(world: &World) -> Result<()> {
    let address = world.address(NAMESPACE, "shop", 8080).await?;
    let before = world.objects().await?;
    let broken = json!({"metadata": {"annotations": {"evenkeel.dev/idle-timeout": "soon", "evenkeel.dev/drian": "5"}}});
    patch(world, "shop", broken).await?;
    let condition = world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "True")
        .await?;
    ensure!(condition.reason == "InvalidConfiguration", "{condition}");
    ensure!(
        condition.message.contains("evenkeel.dev/idle-timeout")
            && condition.message.contains("\"soon\""),
        "{condition}"
    );
    let note = world
        .event(NAMESPACE, "shop", "InvalidConfiguration")
        .await?;
    ensure!(note == condition.message, "{note}");
    world.ask(address).await?;
    ensure!(
        names(&world.objects().await?) == names(&before),
        "nothing is made and nothing goes"
    );
    let service = world.services(NAMESPACE).get("shop").await?;
    ensure!(status(&service, "evenkeel.dev/Serving") == "True");

    // The misspelt key is only a warning.
    patch(
        world,
        "shop",
        json!({"metadata": {"annotations": {"evenkeel.dev/idle-timeout": null}}}),
    )
    .await?;
    world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "False")
        .await?;
    let note = world.event(NAMESPACE, "shop", "UnknownAnnotation").await?;
    ensure!(note.contains("evenkeel.dev/drain"), "{note}");
    Ok(())
}

/// While it is paused, nothing is written for a Service; then everything that came together is.
async fn a_paused_service_is_left_as_it_is(world: &World) -> Result<()> {
    let before = world.objects().await?;
    let paused = json!({"metadata": {"annotations": {"evenkeel.dev/paused": "true", "evenkeel.dev/idle-timeout": "90s"}}});
    patch(world, "shop", paused).await?;
    let condition = eventually("the condition to say paused", LIMIT, || async {
        let now = world
            .condition(NAMESPACE, "shop", "evenkeel.dev/Provisioning", "False")
            .await?;
        ensure!(now.reason == "Paused", "{now}");
        Ok(now)
    })
    .await?;
    ensure!(
        condition.message.contains("evenkeel.dev/paused"),
        "{condition}"
    );
    ensure!(
        world.objects().await?["listeners"][0]["spec"] == before["listeners"][0]["spec"],
        "it was written"
    );
    let awake = json!({"metadata": {"annotations": {"evenkeel.dev/paused": null}}});
    patch(world, "shop", awake).await?;
    eventually("what was asked meanwhile", LIMIT, || async {
        let objects = world.objects().await?;
        ensure!(
            objects["listeners"][0]["spec"]["idle_timeout_seconds"] == 90,
            "{objects}"
        );
        Ok(())
    })
    .await
}

/// The objects of the data plane, by kind and name.
fn names(objects: &Value) -> BTreeMap<&str, Vec<&str>> {
    ["leases", "backend_sets", "listeners"]
        .into_iter()
        .map(|kind| {
            let all = objects[kind].as_array().into_iter().flatten();
            (
                kind,
                all.filter_map(|object| object["name"].as_str()).collect(),
            )
        })
        .collect()
}

async fn a_type_change_gives_back_and_takes_again(world: &World) -> Result<()> {
    patch(
        world,
        "shop",
        json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
    )
    .await?;
    let service = until(world, "shop", "our hand to be off", |service| {
        service.finalizers().is_empty()
    })
    .await?;
    let left: Vec<_> = conditions(&service)
        .into_iter()
        .map(|condition| condition.type_)
        .collect();
    ensure!(left == ["other.example/Ready"], "{left:?}");
    ensure!(ingress(&service).is_empty() && world.object_count().await? == 0);
    patch(
        world,
        "shop",
        json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": FINALIZER}}),
    )
    .await?;
    serves(world, "shop", 8080).await?;
    Ok(())
}

async fn another_class_is_not_touched(world: &World) -> Result<()> {
    create(
        world,
        "foreign",
        json!({"spec": {"loadBalancerClass": "example.com/lb"}}),
    )
    .await?;
    create(
        world,
        "nobodys",
        json!({"spec": {"loadBalancerClass": null}}),
    )
    .await?;
    let published = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    let written = patch_status(world, "foreign", published).await?;
    // Whatever was to happen to these has happened when a later one is served.
    create(world, "later", json!({})).await?;
    serves(world, "later", 8080).await?;
    let foreign = world.services(NAMESPACE).get("foreign").await?;
    ensure!(
        foreign.resource_version() == written.resource_version(),
        "{foreign:?}"
    );
    for name in ["foreign", "nobodys"] {
        let service = world.services(NAMESPACE).get(name).await?;
        ensure!(
            service.finalizers().is_empty() && conditions(&service).is_empty(),
            "{service:?}"
        );
        ensure!(world.events(NAMESPACE, name).await?.is_empty(), "{name}");
    }
    delete(world, "later").await?;
    world.gone(NAMESPACE, "later").await
}

async fn a_deletion_leaves_nothing(world: &World) -> Result<()> {
    let address = world.address(NAMESPACE, "shop", 8080).await?;
    delete(world, "shop").await?;
    world.gone(NAMESPACE, "shop").await?;
    ensure!(
        world.object_count().await? == 0,
        "{:?}",
        world.objects().await?
    );
    ensure!(
        TcpStream::connect(address).await.is_err(),
        "{address} is still open"
    );
    for reason in [
        "EnsuringLoadBalancer",
        "EnsuredLoadBalancer",
        "DeletingLoadBalancer",
        "DeletedLoadBalancer",
    ] {
        world.event(NAMESPACE, "shop", reason).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_are_survived() -> Result<()> {
    let mut world = world().await?;
    the_api_server_goes_away_and_comes_back(&world)
        .await
        .context("API server")?;
    the_data_plane_dies_and_comes_back(&mut world)
        .await
        .context("data plane")?;
    what_happened_while_it_was_down_is_found(&mut world)
        .await
        .context("while it was down")?;
    it_may_be_killed_at_any_moment(&mut world)
        .await
        .context("killed")?;
    a_restart_writes_nothing(&mut world)
        .await
        .context("restart")?;
    what_nobody_asks_for_is_reported_and_left_alone(&mut world)
        .await
        .context("orphan")?;
    world.stop().await
}

async fn the_api_server_goes_away_and_comes_back(world: &World) -> Result<()> {
    create(world, "shop", json!({})).await?;
    let address = serves(world, "shop", 8080).await?;
    world.plane.stop_api_server()?;
    world
        .ask(address)
        .await
        .context("traffic flows while the API server is away")?;
    // It stays ready: a restart would not help.
    eventually("the outage to be noticed", LIMIT, || async {
        ensure!(
            world.metric("evenkeel_watch_failures_total").await? > 0.0,
            "it was not"
        );
        Ok(())
    })
    .await?;
    ensure!(world.get("/readyz").await?.0 == 200);
    world.plane.start_api_server().await?;
    // Without a restart it sees what comes next.
    patch(
        world,
        "shop",
        json!({"spec": {"ports": [{"name": "http", "port": 8081, "targetPort": "http"}]}}),
    )
    .await?;
    let moved = SocketAddr::new(address.ip(), 8081);
    eventually("the new port to answer", LIMIT, || async {
        world.ask(moved).await
    })
    .await
    .with_context(|| world.controller_log())?;
    eventually("the old port to close", LIMIT, || async {
        ensure!(TcpStream::connect(address).await.is_err());
        Ok(())
    })
    .await?;
    delete(world, "shop").await?;
    world.gone(NAMESPACE, "shop").await
}

async fn the_data_plane_dies_and_comes_back(world: &mut World) -> Result<()> {
    create(world, "shop", json!({})).await?;
    let address = serves(world, "shop", 8080).await?;
    world.data_plane.take().context("it runs")?.kill()?;
    patch(
        world,
        "shop",
        json!({"spec": {"ports": [{"name": "http", "port": 8081, "targetPort": "http"}]}}),
    )
    .await?;
    let condition = world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "True")
        .await?;
    // It is the trouble of every Service, and told in one place.
    ensure!(
        condition.reason == "SyncLoadBalancerFailed"
            && condition
                .message
                .contains("the ConfigMap kube-system/evenkeel"),
        "{condition}"
    );
    world
        .event("kube-system", "evenkeel", "Unreachable")
        .await?;
    let service = world.services(NAMESPACE).get("shop").await?;
    ensure!(
        !ingress(&service).is_empty(),
        "what cannot be read is not taken back"
    );
    ensure!(
        world.get("/readyz").await?.0 == 200,
        "one provider's trouble is not the process's"
    );
    world.start_data_plane().await?;
    let moved = SocketAddr::new(address.ip(), 8081);
    eventually("the new port to answer", LIMIT, || async {
        world.ask(moved).await
    })
    .await
    .with_context(|| world.controller_log())?;
    world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "False")
        .await?;
    delete(world, "shop").await?;
    world.gone(NAMESPACE, "shop").await
}

async fn what_happened_while_it_was_down_is_found(world: &mut World) -> Result<()> {
    for name in ["deleted", "retyped", "edited"] {
        create(world, name, json!({})).await?;
    }
    for name in ["deleted", "retyped", "edited"] {
        serves(world, name, 8080).await?;
    }
    let status = world.controller.take().context("it runs")?.stop()?;
    ensure!(status.success(), "asked to end, it ended with {status}");
    let address = world.address(NAMESPACE, "edited", 8080).await?;
    world
        .ask(address)
        .await
        .context("traffic flows without a controller")?;
    delete(world, "deleted").await?;
    patch(
        world,
        "retyped",
        json!({"spec": {"type": "NodePort", "loadBalancerClass": null}}),
    )
    .await?;
    patch(
        world,
        "edited",
        json!({"spec": {"ports": [{"name": "http", "port": 8081, "targetPort": "http"}]}}),
    )
    .await?;
    world.start_controller().await?;
    world.gone(NAMESPACE, "deleted").await?;
    until(world, "retyped", "its release", |service| {
        service.finalizers().is_empty()
    })
    .await?;
    let moved = SocketAddr::new(address.ip(), 8081);
    eventually("the new port to answer", LIMIT, || async {
        world.ask(moved).await
    })
    .await?;
    delete(world, "edited").await?;
    world.gone(NAMESPACE, "edited").await?;
    ensure!(
        world.object_count().await? == 0,
        "{:?}",
        world.objects().await?
    );
    Ok(())
}

/// A Service has a lease, a backend set and a listener.
const OBJECTS: usize = 3;
const SERVICES: usize = 12;

async fn it_may_be_killed_at_any_moment(world: &mut World) -> Result<()> {
    let name = |number: usize| format!("web-{number}");
    for number in 0..SERVICES {
        create(world, &name(number), json!({})).await?;
    }
    // Cut as soon as so many objects are there: in the midst of some Service, wherever that is.
    for objects in [1, 4, 8, 13, 19, 26, 34] {
        eventually(format!("{objects} objects"), LIMIT, || async {
            let count = world.object_count().await?;
            ensure!(count >= objects, "there are {count}");
            Ok(())
        })
        .await?;
        world.kill_controller()?;
        world.start_controller().await?;
    }
    let mut addresses = BTreeMap::new();
    for number in 0..SERVICES {
        let address = serves(world, &name(number), 8080).await?;
        if let Some(other) = addresses.insert(address, number) {
            bail!("web-{number} and web-{other} have one address");
        }
    }
    let count = world.object_count().await?;
    ensure!(
        count == SERVICES * OBJECTS,
        "{count} objects: {:?}",
        names(&world.objects().await?)
    );
    Ok(())
}

async fn a_restart_writes_nothing(world: &mut World) -> Result<()> {
    let before = versions(world).await?;
    let objects = world.objects().await?;
    world.kill_controller()?;
    world.start_controller().await?;
    eventually("every Service to be looked at", LIMIT, || async {
        let runs = world.metric("evenkeel_reconcile_total").await?;
        ensure!(runs >= SERVICES as f64, "{runs} runs");
        Ok(())
    })
    .await?;
    ensure!(versions(world).await? == before, "a Service was written");
    ensure!(
        generations(&world.objects().await?) == generations(&objects),
        "the data plane was written"
    );
    ensure!(world.metric("evenkeel_writes_total").await? == 0.0);
    Ok(())
}

async fn what_nobody_asks_for_is_reported_and_left_alone(world: &mut World) -> Result<()> {
    world.kill_controller()?;
    // Somebody forces a Service away while nobody looks.
    delete(world, "web-0").await?;
    patch(world, "web-0", json!({"metadata": {"finalizers": []}})).await?;
    world.gone(NAMESPACE, "web-0").await?;
    world.start_controller().await?;
    ensure!(world.metric("evenkeel_orphans").await? == 1.0);
    create(world, "later", json!({})).await?;
    serves(world, "later", 8080).await?;
    let count = world.object_count().await?;
    ensure!(count == (SERVICES + 1) * OBJECTS, "{count} objects");
    Ok(())
}

async fn versions(world: &World) -> Result<BTreeMap<String, Option<String>>> {
    let services = world
        .services(NAMESPACE)
        .list(&ListParams::default())
        .await?;
    Ok(services
        .iter()
        .map(|service| (service.name_any(), service.resource_version()))
        .collect())
}

fn generations(objects: &Value) -> BTreeMap<String, u64> {
    ["leases", "backend_sets", "listeners"]
        .into_iter()
        .flat_map(|kind| {
            objects[kind]
                .as_array()
                .into_iter()
                .flatten()
                .map(move |object| (kind, object))
        })
        .map(|(kind, object)| {
            (
                format!("{kind}/{}", object["name"]),
                object["generation"].as_u64().unwrap_or_default(),
            )
        })
        .collect()
}
