//! The program `evenkeel`: reads the command line, does what it says, and ends with its exit code.

use std::process::ExitCode;

use evenkeel::{args::Args, commands};

fn main() -> ExitCode {
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => {
            // A reader that has gone away is told nothing.
            let _ = error.print();
            // 2 is what `evenkeel plan` says of changes.
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match commands::execute(args) {
        Ok(code) => code,
        Err(error) => {
            commands::complain(&error);
            ExitCode::FAILURE
        }
    }
}
