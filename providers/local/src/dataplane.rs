//! The data plane: an L4 load balancer for one machine, as a process of its own.
//!
//! It is a small cloud: objects are made over the API of a Unix socket (see [`crate::api`]) and kept in a state file.
//! It needs nobody while it runs, survives whoever gave it its objects, and restarts into what it last knew.
//!
//! ```text
//! socket -> server -> route, strict -> engine -> store (decides)      what should be
//!                                        |  \--> disk                 survives
//!                                        v \--> interfaces                       addresses are there
//!                                     runtime -> listener -> proxy -> relay (on workers), or udp
//!                                        \-----> backends (balance) -> prober (health, pace)
//! ```
//!
//! Changes take one way, through the engine; connections take the other and meet it only in values that are replaced
//! in place. That is why a change touches no connection that it is not about.

use std::{io, sync::Arc, time::Duration};

use evenkeel_core::error::chain;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use self::place::Place;

use crate::api::namespace_and_name;

mod access;
mod affinity;
mod allocate;
mod backends;
mod balance;
mod bind;
mod config;
mod deadline;
mod disk;
mod engine;
mod facts;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod handover;
mod health;
mod holder;
mod interfaces;
mod limits;
mod listener;
mod lock;
mod metrics;
mod pace;
mod pipe;
mod place;
mod pool;
mod prober;
mod proxy;
mod proxy_header;
mod ranges;
mod relay;
mod route;
mod runtime;
mod server;
mod store;
mod strict;
mod traffic;
mod udp;
mod validate;
mod workers;

pub use config::{Config, ConfigError, ConfigProblem};
pub use disk::StateError;
pub use handover::HandoverError;
pub use interfaces::changes_addresses;
pub use lock::LockError;
pub use metrics::reference as metrics_reference;
pub use pool::Pool;

/// How long API requests that are under way may go on when the data plane stops.
const API_GRACE: Duration = Duration::from_secs(1);

/// How long requests are answered on connections that were made before a handover began.
const LATE_CALLERS: Duration = Duration::from_millis(100);

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
    /// The data plane that runs did not hand over; it goes on.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The system gives no threads.
    #[error(
        "the system gives no threads; raise the limit of processes (`ulimit -u`) and start the data plane again"
    )]
    Threads(#[source] io::Error),
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
/// finds everything at work. With [`take_over`](Config::take_over) all that may come from the data plane that runs. At the
/// end ports are closed first, then open connections get [`stop_grace`](Config::stop_grace), or
/// [`handover_grace`](Config::handover_grace) when another data plane has taken over. The state stays.
///
/// ## Guarantees
/// A port that cannot be opened is no error: it is reported on its listener and tried again. The limit of open files is
/// raised as far as the process may.
///
/// # Errors
/// Nothing was touched when the configuration is wrong or another data plane owns the socket or the state file.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    config.check()?;
    // First of all, for files are inherited too.
    let most = limit_connections(&config);
    let (workers, workers_end) = workers::Workers::start(config.threads).map_err(Error::Threads)?;
    let pools: Arc<[Pool]> = config.pools.clone().into();
    let Place {
        mut socket,
        mut state_lock,
        disk,
        mut store,
        inherited,
        before,
    } = Place::take(&config, &pools).await?;
    store.facts.host = facts::host(&pools);
    tell_of_strays(&store);

    let traffic = Arc::new(traffic::Traffic::new(workers, most, config.connect_timeout));
    let (leases, listeners) = (store.leases.len(), store.listeners.len());
    let memory_file = affinity::file::MemoryFile::beside(&config.state);
    let memories = memory_file.load();
    let mut interfaces = interfaces::Interfaces::load(&config.state);
    // What another data plane may yet go on with is not touched: the engine's first turn sees to addresses then.
    if before.is_none() {
        interfaces.settle(&store).await;
    }
    let runtime = runtime::Runtime::start(&store, memories, Arc::clone(&traffic), inherited);

    let (stop_api, stop_engine) = (CancellationToken::new(), CancellationToken::new());
    // When this future is dropped half-way, nothing may go on behind its back.
    let _ends = [
        stop_api.clone().drop_guard(),
        stop_engine.clone().drop_guard(),
        traffic.end.clone().drop_guard(),
        workers_end,
    ];
    // Nobody can ask for a change before the API is open, and it opens when the place is ours.
    let (engine, run) = engine::engine(
        store,
        runtime,
        interfaces,
        disk,
        config.bind_retry,
        stop_engine.clone(),
    );
    let (listener, gate) = gate::Gate::before(socket.listen()?);
    if let Some(before) = before {
        handover::take::done(before).await;
        socket.own();
        state_lock.sign();
    }
    let mut engine_task = tokio::spawn(run);
    let keep = memory_file.clone().keep(
        engine.clone(),
        config.affinity_interval,
        stop_engine.clone(),
    );
    let memory_task = tokio::spawn(keep);
    let (successors, mut successor) = mpsc::channel(1);
    let router = server::Api {
        engine: engine.clone(),
        pools,
        timeout: config.request_timeout,
        version: config.version.as_str().into(),
        successors,
        turn: Arc::new(Semaphore::new(1)),
    }
    .router();
    let api =
        axum::serve(listener, router).with_graceful_shutdown(stop_api.clone().cancelled_owned());
    let mut api_task = tokio::spawn(api.into_future());
    tracing::info!(
        socket = %config.socket.display(), state = %config.state.display(), leases, listeners, max_connections = most,
        "the data plane runs"
    );

    tokio::pin!(shutdown);
    let heir = loop {
        let asked = tokio::select! {
            () = &mut shutdown => break None,
            ended = &mut engine_task => return ended.map(|_| ()).map_err(Error::Task),
            ended = &mut api_task => return ended?.map_err(Error::Api),
            Some(asked) = successor.recv() => asked,
        };
        // The successor reads it before it takes its first connection.
        memory_file.save_now(&engine).await;
        let offer =
            handover::give::offer(asked, &config.version, &socket, &state_lock, &engine, &gate);
        let accepted = tokio::select! {
            () = &mut shutdown => break None,
            accepted = offer => accepted,
        };
        // What was accepted is brought to an end, also when we are told to stop meanwhile.
        let concluded = match accepted {
            Ok(accepted) => accepted.conclude().await,
            Err(error) => Err(error),
        };
        match concluded {
            Ok(still) => break Some(still),
            Err(error) => tracing::warn!(
                error = chain(&error),
                "nothing was handed over; this data plane goes on"
            ),
        }
    };

    stop_engine.cancel();
    let handed_over = heir.is_some();
    if handed_over {
        tracing::info!(
            connections = traffic.tasks.len(),
            "another data plane has taken over; connections that are open here go on"
        );
        socket.leave();
        drop(state_lock);
    } else {
        tracing::info!("the data plane stops; its state stays");
    }
    let mut runtime = engine_task.await?;
    runtime.stop_accepting().await;
    socket.close();
    memory_task.await?;
    if handed_over {
        // Who was let in before the gate was shut may still ask, and is told to ask again.
        tokio::time::sleep(LATE_CALLERS).await;
    } else if let Err(error) = memory_file.save(runtime.memories()) {
        tracing::warn!(%error, "session affinity is not saved; clients get their targets anew");
    }
    stop_api.cancel();
    if tokio::time::timeout(API_GRACE, &mut api_task)
        .await
        .is_err()
    {
        api_task.abort();
    }
    if handed_over {
        // With it the probes end.
        drop(runtime);
        drop(socket);
        let done = tokio::time::timeout(config.handover_grace, drained(&traffic));
        tokio::select! {
            _ = done => {}
            () = &mut shutdown => {}
        }
    }
    if tokio::time::timeout(config.stop_grace, drained(&traffic))
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

/// Waits until every connection has ended.
async fn drained(traffic: &traffic::Traffic) {
    traffic.tasks.close();
    traffic.tasks.wait().await;
}

/// How many connections may be open at a time.
fn limit_connections(config: &Config) -> usize {
    let allowed = traffic::connections_allowed();
    if let Some(asked) = config.max_connections.filter(|asked| *asked > allowed) {
        tracing::warn!(
            asked,
            allowed,
            "the limit of open files allows fewer connections than configured; raise it (LimitNOFILE=)"
        );
    }
    config.max_connections.unwrap_or(allowed).min(allowed)
}

/// Says which addresses are held and of no pool any more: pools may change while the data plane is down.
fn tell_of_strays(store: &store::Store) {
    for lease in store.leases.values() {
        let address = lease.spec.address;
        if store.pool_of(address).is_none() {
            let (namespace, service) = namespace_and_name(&lease.marks.service);
            tracing::warn!(
                service.namespace = namespace, service.name = service, resource.id = lease.name, %address,
                "the address is of no pool any more and stays with its Service; delete the Service to give it back"
            );
        }
    }
}
