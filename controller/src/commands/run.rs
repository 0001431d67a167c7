//! `evenkeel run`: the controller, until told to end.

use anyhow::Result;

use super::{all_of, asked_to_end, read_file, runtime};
use crate::{
    args::RunArgs,
    config::{Config, Surroundings},
    telemetry,
};

/// Two threads: one reconciles while the other answers.
const THREADS: usize = 2;

pub(super) fn execute(args: &RunArgs) -> Result<()> {
    let file = read_file(args.config.as_deref())?;
    let config = Config::of_run(args, file.as_ref(), &Surroundings::look())
        .map_err(|wrong| all_of(&wrong))?;
    telemetry::start(&config.log)?;
    runtime(THREADS)?.block_on(crate::run::run(config, asked_to_end()))
}
