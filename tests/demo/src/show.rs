//! What the demo prints: steps, commands, checks that passed or failed, and what to remember. Writes: standard output.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

use std::fmt::Display;
use std::io::IsTerminal as _;

use anyhow::{Result, bail};
use evenkeel_harness::kubectl::Ran;

/// Counts checks and prints them.
#[derive(Debug)]
pub(crate) struct Show {
    passed: usize,
    failed: usize,
    colour: bool,
    /// While a step's set-up runs: what failed of it.
    set_up: Option<Vec<String>>,
}

impl Show {
    pub(crate) fn new() -> Self {
        Self {
            passed: 0,
            failed: 0,
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            set_up: None,
        }
    }

    /// From here on nothing is printed or counted.
    pub(crate) fn begin_set_up(&mut self) {
        self.set_up = Some(Vec::new());
    }

    /// From here on everything is again.
    ///
    /// # Errors
    /// When a check of the set-up failed.
    pub(crate) fn end_set_up(&mut self) -> Result<()> {
        match self.set_up.take().unwrap_or_default().as_slice() {
            [] => Ok(()),
            failed => bail!("the set-up failed: {}", failed.join("; ")),
        }
    }

    /// A new step.
    pub(crate) fn step(&self, number: usize, title: &str) {
        self.line(format!(
            "\n{}",
            self.paint("1", &format!("{number}. {title}"))
        ));
    }

    /// Something to know, neither passed nor failed.
    pub(crate) fn note(&self, text: impl Display) {
        self.line(format!("   {text}"));
    }

    /// A command and what it printed.
    pub(crate) fn command(&self, ran: &Ran) {
        self.line(format!(
            "   {}",
            self.paint("36", &format!("$ {}", ran.command))
        ));
        for line in ran.output.lines() {
            self.line(format!("     {line}"));
        }
    }

    /// A check. What it found is shown; a failure is counted and the demo goes on.
    pub(crate) fn check<T: Display>(&mut self, what: &str, result: Result<T>) -> bool {
        match result {
            Ok(found) => {
                let found = found.to_string();
                let found = if found.is_empty() {
                    found
                } else {
                    format!(": {found}")
                };
                self.line(format!("   {} {what}{found}", self.paint("32", "ok")));
                if self.set_up.is_none() {
                    self.passed += 1;
                }
                true
            }
            Err(error) => {
                self.line(format!(
                    "   {} {what}: {error:#}",
                    self.paint("31", "FAILED")
                ));
                match &mut self.set_up {
                    Some(failed) => failed.push(format!("{what}: {error:#}")),
                    None => self.failed += 1,
                }
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

    fn line(&self, text: String) {
        if self.set_up.is_none() {
            println!("{text}");
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
