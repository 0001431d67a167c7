//! Every metric: name, type, labels, unit (Writes to memory only).
//!
//! Label values come from enums and from names of this program, so that their number is bounded: no Service name, error
//! text or cloud id is ever a label. The names are the fields' names with the prefix `evenkeel_`.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Label `provider`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfProvider {
    provider: String,
}

/// Labels `provider` and `result`: one of [`Ended`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Run {
    provider: String,
    result: &'static str,
}

/// Labels `provider`, `action` (create, change, replace, destroy) and `result` (done, or an error class).
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Write {
    provider: String,
    action: &'static str,
    result: &'static str,
}

/// Labels `provider` and `result` (done, or an error class).
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReadOf {
    provider: String,
    result: &'static str,
}

/// Labels `provider` and `state`: one of [`State`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InState {
    provider: String,
    state: &'static str,
}

/// Labels `provider` and `health` (healthy, unhealthy).
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfHealth {
    provider: String,
    health: &'static str,
}

/// Labels `provider` and `reason`: why a node is no target.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Skipped {
    provider: String,
    reason: String,
}

/// Label `resource`: services, nodes.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfResource {
    resource: &'static str,
}

/// Label `stage`: one of [`Stage`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfStage {
    stage: &'static str,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Our finalizer, and a fresh look before a release.
    Prepare,
    /// The provider makes it so.
    Converge,
    /// Status and events.
    Publish,
    /// Our hand off those who leave.
    Release,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Converge => "converge",
            Self::Publish => "publish",
            Self::Release => "release",
        }
    }
}

/// Labels `provider`, and `kind`: the kinds of objects that a provider has.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Drift {
    provider: String,
    kind: &'static str,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Something was done, and all is as asked.
    Ok,
    /// There was nothing to do.
    Noop,
    /// It goes on: something is waited for, or failed and is tried again.
    Retry,
    /// It goes on when a person has changed something.
    Terminal,
}

impl Ended {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Noop => "noop",
            Self::Retry => "retry",
            Self::Terminal => "terminal",
        }
    }
}

/// Where a Service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is being set up.
    Claimed,
    /// It is as asked.
    Active,
    /// Something keeps it from being as asked, and goes on by itself.
    Degraded,
    /// What it asks cannot be used.
    Rejected,
    /// Its load balancer is being given back.
    Releasing,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Claimed,
        Self::Active,
        Self::Degraded,
        Self::Rejected,
        Self::Releasing,
    ];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Rejected => "rejected",
            Self::Releasing => "releasing",
        }
    }
}

/// Label `change`: one of [`LeadChange`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LeadChanged {
    change: &'static str,
}

/// What became of the lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadChange {
    /// It was free.
    Gained,
    /// It was taken from a leader that fell silent.
    TakenOver,
    /// It was given away.
    GivenAway,
    /// It was lost.
    Lost,
}

impl LeadChange {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gained => "gained",
            Self::TakenOver => "taken-over",
            Self::GivenAway => "given-away",
            Self::Lost => "lost",
        }
    }
}

fn seconds() -> Histogram {
    // From 1 ms to 17 minutes.
    Histogram::new(exponential_buckets(0.001, 4.0, 11))
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics. Cloning shares them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconcile: Family<Run, Counter>,
    reconcile_duration: Histograms<OfProvider>,
    reconcile_stage_duration: Histograms<OfStage>,
    services: Family<InState, Gauge>,
    service_oldest_pending: Family<OfProvider, Gauge>,
    provision: Histograms<OfProvider>,
    release: Histograms<OfProvider>,
    writes: Family<Write, Counter>,
    reads: Family<ReadOf, Counter>,
    orphans: Family<OfProvider, Gauge>,
    targets: Family<OfHealth, Gauge>,
    node_sync: Counter,
    node_sync_duration: Histogram,
    write_duration: Histograms<OfProvider>,
    node_set_size: Family<OfProvider, Gauge>,
    nodes_skipped: Family<Skipped, Gauge>,
    nodes_held: Family<OfProvider, Gauge>,
    provider_ready: Family<OfProvider, Gauge>,
    api_ready: Gauge,
    drift_detected: Family<Drift, Counter>,
    drift_repaired: Family<OfProvider, Counter>,
    leader: Gauge,
    lead_changes: Family<LeadChanged, Counter>,
    status_write: Counter,
    status_conflict: Counter,
    finalizer_lost: Counter,
    events_failed: Counter,
    queue_depth: Gauge,
    queue_latency: Histogram,
    watch_failures: Family<OfResource, Counter>,
    unreadable_objects: Family<OfResource, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at nothing.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("evenkeel");
        macro_rules! counter {
            ($name:literal, $help:literal) => {{
                let metric = Family::default();
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        macro_rules! single {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        macro_rules! timing {
            ($name:literal, $help:literal) => {{
                let metric = Histograms::new_with_constructor(seconds);
                registry.register_with_unit($name, $help, Unit::Seconds, metric.clone());
                metric
            }};
        }
        let reconcile = counter!(
            "reconcile",
            "Runs of a group of Services, by provider and result"
        );
        let reconcile_duration = timing!("reconcile_duration", "How long a run took");
        let reconcile_stage_duration = timing!(
            "reconcile_stage_duration",
            "How long a part of a run took, by stage: prepare (our finalizer), converge (the cloud), publish (status), release"
        );
        let services = counter!("services", "Services, by provider and state");
        let service_oldest_pending = Family::default();
        registry.register_with_unit(
            "service_oldest_pending",
            "How long the Service that waits longest has waited to be as asked",
            Unit::Seconds,
            service_oldest_pending.clone(),
        );
        let provision = timing!(
            "provision",
            "From the first sight of a Service to its published address"
        );
        let release = timing!("release", "From the first sight of a release to its end");
        let writes = counter!(
            "writes",
            "Writes to a cloud, by provider, action and result"
        );
        let reads = counter!("reads", "Looks at a cloud, by provider and result");
        let orphans = counter!(
            "orphans",
            "Load balancers of this cluster whose Services are gone, by provider"
        );
        let targets = counter!(
            "targets",
            "Targets, by provider and health, where the provider knows it"
        );
        let node_sync = single!(
            "node_sync",
            "How often the sets of target nodes were worked out anew",
            Counter::default()
        );
        let node_sync_duration = seconds();
        registry.register_with_unit(
            "node_sync_duration",
            "How long it took to work the sets of target nodes out",
            Unit::Seconds,
            node_sync_duration.clone(),
        );
        let write_duration = timing!("write_duration", "How long a write to a cloud took");
        let node_set_size = counter!(
            "node_set_size",
            "Nodes that are targets of anything new, by provider"
        );
        let nodes_skipped = counter!(
            "nodes_skipped",
            "Nodes that are no targets of anything new, by provider and reason"
        );
        let nodes_held = counter!(
            "nodes_held",
            "Nodes that vanished all at once and are held until that is confirmed, by provider"
        );
        let provider_ready = counter!(
            "provider_ready",
            "Whether a provider can be asked (1) or not (0), by provider; the controller's ConfigMap says why not"
        );
        let api_ready = single!(
            "api_ready",
            "Whether the API server allows all that is needed (1) or not (0)",
            Gauge::default()
        );
        api_ready.set(1);
        let drift_detected = counter!(
            "drift_detected",
            "Objects that were not what they had been made though nothing else was asked, by provider and kind of object"
        );
        let drift_repaired = counter!(
            "drift_repaired",
            "How often a load balancer was not what it had been made and was repaired, by provider"
        );
        let leader = single!(
            "leader",
            "Whether this process leads and may write (1) or stands by (0)",
            Gauge::default()
        );
        let lead_changes = counter!(
            "lead_changes",
            "How often this process got or lost the lead, by change: gained, taken-over (the former leader fell silent), given-away, lost"
        );
        let status_write = single!(
            "status_write",
            "Writes to the status of a Service",
            Counter::default()
        );
        let status_conflict = single!(
            "status_conflict",
            "Writes to a Service that met another state",
            Counter::default()
        );
        let finalizer_lost = single!(
            "finalizer_lost",
            "How often somebody took our finalizer off a living Service",
            Counter::default()
        );
        let events_failed = single!(
            "events_failed",
            "Events that could not be written, or were too many",
            Counter::default()
        );
        let queue_depth = single!(
            "queue_depth",
            "Groups of Services that wait to be worked on",
            Gauge::default()
        );
        let queue_latency = seconds();
        registry.register_with_unit(
            "queue_latency",
            "How long a group waited to be worked on",
            Unit::Seconds,
            queue_latency.clone(),
        );
        let watch_failures = counter!(
            "watch_failures",
            "Watches that failed and were begun again, by resource"
        );
        let unreadable_objects = counter!(
            "unreadable_objects",
            "Objects that could not be read, by resource"
        );
        Self {
            registry: Arc::new(registry),
            reconcile,
            reconcile_duration,
            reconcile_stage_duration,
            services,
            service_oldest_pending,
            provision,
            release,
            writes,
            reads,
            orphans,
            targets,
            node_sync,
            node_sync_duration,
            write_duration,
            node_set_size,
            nodes_skipped,
            nodes_held,
            provider_ready,
            api_ready,
            drift_detected,
            drift_repaired,
            leader,
            lead_changes,
            status_write,
            status_conflict,
            finalizer_lost,
            events_failed,
            queue_depth,
            queue_latency,
            watch_failures,
            unreadable_objects,
        }
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// Never for these metrics.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A run has ended.
    pub fn reconciled(&self, provider: &str, ended: Ended, took: Duration) {
        self.reconcile
            .get_or_create(&Run {
                provider: provider.to_owned(),
                result: ended.as_str(),
            })
            .inc();
        self.reconcile_duration
            .get_or_create(&of(provider))
            .observe(took.as_secs_f64());
    }

    /// A part of a run has ended.
    pub fn stage_ended(&self, stage: Stage, took: Duration) {
        let stage = stage.as_str();
        self.reconcile_stage_duration
            .get_or_create(&OfStage { stage })
            .observe(took.as_secs_f64());
    }

    /// How long a write took, through or not.
    pub fn write_took(&self, provider: &str, took: Duration) {
        self.write_duration
            .get_or_create(&of(provider))
            .observe(took.as_secs_f64());
    }

    /// A write has ended. `result` is `done`, or an error class.
    pub fn wrote(&self, provider: &str, action: &'static str, result: &'static str) {
        self.writes
            .get_or_create(&Write {
                provider: provider.to_owned(),
                action,
                result,
            })
            .inc();
    }

    /// A cloud was looked at. `result` is `done`, or an error class.
    pub fn looked(&self, provider: &str, result: &'static str) {
        self.reads
            .get_or_create(&ReadOf {
                provider: provider.to_owned(),
                result,
            })
            .inc();
    }

    /// A Service got its first address.
    pub fn provisioned(&self, provider: &str, took: Duration) {
        self.provision
            .get_or_create(&of(provider))
            .observe(took.as_secs_f64());
    }

    /// A Service was released.
    pub fn released(&self, provider: &str, took: Duration) {
        self.release
            .get_or_create(&of(provider))
            .observe(took.as_secs_f64());
    }

    /// How many load balancers have no Service any more.
    pub fn set_orphans(&self, provider: &str, orphans: usize) {
        self.orphans
            .get_or_create(&of(provider))
            .set(gauge(orphans));
    }

    /// How many Services stand where, and how long the oldest of those that are not as asked has waited.
    pub fn set_services(&self, provider: &str, state: State, services: usize) {
        self.services
            .get_or_create(&InState {
                provider: provider.to_owned(),
                state: state.as_str(),
            })
            .set(gauge(services));
    }

    /// How long the Service that waits longest has waited.
    pub fn set_oldest_pending(&self, provider: &str, waited: Duration) {
        let waited = i64::try_from(waited.as_secs()).unwrap_or(i64::MAX);
        self.service_oldest_pending
            .get_or_create(&of(provider))
            .set(waited);
    }

    /// The targets of all load balancers of a provider.
    pub fn set_targets(&self, provider: &str, healthy: u64, total: u64) {
        let label = |health| OfHealth {
            provider: provider.to_owned(),
            health,
        };
        self.targets
            .get_or_create(&label("healthy"))
            .set(healthy.try_into().unwrap_or(i64::MAX));
        self.targets
            .get_or_create(&label("unhealthy"))
            .set(total.saturating_sub(healthy).try_into().unwrap_or(i64::MAX));
    }

    /// The sets of nodes were worked out anew.
    pub fn nodes_settled(&self, took: Duration) {
        self.node_sync.inc();
        self.node_sync_duration.observe(took.as_secs_f64());
    }

    /// A provider's nodes.
    pub fn set_nodes(&self, provider: &str, eligible: usize) {
        self.node_set_size
            .get_or_create(&of(provider))
            .set(gauge(eligible));
    }

    /// How many nodes a provider leaves out for a reason.
    pub fn set_nodes_skipped(&self, provider: &str, reason: impl fmt::Debug, nodes: usize) {
        // The Debug text of a reason without fields is its name.
        let labels = Skipped {
            provider: provider.to_owned(),
            reason: format!("{reason:?}"),
        };
        self.nodes_skipped.get_or_create(&labels).set(gauge(nodes));
    }

    /// Forgets which nodes were left out.
    pub fn clear_nodes_skipped(&self) {
        self.nodes_skipped.clear();
    }

    /// How many of a provider's nodes vanished and are held.
    pub fn set_nodes_held(&self, provider: &str, nodes: usize) {
        self.nodes_held
            .get_or_create(&of(provider))
            .set(gauge(nodes));
    }

    /// Whether a provider can be asked.
    pub fn set_provider_ready(&self, provider: &str, ready: bool) {
        self.provider_ready
            .get_or_create(&of(provider))
            .set(i64::from(ready));
    }

    /// Whether the API server allows all that is needed.
    pub fn set_api_ready(&self, ready: bool) {
        self.api_ready.set(i64::from(ready));
    }

    /// An object was not what it had been made. `kind` is the cloud's word for it: `listener`.
    pub fn drift_detected(&self, provider: &str, kind: &'static str) {
        let provider = provider.to_owned();
        let drift = Drift { provider, kind };
        self.drift_detected.get_or_create(&drift).inc();
    }

    /// Somebody had changed a load balancer, and it is as asked again.
    pub fn drift_repaired(&self, provider: &str) {
        self.drift_repaired.get_or_create(&of(provider)).inc();
    }

    /// The lead came or went.
    pub fn lead(&self, change: LeadChange) {
        let leads = matches!(change, LeadChange::Gained | LeadChange::TakenOver);
        self.leader.set(i64::from(leads));
        let change = change.as_str();
        self.lead_changes
            .get_or_create(&LeadChanged { change })
            .inc();
    }

    /// A status was written.
    pub fn status_written(&self) {
        self.status_write.inc();
    }

    /// A write met another state.
    pub fn conflicted(&self) {
        self.status_conflict.inc();
    }

    /// Our finalizer is gone.
    pub fn finalizer_lost(&self) {
        self.finalizer_lost.inc();
    }

    /// An event could not be written.
    pub fn event_failed(&self) {
        self.events_failed.inc();
    }

    /// How many groups wait.
    pub fn set_queue_depth(&self, depth: usize) {
        self.queue_depth.set(gauge(depth));
    }

    /// How long one waited.
    pub fn waited_in_queue(&self, waited: Duration) {
        self.queue_latency.observe(waited.as_secs_f64());
    }

    /// A watch failed.
    pub fn watch_failed(&self, resource: &'static str) {
        self.watch_failures
            .get_or_create(&OfResource { resource })
            .inc();
    }

    /// An object could not be read.
    pub fn object_unreadable(&self, resource: &'static str) {
        self.unreadable_objects
            .get_or_create(&OfResource { resource })
            .inc();
    }
}

fn of(provider: &str) -> OfProvider {
    OfProvider {
        provider: provider.to_owned(),
    }
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_the_prefix_and_units_are_in_the_names() {
        let metrics = Metrics::new();
        metrics.reconciled("local", Ended::Noop, Duration::from_millis(3));
        metrics.set_services("local", State::Active, 2);
        metrics.set_orphans("local", 1);
        let text = metrics.encode().expect("encodes");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("evenkeel_"), "{line}");
        }
        for want in [
            "evenkeel_reconcile_total{provider=\"local\",result=\"noop\"} 1",
            "evenkeel_reconcile_duration_seconds_count{provider=\"local\"} 1",
            "evenkeel_services{provider=\"local\",state=\"active\"} 2",
            "evenkeel_orphans{provider=\"local\"} 1",
        ] {
            assert!(text.contains(want), "{want} is not in\n{text}");
        }
    }
}
