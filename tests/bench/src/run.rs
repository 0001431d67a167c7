//! The alternation: every trial on both sides, one right after the other, again and again. Reads and Writes: processes, loopback.

mod trial;

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use evenkeel_harness::progress::Progress;

use crate::{
    args::Args,
    balancer::{Balancer, Plan},
    figure::{Figure, Peer},
    load::Window,
    packages::{HaProxy, Nginx},
    ratio::Pair,
};

pub use trial::{Measured, Trial};

/// What all alternations measured of one figure.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// A value of both sides per alternation.
    pub pairs: Vec<Pair>,
    /// Processor time of the balancer for the same work, of both sides; none where the figure says nothing of it.
    pub cpu: Vec<Pair>,
}

/// Everything that was measured, and why something was not.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// By figure.
    pub series: BTreeMap<Figure, Series>,
    /// What the data plane refused.
    pub refused: BTreeMap<Figure, String>,
}

/// Runs all alternations. Balancers are started anew for each, so that none is judged by one lucky or unlucky process, and change
/// places each time, so that none is always the second.
///
/// # Errors
/// When a balancer does not start or a load fails.
pub fn run(
    args: &Args,
    plan: &Plan,
    program: &Path,
    (haproxy, nginx): (&HaProxy, &Nginx),
    progress: &Progress,
) -> Result<Results> {
    let (alternations, seconds) = args.effort();
    let window = Window::of(Duration::from_secs_f64(seconds));
    let idle = idle_connections(args, plan);
    let trials: Vec<_> = Trial::ALL
        .into_iter()
        .filter(|trial| args.only.is_empty() || args.only.iter().any(|text| trial.is_named(text)))
        .collect();
    let mut results = Results::default();
    let mut task = progress.task(
        format!("{alternations} alternations"),
        Some(u64::from(alternations) * trials.len() as u64),
    );
    let mut done = 0;
    for alternation in 0..alternations {
        // Memory is measured first, of balancers that have done nothing else.
        let mut ours = Balancer::ours(plan, program)?;
        let mut haproxy = Balancer::haproxy(plan, haproxy)?;
        let mut nginx = Balancer::nginx(plan, nginx)?;
        for trial in &trials {
            task.at(done, &format!("alternation {}: {trial:?}", alternation + 1));
            done += 1;
            let peer = match trial.peer() {
                Peer::HaProxy | Peer::SplicingHaProxy => &mut haproxy,
                Peer::Nginx => &mut nginx,
            };
            if let Some(why) = trial.refused_by(&ours) {
                for figure in trial.figures() {
                    results.refused.insert(*figure, why.clone());
                }
                continue;
            }
            let measure = |balancer: &mut Balancer| {
                let measured = trial.measure(balancer, window, idle);
                balancer.check()?;
                measured.with_context(|| format!("{trial:?} through {}", balancer.name()))
            };
            let (ours, peer) = match alternation % 2 {
                0 => {
                    let ours = measure(&mut ours)?;
                    (ours, measure(peer)?)
                }
                _ => {
                    let peer = measure(peer)?;
                    (measure(&mut ours)?, peer)
                }
            };
            record(&mut results, trial, &ours, &peer);
        }
    }
    task.done();
    Ok(results)
}

/// How many connections idle: as many as asked, or as many thousands as the limit of open files allows.
#[must_use]
pub fn idle_connections(args: &Args, plan: &Plan) -> usize {
    let allowed = plan.connections() / 1_000 * 1_000;
    args.idle.min(allowed).max(1) as usize
}

fn record(results: &mut Results, trial: &Trial, ours: &Measured, peer: &Measured) {
    for (n, figure) in trial.figures().iter().enumerate() {
        let series = results.series.entry(*figure).or_default();
        series.pairs.push(Pair {
            ours: ours.values[n],
            peer: peer.values[n],
        });
        // The first figure of a trial is its rate.
        if n == 0
            && let (Some(ours), Some(peer)) = (ours.cpu_per_unit, peer.cpu_per_unit)
        {
            series.cpu.push(Pair { ours, peer });
        }
    }
}
