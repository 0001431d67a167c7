//! A cloud that is full: who comes too late is told so, everybody else is served, and room that is given back is taken.

use evenkeel_core::error::ErrorClass;
use evenkeel_laws::{
    operator::Operator,
    rig::{Rig, World},
    scene::{Scene, three_nodes},
    toys::{own::rig::OwnRig, shared::rig::SharedRig},
};

/// How many load balancers fit into the toys' clouds.
const ROOM: usize = 120;

async fn one_too_many<R: Rig>(rig: &R) -> Result<(), String> {
    let services: Vec<_> = (0..=ROOM)
        .map(|number| rig.service(&format!("svc-{number}")))
        .collect();
    let all = Scene::new(services, three_nodes(rig));
    let mut operator = Operator::new(rig).await;
    operator.set(&all);
    operator.settle().await?;

    let failed: Vec<_> = operator
        .reports
        .iter()
        .filter(|(_, report)| !report.failures.is_empty())
        .collect();
    let [(key, report)] = failed.as_slice() else {
        return Err(format!("{} groups failed", failed.len()));
    };
    if report
        .failures
        .iter()
        .any(|failure| failure.class != ErrorClass::Quota)
    {
        return Err(format!(
            "{key} failed for another reason: {:#?}",
            report.failures
        ));
    }
    let served = operator.world.picture().await.frontends.len();
    if served != ROOM * 2 {
        return Err(format!("{served} frontends of {}", ROOM * 2));
    }

    let late = key.name().to_owned();
    let other = if late == "svc-7" { "svc-8" } else { "svc-7" };
    operator.play(&all.without(other)).await?;
    operator.expect_served().await
}

#[tokio::test]
async fn one_too_many_of_their_own() {
    if let Err(why) = one_too_many(&OwnRig).await {
        panic!("{why}");
    }
}

#[tokio::test]
async fn one_too_many_in_the_shared_object() {
    if let Err(why) = one_too_many(&SharedRig::default()).await {
        panic!("{why}");
    }
}
