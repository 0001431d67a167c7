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
    let filter =
        EnvFilter::try_new(directives(&log.filter)).context("the log filter was checked before")?;
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

/// The filter, without the Kubernetes client's own words: each of its failures is told once by whoever meets it, and an
/// API server that is away would fill the log. The access log is asked for on a Service, so it is told at any level. Who
/// names either in the filter gets what they say.
fn directives(filter: &str) -> String {
    let mut all = filter.to_owned();
    if !filter.contains("access") {
        all.push_str(",access=info");
    }
    if !filter.contains("kube") {
        all.push_str(",kube_client=off,kube_runtime=off");
    }
    all
}

fn is_terminal() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_silent_and_accesses_are_told_unless_named() {
        for (filter, want) in [
            ("warn", "warn,access=info,kube_client=off,kube_runtime=off"),
            (
                "info,kube_client=debug",
                "info,kube_client=debug,access=info",
            ),
            (
                "info,access=off",
                "info,access=off,kube_client=off,kube_runtime=off",
            ),
        ] {
            assert_eq!(directives(filter), want);
            assert!(EnvFilter::try_new(directives(filter)).is_ok(), "{filter}");
        }
    }
}
