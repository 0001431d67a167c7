//! What changes while we are at work. Every race is forced: a call to the cloud or a request to the API server is held
//! back until the world has changed.
//!
//! The known races of load balancer controllers, and the test that shows how each ends here:
//!
//! | # | race | test |
//! | --- | --- | --- |
//! | R1 | type changed while the cloud is at work; the late address is refused | [`the_type_changes_while_the_cloud_is_at_work`], [`an_address_that_comes_too_late_is_refused_and_taken_back`] |
//! | R2 | there and back, seen as one update | [`there_and_back_seen_as_one`], [`there_and_back_and_to_another_class_while_the_cloud_is_at_work`] |
//! | R3 | deleted while the cloud is at work | [`a_service_is_deleted_while_the_cloud_is_at_work`], [`a_deletion_is_met_by_the_late_status`] |
//! | R4 | the finalizer comes after the deletion | [`a_finalizer_that_comes_after_the_deletion_makes_nothing`] |
//! | R5 | crash after a create, before the status | [`a_crash_before_the_status_makes_no_second_one`], `restart::wherever_it_is_cut_*` |
//! | R6 | crash after the deletes, before the finalizer goes | [`a_crash_before_the_finalizer_goes_deletes_again`], `restart::wherever_it_is_cut_*` |
//! | R7 | nodes and Service change at the same time | `targets::nodes_and_ports_change_at_once_one_after_the_other` |
//! | R8 | what was not applied is remembered as applied | `targets::what_failed_is_not_taken_as_done` |
//! | R9 | our own write, or the last edit, is not in the cache yet | [`our_own_writes_need_not_be_watched`], [`a_release_looks_before_it_begins`] |
//! | R10 | a part is left though the load balancer is not found | [`a_deletion_is_a_whole_one_whatever_is_left`] |
//! | R11 | the delay that a cloud asks for is lost on a deletion | [`the_delay_that_a_cloud_asks_for_holds_for_both_ways`] |
//! | R12 | the health check port of `Local` moves | `queue::tests::an_edit_comes_before_what_only_follows_nodes`; that the check follows the port is each provider's |
//! | R13 | a freed node port is somebody else's at once | `changes::another_type_and_back`, `changes::every_change_*`; that it is not kept waiting: as for R12 |
//! | R14 | a freed address stays in the status | [`a_replaced_address_is_told_of_before_it_goes`], [`a_freed_address_does_not_stay_in_the_status`] |
//! | R15 | an address without a healthy target | `targets::without_a_node_there_is_an_address_and_it_is_said` |
//! | R16 | another controller strips a finalizer that all share | [`our_finalizer_is_our_own`] |
//! | R17 | two controllers take one Service | `life::a_service_without_a_class_*`, `life::what_others_wrote_stays_and_what_is_ours_is_made_good` |
//! | R18 | leadership is lost in the middle | `leadership::two_replicas_under_load_never_both_write`, `leadership::a_leader_whose_lease_is_tampered_with_ends_at_once` |
//! | R19 | a node comes back with another machine | `nodes::a_node_made_again_under_its_name_is_another_machine` |
//! | R20 | a node joins without a machine | `nodes::a_node_without_a_provider_id_joins_when_it_has_one_and_is_told_once` |
//! | R21 | all nodes go at once | `nodes::all_nodes_vanish_and_nothing_is_emptied`, `nodes::a_mass_removal_is_held_and_confirmed_by_a_second_list` |
//! | R22 | a gap in the watch hides what was between | [`what_a_gap_in_the_watch_hides_is_made_good`] |
//! | R23 | one that fails holds up the others | [`those_that_fail_hold_up_nobody`] |

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use evenkeel_harness::wait::eventually;
use evenkeel_laws::{
    tap::{Call, Fault, Kind},
    toys::own::cloud::Spec,
};
use kube::{ResourceExt as _, api::DeleteParams};
use serde_json::{Value, json};

use crate::{
    api::Sent,
    patient::Patient,
    scene::{LIMIT, Scene, ingress, status},
};

const MINUTE: Duration = Duration::from_secs(60);

fn off() -> Value {
    json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}})
}

#[tokio::test]
async fn the_type_changes_while_the_cloud_is_at_work() -> Result<()> {
    let scene = Scene::start().await?;
    scene.tap.block_writes(true);
    scene.create("checkout", json!({})).await?;
    scene.wrote().await?;
    scene.patch("checkout", off()).await?;
    scene.tap.block_writes(false);
    scene.released("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn an_address_that_comes_too_late_is_refused_and_taken_back() -> Result<()> {
    let scene = Scene::start().await?;
    scene.line.hold(|sent| sent.publishes("checkout"));
    scene.create("checkout", json!({})).await?;
    scene
        .line
        .until_sent("the status", |sent| sent.publishes("checkout"))
        .await?;
    scene.line.hide_services();
    scene.patch("checkout", off()).await?;
    scene.line.hold_none();
    let refused = scene
        .line
        .until_answered("an answer", |sent| sent.publishes("checkout"))
        .await?;
    ensure!(matches!(refused.code, Some(409 | 422)), "{refused:?}");
    // What the watch does not say the refusal does.
    scene.released("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn there_and_back_seen_as_one() -> Result<()> {
    for gap in [false, true] {
        let scene = Scene::start().await?;
        scene.create("checkout", json!({})).await?;
        let before = scene.served("checkout").await?;
        let port = |service: &k8s_openapi::api::core::v1::Service| {
            let spec = service.spec.as_ref()?;
            spec.ports.as_ref()?.first()?.node_port
        };
        scene.line.hide_services();
        scene.patch("checkout", off()).await?;
        let nodeless = json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": null}]}});
        scene.patch("checkout", nodeless).await?;
        let back =
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": scene.finalizer()}});
        let back = scene.patch("checkout", back).await?;
        ensure!(ingress(&back).is_empty() && port(&back) != port(&before));
        scene.line.show_services(gap);
        let after = scene.served("checkout").await?;
        ensure!(
            !gap || ingress(&after)[0].ip == ingress(&before)[0].ip,
            "nobody saw that it was away: {:?}",
            after.status
        );
        eventually("the new node port alone", LIMIT, || async {
            let objects = scene.cloud.list().into_iter();
            let sets: Vec<_> = objects
                .filter_map(|object| match object.spec {
                    Spec::TargetSet { node_port, .. } => Some(i32::from(node_port)),
                    _ => None,
                })
                .collect();
            ensure!(sets == [port(&after).unwrap_or_default()], "{sets:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_service_is_deleted_while_the_cloud_is_at_work() -> Result<()> {
    let scene = Scene::start().await?;
    scene.tap.block_writes(true);
    scene.create("checkout", json!({})).await?;
    scene.wrote().await?;
    scene.delete("checkout").await?;
    scene.tap.block_writes(false);
    scene.gone("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn a_deletion_is_met_by_the_late_status() -> Result<()> {
    for forced in [false, true] {
        let scene = Scene::start().await?;
        scene.line.hold(|sent| sent.publishes("checkout"));
        scene.create("checkout", json!({})).await?;
        scene
            .line
            .until_sent("the status", |sent| sent.publishes("checkout"))
            .await?;
        scene.line.hide_services();
        scene.delete("checkout").await?;
        if forced {
            scene
                .patch("checkout", json!({"metadata": {"finalizers": []}}))
                .await?;
        }
        scene.line.hold_none();
        let refused = scene
            .line
            .until_answered("an answer", |sent| sent.publishes("checkout"))
            .await?;
        let codes: &[u16] = if forced { &[404, 409] } else { &[409] };
        ensure!(
            refused.code.is_some_and(|code| codes.contains(&code)),
            "{refused:?}"
        );
        scene.gone("checkout").await?;
        eventually("nothing to be left", LIMIT, || async {
            ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_finalizer_that_comes_after_the_deletion_makes_nothing() -> Result<()> {
    let scene = Scene::start().await?;
    scene.line.hold(|sent| sent.claims_or_releases("checkout"));
    let held = json!({"metadata": {"finalizers": ["other.example/x"]}});
    scene.create("checkout", held).await?;
    scene
        .line
        .until_sent("the finalizer", |sent| sent.claims_or_releases("checkout"))
        .await?;
    scene.delete("checkout").await?;
    scene.line.hold_none();
    let refused = scene
        .line
        .until_answered("an answer", |sent| sent.claims_or_releases("checkout"))
        .await?;
    ensure!(refused.code == Some(422), "{refused:?}");
    scene.barrier().await?;
    ensure!(scene.tap.writes().is_empty(), "{:?}", scene.tap.writes());
    let service = scene.get("checkout").await?;
    ensure!(service.finalizers() == ["other.example/x"]);
    ensure!(
        scene.line.writes("checkout") == (0, 1),
        "it is not tried again: {:?}",
        scene.line.all_writes()
    );
    scene
        .patch("checkout", json!({"metadata": {"finalizers": []}}))
        .await?;
    scene.gone("checkout").await
}

#[tokio::test]
async fn a_crash_before_the_status_makes_no_second_one() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.line.hold(|sent| sent.publishes("checkout"));
    scene.create("checkout", json!({})).await?;
    scene
        .line
        .until_sent("the status", |sent| sent.publishes("checkout"))
        .await?;
    let made = scene.cloud.list();
    ensure!(made.len() == 3, "{made:?}");
    scene.crash().await;
    scene.forget_calls();
    scene.line.hold_none();
    scene.run();
    scene.served("checkout").await?;
    scene.barrier().await?;
    ensure!(scene.written().is_empty(), "{:?}", scene.written());
    ensure!(scene.cloud.list() == made);
    ensure!(
        scene.line.writes("checkout") == (1, 0),
        "{:?}",
        scene.line.all_writes()
    );
    Ok(())
}

#[tokio::test]
async fn a_crash_before_the_finalizer_goes_deletes_again() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    scene.line.hold(|sent| sent.claims_or_releases("checkout"));
    scene.line.reset();
    scene.delete("checkout").await?;
    scene
        .line
        .until_sent("the release", |sent| sent.claims_or_releases("checkout"))
        .await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    let service = scene.get("checkout").await?;
    ensure!(service.finalizers() == [scene.finalizer()]);
    scene.crash().await;
    scene.forget_calls();
    scene.line.hold_none();
    scene.run();
    scene.gone("checkout").await?;
    ensure!(scene.written().is_empty(), "{:?}", scene.written());
    ensure!(
        scene.line.writes("checkout") == (0, 1),
        "{:?}",
        scene.line.all_writes()
    );
    Ok(())
}

#[tokio::test]
async fn our_own_writes_need_not_be_watched() -> Result<()> {
    let scene = Scene::start().await?;
    scene.line.hold(|sent| sent.claims_or_releases("checkout"));
    scene.create("checkout", json!({})).await?;
    scene
        .line
        .until_sent("the finalizer", |sent| sent.claims_or_releases("checkout"))
        .await?;
    scene.line.hide_services();
    scene.line.hold_none();
    scene.served("checkout").await?;
    // Neither is anything done that was done, nor does what comes late by the watch undo it.
    scene.line.show_services(false);
    scene.barrier().await?;
    ensure!(
        scene.line.writes("checkout") == (1, 1),
        "{:?}",
        scene.line.all_writes()
    );
    Ok(())
}

#[tokio::test]
async fn a_release_looks_before_it_begins() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    let address = ingress(&scene.served("checkout").await?)[0].ip.clone();
    scene.barrier().await?;
    scene.forget_calls();
    scene.line.hold(|sent| sent.reads("checkout"));
    scene.patch("checkout", off()).await?;
    scene
        .line
        .until_sent("a look at the Service", |sent| sent.reads("checkout"))
        .await?;
    scene.line.hide_services();
    let back = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": scene.finalizer()}});
    scene.patch("checkout", back).await?;
    scene.line.hold_none();
    let service = scene.served("checkout").await?;
    ensure!(ingress(&service)[0].ip == address, "{:?}", service.status);
    let writes = scene.written();
    ensure!(!writes.contains(&"Delete address".to_owned()), "{writes:?}");
    Ok(())
}

#[tokio::test]
async fn there_and_back_and_to_another_class_while_the_cloud_is_at_work() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    let address = ingress(&scene.served("checkout").await?).to_vec();
    scene.tap.reset();
    scene.tap.block_writes(true);
    scene
        .patch(
            "checkout",
            json!({"spec": {"ports": [{"name": "http", "port": 81, "targetPort": 8080}]}}),
        )
        .await?;
    scene.wrote().await?;
    scene.patch("checkout", off()).await?;
    scene
        .patch(
            "checkout",
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}}),
        )
        .await?;
    scene
        .patch_status(
            "checkout",
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}),
        )
        .await?;
    scene.tap.block_writes(false);
    let service = scene
        .until("checkout", "our hand to be off", |service| {
            service.finalizers().is_empty()
        })
        .await?;
    ensure!(
        ingress(&service)[0].ip.as_deref() == Some("203.0.113.1") && ingress(&service) != address,
        "{:?}",
        service.status
    );
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn the_last_of_two_edits_wins() -> Result<()> {
    let scene = Scene::start().await?;
    scene.tap.block_writes(true);
    scene.create("checkout", json!({})).await?;
    scene.wrote().await?;
    for port in [81, 82] {
        scene
            .patch(
                "checkout",
                json!({"spec": {"ports": [{"name": "http", "port": port, "targetPort": 8080}]}}),
            )
            .await?;
    }
    scene.tap.block_writes(false);
    scene
        .until("checkout", "the last port", |service| {
            ingress(service).first().is_some_and(|entry| {
                entry
                    .ports
                    .as_ref()
                    .is_some_and(|ports| ports[0].port == 82 && ports[0].error.is_none())
            })
        })
        .await?;
    ensure!(
        scene.objects().get("listener") == Some(&1),
        "{:?}",
        scene.objects()
    );
    Ok(())
}

#[tokio::test]
async fn a_namesake_is_another_service() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    let old: Vec<_> = scene
        .cloud
        .list()
        .into_iter()
        .map(|object| object.id)
        .collect();
    // Somebody forces the finalizer off a Service that is being deleted, and makes another at once.
    scene.tap.reset();
    scene.tap.block_writes(true);
    scene
        .services()
        .delete("checkout", &DeleteParams::default())
        .await?;
    scene
        .patch("checkout", json!({"metadata": {"finalizers": []}}))
        .await?;
    scene.create("checkout", json!({})).await?;
    scene.tap.block_writes(false);
    scene.served("checkout").await?;
    eventually("the old objects to go", LIMIT, || async {
        let left: Vec<_> = scene
            .cloud
            .list()
            .into_iter()
            .filter(|object| old.contains(&object.id))
            .collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    ensure!(
        scene.objects().values().all(|count| *count == 1),
        "{:?}",
        scene.objects()
    );
    Ok(())
}

#[tokio::test]
async fn a_deletion_is_a_whole_one_whatever_is_left() -> Result<()> {
    for gone in [
        &["listener"][..],
        &["listener", "address"],
        &["listener", "target set"],
    ] {
        let scene = Scene::start().await?;
        scene.create("checkout", json!({})).await?;
        scene.served("checkout").await?;
        // Somebody removes what a load balancer is found by.
        for kind in gone {
            for object in scene.cloud.list() {
                if object.spec.kind() == *kind {
                    let removed = scene.cloud.delete(&object.name);
                    removed.map_err(|error| anyhow::anyhow!("{error}"))?;
                }
            }
        }
        scene.delete("checkout").await?;
        scene.gone("checkout").await?;
        ensure!(
            scene.cloud.list().is_empty(),
            "without {gone:?}: {:?}",
            scene.cloud.list()
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_delay_that_a_cloud_asks_for_holds_for_both_ways() -> Result<()> {
    let mut scene = Scene::prepare().await?;
    scene.resync = 600 * MINUTE;
    let after = 10 * MINUTE;
    scene.between = Arc::new(move |provider| Arc::new(Patient { provider, after }));
    scene.run();
    let throttled = |call: &Call| (call.kind == Kind::Write).then_some(Fault::Throttled);
    for deletion in [false, true] {
        scene.forget_calls();
        scene.tap.fail_where(throttled);
        if deletion {
            scene.delete("checkout").await?;
        } else {
            scene.create("checkout", json!({})).await?;
        }
        scene
            .until("checkout", "to be told", |service| {
                status(service, "evenkeel.dev/Degraded") == "True"
            })
            .await?;
        scene.barrier().await?;
        scene.tap.fail_none();
        let tried = scene.written();
        ensure!(!tried.is_empty());
        scene.clock.put_forward(9 * MINUTE);
        scene.barrier().await?;
        ensure!(scene.written() == tried, "too early: {:?}", scene.written());
        // A fifth more than was asked for, at most, so that not all come back at once.
        scene.clock.put_forward(3 * MINUTE);
        if deletion {
            scene.gone("checkout").await?;
        } else {
            scene.served("checkout").await?;
        }
    }
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn a_freed_address_does_not_stay_in_the_status() -> Result<()> {
    let scene = Scene::start().await?;
    let held = json!({"metadata": {"finalizers": ["other.example/x"]}});
    scene.create("checkout", held).await?;
    scene.served("checkout").await?;
    scene.barrier().await?;
    scene.forget_calls();
    // The address goes, and something else does not.
    scene.tap.fail_where(|call| {
        (call.operation == "Delete" && call.target.contains("-set-")).then_some(Fault::Unreachable)
    });
    scene.delete("checkout").await?;
    let service = scene
        .until("checkout", "the address to go from the status", |service| {
            ingress(service).is_empty()
        })
        .await?;
    ensure!(
        service.finalizers().contains(&scene.finalizer()),
        "something is left"
    );
    ensure!(
        scene.objects().keys().eq(&["target set"]),
        "{:?}",
        scene.objects()
    );
    scene.tap.fail_none();
    scene.clock.put_forward(10 * MINUTE);
    let service = scene
        .until("checkout", "our hand to be off", |service| {
            service.finalizers() == ["other.example/x"]
        })
        .await?;
    ensure!(ingress(&service).is_empty() && crate::scene::conditions(&service).is_empty());
    scene
        .patch("checkout", json!({"metadata": {"finalizers": []}}))
        .await?;
    scene.gone("checkout").await
}

#[tokio::test]
async fn a_replaced_address_is_told_of_before_it_goes() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    let before = ingress(&scene.served("checkout").await?)[0].ip.clone();
    let asks = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    scene
        .patch("checkout", asks("toy.evenkeel.dev/pool", "west"))
        .await?;
    let digest = scene.refused("checkout").await?;
    scene.barrier().await?;
    scene.forget_calls();
    scene.tap.hold_where(|call| call.operation == "Delete");
    scene
        .patch("checkout", asks("evenkeel.dev/approve", &digest))
        .await?;
    eventually("something to go", LIMIT, || async {
        let writes = scene.written();
        ensure!(
            writes.iter().any(|write| write.starts_with("Delete")),
            "{writes:?}"
        );
        Ok(())
    })
    .await?;
    let service = scene.get("checkout").await?;
    let after = ingress(&service)[0].ip.clone();
    ensure!(after.is_some() && after != before, "{:?}", service.status);
    ensure!(
        scene.objects().get("listener") == Some(&2),
        "{:?}",
        scene.objects()
    );
    scene.tap.hold_none();
    eventually("what was replaced to go", LIMIT, || async {
        ensure!(scene.cloud.list().len() == 3, "{:?}", scene.cloud.list());
        Ok(())
    })
    .await?;
    scene.barrier().await?;
    ensure!(ingress(&scene.served("checkout").await?)[0].ip == after);
    ensure!(
        scene.line.writes("checkout") == (1, 0),
        "{:?}",
        scene.line.all_writes()
    );
    Ok(())
}

#[tokio::test]
async fn our_finalizer_is_our_own() -> Result<()> {
    let scene = Scene::start().await?;
    let shared = "service.kubernetes.io/load-balancer-cleanup";
    scene
        .create("checkout", json!({"metadata": {"finalizers": [shared]}}))
        .await?;
    scene.served("checkout").await?;
    scene.barrier().await?;
    scene.forget_calls();
    scene.tap.hold_where(|call| call.operation == "Delete");
    scene.delete("checkout").await?;
    scene.wrote().await?;
    // A cloud controller manager looks for a load balancer of its own, finds none, and strips what it takes for its own.
    let ours = scene.finalizer();
    scene
        .patch("checkout", json!({"metadata": {"finalizers": [ours]}}))
        .await?;
    ensure!(scene.get("checkout").await?.finalizers() == [ours]);
    scene.tap.hold_none();
    scene.gone("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn what_a_gap_in_the_watch_hides_is_made_good() -> Result<()> {
    let scene = Scene::start().await?;
    for name in ["recreated", "removed", "edited"] {
        scene.create(name, json!({})).await?;
    }
    for name in ["recreated", "removed", "edited"] {
        scene.served(name).await?;
    }
    let old: Vec<_> = scene.cloud.list().iter().map(|object| object.id).collect();
    scene.line.hide_services();
    for name in ["recreated", "removed"] {
        scene.delete(name).await?;
        scene
            .patch(name, json!({"metadata": {"finalizers": []}}))
            .await?;
    }
    scene.create("recreated", json!({})).await?;
    scene.create("passing", json!({})).await?;
    scene.delete("passing").await?;
    for port in [81, 82] {
        let ports = json!([{"name": "http", "port": port, "targetPort": 8080}]);
        scene
            .patch("edited", json!({"spec": {"ports": ports}}))
            .await?;
    }
    scene.line.show_services(true);
    scene.served("recreated").await?;
    scene
        .until("edited", "the last port", |service| {
            let ports = ingress(service)[0].ports.clone().unwrap_or_default();
            ports.len() == 1 && ports[0].port == 82 && ports[0].error.is_none()
        })
        .await?;
    eventually("what is left", LIMIT, || async {
        let objects = scene.cloud.list();
        let kept = objects.iter().filter(|object| old.contains(&object.id));
        // Of the one that was edited: its address. Its node port is another, or the same.
        let kept: Vec<_> = kept.map(|object| object.spec.kind()).collect();
        ensure!(
            objects.len() == 6 && kept.iter().filter(|kind| **kind == "address").count() == 1,
            "{objects:?}"
        );
        Ok(())
    })
    .await?;
    let writes = scene.line.all_writes();
    let of = |sent: &&Sent| sent.path.contains("/passing/");
    ensure!(writes.iter().filter(of).count() == 0, "{writes:?}");
    Ok(())
}

#[tokio::test]
async fn those_that_fail_hold_up_nobody() -> Result<()> {
    let scene = Scene::start().await?;
    scene.tap.fail_where(|call| {
        (call.operation == "Create" && call.target.contains("bad")).then_some(Fault::Unreachable)
    });
    // More than there are workers.
    let bad: Vec<_> = (0..8).map(|number| format!("bad-{number}")).collect();
    for name in &bad {
        scene.create(name, json!({})).await?;
    }
    scene.create("good", json!({})).await?;
    scene.served("good").await?;
    for name in &bad {
        scene
            .until(name, "to be told", |service| {
                status(service, "evenkeel.dev/Degraded") == "True"
            })
            .await?;
    }
    // Each waits for its own time, not for the next event of another.
    for _ in 0..4 {
        scene.barrier().await?;
    }
    for name in &bad {
        let name = format!("{name}-address");
        let writes = scene.tap.writes().into_iter();
        let tries = writes.filter(|call| call.target.contains(&name)).count();
        ensure!((1..=3).contains(&tries), "{name}: {tries} tries");
    }
    scene.tap.fail_none();
    scene.clock.put_forward(10 * MINUTE);
    for name in &bad {
        scene.served(name).await?;
    }
    Ok(())
}
