//! What the user typed. Reads the command line.

use clap::{Parser, ValueEnum};

use crate::steps::STEPS;

/// The main job, shown and checked: a real API server, a complete application, an address, traffic.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", version)]
pub(crate) struct Args {
    /// Whose load balancers are shown. Of `aws`, which moto plays, and of `azure`, which our fake plays, what is made, without traffic; it
    /// ends by itself.
    #[arg(long, value_enum, default_value_t = Provider::Local, conflicts_with_all = ["step", "list"])]
    pub(crate) provider: Provider,
    /// End by itself with `N passed, M failed`, also on a terminal.
    #[arg(long)]
    pub(crate) once: bool,
    /// Run one step, with what it needs before it, and end; `--list` names them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=STEPS.len() as i64))]
    pub(crate) step: Option<u8>,
    /// Name the steps and end.
    #[arg(long)]
    pub(crate) list: bool,
}

/// The providers that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// This machine's own data plane.
    Local,
    /// AWS, as moto plays it.
    Aws,
    /// Azure, as our fake plays it.
    Azure,
}

impl Args {
    /// Arguments work with and without a leading `--`, which cargo hands through when it is typed after an alias.
    pub(crate) fn read() -> Self {
        let mut words: Vec<_> = std::env::args_os().collect();
        if words.get(1).is_some_and(|word| word == "--") {
            words.remove(1);
        }
        Self::parse_from(words)
    }
}
