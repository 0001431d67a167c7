//! The whole checklist as one test, printed row by row: no row may fail.
#![expect(
    clippy::print_stdout,
    reason = "test runners are answered on standard output"
)]

use std::process::ExitCode;

use evenkeel_conformance::{ApiServer, Args, Provider, run};

/// The test's name, for filters.
const NAME: &str = "checklist";

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    if !asked_for(&words) {
        return ExitCode::SUCCESS;
    }
    run(&Args {
        provider: Provider::Local,
        kubernetes: ApiServer::Current,
        rows: Vec::new(),
        without_toys: false,
    })
}

/// As test runners ask: by parts of names, exact names, and names to leave out. Options with values are told by name.
fn asked_for(words: &[String]) -> bool {
    const WITH_VALUES: [&str; 6] = [
        "--test-threads",
        "--format",
        "--color",
        "--logfile",
        "--shuffle-seed",
        "-Z",
    ];
    let exact = words.iter().any(|word| word == "--exact");
    let is_it = |name: &String| {
        if exact {
            name == NAME
        } else {
            NAME.contains(name.as_str())
        }
    };
    let (mut names, mut words) = (Vec::new(), words.iter());
    while let Some(word) = words.next() {
        if word == "--ignored" {
            return false;
        }
        if word == "--skip" {
            if words.next().is_some_and(is_it) {
                return false;
            }
        } else if WITH_VALUES.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with('-') {
            names.push(word);
        }
    }
    names.is_empty() || names.into_iter().any(is_it)
}
