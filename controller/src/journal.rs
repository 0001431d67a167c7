//! Every write to a cloud, before and after: in the log and in the metrics (Writes to these only).

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use evenkeel_core::{
    converge::Journal,
    error::{CloudError, chain},
    ids::{GroupKey, ProviderName, ResourceId},
    plan::Change,
    published::Ingress,
};
use tracing::{info, warn};

use crate::metrics::Metrics;

/// The journal of one run.
pub struct Log<'a> {
    provider: &'a ProviderName,
    metrics: &'a Metrics,
    attempt: u32,
    /// Called at the first write, before it is made.
    first: &'a (dyn Fn() + Send + Sync),
    /// Whether every status names these addresses.
    tells: &'a (dyn Fn(&[Ingress]) -> bool + Send + Sync),
    began: AtomicBool,
    since: Mutex<HashMap<ResourceId, Instant>>,
}

impl<'a> Log<'a> {
    /// A journal. `attempt` counts tries that failed before.
    pub fn new(
        provider: &'a ProviderName,
        metrics: &'a Metrics,
        attempt: u32,
        first: &'a (dyn Fn() + Send + Sync),
        tells: &'a (dyn Fn(&[Ingress]) -> bool + Send + Sync),
    ) -> Self {
        Self {
            provider,
            metrics,
            attempt,
            first,
            tells,
            began: AtomicBool::new(false),
            since: Mutex::default(),
        }
    }

    /// Whether any write was made.
    pub fn began(&self) -> bool {
        self.began.load(Ordering::Acquire)
    }
}

impl Journal for Log<'_> {
    fn tells(&self, _: &GroupKey, addresses: &[Ingress]) -> bool {
        (self.tells)(addresses)
    }

    fn begins(&self, _: &GroupKey, change: &Change) {
        if !self.began.swap(true, Ordering::AcqRel) {
            (self.first)();
        }
        self.since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(change.id.clone(), Instant::now());
        info!(
            step = change.action.as_str(),
            kind = change.kind,
            resource.id = change.id.as_str(),
            attempt = self.attempt,
            reasons = reasons(change),
            "about to {} {} {}",
            change.action.as_str(),
            change.kind,
            change.id,
        );
    }

    fn ended(&self, _: &GroupKey, change: &Change, result: Result<(), &CloudError>) {
        let since = self
            .since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&change.id);
        let took = since.map(|since| since.elapsed()).unwrap_or_default();
        self.metrics.write_took(self.provider.as_str(), took);
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let step = change.action.as_str();
        let outcome = result.map_or_else(|error| error.class.as_str(), |()| "done");
        self.metrics.wrote(self.provider.as_str(), step, outcome);
        match result {
            Ok(()) => info!(
                step,
                kind = change.kind,
                resource.id = change.id.as_str(),
                duration_ms,
                "done: {step} {} {}",
                change.kind,
                change.id
            ),
            Err(error) => warn!(
                step,
                kind = change.kind,
                resource.id = change.id.as_str(),
                duration_ms,
                error.class = error.class.as_str(),
                cloud.code = error.code.as_deref().unwrap_or_default(),
                cloud.request_id = error.request_id.as_deref().unwrap_or_default(),
                attempt = self.attempt,
                "could not {step} {} {}: {}",
                change.kind,
                change.id,
                chain(error),
            ),
        }
    }

    fn observed(&self, _: &GroupKey, result: Result<(), &CloudError>) {
        self.metrics.looked(
            self.provider.as_str(),
            result.map_or_else(|error| error.class.as_str(), |()| "done"),
        );
        if let Err(error) = result {
            warn!(
                error.class = error.class.as_str(),
                cloud.code = error.code.as_deref().unwrap_or_default(),
                attempt = self.attempt,
                "could not look at the load balancer: {}",
                chain(error),
            );
        }
    }
}

fn reasons(change: &Change) -> String {
    change
        .reasons
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
