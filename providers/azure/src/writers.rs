//! The writers of what all groups share, one for each load balancer and one for the network security group (Reads and Writes).
//!
//! A group hands its claim in and goes; it is woken when the write that carries it is over. The nodes are nobody's claim: with them every
//! group is woken that has a part of the load balancer, because each remembers them.

mod balancer;
mod security;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use evenkeel_core::{
    error::CloudError,
    ids::GroupKey,
    intent::Scheme,
    provider::Wake,
    shared::{Claim, Gather, SharedBackend, Standing, WRITE, Writer},
    ticket::Ticket,
};
use tokio::task::AbortHandle;

pub(crate) use balancer::BalancerBackend;
pub(crate) use security::{SecurityBackend, is_missing};

use crate::{
    Context,
    client::Client,
    model::{Fragment, Members},
    names,
};

/// All of them.
pub(crate) struct Writers {
    pub(crate) public: BalancerWriter,
    pub(crate) internal: BalancerWriter,
    pub(crate) security: Option<Working<SecurityBackend>>,
    wake: Arc<OnceLock<Wake>>,
}

impl Writers {
    pub(crate) fn new(
        context: &Arc<Context>,
        client: &Arc<Client>,
        gather: Option<Gather>,
    ) -> Self {
        let wake: Arc<OnceLock<Wake>> = Arc::default();
        let of = |scheme| {
            let backend = BalancerBackend::new(context, client, scheme, gather);
            BalancerWriter::new(backend, &wake)
        };
        let security = context.security_group.as_ref().map(|id| {
            let backend = SecurityBackend::new(context, client, id, gather);
            let wake = Arc::clone(&wake);
            Working::new(backend, Arc::new(move |key| tell(&wake, key)))
        });
        Self {
            public: of(Scheme::InternetFacing),
            internal: of(Scheme::Internal),
            security,
            wake,
        }
    }

    /// Takes the means to wake a group.
    pub(crate) fn attach(&self, wake: Wake) {
        // Called once; a second one would have nobody to tell.
        let _ = self.wake.set(wake);
    }

    pub(crate) fn balancer(&self, scheme: Scheme) -> &BalancerWriter {
        match scheme {
            Scheme::InternetFacing => &self.public,
            Scheme::Internal => &self.internal,
        }
    }
}

fn tell(wake: &OnceLock<Wake>, key: &GroupKey) {
    if let Some(wake) = wake.get() {
        wake(key);
    }
}

/// A writer that begins to work when it is first used.
pub(crate) struct Working<B: SharedBackend> {
    writer: Arc<Writer<B>>,
    work: Mutex<Option<Work>>,
    task: OnceLock<AbortHandle>,
}

/// What a writer does until it is dropped.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<B: SharedBackend> Working<B> {
    fn new(backend: B, wake: Wake) -> Self {
        let (writer, work) = Writer::new(backend, wake);
        Self {
            writer,
            work: Mutex::new(Some(Box::pin(work))),
            task: OnceLock::new(),
        }
    }

    /// The writer, at work.
    pub(crate) fn writer(&self) -> &Writer<B> {
        if self.task.get().is_none()
            && let Some(work) = lock(&self.work).take()
        {
            let _ = self.task.set(tokio::spawn(work).abort_handle());
        }
        &self.writer
    }
}

impl<B: SharedBackend> Drop for Working<B> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The writer of one load balancer.
pub(crate) struct BalancerWriter {
    working: Working<BalancerBackend>,
    followers: Arc<Mutex<BTreeSet<GroupKey>>>,
    /// The groups that were told of the same refusal of the nodes.
    told: Mutex<BTreeSet<GroupKey>>,
}

impl BalancerWriter {
    fn new(backend: BalancerBackend, wake: &Arc<OnceLock<Wake>>) -> Self {
        let followers: Arc<Mutex<BTreeSet<GroupKey>>> = Arc::default();
        let (wake, waiting) = (Arc::clone(wake), Arc::clone(&followers));
        let nodes = names::nodes_key();
        let told = move |key: &GroupKey| {
            if *key != nodes {
                return tell(&wake, key);
            }
            let all = lock(&waiting).clone();
            all.iter().for_each(|key| tell(&wake, key));
        };
        Self {
            working: Working::new(backend, Arc::new(told)),
            followers,
            told: Mutex::default(),
        }
    }

    /// The writer, at work.
    pub(crate) fn writer(&self) -> &Writer<BalancerBackend> {
        self.working.writer()
    }

    /// Hands the nodes in for a group. Where they were refused every group is told once, and the first who was told tries again: whatever
    /// the number of groups, there are as many tries as one of them makes.
    pub(crate) fn follow(
        &self,
        key: &GroupKey,
        members: Members,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        // Before the claim: it may be over before this returns.
        lock(&self.followers).insert(key.clone());
        let claim = Claim::Want(Fragment::Members(members));
        let nodes = names::nodes_key();
        let mut told = lock(&self.told);
        match self.writer().view(&nodes) {
            Some((there, Standing::Refused { class, message })) if there == claim => {
                let is_first = told.is_empty();
                if told.insert(key.clone()) && !is_first {
                    return Err(CloudError::new(class, WRITE, message));
                }
                if !is_first {
                    told.clear();
                }
            }
            _ => told.clear(),
        }
        self.writer().claim(nodes, claim, ticket)
    }

    /// The claim of the nodes, for a group that has a part, or a claim to one.
    pub(crate) fn followed(&self, key: &GroupKey) -> Option<(Claim<Fragment>, Standing)> {
        lock(&self.followers).insert(key.clone());
        self.writer().view(&names::nodes_key())
    }

    /// A group has no part, and claims none.
    pub(crate) fn left(&self, key: &GroupKey) {
        lock(&self.followers).remove(key);
    }
}

/// Both, the public one first.
pub(crate) fn both(writers: &Writers) -> BTreeMap<Scheme, &BalancerWriter> {
    [Scheme::InternetFacing, Scheme::Internal]
        .map(|scheme| (scheme, writers.balancer(scheme)))
        .into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
