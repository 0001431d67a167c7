//! Where a data plane runs: its socket and its state, free or taken over from the one that ran. Reads and writes.

use std::{sync::Arc, time::Duration};

use evenkeel_core::error::chain;
use tokio::time::{Instant, sleep};

use super::{
    Error,
    config::Config,
    disk::Disk,
    handover::{
        HandoverError, Line,
        take::{self, Inherited},
    },
    lock::{ApiSocket, Lock, LockError},
    pool::Pool,
    store::Store,
};

/// How long the system may take to close the files of a process that was killed.
const DYING: Duration = Duration::from_secs(1);
/// Time between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// The right to the socket and the state, with what is there.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) socket: ApiSocket,
    pub(crate) state_lock: Lock,
    pub(crate) disk: Disk,
    pub(crate) store: Store,
    pub(crate) inherited: Inherited,
    /// To the data plane that has it until it was told that it is ours.
    pub(crate) before: Option<Line>,
}

impl Place {
    /// Takes the place, or has the data plane that runs there hand it over. When that one ends in the middle of it, the place
    /// is free after all.
    ///
    /// # Errors
    /// Nothing was touched, and whoever runs there goes on.
    pub(crate) async fn take(config: &Config, pools: &Arc<[Pool]>) -> Result<Self, Error> {
        match Self::claim(config, pools).await {
            Err(Error::Lock(LockError::Runs { .. })) if config.take_over => {}
            claimed => return claimed,
        }
        let broken = match Self::take_over(config, pools).await {
            Err(Error::Handover(error @ HandoverError::Broken(_))) => error,
            taken => return taken,
        };
        let end = Instant::now() + DYING;
        loop {
            match Self::claim(config, pools).await {
                Err(Error::Lock(LockError::Runs { .. } | LockError::Owned { .. })) => {
                    if Instant::now() >= end {
                        return Err(broken.into());
                    }
                    sleep(LOOK).await;
                }
                Ok(place) => {
                    tracing::warn!(
                        error = chain(&broken),
                        "the data plane that ran ended while it handed over, and its connections with it; this one begins anew"
                    );
                    return Ok(place);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the place that nobody has.
    async fn claim(config: &Config, pools: &Arc<[Pool]>) -> Result<Self, Error> {
        let socket = ApiSocket::claim(&config.socket).await?;
        let state_lock = Lock::take(&config.state)?;
        let disk = Disk::open(&config.state)?;
        Ok(Self {
            socket,
            state_lock,
            store: disk.load(pools)?,
            disk,
            inherited: Inherited::default(),
            before: None,
        })
    }

    async fn take_over(config: &Config, pools: &Arc<[Pool]>) -> Result<Self, Error> {
        let disk = Disk::open(&config.state)?;
        let offered = take::ask(&config.socket, &config.state).await?;
        let store = match disk.load_live(pools) {
            Ok(store) => store,
            Err(error) => {
                offered.refuse(&error).await;
                return Err(error.into());
            }
        };
        let taken = offered.accept(&config.socket).await?;
        Ok(Self {
            socket: taken.socket,
            state_lock: taken.state_lock,
            disk,
            store,
            inherited: taken.inherited,
            before: Some(taken.line),
        })
    }
}
