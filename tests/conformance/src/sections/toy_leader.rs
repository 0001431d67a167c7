//! Leadership: two replicas over one cloud, each with a way of its own to the API server and to the cloud.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::wait::eventually;
use evenkeel_laws::tap::{Fault, Kind, Tap};
use serde_json::{Value, json};

use crate::door::{Act, Gate};
use crate::row::{Row, row};
use crate::stage::PORT;
use crate::toy_stage::ToyStage;

pub(crate) const ROWS: &[Row] = &[
    row!(109, "two replicas; leader killed, leader cut off: one writer at any time, takeover within 20 s", toy: takeover),
];

/// How long a takeover may take.
const TAKEOVER: Duration = Duration::from_secs(20);

/// Who wrote to the cloud and when, in order.
type Log = Arc<Mutex<Vec<(char, Instant)>>>;

/// A tap that writes down its writes, and fails those about what is called like this.
fn tap(log: &Log, who: char, fails: &'static str) -> Tap {
    let (tap, log) = (Tap::new(), log.clone());
    tap.fail_where(move |call| {
        if call.kind == Kind::Read {
            return None;
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((who, Instant::now()));
        call.target.starts_with(fails).then_some(Fault::Unreachable)
    });
    tap
}

/// Who wrote, in order, without what stayed the same.
fn writers(log: &Log) -> String {
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let mut writers: Vec<char> = log.iter().map(|(who, _)| *who).collect();
    writers.dedup();
    writers.into_iter().collect()
}

/// How long after this somebody wrote first.
fn began(log: &Log, who: char, since: Instant) -> Result<Duration> {
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let first = log.iter().find(|(writer, _)| *writer == who);
    let (_, at) = first.with_context(|| format!("{who} never wrote"))?;
    Ok(at.saturating_duration_since(since))
}

fn on_port(port: u16) -> Value {
    json!({"spec": {"ports": [{"name": "http", "port": port, "targetPort": "http"}]}})
}

/// Changes a Service, and waits until that is served. What it leaves behind a new leader removes later: late writes of the former
/// one may still come.
async fn followed(stage: &ToyStage, port: u16) -> Result<()> {
    stage.patch("web", on_port(port)).await?;
    stage
        .until("web", "the change to be made", |service| {
            let ports = evenkeel_e2e::look::ingress(service)
                .into_iter()
                .filter_map(|entry| entry.ports);
            ports
                .flatten()
                .any(|open| open.port == i32::from(port) && open.error.is_none())
        })
        .await?;
    Ok(())
}

async fn takeover(stage: &mut ToyStage) -> Result<()> {
    // As the controller comes: a lease of 15 s.
    stage.configure = |config| config.home.election = true;
    stage.let_time_pass();
    let log = Log::default();
    // What fails is tried again: whoever still believes to lead would write.
    let direct = stage.client.clone();
    stage.run_one(stage.through(), tap(&log, 'a', "ek-failing-"));
    stage.create("failing", json!({})).await?;
    stage.serve("web", json!({})).await?;
    stage.run_one(direct.clone(), tap(&log, 'b', "none"));
    followed(stage, PORT + 1).await?;
    ensure!(writers(&log) == "a", "{} wrote", writers(&log));

    // The leader is cut off from the API server, and not from the cloud.
    let gate = Gate::default();
    let cut_off = Instant::now();
    stage
        .door
        .next(usize::MAX, Act::Hold(gate.clone()), |_| true);
    stage.door.cut();
    followed(stage, PORT + 2).await?;
    let took = began(&log, 'b', cut_off)?;
    ensure!(took <= TAKEOVER, "the takeover took {took:?}");
    // It has long given up by then, whatever it still had to try again.
    stage.clock.put_forward(Duration::from_secs(400));
    eventually("the one cut off to end", LIMIT, || async {
        ensure!(stage.ended(0), "it goes on");
        Ok(())
    })
    .await?;
    stage.served("failing").await?;
    ensure!(writers(&log) == "ab", "{} wrote", writers(&log));
    gate.open();
    stage.door.reset();

    // The leader is killed, while another waits.
    stage.run_one(stage.through(), tap(&log, 'c', "none"));
    followed(stage, PORT + 3).await?;
    ensure!(writers(&log) == "ab", "{} wrote", writers(&log));
    let killed = Instant::now();
    stage.kill(1).await;
    followed(stage, PORT + 4).await?;
    let took = began(&log, 'c', killed)?;
    ensure!(took <= TAKEOVER, "the takeover took {took:?}");
    ensure!(writers(&log) == "abc", "{} wrote", writers(&log));
    Ok(())
}
