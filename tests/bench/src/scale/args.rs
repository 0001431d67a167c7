//! What the user typed. Reads the command line.

use std::path::PathBuf;

use clap::Parser;

use crate::calls::args::Which;

/// A provider with many Services on many nodes, on a cloud that limits calls.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo bench --bench scale --", version)]
pub struct Args {
    /// The provider.
    #[arg(value_enum, default_value_t = Which::Aws)]
    pub provider: Which,
    /// Write the part of docs/performance.md that is about this anew.
    #[arg(long, conflicts_with_all = ["short", "size"])]
    pub write: bool,
    /// A quick look at whether everything works: few Services on few nodes.
    #[arg(long, conflicts_with = "size")]
    pub short: bool,
    /// So many Services on as many nodes; repeatable.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=2000))]
    pub size: Vec<u16>,
    /// How many seconds pass for the program and on the cloud in one.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub pace: u32,
    /// The program to measure, built for release; built by cargo otherwise, which takes minutes.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Services, of one port each.
    pub services: usize,
    /// Nodes.
    pub nodes: usize,
}

impl Size {
    /// As many of both.
    #[must_use]
    pub const fn square(count: usize) -> Self {
        Self {
            services: count,
            nodes: count,
        }
    }

    /// How many nodes are replaced: 50 of 1,000.
    #[must_use]
    pub fn replaced(self) -> usize {
        (self.nodes / 20).max(1)
    }
}

/// The curve.
pub const CURVE: [Size; 4] = [
    Size::square(10),
    Size::square(100),
    Size::square(300),
    Size::square(1000),
];

impl Args {
    /// What is measured.
    #[must_use]
    pub fn sizes(&self) -> Vec<Size> {
        match (self.short, &*self.size) {
            (true, _) => vec![Size::square(10)],
            (false, []) => CURVE.to_vec(),
            (false, sizes) => sizes
                .iter()
                .map(|size| Size::square((*size).into()))
                .collect(),
        }
    }
}
