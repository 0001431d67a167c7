//! What the user typed. Reads the command line.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use evenkeel_harness::binaries::Kubernetes;

use crate::row::Row;

/// A numbered checklist of how a Service of type LoadBalancer behaves, on a real API server.
#[derive(Debug, Parser)]
#[command(name = "cargo conformance", version)]
pub struct Args {
    /// The provider whose load balancers are checked.
    #[arg(long, value_enum)]
    pub provider: Provider,
    /// The API server that they are checked on. With the older one the rows run that depend on the API server.
    #[arg(long, value_enum, default_value_t = ApiServer::Current)]
    pub kubernetes: ApiServer,
    /// Runs only this row; repeatable.
    #[arg(long = "row", value_name = "N")]
    pub rows: Vec<u16>,
    /// Leaves out the rows that only a toy provider is asked about: they say the same with every provider.
    #[arg(long)]
    pub without_toys: bool,
}

/// The providers that can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// This machine's own data plane.
    Local,
    /// AWS, as moto plays it, or our fake where `EVENKEEL_AWS` is `fake`.
    Aws,
}

/// The API servers that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ApiServer {
    /// The one of all tests.
    #[default]
    #[value(name = "1.37")]
    Current,
    /// The oldest that is checked.
    #[value(name = "1.34")]
    Older,
}

/// The rows that depend on what the API server does by itself: what it refuses, allocates, wipes and fills in.
const OF_THE_API_SERVER: &[u16] = &[
    1, 3, 4, 5, 6, 8, 11, 13, 14, 15, 16, 18, 19, 20, 21, 22, 24, 27, 28, 30, 33, 34, 35, 41, 43,
    51, 56, 57, 58, 61, 63, 64, 70, 71, 72, 73, 74, 79, 83, 90, 93, 94, 95, 96, 102, 105, 109, 110,
    111, 112, 113, 114, 117, 123, 125,
];

impl ApiServer {
    /// Which Kubernetes that is.
    pub(crate) fn release(self) -> Kubernetes {
        match self {
            Self::Current => Kubernetes::Current,
            Self::Older => Kubernetes::Older,
        }
    }
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

/// The rows asked for, in the order of the list. Where none is named: all of them, or those that the API server matters to.
///
/// # Errors
/// When there is no such row: with the rows there are.
pub(crate) fn chosen<'a>(
    all: &[&'a Row],
    asked: &[u16],
    kubernetes: ApiServer,
) -> Result<Vec<&'a Row>> {
    let asked = match kubernetes {
        ApiServer::Older if asked.is_empty() => OF_THE_API_SERVER,
        ApiServer::Older | ApiServer::Current => asked,
    };
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
    use evenkeel_harness::binaries::{KUBERNETES_VERSION, OLDER_KUBERNETES_VERSION};

    use super::*;
    use crate::sections;

    fn numbers(asked: &[u16]) -> Result<Vec<u16>> {
        let all = sections::all();
        let rows = chosen(&all, asked, ApiServer::Current)?;
        Ok(rows.iter().map(|row| row.number).collect())
    }

    #[test]
    fn the_list_has_every_row_once() {
        let all: Vec<_> = (1..=126).collect();
        assert_eq!(numbers(&[]).unwrap(), all);
    }

    #[test]
    fn the_older_api_server_has_rows_of_the_list_and_the_version_that_its_name_says() {
        let all = sections::all();
        let rows = chosen(&all, &[], ApiServer::Older).unwrap();
        assert_eq!(rows.len(), OF_THE_API_SERVER.len());
        for (server, version) in [
            (ApiServer::Current, KUBERNETES_VERSION),
            (ApiServer::Older, OLDER_KUBERNETES_VERSION),
        ] {
            let name = server.to_possible_value().unwrap();
            assert!(
                version.starts_with(&format!("{}.", name.get_name())),
                "{} is {version}",
                name.get_name()
            );
        }
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
