//! Services that share a load balancer, and Services that move from one to another.

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::wait::eventually;
use evenkeel_laws::toys::own::cloud::Spec;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::scene::{LIMIT, Scene, condition, ingress, status};

fn member(group: &str, port: u16) -> Value {
    json!({"metadata": {"annotations": {"evenkeel.dev/group": group}}, "spec": {"ports": [{"name": "http", "port": port}]}})
}

fn moves_to(group: Value) -> Value {
    json!({"metadata": {"annotations": {"evenkeel.dev/group": group}}})
}

fn ip(service: &Service) -> Option<String> {
    ingress(service).first().and_then(|entry| entry.ip.clone())
}

/// The names of the Services that have a listener, with how many.
fn listening(scene: &Scene) -> Vec<String> {
    let objects = scene.cloud.list().into_iter();
    let mut names: Vec<_> = objects
        .filter(|object| matches!(object.spec, Spec::Listener { .. }))
        .filter_map(|object| Some(object.marks?.member?.key.name.to_string()))
        .collect();
    names.sort();
    names
}

async fn listen(scene: &Scene, want: &[&str]) -> Result<()> {
    eventually("the listeners", LIMIT, || async {
        let found = listening(scene);
        ensure!(found == want, "{found:?}");
        Ok(())
    })
    .await
}

/// The Service `a` moves from a load balancer that it has to one that is not made yet: every write is held back.
async fn moving(scene: &Scene, to: Value) -> Result<String> {
    let before = ip(&scene.served("a").await?).context("an address")?;
    scene.barrier().await?;
    scene.forget_calls();
    scene.tap.block_writes(true);
    scene.patch("a", moves_to(to)).await?;
    scene.wrote().await?;
    scene.barrier().await?;
    Ok(before)
}

#[tokio::test]
async fn one_who_moves_is_served_where_it_was_until_it_is_served_anew() -> Result<()> {
    for (from, to) in [
        (json!({}), json!("edge")),
        (member("old", 80), json!("edge")),
        (member("old", 80), Value::Null),
    ] {
        let mut scene = Scene::start().await?;
        scene.create("a", from.clone()).await?;
        let before = moving(&scene, to.clone()).await?;
        // Whether or not we remember that it moves.
        for again in [false, true] {
            if again {
                scene.crash().await;
                scene.forget_calls();
                scene.run();
                scene.wrote().await?;
                scene.barrier().await?;
            }
            ensure!(listening(&scene) == ["a"], "{:?}", scene.cloud.list());
            let writes = scene.written();
            ensure!(
                writes.iter().all(|write| write.starts_with("Create")),
                "{writes:?}"
            );
            let service = scene.get("a").await?;
            ensure!(
                ip(&service).as_ref() == Some(&before),
                "{:?}",
                service.status
            );
            ensure!(status(&service, "evenkeel.dev/Serving") == "True");
        }
        // What goes has to wait for the status that names the new address.
        scene.line.reset();
        scene.tap.hold_where(|call| call.operation == "Delete");
        scene.tap.block_writes(false);
        eventually("something to go", LIMIT, || async {
            let writes = scene.written();
            ensure!(
                writes.iter().any(|write| write.starts_with("Delete")),
                "{writes:?}"
            );
            Ok(())
        })
        .await?;
        let service = scene.get("a").await?;
        let after = ip(&service).context("an address")?;
        ensure!(after != before, "{from} to {to}: {:?}", service.status);
        ensure!(listening(&scene) == ["a", "a"], "{:?}", scene.cloud.list());
        scene.tap.hold_none();
        listen(&scene, &["a"]).await?;
        let service = scene.served("a").await?;
        ensure!(ip(&service) == Some(after), "{:?}", service.status);
        scene.barrier().await?;
        ensure!(
            scene.line.writes("a") == (1, 0),
            "{:?}",
            scene.line.all_writes()
        );
        eventually("the rest to go", LIMIT, || async {
            ensure!(scene.cloud.list().len() == 3, "{:?}", scene.cloud.list());
            Ok(())
        })
        .await?;
        scene.delete("a").await?;
        scene.gone("a").await?;
        ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    }
    Ok(())
}

#[tokio::test]
async fn who_stays_does_not_notice_that_another_moves() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("b", member("old", 81)).await?;
    scene.served("b").await?;
    scene.create("a", member("old", 80)).await?;
    moving(&scene, json!("new")).await?;
    ensure!(listening(&scene) == ["a", "b"], "{:?}", scene.cloud.list());
    let stays = scene.get("b").await?;
    scene.tap.block_writes(false);
    listen(&scene, &["a", "b"]).await?;
    scene
        .until("a", "another address", |service| ip(service) != ip(&stays))
        .await?;
    eventually("the old listener to go", LIMIT, || async {
        let objects = scene.objects();
        ensure!(objects.get("listener") == Some(&2), "{objects:?}");
        Ok(())
    })
    .await?;
    scene.barrier().await?;
    let now = scene.get("b").await?;
    ensure!(now.resource_version() == stays.resource_version());
    ensure!(listening(&scene) == ["a", "b"], "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn one_who_cannot_be_served_where_it_moves_to_is_served_where_it_was() -> Result<()> {
    let scene = Scene::start().await?;
    // Of two that are as old as each other the first by name comes first.
    scene.create("b", member("edge", 80)).await?;
    let there = ip(&scene.served("b").await?);
    scene.create("c", json!({})).await?;
    let before = ip(&scene.served("c").await?);
    scene.patch("c", moves_to(json!("edge"))).await?;
    scene
        .until("c", "the conflict", |service| {
            status(service, "LoadBalancerPortsError") == "True"
        })
        .await?;
    scene.barrier().await?;
    let service = scene.get("c").await?;
    ensure!(
        ip(&service) == before && status(&service, "evenkeel.dev/Serving") == "True",
        "{:?}",
        service.status
    );
    ensure!(listening(&scene) == ["b", "c"], "{:?}", scene.cloud.list());
    scene
        .patch(
            "b",
            json!({"spec": {"ports": [{"name": "http", "port": 81}]}}),
        )
        .await?;
    scene
        .until("c", "the other address", |service| ip(service) == there)
        .await?;
    listen(&scene, &["b", "c"]).await?;
    eventually("the old address to go", LIMIT, || async {
        ensure!(
            scene.objects().get("address") == Some(&1),
            "{:?}",
            scene.objects()
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn one_who_goes_while_it_moves_leaves_nothing_anywhere() -> Result<()> {
    let off = json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}});
    for deleted in [true, false] {
        let scene = Scene::start().await?;
        scene.create("a", json!({})).await?;
        moving(&scene, json!("edge")).await?;
        if deleted {
            scene.delete("a").await?;
        } else {
            scene.patch("a", off.clone()).await?;
        }
        scene.tap.block_writes(false);
        if deleted {
            scene.gone("a").await?;
        } else {
            scene.released("a").await?;
        }
        ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    }
    Ok(())
}

#[tokio::test]
async fn one_who_thinks_better_of_it_keeps_what_it_had() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("a", json!({})).await?;
    let before = moving(&scene, json!("edge")).await?;
    let had: Vec<_> = scene.cloud.list().iter().map(|object| object.id).collect();
    scene.patch("a", moves_to(Value::Null)).await?;
    scene.tap.block_writes(false);
    eventually("what was begun to go", LIMIT, || async {
        let begun = scene.written();
        ensure!(
            begun.iter().any(|write| write.starts_with("Delete")),
            "{begun:?}"
        );
        let has: Vec<_> = scene.cloud.list().iter().map(|object| object.id).collect();
        ensure!(has == had, "{:?}", scene.cloud.list());
        Ok(())
    })
    .await?;
    scene.barrier().await?;
    let service = scene.served("a").await?;
    ensure!(ip(&service) == Some(before), "{:?}", service.status);
    Ok(())
}

#[tokio::test]
async fn one_who_is_deleted_leaves_though_nobody_who_stays_can_be_read() -> Result<()> {
    let scene = Scene::start().await?;
    for (name, port) in [("a", 80), ("b", 81), ("c", 82), ("d", 83)] {
        scene.create(name, member("edge", port)).await?;
        scene.served(name).await?;
    }
    // One that we cannot read, and one that the provider cannot.
    for (name, broken) in [
        ("a", json!({"evenkeel.dev/scheme": "sideways"})),
        ("b", json!({"toy.evenkeel.dev/idle": "soon"})),
    ] {
        scene
            .patch(name, json!({"metadata": {"annotations": broken}}))
            .await?;
    }
    let broken = |service: &Service| {
        condition(service, "evenkeel.dev/Degraded")
            .is_some_and(|found| found.reason == "InvalidConfiguration")
    };
    scene.until("b", "to be told", broken).await?;
    scene.delete("c").await?;
    scene.gone("c").await?;
    listen(&scene, &["a", "b", "d"]).await?;
    // Nobody is left whom both can read.
    scene
        .patch(
            "d",
            json!({"metadata": {"annotations": {"evenkeel.dev/scheme": "sideways"}}}),
        )
        .await?;
    scene.until("d", "to be told", broken).await?;
    scene.delete("a").await?;
    scene.gone("a").await?;
    listen(&scene, &["b", "d"]).await?;
    for name in ["b", "d"] {
        let service = scene.get(name).await?;
        ensure!(
            broken(&service) && ip(&service).is_some(),
            "{:?}",
            service.status
        );
    }
    // Who leaves with another type goes as well, and the rest stays for as long as somebody is there.
    scene
        .patch(
            "b",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    scene.released("b").await?;
    listen(&scene, &["d"]).await?;
    scene.delete("d").await?;
    scene.gone("d").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn the_last_who_is_served_leaves_what_all_share_to_one_who_never_was() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("a", member("edge", 80)).await?;
    scene.served("a").await?;
    let mut never = member("edge", 81);
    never["metadata"]["annotations"]["evenkeel.dev/scheme"] = json!("sideways");
    scene.create("b", never).await?;
    scene
        .until("b", "to be told", |service| {
            status(service, "evenkeel.dev/Degraded") == "True"
        })
        .await?;
    scene.delete("a").await?;
    scene.gone("a").await?;
    ensure!(
        scene.objects().keys().eq(&["address"]),
        "{:?}",
        scene.objects()
    );
    scene.delete("b").await?;
    scene.gone("b").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_after_a_restart_stays_and_who_is_deleted_leaves() -> Result<()> {
    let mut scene = Scene::start().await?;
    for (name, port) in [("a", 80), ("b", 81), ("c", 82)] {
        scene.create(name, member("edge", port)).await?;
        scene.served(name).await?;
    }
    let before = ip(&scene.get("a").await?);
    scene.stop().await?;
    // One whose group cannot be read has not left it.
    for (name, broken) in [
        ("a", json!({"evenkeel.dev/group": "No Name!"})),
        ("b", json!({"evenkeel.dev/scheme": "sideways"})),
    ] {
        scene
            .patch(name, json!({"metadata": {"annotations": broken}}))
            .await?;
    }
    scene.delete("c").await?;
    scene.forget_calls();
    scene.run();
    scene.gone("c").await?;
    for name in ["a", "b"] {
        let service = scene
            .until(name, "to be told", |service| {
                status(service, "evenkeel.dev/Degraded") == "True"
            })
            .await?;
        ensure!(ip(&service) == before, "{name}: {:?}", service.status);
    }
    scene.barrier().await?;
    listen(&scene, &["a", "b"]).await?;
    ensure!(ip(&scene.get("a").await?) == before);
    // It is mended as it was, or so that it moves.
    scene
        .patch(
            "b",
            json!({"metadata": {"annotations": {"evenkeel.dev/scheme": null}}}),
        )
        .await?;
    scene.patch("a", moves_to(Value::Null)).await?;
    scene
        .until("a", "an address of its own", |service| {
            ip(service) != before && status(service, "evenkeel.dev/Degraded") == "False"
        })
        .await?;
    scene.served("b").await?;
    eventually("one listener each", LIMIT, || async {
        ensure!(scene.cloud.list().len() == 6, "{:?}", scene.cloud.list());
        Ok(())
    })
    .await?;
    listen(&scene, &["a", "b"]).await?;
    ensure!(ip(&scene.get("b").await?) == before);
    Ok(())
}

#[tokio::test]
async fn one_who_left_others_while_nobody_looked_is_served_there_until_it_is_served_anew()
-> Result<()> {
    let mut scene = Scene::start().await?;
    for (name, port) in [("a", 80), ("b", 81)] {
        scene.create(name, member("edge", port)).await?;
        scene.served(name).await?;
    }
    scene.barrier().await?;
    let before = scene.get("a").await?;
    scene.stop().await?;
    scene.patch("a", moves_to(json!("new"))).await?;
    scene.forget_calls();
    scene.tap.block_writes(true);
    scene.run();
    scene.wrote().await?;
    scene.barrier().await?;
    let writes = scene.written();
    ensure!(
        writes.iter().all(|write| write.starts_with("Create")),
        "{writes:?}"
    );
    ensure!(ip(&scene.get("a").await?) == ip(&before));
    scene.tap.block_writes(false);
    scene
        .until("a", "another address", |service| ip(service) != ip(&before))
        .await?;
    eventually("what is left", LIMIT, || async {
        ensure!(scene.cloud.list().len() == 6, "{:?}", scene.cloud.list());
        Ok(())
    })
    .await?;
    listen(&scene, &["a", "b"]).await
}
