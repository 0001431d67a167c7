//! A numbered checklist of how a Service of type LoadBalancer behaves, on a real API server.
//!
//! Rows of one provider share one world: etcd, kube-apiserver, kube-controller-manager, nodes, the data plane and the controller,
//! as programs. Rows that need calls to a cloud failed, delayed or counted run the controller in this process, with a toy
//! provider, on the same API server. A line per row; everything that is started is taken down again.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

mod account;
mod args;
mod aws_side;
mod door;
mod etcd;
mod holding;
mod row;
mod sections;
mod stage;
mod toy_stage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use evenkeel::config::{LogConfig, LogFormat};
use evenkeel::telemetry;
use evenkeel_harness::binaries::Kubernetes;
use evenkeel_harness::control_plane::{ControlPlane, Options};

use args::chosen;
pub use args::{ApiServer, Args, Provider};
use row::{Check, Row, Run, ToyCheck, Verdict};
use stage::Stage;
use toy_stage::ToyStage;

/// How long a row may take as a whole: several waits of a minute at most, on a busy machine.
const ROW_LIMIT: Duration = Duration::from_secs(240);

/// Runs the rows asked for, and prints a line for each. Success when none failed.
pub fn run(args: &Args) -> ExitCode {
    // The controllers of toys run in this process, and log where it does.
    if let Some(filter) = std::env::var("EVENKEEL_LOG")
        .ok()
        .filter(|filter| !filter.is_empty())
    {
        let format = LogFormat::Text;
        if let Err(error) = telemetry::start(&LogConfig { filter, format }) {
            return stopped(&error);
        }
    }
    let all = sections::all();
    let mut rows = match chosen(&all, &args.rows, args.kubernetes) {
        Ok(rows) => rows,
        Err(error) => return stopped(&error),
    };
    rows.retain(|row| !args.without_toys || !matches!(row.run, Run::Toy(_)));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return stopped(&error.into()),
    };
    match runtime.block_on(rows_in_turn(args, &rows)) {
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
async fn rows_in_turn(args: &Args, rows: &[&Row]) -> Result<bool> {
    let started = Instant::now();
    let (mut passed, mut failed, mut not_applicable) = (0, 0, 0);
    let mut grounds = Grounds {
        kubernetes: args.kubernetes.release(),
        stage: None,
        plane: None,
    };
    for row in rows {
        let verdict = tokio::select! {
            verdict = grounds.verdict(args.provider, row) => verdict?,
            _ = tokio::signal::ctrl_c() => break,
        };
        match &verdict {
            Verdict::Passed | Verdict::PassedToy | Verdict::PassedWithoutTraffic => passed += 1,
            Verdict::Failed(_) => failed += 1,
            Verdict::NotApplicable(_) => not_applicable += 1,
        }
        let why = match &verdict {
            Verdict::Passed | Verdict::PassedToy | Verdict::PassedWithoutTraffic => String::new(),
            Verdict::Failed(error) => format!(": {error:#}"),
            Verdict::NotApplicable(reason) => format!(": {reason}"),
        };
        println!("{:4} {}  {}{why}", row.number, verdict.word(), row.title);
    }
    grounds.stop().await?;
    println!("in {} s", started.elapsed().as_secs());
    println!("{passed} passed, {failed} failed, {not_applicable} not applicable");
    Ok(failed == 0)
}

/// What rows run on. Each part is built for the first row that needs it.
struct Grounds {
    kubernetes: Kubernetes,
    stage: Option<Stage>,
    /// For toys, where no stage has an API server yet.
    plane: Option<ControlPlane>,
}

impl Grounds {
    /// Runs a row.
    ///
    /// # Errors
    /// When there is nothing that a row could run on.
    async fn verdict(&mut self, provider: Provider, row: &Row) -> Result<Verdict> {
        let why_not = match (provider, &row.run) {
            (Provider::Aws, _) => aws_side::why_not(row.number),
            (Provider::Local, Run::NotWithLocal(reason, _)) => Some(*reason),
            (Provider::Local, _) => None,
        };
        let (check, toy) = match (&row.run, why_not) {
            (Run::Toy(toy), _) | (Run::Both(_, toy), Some(_)) => (None, Some(*toy)),
            (_, Some(reason)) => return Ok(Verdict::NotApplicable(reason)),
            (Run::Check(check), None) => (Some(*check), None),
            (Run::Both(check, toy), None) => (Some(*check), Some(*toy)),
            (Run::NotWithLocal(_, check), None) => (*check, None),
        };
        let mut verdict = Verdict::NotApplicable("nothing checks it");
        if let Some(check) = check {
            if let Err(error) = self.on_stage(provider, check).await? {
                return Ok(Verdict::Failed(error));
            }
            verdict = match provider {
                Provider::Aws if aws_side::has_traffic(row.number) => Verdict::PassedWithoutTraffic,
                _ => Verdict::Passed,
            };
        }
        if let Some(toy) = toy {
            if let Err(error) = self.on_toy_stage(toy).await? {
                return Ok(Verdict::Failed(error.context("with the toy")));
            }
            verdict = Verdict::PassedToy;
        }
        Ok(verdict)
    }

    async fn on_stage(&mut self, provider: Provider, check: Check) -> Result<Result<()>> {
        let stage = match &mut self.stage {
            Some(stage) => stage,
            None => self.stage.insert(match provider {
                Provider::Local => Stage::build(self.kubernetes).await?,
                Provider::Aws => Stage::build_on_aws(self.kubernetes).await?,
            }),
        };
        let namespace = stage.enter().await?;
        let ran = in_time(check(stage)).await;
        let log = stage.world.controller_log();
        let cleared = stage.clear(ran.is_ok()).await;
        drop(namespace);
        Ok(match ran.and(cleared.context("afterwards")) {
            Err(error) if std::env::var_os("EVENKEEL_LOGS").is_some() => Err(error.context(log)),
            ran => ran,
        })
    }

    async fn on_toy_stage(&mut self, check: ToyCheck) -> Result<Result<()>> {
        let plane = match (&self.stage, &mut self.plane) {
            (Some(stage), _) => &stage.world.plane,
            (None, Some(plane)) => plane,
            (None, none) => {
                let options = Options {
                    kubernetes: self.kubernetes,
                    dual_stack: true,
                    ..Options::default()
                };
                none.insert(ControlPlane::start(options).await?)
            }
        };
        let mut stage = ToyStage::enter(plane).await?;
        let ran = in_time(check(&mut stage)).await;
        let left = stage.leave().await;
        Ok(ran.and(left.context("afterwards")))
    }

    async fn stop(self) -> Result<()> {
        match self.stage {
            Some(stage) => stage.stop().await,
            None => Ok(()),
        }
    }
}

async fn in_time(check: impl Future<Output = Result<()>>) -> Result<()> {
    let ran = tokio::time::timeout(ROW_LIMIT, check).await;
    ran.unwrap_or_else(|_| Err(anyhow!("it took longer than {} s", ROW_LIMIT.as_secs())))
}
