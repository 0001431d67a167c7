//! The program `evenkeel`: reads the command line, does what it says, and ends with its exit code.

use std::process::ExitCode;

use clap::Parser;
use evenkeel::{args::Args, commands};

fn main() -> ExitCode {
    match commands::execute(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            commands::complain(&error);
            ExitCode::FAILURE
        }
    }
}
