//! What the demo prints: steps, checks that passed or failed, and what to remember. Writes: standard output.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

use std::fmt::Display;
use std::io::IsTerminal as _;

use anyhow::Result;

/// Counts checks and prints them.
#[derive(Debug)]
pub(crate) struct Show {
    step: usize,
    passed: usize,
    failed: usize,
    colour: bool,
}

impl Show {
    pub(crate) fn new() -> Self {
        Self {
            step: 0,
            passed: 0,
            failed: 0,
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// A new step.
    pub(crate) fn step(&mut self, title: &str) {
        self.step += 1;
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.step)));
    }

    /// Something to know, neither passed nor failed.
    pub(crate) fn note(&self, text: impl Display) {
        println!("   {text}");
    }

    /// A check. What it found is shown; a failure is counted and the demo goes on.
    pub(crate) fn check<T: Display>(&mut self, what: &str, result: Result<T>) -> bool {
        match result {
            Ok(found) => {
                self.passed += 1;
                let found = found.to_string();
                let found = if found.is_empty() {
                    found
                } else {
                    format!(": {found}")
                };
                println!("   {} {what}{found}", self.paint("32", "ok"));
                true
            }
            Err(error) => {
                self.failed += 1;
                println!("   {} {what}: {error:#}", self.paint("31", "FAILED"));
                false
            }
        }
    }

    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    /// The last line that a script reads.
    pub(crate) fn summary(&self) {
        println!("\n{} passed, {} failed", self.passed, self.failed);
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
