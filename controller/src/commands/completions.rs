//! `evenkeel completions`: a script for a shell (Writes: standard output).

use anyhow::Result;
use clap::CommandFactory as _;

use super::output;
use crate::args::{Args, CompletionsArgs};

pub(super) fn execute(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "evenkeel", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
