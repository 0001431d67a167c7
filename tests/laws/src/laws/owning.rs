//! That what is ours goes when it shall and stays when it shall, and that nothing else is touched.

use std::collections::BTreeSet;

use evenkeel_core::{engine::AnyProvider, plan::approval_digest};

use super::{in_every_scenario, serving::key};
use crate::{
    operator::Operator,
    rig::{Rig, World},
    scene::{Scene, other_nodes, three_nodes},
};

/// From wherever a scenario has led, a deletion leaves nothing of ours, and everything that is not.
///
/// # Errors
/// With the scenario and what is left or lost.
pub async fn deletes_cleanly<R: Rig>(rig: &R) -> Result<(), String> {
    for restart in [false, true] {
        in_every_scenario(rig, async |scenario| {
            let mut operator = Operator::new(rig).await;
            operator.world.plant_neighbours().await;
            let foreign = operator.foreign().await;
            for scene in &scenario.scenes {
                operator.set(scene);
                operator.settle().await?;
            }
            if restart {
                operator.restart().await;
            }
            operator.set(&Scene::default());
            operator.settle().await?;
            unchanged(&foreign, &operator.foreign().await)?;
            let left = operator.ours().await;
            if !left.is_empty() {
                return Err(format!("left over: {left:#?}"));
            }
            operator.expect_clean()
        })
        .await?;
    }
    Ok(())
}

/// Objects of another cluster and of nobody stay to the letter, beside ours and in our way; what stands in the way is
/// reported.
///
/// # Errors
/// With what was touched.
pub async fn foreign_objects_stay<R: Rig>(rig: &R) -> Result<(), String> {
    in_every_scenario(rig, async |scenario| {
        let mut operator = Operator::new(rig).await;
        operator.world.plant_neighbours().await;
        let foreign = operator.foreign().await;
        if foreign.is_empty() {
            return Err("the rig planted nothing".to_owned());
        }
        for scene in &scenario.scenes {
            operator.set(scene);
            operator.settle().await?;
            unchanged(&foreign, &operator.foreign().await)?;
            operator.expect_clean()?;
            operator.expect_served().await?;
        }
        Ok(())
    })
    .await?;

    let mut operator = Operator::new(rig).await;
    if !operator.world.plant_in_the_way(&key("checkout")).await {
        return Ok(());
    }
    let foreign = operator.foreign().await;
    operator.set(&Scene::new([rig.service("checkout")], three_nodes(rig)));
    operator.settle().await?;
    unchanged(&foreign, &operator.foreign().await)?;
    if operator.expect_clean().is_ok() && operator.expect_served().await.is_err() {
        return Err("something stands in the way, and nothing is reported".to_owned());
    }
    operator.play(&Scene::default()).await?;
    unchanged(&foreign, &operator.foreign().await)
}

/// What shall be retained stays when its Service goes, goes on serving, and is reported as released; and what shall be no
/// longer goes.
///
/// # Errors
/// With what is lost or left.
pub async fn retained_objects_stay<R: Rig>(rig: &R) -> Result<(), String> {
    if !rig.abilities().retain {
        return Ok(());
    }
    let plain = Scene::new(
        [rig.service("checkout"), rig.service("search")],
        three_nodes(rig),
    );
    let retained = plain.with("checkout", |intent| rig.retain(intent));
    for restart in [false, true] {
        // Retaining is stamped on what is there already, too.
        let mut operator = Operator::after(rig, &[plain.clone(), retained.clone()]).await?;
        let before = operator.objects_of(&key("checkout")).await;
        let picture = operator.world.picture().await;
        if restart {
            operator.restart().await;
        }
        operator.play(&retained.without("checkout")).await?;
        let after = operator.objects_of(&key("checkout")).await;
        if before.is_empty() || before != after {
            return Err(format!(
                "retained objects were {before:#?} and are {after:#?}"
            ));
        }
        if picture != operator.world.picture().await {
            return Err("what was retained does not serve any more".to_owned());
        }
    }
    let mut operator = Operator::after(rig, &[retained.clone(), plain.clone()]).await?;
    operator.play(&plain.without("checkout")).await?;
    let left = operator.objects_of(&key("checkout")).await;
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "not to be retained any more, and left over: {left:#?}"
        ))
    }
}

/// Nothing is given up without an approval; the approval names exactly what is lost, whatever the nodes do; and it is used up.
///
/// # Errors
/// With what was done without approval, or not done with it.
pub async fn approval_works_once<R: Rig>(rig: &R) -> Result<(), String> {
    let old = Scene::new([rig.service("checkout")], three_nodes(rig));
    let mut new = old.clone();
    if !rig.replace(&mut new.services[0]) {
        return Ok(());
    }
    let key = key("checkout");
    let mut operator = Operator::after(rig, std::slice::from_ref(&old)).await?;
    let before = operator.world.picture().await;

    let digest = refused(&mut operator, &new).await?;
    if before != operator.world.picture().await {
        return Err("it was refused, and clients meet something else".to_owned());
    }
    let churned = refused(&mut operator, &new.on(other_nodes(rig))).await?;
    if churned != digest {
        return Err(format!(
            "other nodes made the approval {churned}, which was {digest}"
        ));
    }
    let targets: BTreeSet<_> = operator
        .world
        .picture()
        .await
        .frontends
        .into_values()
        .flatten()
        .collect();
    if !targets.contains(&rig.node(4).name) {
        return Err(format!(
            "it was refused, and the targets did not follow the nodes: {targets:?}"
        ));
    }
    operator.approvals.insert(key.clone(), "0000000000".into());
    refused(&mut operator, &new).await?;

    let ask = operator.asks().remove(&key).ok_or("no such group")?;
    let rehearsal = operator
        .engine()
        .rehearse(&operator.request(&key, ask))
        .await
        .map_err(|error| error.to_string())?;
    if rehearsal.approval.as_deref() != Some(&*digest) {
        return Err(format!(
            "the rehearsal asks for {:?}, the run for {digest}",
            rehearsal.approval
        ));
    }

    operator
        .approvals
        .insert(key.clone(), digest.as_str().into());
    operator.applied.clear();
    operator.play(&new).await?;
    let lost: Vec<_> = operator
        .applied
        .iter()
        .filter(|change| change.gives_up.is_some())
        .cloned()
        .collect();
    if lost.is_empty() || approval_digest(&lost) != digest {
        return Err(format!(
            "{digest} was approved, and this was given up: {lost:#?}"
        ));
    }
    operator.expect_served().await?;
    let mut direct = Operator::after(rig, std::slice::from_ref(&new)).await?;
    direct.play(&new).await?;
    direct.state().await.expect(&operator.state().await)?;

    // There and back again, with the approval still written where it was.
    let back = refused(&mut operator, &old).await?;
    operator.approvals.insert(key.clone(), back.as_str().into());
    operator.play(&old).await?;
    operator
        .approvals
        .insert(key.clone(), digest.as_str().into());
    let again = refused(&mut operator, &new).await?;
    if again == digest || back == digest {
        return Err(format!(
            "approvals are used twice: {digest}, {back}, {again}"
        ));
    }
    Ok(())
}

/// Plays a scene that needs approval, demands that nothing is given up, and returns the digest that is asked for.
async fn refused<R: Rig>(operator: &mut Operator<'_, R>, scene: &Scene) -> Result<String, String> {
    operator.set(scene);
    operator.applied.clear();
    operator.settle().await?;
    if let Some(lost) = operator
        .applied
        .iter()
        .find(|change| change.gives_up.is_some())
    {
        return Err(format!("given up without approval: {lost:#?}"));
    }
    let report = operator.reports.get(&key("checkout")).ok_or("never run")?;
    let asked = report
        .refusals
        .iter()
        .find_map(|refusal| refusal.approval.clone());
    asked.ok_or_else(|| format!("no approval is asked for: {report:#?}"))
}

fn unchanged<T: Ord + std::fmt::Debug>(
    before: &BTreeSet<T>,
    after: &BTreeSet<T>,
) -> Result<(), String> {
    match before.symmetric_difference(after).next() {
        None => Ok(()),
        Some(touched) => Err(format!("not ours, and touched: {touched:#?}")),
    }
}
