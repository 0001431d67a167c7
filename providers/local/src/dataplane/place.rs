//! Where a data plane runs: its socket and its state, free or taken over from the one that ran. Reads and writes.

use std::sync::Arc;

use super::{
    Error,
    config::Config,
    disk::Disk,
    handover::{
        Line,
        take::{self, Inherited},
    },
    lock::{ApiSocket, Lock, LockError},
    pool::Pool,
    store::Store,
};

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
    /// Takes the place, or has the data plane that runs there hand it over.
    ///
    /// # Errors
    /// Nothing was touched, and whoever runs there goes on.
    pub(crate) async fn take(config: &Config, pools: &Arc<[Pool]>) -> Result<Self, Error> {
        let socket = match ApiSocket::claim(&config.socket).await {
            Err(LockError::Runs { .. }) if config.take_over => {
                return Self::take_over(config, pools).await;
            }
            claimed => claimed?,
        };
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
