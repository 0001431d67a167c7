//! What the user typed. Reads the command line.

use std::path::PathBuf;

use clap::Parser;

/// The data plane, measured beside HAProxy and nginx, in turn, on this machine.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo bench --bench dataplane --", version)]
pub struct Args {
    /// Write the part of docs/performance.md that is about this anew.
    #[arg(long, conflicts_with_all = ["short", "only"])]
    pub write: bool,
    /// A quick look at whether everything works: two alternations of a fifth of a second each.
    #[arg(long, conflicts_with_all = ["alternations", "seconds"])]
    pub short: bool,
    /// How often to alternate.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub alternations: u32,
    /// How long to measure each time.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.5, value_parser = positive)]
    pub seconds: f64,
    /// Only what has this in its name; repeatable.
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Balancers on one half of the processors, clients and targets on the other, instead of all on all.
    #[arg(long)]
    pub pin: bool,
    /// Idle connections, as far as the limit of open files allows.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub idle: u64,
    /// Measure this program instead of building the release.
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.05 to 600".to_owned()),
    }
}

impl Args {
    /// How often to alternate, and for how many seconds each time.
    #[must_use]
    pub fn effort(&self) -> (u32, f64) {
        match self.short {
            true => (2, 0.2),
            false => (self.alternations, self.seconds),
        }
    }
}
