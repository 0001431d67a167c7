//! Which replica writes: several controllers in this process, one toy cloud, one real API server, and load all the time.
//!
//! Every write to the cloud and to the API server is kept with its writer and its times, so that two that write at the same
//! time would be seen.
#![expect(clippy::print_stdout, reason = "the times are shown")]

mod ledger;
mod stage;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::wait::eventually;
use serde_json::json;

use crate::stage::{LEASE, LIMIT, Replica, Stage};

/// How a leader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is asked to.
    Kind,
    /// It is there no more.
    Crash,
    /// It is there and can write, and cannot renew.
    CutOff,
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_under_load_never_both_write() -> Result<()> {
    let stage = Stage::set().await?;
    let load = stage.load();
    let mut leader = stage.replica();
    stage.ledger.written_by(&leader.name, stage.began).await?;
    for end in [
        End::Kind,
        End::CutOff,
        End::Kind,
        End::Crash,
        End::CutOff,
        End::Kind,
    ] {
        let standby = stage.replica();
        standby.stands_by().await?;
        let before = Instant::now();
        stage.ledger.written_by(&leader.name, before).await?;
        let at = Instant::now();
        match end {
            End::Kind => leader.stop().await?,
            End::Crash => leader.crash().await,
            End::CutOff => {
                leader.cut_off();
                let error = leader.failed().await?;
                ensure!(error.contains("the lead is lost"), "{error}");
                println!("{end:?}: it ended by itself after {:?}", at.elapsed());
            }
        }
        let first = stage.ledger.written_by(&standby.name, at).await?;
        let took = first - at;
        println!("{end:?}: the other wrote after {took:?}");
        if end == End::Kind {
            ensure!(took < Duration::from_secs(5), "{took:?}");
        } else {
            ensure!(took < LEASE + Duration::from_secs(10), "{took:?}");
            ensure!(took > LEASE / 2, "its lease was not over: {took:?}");
            stage
                .ledger
                .nothing_destroyed(&standby.name, first, LEASE / 2)
                .await?;
        }
        leader = standby;
    }
    drop(load);
    leader.stop().await?;
    stage.ledger.one_at_a_time()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_is_tampered_with_ends_at_once() -> Result<()> {
    for (name, patch) in [
        (
            "stolen",
            Some(json!({"spec": {"holderIdentity": "somebody"}})),
        ),
        ("cleared", Some(json!({"spec": {"holderIdentity": null}}))),
        ("deleted", None),
    ] {
        let stage = Stage::set().await?;
        let mut leader = stage.replica();
        leader.leads().await?;
        let at = Instant::now();
        stage.tamper(patch).await?;
        let error = leader.failed().await?;
        println!("{name}: it ended after {:?}", at.elapsed());
        ensure!(error.contains("the lead is lost"), "{name}: {error}");
        ensure!(
            at.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            at.elapsed()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_on_the_lease_is_no_reason_to_end_and_stays() -> Result<()> {
    let stage = Stage::set().await?;
    let mut leader = stage.replica();
    leader.leads().await?;
    stage
        .tamper(Some(json!({"metadata": {"labels": {"team": "net"}}})))
        .await?;
    let labelled = stage.lease().await?;
    eventually("the next renewal", LIMIT, || async {
        let lease = stage.lease().await?;
        ensure!(lease.renewed != labelled.renewed, "not yet");
        ensure!(lease.holder == labelled.holder, "{lease:?}");
        ensure!(lease.labels["team"] == "net", "{lease:?}");
        Ok(())
    })
    .await?;
    leader.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_namespace_for_the_lease_nothing_is_written_until_it_is_there() -> Result<()> {
    let mut stage = Stage::set().await?;
    let later = format!("later-{}", stage.name());
    stage.home = later.clone();
    stage.service("web").await?;
    let mut replica: Replica = stage.replica();
    eventually("some tries", LIMIT, || async {
        ensure!(replica.asked_for_the_lease() > 2, "not yet");
        Ok(())
    })
    .await?;
    ensure!(
        stage.ledger.writers().is_empty(),
        "{:?}",
        stage.ledger.writers()
    );
    stage.create_namespace(&later).await?;
    stage
        .ledger
        .written_by(&replica.name, stage.began)
        .await
        .context("after the namespace was made")?;
    replica.stop().await
}
