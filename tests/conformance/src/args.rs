//! What the user typed. Reads the command line.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use crate::row::Row;

/// A numbered checklist of how a Service of type LoadBalancer behaves, on a real API server.
#[derive(Debug, Parser)]
#[command(name = "cargo conformance", version)]
pub struct Args {
    /// The provider whose load balancers are checked.
    #[arg(long, value_enum)]
    pub provider: Provider,
    /// Runs only this row; repeatable.
    #[arg(long = "row", value_name = "N")]
    pub rows: Vec<u16>,
}

/// The providers that can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// This machine's own data plane.
    Local,
}

impl Args {
    /// Arguments work with and without a leading `--`, which cargo hands through when it is typed after an alias.
    pub fn read() -> Self {
        let mut words: Vec<_> = std::env::args_os().collect();
        if words.get(1).is_some_and(|word| word == "--") {
            words.remove(1);
        }
        Self::parse_from(words)
    }
}

/// The rows asked for, in the order of the list; all of them when none is named.
///
/// # Errors
/// When there is no such row: with the rows there are.
pub(crate) fn chosen<'a>(all: &[&'a Row], asked: &[u16]) -> Result<Vec<&'a Row>> {
    let known: BTreeSet<_> = all.iter().map(|row| row.number).collect();
    let unknown: BTreeSet<_> = asked.iter().filter(|row| !known.contains(row)).collect();
    ensure!(
        unknown.is_empty(),
        "--row: there is no row {}; rows are {}. Name one of these, or leave --row out to run all.",
        list(unknown.into_iter()),
        list(known.iter()),
    );
    Ok(all
        .iter()
        .filter(|row| asked.is_empty() || asked.contains(&row.number))
        .copied()
        .collect())
}

fn list<'a>(numbers: impl Iterator<Item = &'a u16>) -> String {
    let numbers: Vec<_> = numbers.map(u16::to_string).collect();
    numbers.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections;

    fn numbers(asked: &[u16]) -> Result<Vec<u16>> {
        let all = sections::all();
        Ok(chosen(&all, asked)?.iter().map(|row| row.number).collect())
    }

    #[test]
    fn rows_are_numbered_once_and_run_in_order() {
        let all = numbers(&[]).unwrap();
        assert!(
            all.windows(2).all(|pair| pair[0] < pair[1]),
            "not ascending: {all:?}"
        );
        assert_eq!(numbers(&[12, 1, 12]).unwrap(), [1, 12]);
    }

    #[test]
    fn an_unknown_row_is_told_with_those_there_are() {
        let error = numbers(&[1, 999]).unwrap_err().to_string();
        assert!(
            error.starts_with("--row: there is no row 999; rows are 1, 2, "),
            "{error}"
        );
    }
}
