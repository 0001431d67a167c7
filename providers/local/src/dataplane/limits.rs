//! How many connections a Service may have open. Decides with a counter, and wakes who waits; touches no network.
//!
//! All listeners of one Service count together, of every port and family. Connections are counted whether or not there is a
//! limit, so that one that is set later knows of them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use crate::api::{Marks, namespace_and_name};

/// Who counts together: a Service of a cluster.
type Key = (String, String);

/// The connections of every Service.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    by_service: Mutex<HashMap<Key, Weak<Share>>>,
    live: Arc<AtomicUsize>,
}

impl Shares {
    /// The share that the listeners of these marks have in common.
    pub(crate) fn of(&self, marks: &Marks) -> Arc<Share> {
        let mut shares = self
            .by_service
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (marks.cluster.clone(), marks.member.clone());
        if let Some(share) = shares.get(&key).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() > 2 * self.services() {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        self.live.fetch_add(1, Relaxed);
        let share = Arc::new(Share {
            service: marks.service.clone(),
            open: AtomicUsize::new(0),
            freed: Notify::new(),
            at_limit: AtomicBool::new(false),
            live: Arc::clone(&self.live),
        });
        shares.insert(key, Arc::downgrade(&share));
        share
    }

    /// How many Services there are.
    pub(crate) fn services(&self) -> usize {
        self.live.load(Relaxed)
    }
}

/// The connections of one Service.
#[derive(Debug)]
pub(crate) struct Share {
    /// `namespace/name`, for the log.
    service: String,
    open: AtomicUsize,
    freed: Notify,
    at_limit: AtomicBool,
    live: Arc<AtomicUsize>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Relaxed);
    }
}

/// One connection of a Service: counts until dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Share>);

impl Slot {
    /// How many connections the Service has open, this one among them.
    pub(crate) fn open(&self) -> usize {
        self.0.open.load(Relaxed)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.freed.notify_waiters();
    }
}

impl Share {
    /// A slot, unless the Service has as many connections as it may (None: as it likes).
    pub(crate) fn enter(self: &Arc<Self>, most: Option<u32>) -> Option<Slot> {
        let most = most.map_or(usize::MAX, |most| {
            usize::try_from(most).unwrap_or(usize::MAX)
        });
        let more = |open: usize| (open < most).then_some(open + 1);
        match self.open.fetch_update(Relaxed, Relaxed, more) {
            Ok(open) => {
                // Well below the limit again: the next time is news again.
                if open < most - most / 10 && self.at_limit.load(Relaxed) {
                    self.at_limit.store(false, Relaxed);
                }
                Some(Slot(Arc::clone(self)))
            }
            Err(_) => {
                if !self.at_limit.swap(true, Relaxed) {
                    let (namespace, service) = namespace_and_name(&self.service);
                    tracing::warn!(
                        service.namespace = namespace,
                        service.name = service,
                        limit = most,
                        "as many connections as the Service allows are open; further ones wait"
                    );
                }
                None
            }
        }
    }

    /// Waits until it is worth trying again. Must be made before the try that fails, to hear of what happens after it.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> {
        self.freed.notified()
    }

    /// Tells those who wait that the limit is another one.
    pub(crate) fn limit_changed(&self) {
        self.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(member: &str) -> Marks {
        Marks {
            cluster: "c".into(),
            group: "g".into(),
            service: format!("shop/{member}"),
            member: member.into(),
            retain: false,
            labels: Default::default(),
        }
    }

    #[test]
    fn listeners_of_one_service_count_together() {
        let shares = Shares::default();
        let (one, same, other) = (
            shares.of(&marks("a")),
            shares.of(&marks("a")),
            shares.of(&marks("b")),
        );
        assert_eq!(shares.services(), 2);
        let first = one.enter(Some(2)).expect("room");
        let second = same.enter(Some(2)).expect("room");
        assert_eq!(second.open(), 2);
        assert!(one.enter(Some(2)).is_none());
        assert!(other.enter(Some(2)).is_some());
        assert!(one.enter(Some(3)).is_some(), "with a larger limit");
        assert!(one.enter(None).is_some(), "without a limit");
        drop(first);
        assert!(one.enter(Some(2)).is_some());
        assert!(one.enter(Some(1)).is_none(), "with a smaller limit");
        drop((one, same));
        assert_eq!(shares.services(), 2, "its last connection is still open");
        drop(second);
        assert_eq!(shares.services(), 1);
        assert_eq!(
            shares
                .of(&marks("a"))
                .enter(Some(1))
                .map(|slot| slot.open()),
            Some(1)
        );
    }

    #[test]
    fn services_that_are_gone_are_forgotten() {
        let shares = Shares::default();
        for number in 0..1_000 {
            shares.of(&marks(&number.to_string()));
        }
        assert_eq!(shares.services(), 0);
        let kept = shares.by_service.lock().expect("no panic").len();
        assert!(kept <= 2, "{kept}");
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let share = Shares::default().of(&marks("a"));
        let slot = share.enter(Some(1)).expect("room");
        let changed = share.changed();
        assert!(share.enter(Some(1)).is_none());
        drop(slot);
        changed.await;
        assert!(share.enter(Some(1)).is_some());

        let changed = share.changed();
        share.limit_changed();
        changed.await;
    }
}
