//! `cargo conformance`: a numbered checklist of how a Service of type LoadBalancer behaves, on a real API server.
//!
//! Starts etcd, kube-apiserver, kube-controller-manager, nodes, the data plane and the controller once; runs the rows one after
//! another, each in a namespace of its own; prints a line per row. Everything it starts it takes down again.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

mod args;
mod holding;
mod row;
mod sections;
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use args::{Args, Provider, chosen};
use row::{Row, Run, Verdict};
use stage::Stage;

/// How long a row may take as a whole: several waits of a minute at most, on a busy machine.
const ROW_LIMIT: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    let args = Args::read();
    let all = sections::all();
    let rows = match chosen(&all, &args.rows) {
        Ok(rows) => rows,
        Err(error) => return stopped(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return stopped(&error.into()),
    };
    match runtime.block_on(run(args.provider, &rows)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => stopped(&error),
    }
}

fn stopped(error: &anyhow::Error) -> ExitCode {
    println!("the checklist could not be run: {error:#}");
    ExitCode::FAILURE
}

/// Whether no row failed.
async fn run(provider: Provider, rows: &[&Row]) -> Result<bool> {
    let (mut passed, mut failed, mut not_applicable) = (0, 0, 0);
    let mut stage = None;
    for row in rows {
        let verdict = tokio::select! {
            verdict = verdict(provider, row, &mut stage) => verdict?,
            _ = tokio::signal::ctrl_c() => break,
        };
        let (word, reason) = match verdict {
            Verdict::Passed => {
                passed += 1;
                ("passed", String::new())
            }
            Verdict::Failed(error) => {
                failed += 1;
                ("failed", format!(": {error:#}"))
            }
            Verdict::NotApplicable(reason) => {
                not_applicable += 1;
                ("not applicable", format!(": {reason}"))
            }
        };
        println!("{:4} {word}  {}{reason}", row.number, row.title);
    }
    if let Some(stage) = stage {
        stage.world.stop().await?;
    }
    println!("{passed} passed, {failed} failed, {not_applicable} not applicable");
    Ok(failed == 0)
}

/// Runs a row. The stage is built for the first that needs one.
///
/// # Errors
/// When there is nothing that a row could run on.
async fn verdict(provider: Provider, row: &Row, stage: &mut Option<Stage>) -> Result<Verdict> {
    let check = match (&row.run, provider) {
        (Run::NotWithLocal(reason), Provider::Local) => return Ok(Verdict::NotApplicable(reason)),
        (Run::Check(check), Provider::Local) => check,
    };
    let stage = match stage {
        Some(stage) => stage,
        None => stage.insert(Stage::build().await?),
    };
    let namespace = stage.enter().await?;
    let ran = tokio::time::timeout(ROW_LIMIT, check(stage)).await;
    let ran = ran.unwrap_or_else(|_| Err(anyhow!("it took longer than {} s", ROW_LIMIT.as_secs())));
    let log = stage.world.controller_log();
    let cleared = stage.clear(ran.is_ok()).await;
    drop(namespace);
    Ok(match ran.and(cleared.context("afterwards")) {
        Ok(()) => Verdict::Passed,
        Err(error) if std::env::var_os("EVENKEEL_LOGS").is_some() => {
            Verdict::Failed(error.context(log))
        }
        Err(error) => Verdict::Failed(error),
    })
}
