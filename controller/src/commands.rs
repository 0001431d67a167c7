//! What the commands do: one file each, with the same types and another ending.

mod ask;
mod cluster;
mod completions;
mod dataplane;
mod facts;
mod generate;
mod output;
mod plan;
mod run;
mod status;

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{
    args::{Args, Command},
    config::File,
};

/// Does what was typed.
///
/// # Errors
/// Why it could not be done, with what to do next.
pub fn execute(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Plan(args) => return plan::execute(&args),
        Command::Facts(args) => facts::execute(&args)?,
        Command::Status(args) => status::execute(&args)?,
        Command::Run(args) => run::execute(&args)?,
        Command::Dataplane(args) => dataplane::execute(&args)?,
        Command::Completions(args) => completions::execute(&args)?,
        Command::Generate(args) => generate::execute(&args)?,
        Command::Version => output::print(&format!("evenkeel {}\n", crate::version::VERSION))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says why a command failed.
#[expect(
    clippy::print_stderr,
    reason = "the last word of a command that failed"
)]
pub fn complain(error: &anyhow::Error) {
    eprintln!("evenkeel: {error:#}");
}

/// Reads the configuration file, if there is one.
fn read_file(path: Option<&Path>) -> Result<Option<File>> {
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "--config: {} cannot be read; name a YAML file that can, or leave it out",
            path.display()
        )
    })?;
    Ok(Some(File {
        path: path.to_owned(),
        text,
    }))
}

/// What is wrong with a configuration, one line each.
fn all_of(problems: &evenkeel_core::problem::Problems) -> anyhow::Error {
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| format!("  {problem}"))
        .collect();
    anyhow::anyhow!("the configuration cannot be used:\n{}", lines.join("\n"))
}

/// A runtime of a few threads: the work is waiting, and a thread costs memory.
fn runtime(workers: usize) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .context("the system gives no threads")
}

/// Ends when the process is asked to end: SIGTERM or SIGINT.
async fn asked_to_end() -> Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
