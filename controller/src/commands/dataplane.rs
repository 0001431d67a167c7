//! `evenkeel dataplane`: the data plane of the `local` provider, until told to end.

use anyhow::{Context as _, Result};
use tracing::{info, warn};

use super::{all_of, asked_to_end, read_file, runtime};
use crate::{
    args::DataplaneArgs,
    capability,
    config::{DataplaneConfig, Surroundings},
    telemetry,
    version::VERSION,
};

/// Bytes are moved by tasks that wait most of the time: as many threads as cores, and at least two.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

pub(super) fn execute(args: &DataplaneArgs) -> Result<()> {
    let file = read_file(args.config.as_deref())?;
    let config = DataplaneConfig::of_dataplane(args, file.as_ref(), &Surroundings::look())
        .map_err(|wrong| all_of(&wrong))?;
    let mut dataplane = config.local.dataplane();
    let changes_addresses = evenkeel_local::dataplane::changes_addresses(&dataplane);
    capability::use_what_is_permitted(changes_addresses);
    telemetry::start(&config.log)?;
    for directory in [
        Some(config.local.state_dir.as_path()),
        config.local.socket.parent(),
    ]
    .into_iter()
    .flatten()
    {
        std::fs::create_dir_all(directory).with_context(|| {
            format!(
                "{} cannot be made; make it, or choose another directory",
                directory.display()
            )
        })?;
    }
    runtime(threads())?.block_on(async {
        let shutdown = async {
            match asked_to_end().await {
                Ok(signal) => info!(signal, "asked to end"),
                Err(error) => warn!(
                    error = format!("{error:#}"),
                    "cannot be asked to end by a signal"
                ),
            }
        };
        dataplane.take_over = args.take_over;
        dataplane.version = VERSION.to_owned();
        Ok(evenkeel_local::dataplane::serve(dataplane, shutdown).await?)
    })
}
