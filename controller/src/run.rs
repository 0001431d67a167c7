//! Wiring: everything that runs beside everything else, from start to shutdown (Reads and Writes through its parts).
//!
//! Nothing is spawned and forgotten: every task is in one set, and one that ends by itself ends the process with an
//! error. Everything reads from the start; only who leads works. On the way out no new work is begun, what runs may end,
//! and after that nothing is written any more. The data plane is never touched.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use evenkeel_core::{
    endpoints::{PodFacts, SliceFacts},
    error::CloudError,
    ids::{Cluster, ProviderName},
    nodes::NodeFacts,
};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    admin::{self, Admin, Readiness},
    clock::Clock,
    config::{Config, Start},
    connect,
    fence::fenced,
    holder::MarkLedger,
    lease::{self, Keeper, Lead},
    metrics::{LeadChange, Metrics},
    providers::{self, Installed},
    publish::{Publisher, events},
    queue,
    reconcile::{Parts, Reconciler},
    standing::{ControllerStanding, publishing::Said},
    watch::{
        nodes::{Debounce, Did},
        watch, watch_of,
    },
};

/// How long what runs may go on after the process was asked to end.
const GRACE: Duration = Duration::from_secs(10);

/// The same where another replica waits for the lead. Most runs end in milliseconds; of the others each write that was
/// begun may end, and the other replica goes on from there.
const GRACE_OF_LEADER: Duration = Duration::from_millis(200);

/// How long the Lease may take to be given away.
const HAND_OVER: Duration = Duration::from_secs(3);

/// How long the last events may take after that.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How long the first look at a provider may hold up the start.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// A task by name.
type Named = (&'static str, Result<()>);

/// Tasks by name. All of them run until told to stop.
#[derive(Default)]
struct Tasks {
    running: JoinSet<Named>,
    /// Those that outlast the others: what ends has something to tell, and the lead is kept meanwhile.
    lasting: JoinSet<Named>,
}

impl Tasks {
    fn new() -> Self {
        Self::default()
    }

    fn spawn(&mut self, task: impl Future<Output = Named> + Send + 'static) {
        self.running.spawn(task);
    }

    fn spawn_lasting(&mut self, task: impl Future<Output = Named> + Send + 'static) {
        self.lasting.spawn(task);
    }

    async fn join_next(&mut self) -> Option<Result<Named, tokio::task::JoinError>> {
        tokio::select! {
            Some(ended) = self.running.join_next() => Some(ended),
            Some(ended) = self.lasting.join_next() => Some(ended),
            else => None,
        }
    }

    async fn end(&mut self) {
        self.running.shutdown().await;
        self.lasting.shutdown().await;
    }
}

/// What the parts share.
struct Shared {
    config: Config,
    /// Writes only while this process leads.
    client: Client,
    /// Writes whatever holds: for the Lease itself.
    unfenced: Client,
    clock: Clock,
    metrics: Metrics,
    readiness: Readiness,
    started: Instant,
    /// No new work.
    stop: CancellationToken,
    /// No events any more.
    quiet: CancellationToken,
    /// Who may write.
    lead: Lead,
    /// The lead is to be given away.
    give_away: CancellationToken,
    reconciler: std::sync::OnceLock<Arc<Reconciler>>,
}

/// Runs the controller until `end` is done.
///
/// # Errors
/// When it cannot start, or a part of it ends by itself.
pub async fn run(config: Config, end: impl Future<Output = Result<&'static str>>) -> Result<()> {
    let client = connect::client(config.kubeconfig.as_deref(), config.context.as_deref()).await?;
    run_with(config, client.into(), providers::install, end).await
}

/// What the process is tied to.
#[derive(Clone)]
pub struct Ties {
    /// The API server.
    pub client: Client,
    /// The time.
    pub clock: Clock,
}

impl From<Client> for Ties {
    fn from(client: Client) -> Self {
        Self {
            client,
            clock: Clock::default(),
        }
    }
}

/// The same with ties and providers of the caller's: `install` makes those that the configuration enables.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    ties: Ties,
    install: impl FnOnce(&Config, &Cluster) -> Result<Vec<Installed>, CloudError>,
    end: impl Future<Output = Result<&'static str>>,
) -> Result<()> {
    let started = Instant::now();
    let Ties { client, clock } = ties;
    let (identity, metrics) = (lease::identity(), Metrics::new());
    let lead = if config.home.election {
        Lead::sought(identity)
    } else {
        metrics.lead(LeadChange::Gained);
        Lead::alone(identity)
    };
    let shared = Arc::new(Shared {
        config,
        client: fenced(&client, lead.ticket()),
        unfenced: client,
        clock,
        metrics,
        readiness: Readiness::default(),
        started,
        stop: CancellationToken::new(),
        quiet: CancellationToken::new(),
        lead,
        give_away: CancellationToken::new(),
        reconciler: std::sync::OnceLock::new(),
    });
    let mut tasks = Tasks::new();
    let result = tokio::select! {
        biased;
        signal = end => signal.map(|signal| info!(signal, "asked to end; what runs may end first")),
        result = live(&shared, install, &mut tasks) => result,
    };
    if let Err(error) = &result {
        error!(error = format!("{error:#}"), "cannot go on");
    }
    shut_down(&shared, tasks).await;
    result
}

/// Starts everything in order, and watches over it. Ends only with an error.
async fn live(
    shared: &Arc<Shared>,
    install: impl FnOnce(&Config, &Cluster) -> Result<Vec<Installed>, CloudError>,
    tasks: &mut Tasks,
) -> Result<()> {
    serve_admin(shared, tasks).await?;
    let Some(cluster) = beside(
        tasks,
        connect::identity(&shared.client, &shared.config.cluster_name, &shared.stop),
    )
    .await?
    else {
        return Ok(());
    };
    shared.readiness.reached(IDENTITY);
    let standing = Arc::new(ControllerStanding::new(
        shared.config.home.clone(),
        shared.config.rules.enabled.iter().cloned(),
        shared.clock.clone(),
        shared.metrics.clone(),
    ));
    let (events, writer) = events::channel(
        fenced(&shared.unfenced, shared.lead.words()),
        shared.metrics.clone(),
        shared.clock.clone(),
    );
    let quiet = shared.quiet.clone();
    tasks.spawn_lasting(async move {
        writer.run(quiet).await;
        ("events", Ok(()))
    });
    let mut config = shared.config.clone();
    providers::aws::find_node(&mut config, &shared.client).await;
    let providers = install(&config, &cluster)?;
    for provider in &providers {
        let (home, lead) = (&shared.config.home, &shared.lead);
        let client = shared.client.clone();
        let ledger = MarkLedger::new(client, home, &provider.name, lead.identity());
        provider.engine.hold(Arc::new(ledger), lead.ticket());
    }
    let reconciler = Arc::new(Reconciler::new(Parts {
        rules: shared.config.rules.clone(),
        providers,
        cluster,
        publisher: Publisher::new(
            shared.client.clone(),
            shared.metrics.clone(),
            standing.clone(),
        ),
        events: events.clone(),
        metrics: shared.metrics.clone(),
        standing: standing.clone(),
        ticket: shared.lead.ticket(),
        resync: shared.config.resync,
        started: shared.started,
        clock: shared.clock.clone(),
    }));
    // Set once, here.
    let _ = shared.reconciler.set(reconciler.clone());

    let services = watch_services(shared, &reconciler, tasks);
    let nodes = watch_nodes(shared, &reconciler, tasks);
    watch_endpoints(shared, &reconciler, tasks);
    watch_pods(shared, &reconciler, tasks);
    let caches = async {
        tokio::join!(
            services.cancelled(),
            nodes.cancelled(),
            start_clouds(shared)
        );
    };
    beside(tasks, caches).await?;
    if shared.config.local.start != Start::Never && runs(shared, evenkeel_local::NAME) {
        let (local, stop) = (shared.config.local.clone(), shared.stop.clone());
        tasks.spawn(async move {
            providers::local::keep(local, stop).await;
            ("data plane", Ok(()))
        });
    }
    // Not when the lead is gained: whoever takes over has no time for it.
    beside(tasks, reconciler.ask_kube_proxy()).await?;
    seek_the_lead(shared, tasks);
    beside(tasks, lead_gained(shared, &reconciler)).await?;
    beside(tasks, first_looks(shared, &reconciler)).await?;
    stand(shared, standing, &reconciler, events, tasks);
    let (workers, stop) = (shared.config.workers, shared.stop.clone());
    info!(workers, "the caches are filled; work begins");
    tasks.spawn(async move {
        let queue = reconciler.queue().clone();
        queue::work(queue, workers, stop, move |turn| {
            let reconciler = reconciler.clone();
            async move { reconciler.reconcile(turn).await }
        })
        .await;
        ("workers", Ok(()))
    });
    beside(tasks, std::future::pending::<()>()).await
}

/// Publishes how the controller stands, and asks those providers again that could not be asked.
fn stand(
    shared: &Arc<Shared>,
    standing: Arc<ControllerStanding>,
    reconciler: &Arc<Reconciler>,
    events: events::Events,
    tasks: &mut Tasks,
) {
    let said = Said::of(&shared.config, shared.lead.identity().to_owned());
    let (client, stop) = (shared.client.clone(), shared.stop.clone());
    tasks.spawn(async move {
        standing.keep(client, events, said, stop).await;
        ("own object", Ok(()))
    });
    let (reconciler, stop) = (reconciler.clone(), shared.stop.clone());
    tasks.spawn(async move {
        reconciler.probe(&stop).await;
        ("probes", Ok(()))
    });
}

/// What the process needs before it is ready, in words.
const IDENTITY: &str = "the identity of the cluster";
const SERVICES: &str = "the list of Services";
const NODES: &str = "the list of Nodes";

fn look_of(provider: &ProviderName) -> String {
    format!("the first look at the provider {provider}")
}

fn lease_of(shared: &Shared) -> String {
    let home = &shared.config.home;
    format!("the Lease {}/{}", home.namespace, home.instance)
}

fn runs(shared: &Shared, provider: &str) -> bool {
    shared
        .config
        .rules
        .enabled
        .contains(&ProviderName::from(provider))
}

async fn serve_admin(shared: &Arc<Shared>, tasks: &mut Tasks) -> Result<()> {
    for what in [IDENTITY, SERVICES, NODES] {
        shared.readiness.expect(what);
    }
    if shared.config.home.election {
        shared.readiness.expect(lease_of(shared));
    }
    for provider in &shared.config.rules.enabled {
        shared.readiness.expect(look_of(provider));
    }
    let Some(address) = shared.config.listen else {
        return Ok(());
    };
    let listener = admin::bind(address).await?;
    info!(%address, "serving /healthz, /readyz, /metrics and /status");
    let (about, others, standings) = (shared.clone(), shared.clone(), shared.clone());
    let admin = Admin {
        readiness: shared.readiness.clone(),
        metrics: shared.metrics.clone(),
        refresh: Arc::new(move || {
            if let Some(reconciler) = about.reconciler.get() {
                reconciler.refresh_gauges();
            }
        }),
        others: Arc::new(move || {
            let reconciler = others.reconciler.get();
            reconciler.map_or_else(Vec::new, |reconciler| reconciler.measures())
        }),
        standings: Arc::new(move |scope| {
            let reconciler = standings.reconciler.get().cloned();
            Box::pin(async move { Some(reconciler?.standings(&scope).await) })
        }),
    };
    let stop = shared.stop.clone();
    tasks.spawn(async move { ("HTTP server", admin::serve(listener, admin, stop).await) });
    Ok(())
}

/// Watches Services. The result is done when a first list is complete.
fn watch_services(
    shared: &Arc<Shared>,
    reconciler: &Arc<Reconciler>,
    tasks: &mut Tasks,
) -> CancellationToken {
    let listed = CancellationToken::new();
    let (done, shared, reconciler) = (listed.clone(), shared.clone(), reconciler.clone());
    tasks.spawn(async move {
        let never = Notify::new();
        let watched = watch::<Service>(
            shared.client.clone(),
            &shared.metrics,
            &shared.stop,
            &never,
            |event| {
                let (wakes, complete) = reconciler.services().event(event);
                for (group, why) in wakes {
                    reconciler.queue().ask(group, why);
                }
                if complete && !done.is_cancelled() {
                    shared.readiness.reached(SERVICES);
                    done.cancel();
                }
            },
        );
        ("watch of services", watched.await)
    });
    listed
}

/// Watches Nodes, and works their sets out anew when they have been quiet for a while. The result is done when a first
/// list is complete and its sets are there.
fn watch_nodes(
    shared: &Arc<Shared>,
    reconciler: &Arc<Reconciler>,
    tasks: &mut Tasks,
) -> CancellationToken {
    let listed = CancellationToken::new();
    let changed = Arc::new(Notify::new());
    tasks.spawn({
        let (done, shared, reconciler, changed) = (
            listed.clone(),
            shared.clone(),
            reconciler.clone(),
            changed.clone(),
        );
        async move {
            let watched = watch::<NodeFacts>(
                shared.client.clone(),
                &shared.metrics,
                &shared.stop,
                reconciler.labels_missing(),
                |event| {
                    let did = reconciler.nodes().event(event);
                    match did {
                        Did::Nothing => {}
                        Did::Listed if !done.is_cancelled() => {
                            reconciler.settle_nodes();
                            shared.readiness.reached(NODES);
                            done.cancel();
                        }
                        Did::Listed | Did::Changed => changed.notify_one(),
                    }
                },
            );
            ("watch of nodes", watched.await)
        }
    });
    tasks.spawn({
        let (done, shared, reconciler) = (listed.clone(), shared.clone(), reconciler.clone());
        async move {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = follow_nodes(&shared, &reconciler, &changed, &done) => {}
            }
            ("nodes", Ok(()))
        }
    });
    listed
}

/// Watches EndpointSlices, from when somebody's targets are endpoints.
fn watch_endpoints(shared: &Arc<Shared>, reconciler: &Arc<Reconciler>, tasks: &mut Tasks) {
    let (shared, reconciler) = (shared.clone(), reconciler.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = shared.stop.cancelled() => return ("watch of endpointslices", Ok(())),
            () = reconciler.endpoints_are_followed() => {}
        }
        let never = Notify::new();
        let watched = watch::<SliceFacts>(
            shared.client.clone(),
            &shared.metrics,
            &shared.stop,
            &never,
            |event| reconciler.hear_of_endpoints(event),
        );
        ("watch of endpointslices", watched.await)
    });
}

/// Watches the pods of those namespaces in which a Service has pods as targets, each as long as it is so.
fn watch_pods(shared: &Arc<Shared>, reconciler: &Arc<Reconciler>, tasks: &mut Tasks) {
    let (shared, reconciler) = (shared.clone(), reconciler.clone());
    tasks.spawn(async move {
        let mut watches = JoinSet::new();
        let mut to_watch = reconciler.pod_watches().expect("taken once, here");
        let result = loop {
            let (namespace, ended) = tokio::select! {
                biased;
                () = shared.stop.cancelled() => break Ok(()),
                Some(ended) = watches.join_next() => match ended {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => break Err(error),
                    Err(error) => break Err(anyhow!(error)),
                },
                Some(begun) = to_watch.recv() => begun,
            };
            let (shared, reconciler) = (shared.clone(), reconciler.clone());
            watches.spawn(async move {
                let never = Notify::new();
                let watched = watch_of::<PodFacts>(
                    Api::namespaced(shared.client.clone(), &namespace),
                    &shared.metrics,
                    &shared.stop,
                    &never,
                    |heard| reconciler.hear_of_pods(&namespace, heard),
                );
                tokio::select! {
                    () = ended.cancelled() => Ok(()),
                    watched = watched => watched,
                }
            });
        };
        ("watch of pods", result)
    });
}

/// Never ends.
async fn follow_nodes(
    shared: &Shared,
    reconciler: &Reconciler,
    changed: &Notify,
    listed: &CancellationToken,
) {
    // What changes while the first list comes in is part of it.
    listed.cancelled().await;
    let debounce = Debounce::new(
        shared.config.node_debounce,
        shared.config.node_debounce_longest,
    );
    let home = &shared.config.home;
    reconciler
        .follow_nodes(&shared.client, home, debounce, changed)
        .await;
}

/// Competes for the lead from now on. Not earlier: who leads has to be able to work.
fn seek_the_lead(shared: &Shared, tasks: &mut Tasks) {
    if !shared.config.home.election {
        return;
    }
    let keeper = Keeper::new(
        shared.unfenced.clone(),
        &shared.config.home,
        shared.lead.clone(),
        shared.clock.clone(),
        shared.metrics.clone(),
    );
    let give_away = shared.give_away.clone();
    tasks.spawn_lasting(async move { ("leadership", keeper.keep(give_away).await) });
}

/// Waits until this process leads. Meanwhile it is ready: everything is known but what changes in the clouds.
async fn lead_gained(shared: &Shared, reconciler: &Reconciler) {
    let others = shared.lead.known().await;
    shared.readiness.reached(lease_of(shared));
    if others {
        tokio::select! {
            biased;
            () = shared.lead.gained() => return,
            // Whoever cannot be asked is told of now, and not only when everything depends on it.
            () = first_looks(shared, reconciler) => {}
        }
        shared.lead.gained().await;
    }
}

/// Starts what the providers need and nobody else has started.
async fn start_clouds(shared: &Shared) {
    if shared.config.local.start != Start::Never && runs(shared, evenkeel_local::NAME) {
        providers::local::ensure(&shared.config.local).await;
    }
}

/// Looks at every provider once. One that cannot be asked holds up nobody else.
async fn first_looks(shared: &Shared, reconciler: &Reconciler) {
    for provider in &shared.config.rules.enabled {
        let look = tokio::time::timeout(FIRST_LOOK, reconciler.first_look(provider));
        // Who has not answered by then is asked again.
        let _ = look.await;
        shared.readiness.reached(look_of(provider));
    }
}

/// Does a step, unless a task ends meanwhile.
async fn beside<T>(tasks: &mut Tasks, step: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        biased;
        ended = ended(tasks) => Err(ended),
        done = step => Ok(done),
    }
}

/// Waits until a task ends, which none should.
async fn ended(tasks: &mut Tasks) -> anyhow::Error {
    match tasks.join_next().await {
        None => std::future::pending().await,
        Some(Ok((name, Ok(())))) => {
            anyhow!("{name} ended by itself; please report this with the log")
        }
        Some(Ok((name, Err(error)))) => error.context(format!("{name} ended")),
        Some(Err(error)) => {
            anyhow!(error).context("a task ended by a bug; please report this with the log")
        }
    }
}

/// No new work; what runs may end; then no writes; then the lead is another's; then no events.
async fn shut_down(shared: &Shared, mut tasks: Tasks) {
    let asked = Instant::now();
    shared.stop.cancel();
    if shared.lead.is_lost() {
        // Another may be writing: not a word more.
        tasks.end().await;
        return;
    }
    let competes = shared.config.home.election;
    let grace = if competes { GRACE_OF_LEADER } else { GRACE };
    let others = async { while tasks.running.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, others).await.is_err() && !competes {
        warn!("something still runs; it is cut off, and the next start goes on from there");
    }
    let closed = tokio::time::timeout(GRACE, shared.lead.close(LAST_WORDS)).await;
    if closed.is_err() {
        warn!(
            "a write is still under way; it is cut off, and the lead is not given away before its time"
        );
    } else if competes {
        let led = shared.lead.leads();
        shared.give_away.cancel();
        let _ = tokio::time::timeout(HAND_OVER, shared.lead.released()).await;
        if led {
            let duration_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
            info!(
                duration_ms,
                "no write is under way; another replica may go on"
            );
        }
    }
    tasks.running.shutdown().await;
    shared.quiet.cancel();
    let last = async { while tasks.lasting.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WORDS, last).await;
    tasks.end().await;
    info!("ended; load balancers and their connections go on");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_ends_the_process_and_is_named() {
        for (ending, want) in [
            (Ok(()), "watch of nodes ended by itself"),
            (
                Err(anyhow!("the stream closed")),
                "watch of nodes ended: the stream closed",
            ),
        ] {
            let mut tasks = Tasks::new();
            tasks.spawn(async move { ("watch of nodes", ending) });
            let error = beside(&mut tasks, std::future::pending::<()>())
                .await
                .expect_err("ended");
            assert!(format!("{error:#}").contains(want), "{error:#}");
        }
        let mut tasks = Tasks::new();
        tasks.spawn(async { panic!("on purpose") });
        let error = beside(&mut tasks, std::future::pending::<()>())
            .await
            .expect_err("panicked");
        assert!(format!("{error:#}").contains("on purpose"), "{error:#}");
    }

    #[tokio::test]
    async fn a_step_beside_running_tasks_is_done() {
        let mut tasks = Tasks::new();
        tasks.spawn(std::future::pending());
        assert_eq!(beside(&mut tasks, async { 7 }).await.expect("done"), 7);
    }
}
