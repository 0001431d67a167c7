//! What all groups rest on: the subnets of the nodes' virtual network, and whose load balancers the nodes are behind (Reads).
//!
//! The network is read once by one call, and again when a Service names what is not known. Load balancers are told by the look that lists
//! them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    intent::Scheme,
};
use serde_json::Value;

use crate::{
    Azure, Context,
    model::{Facts, OtherBalancer, Subnet},
    path,
    shared::{Balancer, json::Document},
};

/// The subnets, and when the read of them began.
#[derive(Debug, Default)]
struct State {
    facts: Arc<Facts>,
    read_at: Option<Instant>,
}

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct FactsDesk {
    state: Mutex<State>,
    reading: tokio::sync::Mutex<()>,
}

impl FactsDesk {
    /// What is known by now.
    pub(crate) fn known(&self) -> Arc<Facts> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.facts)
    }

    /// The load balancers of the resource group are these.
    pub(crate) fn found(&self, others: Vec<OtherBalancer>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.facts.others != others {
            state.facts = Arc::new(Facts {
                subnets: state.facts.subnets.clone(),
                others,
            });
        }
    }

    fn read_at(&self) -> Option<Instant> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.read_at
    }

    /// Reads them, where nobody has yet.
    ///
    /// # Errors
    /// When Azure does not answer.
    pub(crate) async fn keep(&self, azure: &Azure) -> Result<(), CloudError> {
        if self.read_at().is_some() {
            return Ok(());
        }
        self.look(azure, |at| at.is_none()).await
    }

    /// Reads them, unless somebody has since one asked.
    ///
    /// # Errors
    /// When Azure does not answer.
    pub(crate) async fn read(&self, azure: &Azure) -> Result<(), CloudError> {
        let asked = Instant::now();
        self.look(azure, |at| at.is_none_or(|at| at < asked)).await
    }

    async fn look(
        &self,
        azure: &Azure,
        needed: impl Fn(Option<Instant>) -> bool,
    ) -> Result<(), CloudError> {
        let _reading = self.reading.lock().await;
        if !needed(self.read_at()) {
            return Ok(());
        }
        let began = Instant::now();
        let network = &azure.context.virtual_network;
        let found = azure.client.get(&path(network)?).await?;
        let found = found.ok_or_else(|| {
            CloudError::new(
                ErrorClass::Rejected,
                "GET virtualNetworks",
                "the nodes' virtual network is not there; name the one that there is",
            )
        })?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.facts = Arc::new(Facts {
            subnets: subnets(&found),
            others: state.facts.others.clone(),
        });
        state.read_at = Some(began);
        Ok(())
    }
}

/// Of the load balancers of a resource group those that are not ours to write, and have machines behind them by their network interfaces.
pub(crate) fn others<'a>(
    context: &Context,
    all: impl IntoIterator<Item = &'a Document>,
) -> Vec<OtherBalancer> {
    let own =
        [Scheme::InternetFacing, Scheme::Internal].map(|scheme| context.load_balancer(scheme));
    let other = |document: &Document| {
        let name = document.field("name")?;
        let name = name.as_str()?;
        let is_own = own.iter().any(|own| own.eq_ignore_ascii_case(name));
        (!is_own && Balancer::has_interfaces(document)).then(|| OtherBalancer {
            name: name.into(),
            scheme: Balancer::scheme_of(document),
        })
    };
    all.into_iter().filter_map(other).collect()
}

/// The subnets of a virtual network, by name.
pub(crate) fn subnets(network: &Document) -> BTreeMap<Arc<str>, Subnet> {
    let listed = network.property("subnets");
    let listed: Vec<Value> = listed
        .and_then(|raw| serde_json::from_str(raw).ok())
        .unwrap_or_default();
    listed
        .iter()
        .filter_map(|subnet| Some((subnet["name"].as_str()?.into(), read(subnet)?)))
        .collect()
}

fn read(subnet: &Value) -> Option<Subnet> {
    let properties = &subnet["properties"];
    let several = properties["addressPrefixes"].as_array();
    let prefixes = several.into_iter().flatten();
    let prefixes = prefixes.chain([&properties["addressPrefix"]]);
    let has = |name: &str| properties[name]["id"].is_string();
    Some(Subnet {
        way_out: has("natGateway") || has("routeTable"),
        id: subnet["id"].as_str()?.into(),
        prefixes: prefixes
            .filter_map(|prefix| prefix.as_str()?.parse().ok())
            .collect(),
    })
}
