//! What each change of a live Service costs: the writes to the cloud, the patches of its status, and that its address
//! stays.

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::scene::{LIMIT, Scene, condition, ingress, status};

const NAME: &str = "checkout";

/// A node port of the band that is never given out by chance.
const PINNED: i32 = 30_007;

struct Row {
    name: &'static str,
    patch: fn(&Service) -> Value,
    /// The writes to the cloud, in order where one rests on the other.
    cloud: &'static [&'static str],
    /// The patches of the status.
    published: usize,
    now: fn(&Service) -> bool,
}

fn ports(service: &Service) -> Vec<ServicePort> {
    let spec = service.spec.as_ref().expect("a spec");
    spec.ports.clone().unwrap_or_default()
}

/// The Service's ports after a change.
fn with_ports(service: &Service, change: impl FnOnce(&mut Vec<ServicePort>)) -> Value {
    let mut ports = ports(service);
    change(&mut ports);
    json!({"spec": {"ports": ports}})
}

/// What the status says of the ports: number, protocol, error.
fn told(service: &Service) -> Vec<(i32, String, Option<String>)> {
    let ports = ingress(service)
        .first()
        .and_then(|entry| entry.ports.clone());
    let ports = ports.unwrap_or_default().into_iter();
    ports
        .map(|port| (port.port, port.protocol, port.error))
        .collect()
}

fn tells(service: &Service, want: &[(i32, &str)]) -> bool {
    let want: Vec<_> = want
        .iter()
        .map(|(port, protocol)| (*port, (*protocol).to_owned(), None))
        .collect();
    told(service) == want
}

fn degraded(service: &Service, reason: &str) -> bool {
    condition(service, "evenkeel.dev/Degraded")
        .is_some_and(|found| found.status == "True" && found.reason == reason)
}

const ROWS: &[Row] = &[
    Row {
        name: "port",
        patch: |service| with_ports(service, |ports| ports[0].port = 81),
        cloud: &["Create listener", "Delete listener"],
        published: 1,
        now: |service| tells(service, &[(81, "TCP")]),
    },
    Row {
        name: "node port",
        patch: |service| with_ports(service, |ports| ports[0].node_port = Some(PINNED)),
        cloud: &["Create set", "Change listener", "Delete set"],
        published: 0,
        now: |service| tells(service, &[(81, "TCP")]),
    },
    Row {
        name: "a port more",
        patch: |service| {
            with_ports(service, |ports| {
                ports.push(ServicePort {
                    name: Some("more".into()),
                    port: 443,
                    ..ServicePort::default()
                });
            })
        },
        cloud: &["Create set", "Create listener"],
        published: 1,
        now: |service| tells(service, &[(81, "TCP"), (443, "TCP")]),
    },
    Row {
        name: "ports in another order: the status lists them as the Service does",
        patch: |service| with_ports(service, |ports| ports.reverse()),
        cloud: &[],
        published: 1,
        now: |service| tells(service, &[(443, "TCP"), (81, "TCP")]),
    },
    Row {
        name: "a port less",
        patch: |service| with_ports(service, |ports| ports.retain(|port| port.port == 81)),
        cloud: &["Delete listener", "Delete set"],
        published: 1,
        now: |service| tells(service, &[(81, "TCP")]),
    },
    Row {
        name: "protocol",
        patch: |service| with_ports(service, |ports| ports[0].protocol = Some("UDP".into())),
        cloud: &["Create listener", "Delete listener"],
        published: 1,
        now: |service| tells(service, &[(81, "UDP")]),
    },
    Row {
        name: "a port that nobody can serve: the other is served on",
        patch: |service| {
            with_ports(service, |ports| {
                ports.push(ServicePort {
                    name: Some("sctp".into()),
                    port: 99,
                    protocol: Some("SCTP".into()),
                    ..ServicePort::default()
                });
            })
        },
        cloud: &[],
        published: 1,
        now: |service| {
            let ports = told(service);
            ports.len() == 2
                && ports[0].2.is_none()
                && ports[1].2.as_deref() == Some("evenkeel.dev/ProtocolNotSupported")
        },
    },
    Row {
        name: "and it goes again",
        patch: |service| with_ports(service, |ports| ports.truncate(1)),
        cloud: &[],
        published: 1,
        now: |service| tells(service, &[(81, "UDP")]),
    },
    Row {
        name: "an annotation that is changed in place",
        patch: |_| json!({"metadata": {"annotations": {"toy.evenkeel.dev/idle": "60"}}}),
        cloud: &["Change listener"],
        published: 0,
        now: |service| status(service, "evenkeel.dev/Degraded") == "False",
    },
    Row {
        name: "an annotation that gives up the address: not without approval",
        patch: |_| json!({"metadata": {"annotations": {"toy.evenkeel.dev/pool": "west"}}}),
        cloud: &[],
        published: 1,
        now: |service| degraded(service, "ApprovalRequired"),
    },
    Row {
        name: "and it is taken back",
        patch: |_| json!({"metadata": {"annotations": {"toy.evenkeel.dev/pool": null}}}),
        cloud: &[],
        published: 1,
        now: |service| status(service, "evenkeel.dev/Degraded") == "False",
    },
    Row {
        name: "an annotation that cannot be read",
        patch: |_| json!({"metadata": {"annotations": {"evenkeel.dev/scheme": "sideways"}}}),
        cloud: &[],
        published: 1,
        now: |service| degraded(service, "InvalidConfiguration"),
    },
    Row {
        name: "and it is mended",
        patch: |_| json!({"metadata": {"annotations": {"evenkeel.dev/scheme": null}}}),
        cloud: &[],
        published: 1,
        now: |service| status(service, "evenkeel.dev/Degraded") == "False",
    },
    Row {
        name: "what the cloud refuses: it goes on as it was",
        patch: |_| json!({"metadata": {"annotations": {"toy.evenkeel.dev/tier": "gold"}}}),
        cloud: &["Change listener"],
        published: 1,
        now: |service| {
            status(service, "evenkeel.dev/Degraded") == "True"
                && status(service, "evenkeel.dev/Serving") == "True"
        },
    },
    Row {
        name: "and it is taken back",
        patch: |_| json!({"metadata": {"annotations": {"toy.evenkeel.dev/tier": null}}}),
        cloud: &[],
        published: 1,
        now: |service| status(service, "evenkeel.dev/Degraded") == "False",
    },
];

#[tokio::test]
async fn every_change_costs_its_writes_and_one_patch_and_keeps_the_address() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create(NAME, json!({})).await?;
    let address = ingress(&scene.served(NAME).await?)[0].ip.clone();
    expect(&scene, "it is created", 1, 1).await?;
    for row in ROWS {
        scene.forget_calls();
        let before = scene.get(NAME).await?;
        scene.patch(NAME, (row.patch)(&before)).await?;
        cost(&scene, row)
            .await
            .with_context(|| row.name.to_owned())?;
        let now = scene.get(NAME).await?;
        ensure!(
            ingress(&now)[0].ip == address,
            "{}: {:?}",
            row.name,
            now.status
        );
    }
    scene.forget_calls();
    scene.delete(NAME).await?;
    scene.gone(NAME).await?;
    ensure!(
        scene.written() == ["Delete listener", "Delete address", "Delete set"],
        "{:?}",
        scene.written()
    );
    expect(&scene, "it is deleted", 0, 1).await
}

async fn cost(scene: &Scene, row: &Row) -> Result<()> {
    scene.until(NAME, row.name, row.now).await?;
    eventually("the writes to the cloud", LIMIT, || async {
        ensure!(scene.written() == row.cloud, "{:?}", scene.written());
        Ok(())
    })
    .await?;
    expect(scene, row.name, row.published, 0).await?;
    ensure!(scene.written() == row.cloud, "{:?}", scene.written());
    Ok(())
}

/// The patches there have been, once there are no more to come.
async fn expect(scene: &Scene, what: &str, published: usize, finalizers: usize) -> Result<()> {
    let want = (published, finalizers);
    eventually("the patches", LIMIT, || async {
        let writes = scene.line.writes(NAME);
        ensure!(writes == want, "{what}: {writes:?}");
        Ok(())
    })
    .await?;
    scene.barrier().await?;
    let writes = scene.line.writes(NAME);
    ensure!(writes == want, "{what}: {writes:?} instead of {want:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_load_balancer_does_not_know_of_costs_nothing() -> Result<()> {
    let scene = Scene::start().await?;
    let service = scene.create(NAME, json!({})).await?;
    scene.served(NAME).await?;
    scene.barrier().await?;
    scene.forget_calls();
    let first = |field: &str, value: Value| {
        let mut ports = serde_json::to_value(ports(&service)).expect("ports");
        ports[0][field] = value;
        json!({"spec": {"ports": ports}})
    };
    for patch in [
        first("targetPort", json!(9090)),
        first("targetPort", json!("web")),
        first("name", json!("web")),
        first("appProtocol", json!("kubernetes.io/ws")),
        json!({"spec": {"selector": {"app": "other"}}}),
        json!({"spec": {"selector": null}}),
        json!({"spec": {"internalTrafficPolicy": "Local"}}),
        json!({"spec": {"publishNotReadyAddresses": true}}),
        json!({"spec": {"trafficDistribution": "PreferClose"}}),
        json!({"spec": {"allocateLoadBalancerNodePorts": false}}),
        json!({"spec": {"allocateLoadBalancerNodePorts": true}}),
        json!({"metadata": {"labels": {"team": "blue"}}}),
        json!({"metadata": {"annotations": {"example.com/note": "x"}}}),
        json!({"metadata": {"finalizers": [scene.finalizer(), "other.example/x"]}}),
        json!({"metadata": {"finalizers": [scene.finalizer()]}}),
    ] {
        scene.patch(NAME, patch).await?;
        scene.barrier().await?;
    }
    let uid = service.uid().context("a UID")?;
    let calls = scene.tap.calls();
    ensure!(
        calls
            .iter()
            .all(|call| call.operation == "List" && call.target != uid),
        "{calls:?}"
    );
    ensure!(scene.line.writes(NAME) == (0, 0), "{:?}", scene.line.sent());
    Ok(())
}

#[tokio::test]
async fn node_ports_that_are_not_allocated_are_asked_for() -> Result<()> {
    let scene = Scene::start().await?;
    scene
        .create(
            NAME,
            json!({"spec": {"allocateLoadBalancerNodePorts": false}}),
        )
        .await?;
    let service = scene
        .until(NAME, "a reason", |service| {
            status(service, "evenkeel.dev/Degraded") == "True"
        })
        .await?;
    ensure!(ingress(&service).is_empty() && scene.written().is_empty());
    scene
        .patch(
            NAME,
            json!({"spec": {"allocateLoadBalancerNodePorts": true}}),
        )
        .await?;
    scene.served(NAME).await?;
    Ok(())
}

#[tokio::test]
async fn another_type_and_back() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create(NAME, json!({})).await?;
    scene.served(NAME).await?;
    for type_ in ["ClusterIP", "NodePort", "ExternalName"] {
        scene.barrier().await?;
        scene.forget_calls();
        let mut spec = json!({"type": type_, "loadBalancerClass": null});
        if type_ == "ExternalName" {
            spec["externalName"] = json!("elsewhere.example");
        }
        scene.patch(NAME, json!({"spec": spec})).await?;
        scene.released(NAME).await?;
        ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
        // Clients go first, so that a freed node port that somebody else gets sees nothing of ours.
        let first = scene.written().first().cloned();
        ensure!(first.as_deref() == Some("Delete listener"), "{first:?}");
        expect(&scene, type_, 0, 1).await?;

        scene.forget_calls();
        let back = json!({"type": "LoadBalancer", "loadBalancerClass": scene.finalizer(), "externalName": null});
        scene.patch(NAME, json!({"spec": back})).await?;
        scene.served(NAME).await?;
        expect(&scene, "and back", 1, 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_refused_for_good_costs_no_call_until_something_relevant_changes() -> Result<()> {
    let scene = Scene::start().await?;
    let service = scene.create(NAME, json!({})).await?;
    scene.served(NAME).await?;
    scene
        .patch(
            NAME,
            json!({"metadata": {"annotations": {"toy.evenkeel.dev/tier": "gold"}}}),
        )
        .await?;
    let told = scene
        .until(NAME, "the refusal", |service| {
            condition(service, "evenkeel.dev/Degraded")
                .is_some_and(|found| found.message.contains("gold"))
        })
        .await?;
    ensure!(status(&told, "evenkeel.dev/Serving") == "True");
    scene.barrier().await?;
    scene.forget_calls();
    for label in ["blue", "green"] {
        scene
            .patch(NAME, json!({"metadata": {"labels": {"team": label}}}))
            .await?;
        scene.barrier().await?;
    }
    let uid = service.uid().context("a UID")?;
    let calls = || {
        let calls = scene.tap.calls().into_iter();
        calls
            .filter(|call| call.operation != "List" || call.target == uid)
            .collect::<Vec<_>>()
    };
    ensure!(calls().is_empty(), "{:?}", calls());
    ensure!(scene.line.writes(NAME) == (0, 0), "{:?}", scene.line.sent());
    scene
        .patch(
            NAME,
            json!({"metadata": {"annotations": {"toy.evenkeel.dev/tier": "premium"}}}),
        )
        .await?;
    scene
        .until(NAME, "all to be well", |service| {
            status(service, "evenkeel.dev/Degraded") == "False"
        })
        .await?;
    ensure!(
        scene.written() == ["Change listener"],
        "{:?}",
        scene.written()
    );
    Ok(())
}
