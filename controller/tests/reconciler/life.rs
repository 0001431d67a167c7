//! A Service's life: claimed, served, changed, released.

use std::sync::Arc;

use anyhow::{Result, ensure};
use evenkeel_laws::toys::{
    annotations::Pool,
    own::cloud::{Cloud, Spec},
};
use kube::ResourceExt as _;
use serde_json::json;

use crate::scene::{Scene, condition, conditions, ingress, status};

#[tokio::test]
async fn the_finalizer_comes_before_the_first_write_and_a_slow_cloud_is_told_of() -> Result<()> {
    let scene = Scene::start().await?;
    scene.tap.block_writes(true);
    scene
        .create(
            "checkout",
            json!({"metadata": {"finalizers": ["other.example/x"]}}),
        )
        .await?;
    scene.wrote().await?;
    let service = scene.get("checkout").await?;
    ensure!(
        service.finalizers() == ["other.example/x", &scene.finalizer()],
        "{:?}",
        service.finalizers()
    );
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());

    let waiting = scene
        .until("checkout", "a first status", |service| {
            status(service, "evenkeel.dev/Provisioning") == "True"
        })
        .await?;
    ensure!(status(&waiting, "evenkeel.dev/Serving") == "False" && ingress(&waiting).is_empty());

    scene.tap.block_writes(false);
    let service = scene.served("checkout").await?;
    let entry = &ingress(&service)[0];
    ensure!(entry.ip.is_some() && entry.ip_mode.is_some(), "{entry:?}");
    let ports = entry.ports.as_deref().unwrap_or_default();
    ensure!(
        ports.len() == 1
            && ports[0].port == 80
            && ports[0].protocol == "TCP"
            && ports[0].error.is_none(),
        "{ports:?}"
    );
    let applied = service.managed_fields().iter().find(|fields| {
        fields.manager.as_deref() == Some("evenkeel")
            && fields.operation.as_deref() == Some("Apply")
    });
    ensure!(
        applied.is_some_and(|fields| fields.subresource.as_deref() == Some("status")),
        "{:?}",
        service.managed_fields()
    );

    scene
        .patch(
            "checkout",
            json!({"metadata": {"finalizers": [scene.finalizer()]}}),
        )
        .await?;
    scene.delete("checkout").await?;
    scene.gone("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    scene.event("checkout", "DeletedLoadBalancer").await?;
    let events = scene.events("checkout").await?;
    let reasons: Vec<_> = events
        .iter()
        .map(|(reason, ..)| reason.as_str())
        .filter(|reason| reason.ends_with("LoadBalancer"))
        .filter(|reason| *reason != "UnAvailableLoadBalancer")
        .collect();
    ensure!(
        reasons
            == [
                "EnsuringLoadBalancer",
                "EnsuredLoadBalancer",
                "DeletingLoadBalancer",
                "DeletedLoadBalancer"
            ],
        "{events:?}"
    );
    Ok(())
}

#[tokio::test]
async fn what_others_wrote_stays_and_what_is_ours_is_made_good() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    let address = ingress(&scene.served("checkout").await?).to_vec();
    let foreign = json!({"type": "other.example/Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let mut conditions = serde_json::to_value(conditions(&scene.get("checkout").await?))?;
    conditions.as_array_mut().expect("a list").push(foreign);
    // Somebody adds a condition, and wipes the addresses.
    scene
        .patch_status(
            "checkout",
            json!({"status": {"conditions": conditions, "loadBalancer": null}}),
        )
        .await?;
    let service = scene
        .until("checkout", "the address to be back", |service| {
            ingress(service) == address
        })
        .await?;
    ensure!(
        status(&service, "other.example/Ready") == "True",
        "{:?}",
        service.status
    );

    // The same again: not fought for ever, and said so.
    scene
        .patch_status(
            "checkout",
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}),
        )
        .await?;
    let note = scene.event("checkout", "OwnershipConflict").await?;
    ensure!(note.contains("--show-managed-fields"), "{note}");

    // An edit publishes anew, whatever was written meanwhile.
    scene
        .patch(
            "checkout",
            json!({"spec": {"ports": [{"name": "http", "port": 81, "targetPort": 8080}]}}),
        )
        .await?;
    let service = scene
        .until("checkout", "the new port", |service| {
            ingress(service).first().is_some_and(|entry| {
                entry.ip == address[0].ip
                    && entry
                        .ports
                        .as_ref()
                        .is_some_and(|ports| ports[0].port == 81 && ports[0].error.is_none())
            })
        })
        .await?;
    ensure!(status(&service, "other.example/Ready") == "True");

    scene
        .patch(
            "checkout",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    let service = scene.released("checkout").await?;
    ensure!(
        status(&service, "other.example/Ready") == "True",
        "{:?}",
        service.status
    );
    ensure!(condition(&service, "LoadBalancerPortsError").is_none());
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());

    // And back.
    scene
        .patch(
            "checkout",
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": scene.finalizer()}}),
        )
        .await?;
    scene.served("checkout").await?;
    Ok(())
}

#[tokio::test]
async fn what_is_not_ours_is_not_touched() -> Result<()> {
    let scene = Scene::start().await?;
    scene
        .create(
            "other",
            json!({"spec": {"loadBalancerClass": "example.com/lb"}}),
        )
        .await?;
    scene
        .create("nobody", json!({"spec": {"loadBalancerClass": null}}))
        .await?;
    scene
        .create(
            "inside",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    let written = scene
        .patch_status(
            "other",
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}),
        )
        .await?;
    scene.settled().await?;
    ensure!(scene.get("other").await?.resource_version() == written.resource_version());
    for name in ["other", "nobody", "inside"] {
        let service = scene.get(name).await?;
        ensure!(
            service.finalizers().is_empty() && conditions(&service).is_empty(),
            "{name}: {service:?}"
        );
        ensure!(scene.events(name).await?.is_empty(), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_without_a_class_is_taken_where_a_default_is_set_and_no_other_hand_is_on_it()
-> Result<()> {
    let mut scene = Scene::prepare_alone().await?;
    scene.default_provider = true;
    scene
        .create("free", json!({"spec": {"loadBalancerClass": null}}))
        .await?;
    scene
        .create("held", json!({"metadata": {"finalizers": ["service.k8s.aws/resources"]}, "spec": {"loadBalancerClass": null}}))
        .await?;
    let before = scene.get("held").await?.resource_version();
    scene.run();
    let free = scene.served("free").await?;
    ensure!(
        free.finalizers() == [scene.finalizer()],
        "{:?}",
        free.finalizers()
    );
    let note = scene.event("held", "OwnershipConflict").await?;
    ensure!(note.contains("service.k8s.aws/resources"), "{note}");
    scene.settled().await?;
    ensure!(
        scene.get("held").await?.resource_version() == before,
        "one event, nothing else"
    );
    ensure!(scene.events("held").await?.len() == 1);
    scene
        .patch("held", json!({"metadata": {"finalizers": []}}))
        .await?;
    scene.served("held").await?;
    Ok(())
}

#[tokio::test]
async fn services_of_one_group_come_and_go() -> Result<()> {
    let scene = Scene::start().await?;
    let group = |port: u16| json!({"metadata": {"annotations": {"evenkeel.dev/group": "edge"}}, "spec": {"ports": [{"port": port}]}});
    scene.create("a", group(80)).await?;
    let address = ingress(&scene.served("a").await?)[0].ip.clone();
    scene.create("b", group(81)).await?;
    ensure!(
        ingress(&scene.served("b").await?)[0].ip == address,
        "one load balancer"
    );
    // One goes: the other is served on, and only then the finalizer goes.
    scene.delete("a").await?;
    scene.gone("a").await?;
    ensure!(
        scene.objects().get("listener") == Some(&1),
        "{:?}",
        scene.objects()
    );
    ensure!(ingress(&scene.served("b").await?)[0].ip == address);
    // The other moves to a load balancer of its own: nothing of the old one stays.
    scene
        .patch(
            "b",
            json!({"metadata": {"annotations": {"evenkeel.dev/group": null}}}),
        )
        .await?;
    let own = scene.get("b").await?.metadata.uid;
    evenkeel_harness::wait::eventually("the old one to go", crate::scene::LIMIT, || async {
        let objects = scene.cloud.list();
        let groups: Vec<_> = objects
            .iter()
            .map(|object| object.marks.as_ref().map(|marks| marks.group.clone()))
            .collect();
        ensure!(
            groups.len() == 3 && groups.iter().all(|group| *group == own),
            "{objects:?}"
        );
        Ok(())
    })
    .await?;
    scene.served("b").await?;
    scene.delete("b").await?;
    scene.gone("b").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn a_default_provider_that_is_switched_off_gives_back_what_it_took() -> Result<()> {
    let mut scene = Scene::prepare_alone().await?;
    scene.default_provider = true;
    scene.run();
    let classless = json!({"spec": {"loadBalancerClass": null}});
    scene.create("free", classless).await?;
    scene.create("named", json!({})).await?;
    scene.served("free").await?;
    scene.served("named").await?;
    scene.stop().await?;
    scene.default_provider = false;
    scene.run();
    let service = scene.released("free").await?;
    ensure!(
        service.finalizers().is_empty(),
        "{:?}",
        service.finalizers()
    );
    scene.barrier().await?;
    let named = scene.served("named").await?;
    ensure!(scene.cloud.list().len() == 3, "{:?}", scene.cloud.list());
    scene.stop().await?;
    scene.default_provider = true;
    scene.run();
    scene.served("free").await?;
    scene.barrier().await?;
    ensure!(scene.get("named").await?.resource_version() == named.resource_version());
    Ok(())
}

#[tokio::test]
async fn an_address_of_another_controller_keeps_us_off_a_service_without_a_class() -> Result<()> {
    let mut scene = Scene::prepare_alone().await?;
    scene.default_provider = true;
    let classless = json!({"spec": {"loadBalancerClass": null}});
    scene.create("held", classless).await?;
    let theirs = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    scene.patch_status("held", theirs.clone()).await?;
    scene.run();
    let note = scene.event("held", "OwnershipConflict").await?;
    ensure!(note.contains("203.0.113.1"), "{note}");
    scene.barrier().await?;
    ensure!(
        scene.line.writes("held") == (0, 0) && scene.tap.writes().is_empty(),
        "{:?}",
        scene.line.all_writes()
    );
    // The other lets go, and comes back when the Service is ours: it is not given up, and not fought for ever.
    scene
        .patch_status(
            "held",
            json!({"status": {"loadBalancer": {"ingress": null}}}),
        )
        .await?;
    let address = ingress(&scene.served("held").await?).to_vec();
    scene.patch_status("held", theirs.clone()).await?;
    scene
        .until("held", "our address", |service| ingress(service) == address)
        .await?;
    scene.barrier().await?;
    scene.line.reset();
    scene.patch_status("held", theirs).await?;
    scene.barrier().await?;
    ensure!(
        scene.line.writes("held") == (0, 0),
        "{:?}",
        scene.line.all_writes()
    );
    scene.clock.put_forward(std::time::Duration::from_secs(61));
    scene
        .until("held", "our address", |service| ingress(service) == address)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_paused_service_is_left_as_it_is_and_can_be_deleted() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    let address = ingress(&scene.served("checkout").await?)[0].ip.clone();
    scene.barrier().await?;
    scene.forget_calls();
    let paused = json!({"metadata": {"annotations": {"evenkeel.dev/paused": "true"}}});
    scene.patch("checkout", paused.clone()).await?;
    let port = |port: u16| json!({"spec": {"ports": [{"name": "http", "port": port, "targetPort": 8080}]}});
    scene.patch("checkout", port(81)).await?;
    let service = scene
        .until("checkout", "to be told", |service| {
            condition(service, "evenkeel.dev/Provisioning")
                .is_some_and(|found| found.reason == "Paused")
        })
        .await?;
    ensure!(
        ingress(&service)[0].ip == address && status(&service, "evenkeel.dev/Serving") == "True"
    );
    scene.barrier().await?;
    ensure!(scene.written().is_empty(), "{:?}", scene.written());
    let go_on = json!({"metadata": {"annotations": {"evenkeel.dev/paused": null}}});
    scene.patch("checkout", go_on).await?;
    let service = scene
        .until("checkout", "the new port", |service| {
            let ports = ingress(service)[0].ports.clone().unwrap_or_default();
            ports[0].port == 81 && ports[0].error.is_none()
        })
        .await?;
    ensure!(ingress(&service)[0].ip == address, "{:?}", service.status);
    scene.patch("checkout", paused).await?;
    scene.delete("checkout").await?;
    scene.gone("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn an_approval_is_used_up_by_what_it_approves() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    let first = ingress(&scene.served("checkout").await?)[0].ip.clone();
    let pool = |pool: &str| json!({"metadata": {"annotations": {"toy.evenkeel.dev/pool": pool}}});
    scene.patch("checkout", pool("west")).await?;
    let digest = scene.refused("checkout").await?;
    // One that names something else approves nothing.
    let approve =
        |digest: &str| json!({"metadata": {"annotations": {"evenkeel.dev/approve": digest}}});
    scene.forget_calls();
    scene.patch("checkout", approve("0123456789ab")).await?;
    scene.barrier().await?;
    ensure!(scene.written().is_empty(), "{:?}", scene.written());
    scene.patch("checkout", approve(&digest)).await?;
    let moved = scene
        .until("checkout", "the other address", |service| {
            ingress(service)[0].ip != first && status(service, "evenkeel.dev/Degraded") == "False"
        })
        .await?;
    let second = ingress(&moved)[0].ip.clone();
    // There and back, and there again: the annotation is still there, and approves neither.
    for next in ["east", "west", "east"] {
        scene.barrier().await?;
        scene.forget_calls();
        scene.patch("checkout", pool(next)).await?;
        if next == "west" {
            scene
                .until("checkout", "nothing to be refused", |service| {
                    status(service, "evenkeel.dev/Degraded") == "False"
                })
                .await?;
        } else {
            let other = scene.refused("checkout").await?;
            ensure!(other != digest, "{other}");
        }
        scene.barrier().await?;
        ensure!(scene.written().is_empty(), "{:?}", scene.written());
        let service = scene.get("checkout").await?;
        ensure!(ingress(&service)[0].ip == second, "{:?}", service.status);
        ensure!(service.annotations().get("evenkeel.dev/approve") == Some(&digest));
    }
    Ok(())
}

#[tokio::test]
async fn one_who_goes_to_another_provider_is_given_back_by_the_one_and_served_by_the_other()
-> Result<()> {
    for seen_as_one in [false, true] {
        let mut scene = Scene::prepare().await?;
        let other = Arc::new(Cloud::default());
        // So that the two clouds give different addresses.
        let pool = Spec::Address { pool: Pool::East };
        other.plant("strange", None, pool);
        scene.twin = Some(other.clone());
        scene.run();
        let time = tokio::spawn({
            let other = other.clone();
            async move {
                let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
                loop {
                    tick.tick().await;
                    other.advance();
                }
            }
        });
        scene.create("checkout", json!({})).await?;
        let before = ingress(&scene.served("checkout").await?)[0].ip.clone();
        let theirs = format!("evenkeel.dev/{}", scene.twin_name());
        if seen_as_one {
            scene.line.hide_services();
        }
        let off = json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}});
        scene.patch("checkout", off).await?;
        let on = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": theirs}});
        scene.patch("checkout", on).await?;
        scene.line.show_services(seen_as_one);
        let service = scene
            .until("checkout", "one hand alone", |service| {
                service.finalizers() == [theirs.clone()] && !ingress(service).is_empty()
            })
            .await?;
        ensure!(ingress(&service)[0].ip != before, "{:?}", service.status);
        ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
        scene.barrier().await?;
        let service = scene.served("checkout").await?;
        ensure!(ingress(&service)[0].ip != before, "{:?}", service.status);
        scene.delete("checkout").await?;
        scene.gone("checkout").await?;
        ensure!(other.list().len() == 1, "{:?}", other.list());
        time.abort();
    }
    Ok(())
}
