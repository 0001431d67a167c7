//! A provider with up to a thousand Services on a thousand nodes, where the cloud limits calls: `cargo bench --bench scale -- aws`.
//!
//! The real program, with its defaults, on a real API server beside our fake AWS, which has AWS's buckets, and on which load balancers take
//! their time to come and targets theirs to drain. Time passes faster there and for the program alike ([`evenkeel_harness::pace`]), so that an
//! hour of waiting takes minutes. Somebody else of the same account asks too ([`tenant`]).
//!
//! [`share`] tells how much of a bucket was taken, [`page`] writes the tables; these decide. [`run`] makes things happen on a
//! [`stage`].
#![expect(clippy::print_stdout, reason = "printing figures is the purpose")]

pub mod args;
pub mod page;
pub mod run;
pub mod share;
pub mod stage;
pub mod tenant;

use anyhow::Result;
use clap::Parser as _;
use evenkeel_harness::{evenkeel::evenkeel_release_binary, progress::Progress};

use crate::{
    performance,
    system::{Machine, raise_open_files},
};
use args::Args;
use page::{render, shortfalls, tables};

/// Measures, prints, and writes the page when asked.
///
/// # Errors
/// When a part of the stage cannot be had, or the program does not do what it is for.
pub fn main() -> Result<()> {
    let args = Args::parse();
    let program = match &args.binary {
        Some(path) => path.clone(),
        None => evenkeel_release_binary()?,
    };
    // Each node listens.
    raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (mut all, progress) = (Vec::new(), Progress::new());
    for size in args.sizes() {
        let measured = run::run(&program, size, args.pace, &progress);
        all.push(runtime.block_on(measured)?);
    }
    println!("{}\n{}", tables(&all), shortfalls(&all));
    if args.write {
        let path = performance::write(&render(&all, args.pace, &Machine::this()?))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
