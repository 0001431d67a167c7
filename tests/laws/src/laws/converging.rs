//! That the loop ends, and ends the same way whichever way it is gone.

use evenkeel_core::{
    converge::{Rehearsed, Round, rehearse},
    endpoints::EndpointSet,
    engine::Ask,
    error::ErrorClass,
    failure::Failures,
    group::Group,
    ids::GroupKey,
    nodes::NodeSet,
    plan::Change,
    provider::{Provider, Verdict, Want},
};

use super::in_every_scenario;
use crate::{
    operator::Operator,
    rig::{Rig, World},
    wrap::{Over, Tweaked, Twice},
};

/// Every scenario settles, serves what it says it serves, and publishes that.
///
/// # Errors
/// With the scenario, and what is not as it should be.
pub async fn settles<R: Rig>(rig: &R) -> Result<(), String> {
    in_every_scenario(rig, async |scenario| {
        let mut operator = Operator::new(rig).await;
        for scene in &scenario.scenes {
            operator.play(scene).await?;
            operator.expect_served().await?;
        }
        Ok(())
    })
    .await
}

/// A rehearsal ends, in the steps that are then made and in the state that is then found.
///
/// # Errors
/// With the scenario and the difference.
pub async fn rehearsal_equals_execution<R: Rig>(rig: &R) -> Result<(), String> {
    in_every_scenario(rig, async |scenario| {
        let (before, last) = scenario.split();
        let mut operator = Operator::after(rig, before).await?;
        operator.set(last);
        for (key, ask) in operator.asks() {
            let want = want(&operator, &ask);
            let mut foretold = foretell(&operator, &key, &want).await?;
            if let Some(digest) = foretold
                .refusals
                .iter()
                .find_map(|refusal| refusal.approval.clone())
            {
                operator.approvals.insert(key.clone(), digest.into());
                foretold = foretell(&operator, &key, &want).await?;
            }
            if !foretold.settled || !foretold.waits.is_empty() || !foretold.refusals.is_empty() {
                return Err(format!(
                    "the rehearsal of {key} does not end: {foretold:#?}"
                ));
            }
            operator.applied.clear();
            operator.settle_only([key.clone()].into()).await?;
            let came_true = operator
                .provider()
                .observe(&key, &want)
                .await
                .map_err(|error| error.to_string())?;
            let (foretold_steps, steps) = (
                sorted(rig, foretold.waves.concat()),
                sorted(rig, std::mem::take(&mut operator.applied)),
            );
            if foretold_steps != steps {
                return Err(format!(
                    "foretold steps of {key}: {foretold_steps:#?}, made: {steps:#?}"
                ));
            }
            let (foretold, came_true) = (rig.normalise(foretold.seen), rig.normalise(came_true));
            if foretold != came_true {
                return Err(format!(
                    "foretold for {key}: {foretold:#?}, came true: {came_true:#?}"
                ));
            }
            let again = foretell(&operator, &key, &want).await?;
            if !again.waves.is_empty() {
                return Err(format!(
                    "{key} was done and has steps again: {:#?}",
                    again.waves
                ));
            }
        }
        operator.expect_clean()
    })
    .await
}

/// Every step applied twice does what it does once.
///
/// # Errors
/// With the scenario and the difference.
pub async fn repeatable<R: Rig>(rig: &R) -> Result<(), String> {
    let twice = Over::new(rig, Tweaked::<_, Twice>::new);
    in_every_scenario(rig, async |scenario| {
        let mut doubled = Operator::new(&twice).await;
        let mut plain = Operator::new(rig).await;
        for scene in &scenario.scenes {
            plain.play(scene).await?;
            doubled.play(scene).await?;
            if let Some(failure) = doubled
                .failed
                .iter()
                .find(|failure| failure.class != ErrorClass::Conflict)
            {
                return Err(format!("done twice, it failed: {failure:#?}"));
            }
            plain.state().await.expect(&doubled.state().await)?;
        }
        Ok(())
    })
    .await
}

/// The order of members, ports and nodes never changes the plan.
///
/// # Errors
/// With the scenario and both rehearsals.
pub async fn deterministic<R: Rig>(rig: &R) -> Result<(), String> {
    in_every_scenario(rig, async |scenario| {
        let (before, last) = scenario.split();
        let mut operator = Operator::after(rig, before).await?;
        operator.set(last);
        let asks = operator.asks();
        let mut turned = last.clone();
        turned.nodes.reverse();
        for (key, ask) in asks {
            operator.set(last);
            let straight = foretell(&operator, &key, &want(&operator, &ask)).await?;
            operator.set(&turned);
            let round_about = foretell(&operator, &key, &want(&operator, &reversed(ask))).await?;
            if straight != round_about {
                return Err(format!(
                    "{key} in one order: {straight:#?}, in another: {round_about:#?}"
                ));
            }
        }
        Ok(())
    })
    .await
}

/// What has not changed causes no call; after a restart, none but the snapshot's.
///
/// # Errors
/// With the scenario and the calls.
pub async fn quiet<R: Rig>(rig: &R) -> Result<(), String> {
    in_every_scenario(rig, async |scenario| {
        let mut operator = Operator::after(rig, &scenario.scenes).await?;
        operator.world.tap().reset();
        operator.settle().await?;
        operator.scene.nodes.reverse();
        operator.settle().await?;
        let calls = operator.world.tap().calls();
        if !calls.is_empty() {
            return Err(format!(
                "nothing has changed, and these calls were made: {calls:#?}"
            ));
        }
        operator.restart().await;
        operator.inventory().await?;
        let inventory = operator.world.tap().calls().len();
        operator.settle().await?;
        let calls = operator.world.tap().calls().split_off(inventory);
        if !calls.is_empty() {
            return Err(format!(
                "nothing has changed over a restart, and these calls were made: {calls:#?}"
            ));
        }
        operator.expect_clean()?;
        operator.expect_served().await
    })
    .await
}

/// What an ask wants, as the engine decides it.
pub(super) fn want<R: Rig>(
    operator: &Operator<'_, R>,
    ask: &Ask,
) -> Want<<R::Provider as Provider>::Desired> {
    match ask {
        Ask::Serve(group) => match operator.provider().desired(group) {
            Verdict::Accepted { desired, .. } => Want::Exists(desired),
            Verdict::Rejected(_) => Want::Frozen,
        },
        Ask::Keep(_) => Want::Frozen,
        Ask::KeepWithout(_, gone) => Want::FrozenWithout(gone.clone()),
        Ask::Release => Want::Nothing,
    }
}

async fn foretell<R: Rig>(
    operator: &Operator<'_, R>,
    key: &GroupKey,
    want: &Want<<R::Provider as Provider>::Desired>,
) -> Result<Rehearsed<<R::Provider as Provider>::Observed>, String> {
    let seen = operator
        .provider()
        .observe(key, want)
        .await
        .map_err(|error| error.to_string())?;
    let nodes: &NodeSet = &operator.scene.node_set();
    let approval = operator.approvals.get(key).map(AsRef::as_ref);
    let round = Round {
        key,
        want,
        nodes,
        followed: None,
        endpoints: &EndpointSet::unknown(),
        approval,
        now: operator.now,
    };
    Ok(rehearse(
        operator.provider(),
        round,
        seen,
        &Failures::default(),
    ))
}

fn sorted<R: Rig>(rig: &R, changes: Vec<Change>) -> Vec<Change> {
    let mut changes: Vec<_> = changes
        .into_iter()
        .map(|change| rig.normalise_change(change))
        .collect();
    changes.sort();
    changes
}

/// The same in the opposite order: members, ports, tags and annotations.
fn reversed(ask: Ask) -> Ask {
    let Ask::Serve(Group {
        key,
        cluster,
        mut members,
        mut unknown,
    }) = ask
    else {
        return ask;
    };
    members.reverse();
    unknown.reverse();
    for member in &mut members {
        member.ports.reverse();
    }
    Ask::Serve(Group {
        key,
        cluster,
        members,
        unknown,
    })
}
