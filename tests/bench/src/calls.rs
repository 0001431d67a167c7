//! What a provider asks of its cloud, event by event: `cargo bench --bench calls -- aws`.
//!
//! [`row`] names what is counted, with the peer's figures and our goals, [`page`] writes it into docs/performance.md; these decide. [`run`]
//! makes things happen and counts at the wire. The provider runs in an engine in a process of its own ([`engine`]), started, told
//! what to do and ended through [`controller`], so that what it costs is told apart from what counts it.
#![expect(clippy::print_stdout, reason = "printing figures is the purpose")]

pub mod args;
pub mod controller;
pub mod engine;
pub mod page;
pub mod row;
pub mod run;

use anyhow::Result;
use clap::Parser as _;
use evenkeel_harness::progress::Progress;

use crate::{performance, system::Machine};
use args::Args;
use page::{render, shortfalls, table};
use row::Scale;

/// Counts, prints, and writes the page when asked.
///
/// # Errors
/// When an emulator cannot be had, or the provider does not do what it is told.
pub fn main() -> Result<()> {
    let args = Args::parse();
    if args.engine {
        return engine::main();
    }
    let scale = match args.short {
        true => Scale::SHORT,
        false => Scale::FULL,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let results = runtime.block_on(run::run(scale, &Progress::new()))?;
    println!(
        "{}\n{}",
        table(&results, scale),
        shortfalls(&results, scale)
    );
    if args.write {
        let path = performance::write(&render(&results, &Machine::this()?))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
