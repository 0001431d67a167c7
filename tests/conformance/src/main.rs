//! `cargo conformance`: the checklist at the command line.

use std::process::ExitCode;

use evenkeel_conformance::{Args, run};

fn main() -> ExitCode {
    run(&Args::read())
}
