//! AWS at its own pace: what takes minutes, is seen late, or is refused for being asked too often. On our fake alone; its clock is moved here.

use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_core::{engine::Report, intent::Intent};
use evenkeel_harness::fake_aws::{Buckets, FakeAws, Moment, Settle, Times};

use super::stage::{Stage, service, settled};

/// How long between two looks.
const STEP: Duration = Duration::from_secs(10);

/// More looks than anything here takes.
const LOOKS: usize = 120;

fn fake(stage: &Stage) -> &FakeAws {
    stage.aws.as_fake().expect("these tests run on our fake")
}

async fn typical(nodes: usize) -> Result<Stage> {
    let stage = Stage::with_nodes(nodes).await?;
    fake(&stage).set(|settings| settings.times = Times::typical());
    Ok(stage)
}

/// Looks again and again while time passes, until a report is as wanted.
async fn until(stage: &Stage, intent: &Intent, wanted: impl Fn(&Report) -> bool) -> Result<Report> {
    let mut last = None;
    for _ in 0..LOOKS {
        let (report, _) = stage.look(intent).await;
        if wanted(&report) {
            return Ok(report);
        }
        last = Some(report);
        fake(stage).advance(STEP).await;
    }
    anyhow::bail!("not within {LOOKS} looks: {last:#?}")
}

async fn until_gone(stage: &Stage, intent: &Intent) -> Result<()> {
    for _ in 0..LOOKS {
        let (report, _) = stage.release(intent).await;
        if report.gone {
            return Ok(());
        }
        fake(stage).advance(STEP).await;
    }
    anyhow::bail!("it does not go")
}

fn healthy(report: &Report) -> Option<u32> {
    Some(report.published.as_ref()?.targets.as_ref()?.healthy)
}

/// How many targets of the only target group are healthy.
fn healthy_at(moment: &Moment<'_>) -> usize {
    let groups = moment.state.target_groups.values();
    groups.map(|group| moment.healthy(group)).sum()
}

/// Made, served, moved to another NodePort, and gone again. From the moment at which the first target is healthy until the Service is
/// given up, one is.
#[tokio::test]
async fn a_life_at_the_pace_of_aws() -> Result<()> {
    let stage = typical(2).await?;
    let shop = service("shop", &[80]);
    stage.serve(&shop).await;
    until(&stage, &shop, |report| {
        report.settled() && healthy(report) == Some(2)
    })
    .await?;
    let history = fake(&stage).history();
    history.never("a listener without targets", |moment| {
        let mut listeners = moment.state.listeners.values();
        listeners.any(|listener| {
            let mut groups = moment.state.target_groups.values();
            groups.any(|group| listener.forwards_to(&group.arn) && group.targets.is_empty())
        })
    })?;

    let mut moved = shop.clone();
    moved.ports[0].node_port = Some(31_999);
    stage.serve(&moved).await;
    let at = |port: u16| {
        let state = fake(&stage).state();
        let group = state.target_groups.values().next().cloned();
        group.is_some_and(|group| {
            let mut targets = group.targets.iter();
            targets.all(|(key, target)| key.port == port || target.deregistered_at.is_some())
        })
    };
    until(&stage, &moved, |report| {
        report.settled() && healthy(report) == Some(2) && at(31_999)
    })
    .await?;
    let history = fake(&stage).history();
    let mut served = false;
    history.walk(|moment| {
        let healthy = healthy_at(moment);
        assert!(
            !served || healthy > 0,
            "nobody serves at {} by {}",
            moment.at,
            moment.cause
        );
        served |= healthy > 0;
        false
    });
    assert!(served);

    until_gone(&stage, &moved).await?;
    let left = fake(&stage).state();
    assert!(left.load_balancers.is_empty() && left.target_groups.is_empty());
    assert!(left.interfaces.is_empty(), "{:?}", left.interfaces);
    stage.aws.check()
}

/// Reads that miss the last writes make nothing twice, and take nothing away that is needed.
#[tokio::test]
async fn reads_that_are_late() -> Result<()> {
    for lag in [Settle::after(Duration::from_secs(25)), Settle::calls(3)] {
        let mut stage = Stage::with_nodes(2).await?;
        fake(&stage).set(|settings| settings.lag = lag);
        let all = [service("first", &[80]), service("second", &[80, 443])];
        for one in &all {
            stage.serve(one).await;
        }
        for one in &all {
            until(&stage, one, Report::settled).await?;
        }
        // Somebody who remembers nothing, and sees what was a while ago.
        stage.restart().await?;
        for one in &all {
            until(&stage, one, Report::settled).await?;
        }
        let state = fake(&stage).state();
        let counts = (
            state.load_balancers.len(),
            state.target_groups.len(),
            state.listeners.len(),
        );
        assert_eq!(counts, (2, 3, 3), "{lag:?}");
        let history = fake(&stage).history();
        history.always("nothing twice", |moment| {
            moment.state.load_balancers.len() <= 2 && moment.state.target_groups.len() <= 3
        })?;
        let most = |moment: &Moment<'_>| moment.state.listeners.len();
        let mut highest = 0;
        history.walk(|moment| {
            assert!(
                most(moment) >= highest,
                "one was taken away by {}",
                moment.cause
            );
            highest = most(moment);
            false
        });
        for one in &all {
            until_gone(&stage, one).await?;
        }
        let state = fake(&stage).state();
        assert!(
            state.load_balancers.is_empty() && state.target_groups.is_empty(),
            "{lag:?}"
        );
        stage.aws.check()?;
    }
    Ok(())
}

/// More calls than AWS allows: those that are refused are made later, and in the end all is there once.
#[tokio::test]
async fn asked_too_often() -> Result<()> {
    const MANY: usize = 20;
    let stage = Stage::with_nodes(2).await?;
    fake(&stage).set(|settings| settings.buckets = Some(Buckets::documented()));
    let all: Vec<_> = (0..MANY)
        .map(|n| service(&format!("s{n}"), &[80]))
        .collect();
    let mark = stage.aws.calls().mark();
    for _ in 0..LOOKS {
        let reports = futures::future::join_all(all.iter().map(|one| stage.serve(one))).await;
        if reports.iter().all(|(report, _)| report.settled()) {
            break;
        }
        fake(&stage).advance(Duration::from_secs(5)).await;
    }
    let calls = stage.aws.calls().since(mark);
    let throttled = calls
        .iter()
        .filter(|call| call.error.as_deref() == Some("Throttling"));
    assert!(throttled.count() > 0, "the scene is set");
    for one in &all {
        settled(&stage.serve(one).await.0);
    }
    let state = fake(&stage).state();
    let counts = (
        state.load_balancers.len(),
        state.target_groups.len(),
        state.listeners.len(),
    );
    assert_eq!(counts, (MANY, MANY, MANY));
    let group = state
        .target_groups
        .values()
        .next()
        .context("a target group")?;
    assert_eq!(group.targets.len(), 2);
    stage.aws.check()
}
