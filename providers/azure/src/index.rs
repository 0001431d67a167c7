//! What all groups have, from bulk reads that they share (Reads).
//!
//! One look is three calls, whatever the number of groups: the load balancers of the resource group, the public IP addresses of the
//! subscription, the network security group. Those who ask while one lasts take its result. What we write ourselves is written through,
//! so that a look is needed only for what others did, and for writes whose fate is unknown.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_core::error::CloudError;
use futures::future::try_join3;

use crate::{
    Azure, Context,
    client::ResourcePath,
    facts::others,
    model::SeenPublicIp,
    names::tag,
    observe::Asks,
    public_ips::{self, folded},
    shared::json::Document,
    writers::{both, is_missing},
};

/// An address with its id, as Azure spells it.
pub(crate) type Address = (Arc<str>, SeenPublicIp);

/// What is known of public IP addresses, by id without case.
#[derive(Debug, Default)]
struct State {
    addresses: BTreeMap<String, Address>,
    /// When the last list of addresses began.
    listed_at: Option<Instant>,
    /// When the last look at everything began.
    looked_at: Option<Instant>,
    /// Since when a write's fate is unknown.
    doubted_at: Option<Instant>,
    /// What was written since a list began that still lasts, and may not show it.
    since: Option<BTreeMap<String, Option<Address>>>,
}

/// What all groups have.
#[derive(Debug, Default)]
pub(crate) struct Index {
    state: Mutex<State>,
    looking: tokio::sync::Mutex<()>,
}

impl Index {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write's fate is unknown: whoever asks next lists the addresses.
    pub(crate) fn doubt(&self) {
        self.state().doubted_at = Some(Instant::now());
    }

    /// What became of an address.
    pub(crate) fn learn(&self, id: &str, now: Option<Address>) {
        let mut state = self.state();
        if let Some(since) = &mut state.since {
            since.insert(folded(id), now.clone());
        }
        state.set(folded(id), now);
    }

    /// The addresses that this is true of.
    pub(crate) fn addresses(&self, of: Asks<'_>) -> Vec<Address> {
        let state = self.state();
        let all = state.addresses.iter();
        all.filter(|(folded, (_, seen))| of(folded, seen))
            .map(|(_, address)| address.clone())
            .collect()
    }

    /// Looks where nobody has yet, or so long ago that something may have changed; lists the addresses where a write is in doubt.
    ///
    /// # Errors
    /// When Azure does not answer.
    pub(crate) async fn keep(&self, azure: &Azure) -> Result<(), CloudError> {
        let (asked, oldest) = (Instant::now(), azure.timing.sweep);
        let is_old = |state: &State| {
            let at = state.looked_at;
            at.is_none_or(|at| at < asked && at.elapsed() >= oldest)
        };
        if is_old(&self.state()) {
            let _looking = self.looking.lock().await;
            if is_old(&self.state()) {
                self.look_now(azure).await?;
            }
        }
        let doubts = |state: &State| state.doubted_at >= state.listed_at;
        if doubts(&self.state()) {
            self.list_if(azure, doubts).await?;
        }
        Ok(())
    }

    /// Looks at everything, unless somebody has since one asked.
    ///
    /// # Errors
    /// When Azure does not answer.
    pub(crate) async fn look(&self, azure: &Azure) -> Result<(), CloudError> {
        let asked = Instant::now();
        let _looking = self.looking.lock().await;
        if self.state().looked_at.is_some_and(|at| at >= asked) {
            return Ok(());
        }
        self.look_now(azure).await
    }

    /// Lists the addresses, unless somebody has since one asked.
    ///
    /// # Errors
    /// When Azure does not answer.
    pub(crate) async fn list(&self, azure: &Azure) -> Result<(), CloudError> {
        let asked = Instant::now();
        self.list_if(azure, |state| state.listed_at.is_none_or(|at| at < asked))
            .await
    }

    async fn list_if(
        &self,
        azure: &Azure,
        needed: impl Fn(&State) -> bool,
    ) -> Result<(), CloudError> {
        let _looking = self.looking.lock().await;
        if needed(&self.state()) {
            self.list_now(azure).await?;
        }
        Ok(())
    }

    async fn look_now(&self, azure: &Azure) -> Result<(), CloudError> {
        let began = Instant::now();
        try_join3(
            balancers(azure),
            self.list_now(azure),
            security_group(azure),
        )
        .await?;
        self.state().looked_at = Some(began);
        Ok(())
    }

    async fn list_now(&self, azure: &Azure) -> Result<(), CloudError> {
        let began = Instant::now();
        self.state().since = Some(BTreeMap::new());
        let listed = self.addresses_of(azure).await;
        let mut state = self.state();
        let since = state.since.take().unwrap_or_default();
        let found = listed?;
        state.addresses = found
            .into_iter()
            .map(|address| (folded(&address.0), address))
            .collect();
        for (id, address) in since {
            state.set(id, address);
        }
        state.listed_at = Some(began);
        Ok(())
    }

    /// All of the subscription, because annotations name resource groups. Azure leaves out what we may not read.
    async fn addresses_of(&self, azure: &Azure) -> Result<Vec<Address>, CloudError> {
        let path = collection(&azure.context, None, "publicIPAddresses")?;
        let documents = azure.client.list(&path).await?;
        Ok(documents.iter().filter_map(public_ips::read).collect())
    }
}

impl State {
    fn set(&mut self, id: String, address: Option<Address>) {
        match address {
            Some(address) => drop(self.addresses.insert(id, address)),
            None => drop(self.addresses.remove(&id)),
        }
    }
}

/// The path of a collection of the network's.
pub(crate) fn collection(
    context: &Context,
    group: Option<&str>,
    kind: &str,
) -> Result<ResourcePath, CloudError> {
    let path = ResourcePath::collection(&context.subscription, group, kind);
    path.ok_or_else(|| crate::no_path(group.unwrap_or(&context.subscription)))
}

/// Both load balancers by one call.
async fn balancers(azure: &Azure) -> Result<(), CloudError> {
    let context = &azure.context;
    let writers = both(&azure.writers);
    let readings: Vec<_> = writers
        .iter()
        .map(|(scheme, writer)| (*scheme, writer.writer(), writer.writer().begin_read()))
        .collect();
    let path = collection(context, Some(&context.resource_group), "loadBalancers")?;
    let all = azure.client.list(&path).await?;
    azure.facts.found(others(context, &all));
    for (scheme, writer, reading) in readings {
        let name = context.load_balancer(scheme);
        let named = |document: &&Document| {
            let own = document.field("name");
            own.is_some_and(|own| {
                own.as_str()
                    .is_some_and(|own| own.eq_ignore_ascii_case(&name))
            })
        };
        writer.end_read(&reading, all.iter().find(named).cloned());
    }
    Ok(())
}

/// The network security group. That there is none is for those to tell who need it.
async fn security_group(azure: &Azure) -> Result<(), CloudError> {
    let Some(security) = &azure.writers.security else {
        return Ok(());
    };
    match security.writer().live(true).await {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Whether an address is any group's of this cluster, and whose.
pub(crate) fn group_of<'a>(seen: &'a SeenPublicIp, cluster: &str) -> Option<&'a Arc<str>> {
    let of = seen.tags.get(tag::CLUSTER)?;
    seen.tags.get(tag::GROUP).filter(|_| **of == *cluster)
}

/// How old what is known may be.
pub(crate) const SWEEP: Duration = Duration::from_secs(600);
