//! That no write is made in vain, by whom it may not, or waited for by whom it shall not.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use evenkeel_core::{
    converge::NoJournal,
    engine::AnyProvider,
    provider::Provider,
    ticket::{Term, Ticket},
};
use futures::future::join_all;

use super::{in_every_scenario, serving::key};
use crate::{
    operator::Operator,
    rig::{Rig, World},
    scene::{Scene, three_nodes},
    tap::Kind,
};

/// A write that the cloud refuses for good is made once, however often the group runs; once more when it has been held back
/// for long; and it succeeds when the cloud has changed its mind.
///
/// # Errors
/// With the write and how often it was made.
pub async fn hopeless_writes_are_not_repeated<R: Rig>(rig: &R) -> Result<(), String> {
    let scene = Scene::new([rig.service("checkout")], three_nodes(rig));
    let mut operator = Operator::new(rig).await;
    operator.world.tap().reset();
    operator.play(&scene).await?;
    let calls = operator.world.tap().calls();
    let direct = operator.state().await;
    let writes: BTreeSet<_> = (0..calls.len())
        .filter(|number| calls[*number].kind == Kind::Write)
        .collect();
    for number in rig
        .fault_points(calls.len())
        .into_iter()
        .filter(|number| writes.contains(number))
    {
        let mut operator = Operator::new(rig).await;
        operator.world.tap().reset();
        operator.world.tap().reject_like(number);
        operator.set(&scene);
        let outcome = async {
            operator.frozen_clock = true;
            operator.settle().await?;
            if operator.expect_clean().is_ok() {
                return Err("it failed, and nothing is reported".to_owned());
            }
            let made = operator.world.tap().calls();
            // Calls made at the same time come in any order: what is refused is whatever came as this number.
            let count = |calls: &[_]| calls.iter().filter(|call| **call == made[number]).count();
            if made[number].kind == Kind::Write && count(&made) != 1 {
                return Err(format!("it was made {} times: {made:#?}", count(&made)));
            }
            operator.frozen_clock = false;
            operator.settle().await?;
            if count(&operator.world.tap().calls()) < 2 {
                return Err("it was never tried again".to_owned());
            }
            operator.world.tap().reset();
            operator.settle().await?;
            operator.expect_clean()?;
            direct.expect(&operator.state().await)
        };
        outcome.await.map_err(|why| {
            format!(
                "call {number} ({}) is refused for good: {why}",
                calls[number]
            )
        })?;
    }
    Ok(())
}

/// What the cloud refuses of one Service stops neither its neighbours nor what the Service has, and is not repeated.
///
/// # Errors
/// With who was stopped.
pub async fn refused_stop_no_neighbours<R: Rig>(rig: &R) -> Result<(), String> {
    let names = ["cart", "checkout", "news", "search", "stock"];
    let one = Scene::new([rig.service("checkout")], three_nodes(rig));
    let mut all = Scene::new(names.map(|name| rig.service(name)), three_nodes(rig));
    if !rig.ask_the_refused(&mut all.services[1]) {
        return Ok(());
    }
    for before in [vec![], vec![one]] {
        let mut operator = Operator::after(rig, &before).await?;
        let had = operator.objects_of(&key("checkout")).await;
        operator.set(&all);
        operator.frozen_clock = true;
        operator.settle().await?;
        for name in names {
            let report = operator.reports.get(&key(name)).ok_or("never run")?;
            if report.settled() == (name == "checkout") {
                return Err(format!(
                    "{name} is settled: {}; {}",
                    report.settled(),
                    operator.tell(&key(name))
                ));
            }
        }
        let clients = operator.state().await.frontends;
        for name in names.into_iter().filter(|name| *name != "checkout") {
            let uid = crate::samples::service_ref(name).uid;
            if clients.keys().filter(|(member, _)| *member == uid).count()
                != rig.service(name).ports.len()
            {
                return Err(format!("{name} is not served: {clients:#?}"));
            }
        }
        let has = operator.objects_of(&key("checkout")).await;
        if had.iter().any(|object| !has.contains(object)) {
            return Err(format!(
                "refused a change, checkout had {had:#?} and has {has:#?}"
            ));
        }
        operator.world.tap().reset();
        operator.settle().await?;
        let writes = operator.world.tap().writes();
        if !writes.is_empty() {
            return Err(format!(
                "nothing has changed, and was written again: {writes:#?}"
            ));
        }
        let mut mended = all.clone();
        mended.services[1] = rig.service("checkout");
        operator.play(&mended).await?;
        operator.expect_served().await?;
    }
    Ok(())
}

/// While a shared write does not end, a hundred groups run to their end, and then share few writes.
///
/// # Errors
/// With who waited, or how many writes were made.
pub async fn waiting_holds_no_worker<R: Rig>(rig: &R) -> Result<(), String> {
    if !rig.abilities().shared_writer {
        return Ok(());
    }
    let services: Vec<_> = (0..100)
        .map(|number| rig.service(&format!("svc-{number}")))
        .collect();
    let mut operator = Operator::new(rig).await;
    operator.set(&Scene::new(services, three_nodes(rig)));
    operator.world.tap().reset();
    operator.world.tap().block_writes(true);
    let asks = operator.asks();
    let runs = asks.into_iter().map(|(key, ask)| {
        operator
            .engine()
            .run(operator.request(&key, ask), &NoJournal)
    });
    let reports = tokio::time::timeout(operator.rig.patience(), join_all(runs))
        .await
        .map_err(|_| "a write is blocked, and a run waits for it".to_owned())?;
    if let Some(report) = reports
        .iter()
        .find(|report| report.waits.is_empty() || !report.failures.is_empty())
    {
        return Err(format!(
            "a write is blocked, and a group does not wait: {report:#?}"
        ));
    }
    operator.world.tap().block_writes(false);
    operator.settle().await?;
    operator.expect_clean()?;
    operator.expect_served().await?;
    match operator.world.tap().writes().len() {
        0..=3 => Ok(()),
        many => Err(format!("a hundred groups together took {many} writes")),
    }
}

/// Once the right to write has ended, nothing is written but what was on its way.
///
/// # Errors
/// With the scenario and the writes.
pub async fn ended_ticket_writes_nothing<R: Rig>(rig: &R) -> Result<(), String> {
    let far = || Instant::now() + Duration::from_secs(3600);
    in_every_scenario(rig, async |scenario| {
        let (before, last) = scenario.split();
        let mut operator = Operator::after(rig, before).await?;
        operator.world.tap().reset();
        operator.play(last).await?;
        let calls = operator.world.tap().calls().len();

        for ticket in [
            Ticket::until(far(), Arc::new(AtomicBool::new(true))),
            Ticket::until(Instant::now(), Arc::default()),
        ] {
            let mut operator = Operator::after(rig, before).await?;
            operator.world.tap().reset();
            operator.set(last);
            operator.ticket = ticket;
            operator.settle().await?;
            let writes = operator.world.tap().writes();
            if !writes.is_empty() {
                return Err(format!("without the right to: {writes:#?}"));
            }
        }
        for number in rig.fault_points(calls) {
            let mut operator = Operator::after(rig, before).await?;
            let revoked = Arc::new(AtomicBool::new(false));
            operator.ticket = Ticket::until(far(), revoked.clone());
            operator.world.tap().reset();
            operator
                .world
                .tap()
                .at(number, move || revoked.store(true, Ordering::Release));
            operator.set(last);
            operator.settle().await?;
            let calls = operator.world.tap().calls();
            let late = calls
                .iter()
                .skip(number + 1)
                .filter(|call| call.kind == Kind::Write)
                .count();
            if operator.late.load(Ordering::Relaxed) > 0 {
                return Err(format!(
                    "the right to write ended in call {number}, and a step began after it"
                ));
            }
            // Those of the same wave were on their way.
            if late >= operator.provider().parallelism() {
                return Err(format!(
                    "the right to write ended in call {number}, and {late} writes came after it"
                ));
            }
            // With a new one it goes on.
            operator.ticket = Ticket::unlimited();
            operator.play(last).await?;
        }
        Ok(())
    })
    .await
}

/// While late writes of a former leader may come, nothing that is there is removed, in whatever scenario; after that all goes
/// on as if nothing had been.
///
/// # Errors
/// With the scenario and what went.
pub async fn destroys_wait_after_a_takeover<R: Rig>(rig: &R) -> Result<(), String> {
    in_every_scenario(rig, async |scenario| {
        let (before, last) = scenario.split();
        for next in [last, &Scene::default()] {
            let mut operator = Operator::after(rig, before).await?;
            let there = names(&operator).await;
            let term = Term::endless();
            term.hold_destroys(Instant::now() + Duration::from_secs(3600));
            operator.ticket = term.ticket();
            operator.set(next);
            for _ in 0..3 {
                operator.once().await?;
                operator.world.advance().await;
            }
            let gone: Vec<_> = there.difference(&names(&operator).await).cloned().collect();
            if !gone.is_empty() {
                return Err(format!("removed too early: {gone:#?}"));
            }
            operator.ticket = Ticket::unlimited();
            operator.play(next).await?;
        }
        Ok(())
    })
    .await
}

/// What is there, by kind and name.
async fn names<R: Rig>(operator: &Operator<'_, R>) -> BTreeSet<(String, String)> {
    let ours = operator.ours().await;
    let name = |object: crate::rig::Object| (object.kind, object.name);
    ours.into_iter().map(name).collect()
}
