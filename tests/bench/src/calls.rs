//! What a provider asks of its cloud, event by event: `cargo bench --bench calls -- aws`.
//!
//! [`row`] names what is measured, with the peer's figures and our goals, [`page`] writes it into docs/performance.md; these
//! decide. [`run`] makes things happen on a [`stage`], a real API server beside moto, and counts at the wire what the
//! program ([`controller`]) asks; the system tells what that process costs.
#![expect(clippy::print_stdout, reason = "printing figures is the purpose")]

pub mod args;
pub mod controller;
pub mod page;
pub mod row;
pub mod run;
pub mod stage;

use anyhow::Result;
use clap::Parser as _;
use evenkeel_harness::{evenkeel::evenkeel_release_binary, progress::Progress};

use crate::{performance, system::Machine};
use args::Args;
use page::{detail, render, shortfalls, table};
use row::Scale;

/// Measures, prints, and writes the page when asked.
///
/// # Errors
/// When a part of the stage cannot be had, or the program does not do what it is for.
pub fn main() -> Result<()> {
    let args = Args::parse();
    let scale = match args.short {
        true => Scale::SHORT,
        false => Scale::FULL,
    };
    let program = match args.binary {
        Some(path) => path,
        None => evenkeel_release_binary()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let results = runtime.block_on(run::run(&program, scale, &Progress::new()))?;
    println!(
        "{}\n{}\n{}",
        table(&results, scale),
        detail(&results, scale),
        shortfalls(&results, scale)
    );
    if args.write {
        let path = performance::write(&render(&results, &Machine::this()?))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
