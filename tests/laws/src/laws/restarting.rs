//! That a run can be cut after any call, and any call can fail in any way.

use super::in_every_scenario;
use crate::{
    expect::expect_undisturbed,
    operator::Operator,
    rig::{Rig, World},
    scene::{Scene, three_nodes},
};

/// Whichever call of a run fails, in whatever way, and also when the process is killed in it: those who go on reach the same
/// state, nothing is left over, nothing that should last was disturbed, and no replacement needs a second approval.
///
/// # Errors
/// With the scenario, the call, the fault and the difference.
pub async fn restartable<R: Rig>(rig: &R) -> Result<(), String> {
    in_every_scenario(rig, async |scenario| {
        let (before, last) = scenario.split();
        let mut operator = Operator::after(rig, before).await?;
        operator.world.tap().reset();
        operator.play(last).await?;
        let calls = operator.world.tap().calls();
        let direct = operator.state().await;
        for number in rig.fault_points(calls.len()) {
            for fault in rig.faults() {
                let mut operator = Operator::after(rig, before).await?;
                let start = operator.world.picture().await;
                operator.world.tap().reset();
                operator.world.tap().fail(number, fault);
                operator.set(last);
                let outcome = async {
                    operator.persist(number % 2 == 0).await?;
                    operator.expect_clean()?;
                    operator.expect_served().await?;
                    direct.expect(&operator.state().await)?;
                    // Whoever comes later finds nothing to do.
                    operator.restart().await;
                    let written = operator.world.tap().writes().len();
                    operator.settle().await?;
                    operator.expect_clean()?;
                    if operator.world.tap().writes().len() != written {
                        return Err(
                            "it was settled, and a process that knew nothing wrote".to_owned()
                        );
                    }
                    let end = operator.world.picture().await;
                    expect_undisturbed(
                        &start,
                        &operator.world.tap().pictures(),
                        &end,
                        rig.abilities(),
                    )
                };
                outcome.await.map_err(|why| {
                    format!("call {number} ({}) is {fault:?}: {why}", calls[number])
                })?;
            }
        }
        Ok(())
    })
    .await
}

/// A Service that is deleted while its load balancer is being made, or after the process that made it was killed, leaves
/// nothing behind.
///
/// # Errors
/// With how far it was made, and what is left.
pub async fn deleted_half_way<R: Rig>(rig: &R) -> Result<(), String> {
    let whole = Scene::new(
        [rig.service("checkout"), rig.service("search")],
        three_nodes(rig),
    );
    let rest = whole.without("checkout");
    let mut operator = Operator::new(rig).await;
    operator.play(&rest).await?;
    let direct = operator.state().await;
    operator.world.tap().reset();
    operator.play(&whole).await?;
    let calls = operator.world.tap().calls().len();
    for number in rig.fault_points(calls) {
        for fault in rig.faults() {
            let mut operator = Operator::after(rig, std::slice::from_ref(&rest)).await?;
            operator.world.tap().reset();
            operator.world.tap().fail(number, fault);
            operator.set(&whole);
            let outcome = async {
                operator.once().await?;
                operator.set(&rest);
                operator.persist(number % 2 == 0).await?;
                operator.expect_clean()?;
                direct.expect(&operator.state().await)
            };
            outcome
                .await
                .map_err(|why| format!("call {number} is {fault:?}: {why}"))?;
        }
    }
    Ok(())
}

/// What shall be retained is retained, whichever call of the release fails.
///
/// # Errors
/// With the call, the fault and what became of the objects.
pub async fn retained_whatever_fails<R: Rig>(rig: &R) -> Result<(), String> {
    if !rig.abilities().retain {
        return Ok(());
    }
    let retained =
        Scene::new([rig.service("checkout")], three_nodes(rig)).with("checkout", |i| rig.retain(i));
    let released = retained.without("checkout");
    let mut operator = Operator::after(rig, std::slice::from_ref(&retained)).await?;
    operator.world.tap().reset();
    operator.play(&released).await?;
    let calls = operator.world.tap().calls();
    for number in rig.fault_points(calls.len()) {
        for fault in rig.faults() {
            let mut operator = Operator::after(rig, std::slice::from_ref(&retained)).await?;
            let before = operator.state().await;
            operator.world.tap().reset();
            operator.world.tap().fail(number, fault);
            operator.set(&released);
            let outcome = async {
                operator.persist(false).await?;
                operator.expect_clean()?;
                before.expect(&operator.state().await)
            };
            outcome
                .await
                .map_err(|why| format!("call {number} ({}) is {fault:?}: {why}", calls[number]))?;
        }
    }
    Ok(())
}
