//! That what serves goes on serving.

use evenkeel_core::{group::Group, ids::GroupKey, intent::Intent};

use super::in_every_scenario;
use crate::{
    expect::expect_undisturbed,
    operator::Operator,
    rig::{Picture, Rig, World},
    samples,
    scene::{Scene, other_nodes, three_nodes},
};

/// In the whole history of a change there is no moment without a frontend or a target that is there before and after, and no
/// target set is emptied.
///
/// # Errors
/// With the scenario, the moment, and what was missing.
pub async fn make_before_break<R: Rig>(rig: &R) -> Result<(), String> {
    in_every_scenario(rig, async |scenario| {
        let mut operator = Operator::new(rig).await;
        for scene in &scenario.scenes {
            let before = operator.world.picture().await;
            operator.world.tap().reset();
            operator.play(scene).await?;
            let history = operator.world.tap().pictures();
            expect_undisturbed(
                &before,
                &history,
                &operator.world.picture().await,
                rig.abilities(),
            )?;
        }
        Ok(())
    })
    .await
}

/// A Service whose annotations cannot be read keeps what it has, its targets follow the nodes, its neighbours go on; also for
/// a process that never knew it otherwise.
///
/// # Errors
/// With what stopped.
pub async fn broken_annotation_stops_nobody<R: Rig>(rig: &R) -> Result<(), String> {
    for restart in [false, true] {
        for unreadable in [false, true] {
            broken(rig, restart, unreadable).await.map_err(|why| {
                format!(
                    "{} {why}",
                    match (restart, unreadable) {
                        (false, false) => "rejected:",
                        (true, false) => "rejected, after a restart:",
                        (false, true) => "unreadable:",
                        (true, true) => "unreadable, after a restart:",
                    }
                )
            })?;
        }
    }
    Ok(())
}

async fn broken<R: Rig>(rig: &R, restart: bool, unreadable: bool) -> Result<(), String> {
    let whole = Scene::new(
        [rig.service("checkout"), rig.service("search")],
        three_nodes(rig),
    );
    let mut operator = Operator::after(rig, std::slice::from_ref(&whole)).await?;
    let before = operator.world.picture().await;
    let mut scene = whole
        .on(other_nodes(rig))
        .with("search", |intent| rig.change(intent));
    if unreadable {
        scene.unreadable.insert(samples::service_ref("checkout"));
    } else {
        scene = scene.with("checkout", |intent| rig.break_annotation(intent));
    }
    if restart {
        operator.restart().await;
    }
    operator.world.tap().reset();
    operator.play(&scene).await?;
    let checkout = key("checkout");
    if operator
        .reports
        .get(&checkout)
        .is_none_or(|report| report.problems.is_none())
    {
        return Err("no problem is reported".to_owned());
    }
    operator.expect_served().await?;
    let after = operator.world.picture().await;
    expect_undisturbed(
        &before,
        &operator.world.tap().pictures(),
        &after,
        rig.abilities(),
    )?;
    let nodes = scene.node_set();
    let member = samples::service_ref("checkout").uid;
    let mine = |picture: &Picture| {
        picture
            .frontends
            .keys()
            .filter(|f| f.member == member)
            .cloned()
            .collect::<Vec<_>>()
    };
    if mine(&before).is_empty() || mine(&before) != mine(&after) {
        return Err(format!(
            "its frontends were {:#?} and are {:#?}",
            mine(&before),
            mine(&after)
        ));
    }
    for frontend in mine(&after) {
        let targets = &after.frontends[&frontend];
        let follows = nodes.eligible().all(|node| targets.contains(&node.name))
            && targets
                .iter()
                .all(|name| nodes.kept().any(|node| node.name == *name));
        if !follows {
            return Err(format!("its targets do not follow the nodes: {targets:?}"));
        }
    }
    Ok(())
}

/// After a restart, groups of which nothing is known yet keep what they have while others are changed, added and deleted.
///
/// # Errors
/// With what became of them.
pub async fn unknown_claims_stay<R: Rig>(rig: &R) -> Result<(), String> {
    let names = ["checkout", "search", "cart", "stock"];
    let scene = Scene::new(names.map(|name| rig.service(name)), three_nodes(rig));
    let mut operator = Operator::after(rig, std::slice::from_ref(&scene)).await?;
    operator.world.plant_neighbours().await;
    let foreign = operator.foreign().await;
    let unknown = [key("cart"), key("stock")];
    let before = (
        operator.objects_of(&unknown[0]).await,
        operator.objects_of(&unknown[1]).await,
    );
    let start = operator.world.picture().await;

    let mut later = scene
        .without("search")
        .with("checkout", |intent| rig.change(intent));
    later.services.push(rig.service("news"));
    operator.restart().await;
    operator.world.tap().reset();
    operator.set(&later);
    operator
        .settle_only([key("checkout"), key("search"), key("news")].into())
        .await?;
    operator.expect_clean()?;

    let after = (
        operator.objects_of(&unknown[0]).await,
        operator.objects_of(&unknown[1]).await,
    );
    if before.0.is_empty() || before.1.is_empty() || before != after {
        return Err(format!(
            "groups that were not asked about were {before:#?} and are {after:#?}"
        ));
    }
    if foreign.is_empty() || foreign != operator.foreign().await {
        return Err(format!(
            "foreign parts were {foreign:#?} and are {:#?}",
            operator.foreign().await
        ));
    }
    expect_undisturbed(
        &start,
        &operator.world.tap().pictures(),
        &operator.world.picture().await,
        rig.abilities(),
    )?;
    operator.play(&later).await?;
    operator.expect_served().await
}

/// The key of a sample Service's own group.
pub(super) fn key(name: &str) -> GroupKey {
    let intent: Intent = samples::service(name);
    Group::key_of(&intent)
}
