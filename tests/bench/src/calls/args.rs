//! What the user typed. Reads the command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// What a provider asks of its cloud, counted at the wire of an emulator.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo bench --bench calls --", version)]
pub struct Args {
    /// The provider.
    #[arg(value_enum, default_value_t = Which::Aws)]
    pub provider: Which,
    /// Write the part of docs/performance.md that is about this anew.
    #[arg(long, conflicts_with = "short")]
    pub write: bool,
    /// A quick look at whether everything works: few Services on few nodes.
    #[arg(long)]
    pub short: bool,
    /// The program to measure, built for release; built by cargo otherwise, which takes minutes.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Network Load Balancers on AWS.
    Aws,
}
