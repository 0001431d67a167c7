//! Our hand off those who leave (Writes to the API server).

use evenkeel_core::{
    engine::Report,
    error::chain,
    ids::{GroupKey, ServiceRef},
};
use jiff::Timestamp;
use tracing::{info, warn};

use super::{lock, memory::Memory, work::Run};

impl Run<'_> {
    /// Lets those go of whom nothing is left. Returns whether that failed for somebody. With `hushed` what goes well is
    /// not told yet.
    pub(super) async fn release(
        &self,
        report: &Report,
        releasing: bool,
        hushed: bool,
        memory: &mut Memory,
        now: Timestamp,
    ) -> bool {
        let done = |service: &ServiceRef| {
            if releasing {
                report.gone
            } else {
                nothing_left(report, service)
            }
        };
        let mut trouble = false;
        if !self.group.leaving.is_empty() {
            memory.leaving_since.get_or_insert(now);
        }
        for leaving in &self.group.leaving {
            let service = &leaving.reference;
            if !done(service) {
                if !hushed {
                    trouble |= self.publish_leaving(service, report, memory, now).await;
                }
                continue;
            }
            memory.let_go(service);
            self.all.let_go(service, &self.provider.name, self.key);
            if self
                .all
                .held_elsewhere(service, &self.provider.name, self.key)
            {
                info!(
                    "something of this Service is still in another group; its finalizer stays until that is gone"
                );
                // Nobody else tells that group that its Service leaves altogether.
                self.all.wake_others(service, self.key);
                continue;
            }
            match self
                .all
                .publisher
                .release(service, &self.provider.name, leaving.clear)
                .await
            {
                Ok(()) => self.released(service, memory, now),
                Err(error) => {
                    warn!(
                        error = chain(&error),
                        "our finalizer could not be removed; it is tried again"
                    );
                    memory.hold(service);
                    trouble = true;
                }
            }
        }
        for service in memory.departed(&self.group) {
            let leaves = self
                .group
                .leaving
                .iter()
                .any(|leaving| leaving.reference.uid == service.uid);
            if !leaves && done(&service) {
                memory.let_go(&service);
                self.all.let_go(&service, &self.provider.name, self.key);
                self.all.wake_others(&service, self.key);
                // Without its finalizer it went before we were done; one that moved is counted where it is.
                if self.all.services().group(&service.key).is_none() {
                    lock(&self.all.census).gone(&service.uid);
                }
            }
        }
        if releasing && report.gone {
            let mut census = lock(&self.all.census);
            census.targets(&self.provider.name, self.key, None);
            census.pools(&self.provider.name, self.key, &[]);
        }
        trouble
    }

    fn released(&self, service: &ServiceRef, memory: &mut Memory, now: Timestamp) {
        info!("released");
        let told = memory.told(service, false).released();
        self.all.events.tell(service, told);
        lock(&self.all.census).gone(&service.uid);
        let took = memory
            .leaving_since
            .map_or(0, |since| now.duration_since(since).as_millis());
        let took = std::time::Duration::from_millis(u64::try_from(took).unwrap_or_default());
        self.all.metrics.released(self.provider.name.as_str(), took);
        memory.let_go(service);
        if let GroupKey::Service(_) = self.key {
            memory.leaving_since = None;
        }
    }
}

/// Whether a load balancer that others go on using has nothing of a Service any more.
fn nothing_left(report: &Report, service: &ServiceRef) -> bool {
    let Some(published) = &report.published else {
        return false;
    };
    report.failures.is_empty()
        && report.waits.is_empty()
        && published.ports.iter().all(|port| port.service != *service)
}

#[cfg(test)]
mod tests {
    use evenkeel_core::{
        ids::{ResourceId, ServiceKey, ServiceUid},
        plan::{Until, Wait},
        ports::{PortKey, Protocol},
        published::{Published, PublishedPort},
    };

    use super::*;

    #[test]
    fn a_service_leaves_a_shared_load_balancer_when_no_port_of_its_own_is_there() {
        let service = |name: &str| ServiceRef {
            key: ServiceKey::new("shop", name),
            uid: ServiceUid::new(name),
        };
        let with = |name| Published {
            ports: vec![PublishedPort {
                service: service(name),
                port: PortKey {
                    port: 80,
                    protocol: Protocol::Tcp,
                },
            }],
            ..Published::default()
        };
        let wait = Wait {
            id: ResourceId::new("ls"),
            what: "draining".into(),
            until: Until::Told,
        };
        for (name, report, want) in [
            (
                "others' ports only",
                Report {
                    published: Some(with("b")),
                    ..Report::default()
                },
                true,
            ),
            (
                "its port",
                Report {
                    published: Some(with("a")),
                    ..Report::default()
                },
                false,
            ),
            ("not read", Report::default(), false),
            (
                "work goes on",
                Report {
                    published: Some(with("b")),
                    waits: vec![wait],
                    ..Report::default()
                },
                false,
            ),
        ] {
            assert_eq!(nothing_left(&report, &service("a")), want, "{name}");
        }
    }
}
