//! The whole bench, top to bottom. Writes: the table to standard output, its part of docs/performance.md when asked.
#![expect(clippy::print_stdout, reason = "printing figures is the purpose")]

use anyhow::{Result, ensure};
use clap::Parser as _;
use evenkeel_harness::{evenkeel::evenkeel_release_binary, progress::Progress};

use crate::{
    args::Args,
    balancer::{Plan, is_on_path},
    packages::{HaProxy, Nginx},
    page::{Setup, render, shortfalls, table},
    performance,
    run::{idle_connections, run},
    system::{Cpus, Machine, raise_open_files},
    target::Targets,
};

/// Measures, prints, and writes the page when asked.
///
/// # Errors
/// When a peer cannot be had, a balancer does not start or a load fails.
pub fn main() -> Result<()> {
    let args = Args::parse();
    let progress = Progress::new();
    let (haproxy, nginx) = (HaProxy::ensure(&progress)?, Nginx::ensure(&progress)?);
    let program = match &args.binary {
        Some(path) => path.clone(),
        None => evenkeel_release_binary()?,
    };
    let (clients, balancers) = match args.pin {
        true => Cpus::halves()?,
        false => (Cpus::default(), Cpus::default()),
    };
    ensure!(
        !args.pin || is_on_path("taskset"),
        "--pin needs taskset: install util-linux"
    );
    let plan = Plan::new(balancers, raise_open_files()?)?;
    let targets = Targets::start(&plan.targets, &clients)?;
    clients.hold_this_thread()?;
    let (alternations, seconds) = args.effort();
    let setup = Setup {
        machine: Machine::this()?,
        haproxy: haproxy.version.clone(),
        nginx: nginx.version.clone(),
        alternations,
        seconds,
        idle: idle_connections(&args, &plan),
        threads: plan.cpus.number(),
        pinned: args.pin,
    };
    let results = run(&args, &plan, &program, (&haproxy, &nginx), &progress)?;
    drop(targets);
    println!("{}\n{}", table(&results), shortfalls(&results));
    if args.write {
        let path = performance::write(&render(&results, &setup))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
