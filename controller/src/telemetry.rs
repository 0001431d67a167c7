//! Logs: one subscriber for the process, text for people or JSON for machines (Writes to standard error).
//!
//! Field names are the same everywhere: `service.namespace`, `service.name`, `provider`, `step`, `resource.id`,
//! `cloud.code`, `error.class`, `attempt`, `duration_ms`.

use anyhow::{Context as _, Result};
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogConfig, LogFormat};

/// Starts logging. Called once, first.
///
/// # Errors
/// When a subscriber is set already.
pub fn start(log: &LogConfig) -> Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("the log filter was checked before")?;
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let done = match log.format {
        LogFormat::Text => builder.with_ansi(is_terminal()).try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("logging was started twice: {error}"))
}

fn is_terminal() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal()
}
