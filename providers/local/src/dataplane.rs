//! The data plane: an L4 load balancer for one machine, as a process of its own.
//!
//! It is a small cloud: objects are made over the API of a Unix socket (see [`crate::api`]) and kept in a state file.
//! It needs nobody while it runs, survives whoever gave it its objects, and restarts into what it last knew.
//!
//! ```text
//! socket -> server -> route, strict -> engine -> store (decides)      what should be
//!                                        |  \--> disk                 survives
//!                                        v
//!                                     runtime -> listener -> proxy -> relay
//!                                        \-----> backends (balance) -> prober (health, pace)
//! ```
//!
//! Changes take one way, through the engine; connections take the other and meet it only in values that are replaced
//! in place. That is why a change touches no connection that it is not about. UDP will be one more arm of
//! [`Protocol`](crate::api::Protocol) in `listener::open`, with its own task in the place of accepting.

use std::{io, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

mod access;
mod backends;
mod balance;
mod bind;
mod config;
mod deadline;
mod disk;
mod engine;
mod health;
mod listener;
mod lock;
mod metrics;
mod pace;
mod pipe;
mod pool;
mod prober;
mod proxy;
mod proxy_header;
mod relay;
mod route;
mod runtime;
mod server;
mod store;
mod strict;
mod traffic;
mod validate;

pub use config::{Config, ConfigError, ConfigProblem};
pub use disk::StateError;
pub use lock::LockError;
pub use metrics::reference as metrics_reference;
pub use pool::Pool;

/// How long API requests that are under way may go on when the data plane stops.
const API_GRACE: Duration = Duration::from_secs(1);

/// Why a data plane did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(#[from] ConfigError),
    /// The socket or the state file belongs to somebody else, or cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The state cannot be loaded.
    #[error(transparent)]
    State(#[from] StateError),
    /// The API server ended.
    #[error("the API server ended; start the data plane again")]
    Api(#[source] io::Error),
    /// A part of the data plane ended by a bug.
    #[error("a part of the data plane ended by a bug; start it again and report this")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs a data plane until `shutdown` is done.
///
/// ## Flow
/// Takes the locks, loads the state, opens every port it knows of, then opens the API: who can connect to the socket
/// finds everything at work. At the end ports are closed first, then open connections get
/// [`stop_grace`](Config::stop_grace). The state stays.
///
/// ## Guarantees
/// A port that cannot be opened is no error: it is reported on its listener and tried again. The limit of open files is
/// raised as far as the process may.
///
/// # Errors
/// Nothing was touched when the configuration is wrong or another data plane owns the socket or the state file.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    config.check()?;
    let socket = lock::ApiSocket::claim(&config.socket).await?;
    let _state_lock = lock::Lock::take(&config.state)?;
    let pools: Arc<[Pool]> = config.pools.clone().into();
    let disk = disk::Disk::open(&config.state)?;
    let store = disk.load(&pools)?;

    let allowed = traffic::connections_allowed();
    let most = config.max_connections.unwrap_or(allowed).min(allowed);
    if let Some(asked) = config.max_connections.filter(|asked| *asked > allowed) {
        tracing::warn!(
            asked,
            allowed,
            "the limit of open files allows fewer connections than configured; raise it (LimitNOFILE=)"
        );
    }
    let traffic = Arc::new(traffic::Traffic::new(most, config.connect_timeout));
    let runtime = runtime::Runtime::start(&store, Arc::clone(&traffic));
    tracing::info!(
        socket = %config.socket.display(), state = %config.state.display(), leases = store.leases.len(),
        listeners = store.listeners.len(), max_connections = most, "the data plane runs"
    );

    let (stop_api, stop_engine) = (CancellationToken::new(), CancellationToken::new());
    // When this future is dropped half-way, nothing may go on behind its back.
    let _ends = [
        stop_api.clone().drop_guard(),
        stop_engine.clone().drop_guard(),
        traffic.end.clone().drop_guard(),
    ];
    let (engine, run) =
        engine::engine(store, runtime, disk, config.bind_retry, stop_engine.clone());
    let mut engine_task = tokio::spawn(run);
    let router = server::Api {
        engine,
        pools,
        timeout: config.request_timeout,
    }
    .router();
    let api = axum::serve(socket.listen()?, router)
        .with_graceful_shutdown(stop_api.clone().cancelled_owned());
    let mut api_task = tokio::spawn(api.into_future());

    tokio::select! {
        () = shutdown => {}
        ended = &mut engine_task => return ended.map(|_| ()).map_err(Error::Task),
        ended = &mut api_task => return ended?.map_err(Error::Api),
    }

    tracing::info!("the data plane stops; its state stays");
    stop_engine.cancel();
    let mut runtime = engine_task.await?;
    runtime.stop_accepting().await;
    stop_api.cancel();
    if tokio::time::timeout(API_GRACE, &mut api_task)
        .await
        .is_err()
    {
        api_task.abort();
    }
    traffic.tasks.close();
    if tokio::time::timeout(config.stop_grace, traffic.tasks.wait())
        .await
        .is_err()
    {
        tracing::info!(
            connections = traffic.tasks.len(),
            "closing the connections that are still open"
        );
        traffic.end.cancel();
        traffic.tasks.wait().await;
    }
    Ok(())
}
