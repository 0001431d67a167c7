//! A watched copy of all objects of one kind. Reads: the API server.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// The copy; it lags behind the server by one message, and stops following when dropped.
pub(crate) struct Mirror<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    _task: AbortOnDropHandle<()>,
}

impl<K> Mirror<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    /// Starts to follow all namespaces; `changed` is told after every change of the copy.
    pub(crate) fn start(client: &Client, changed: &Arc<Notify>) -> Self {
        let (store, writer) = reflector::store();
        let events = watcher(Api::<K>::all(client.clone()), watcher::Config::default());
        let changed = changed.clone();
        let task = tokio::spawn(async move {
            let events = events.default_backoff().reflect(writer);
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(_) => changed.notify_one(),
                    // The watcher tries again by itself.
                    Err(error) => tracing::debug!("watch: {error}"),
                }
            }
        });
        Self {
            store,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(crate) fn store(&self) -> &Store<K> {
        &self.store
    }
}
