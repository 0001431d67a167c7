//! What a look at a group would find in a place that was written down (Decides).

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::{
    ids::GroupKey,
    intent::Scheme,
    problem::{Problem, Problems},
    provider::{Snapshot, Want},
    record::Record,
};
use serde_json::Value;

use super::{AzureCloud, Resource, address};
use crate::{
    Azure, Context,
    facts::{others, subnets},
    index::{Address, group_of},
    model::{Desired, Facts, Observed},
    observe::{self, Shared, Side},
    public_ips::folded,
    shared::{Balancer, SecurityGroup, json::Document},
    snapshot,
};

/// A place that was written down, as the provider sees it.
#[derive(Clone, Debug)]
pub struct World {
    context: Arc<Context>,
    facts: Arc<Facts>,
    balancers: BTreeMap<Scheme, Document>,
    security: Option<Document>,
    addresses: Vec<Address>,
}

impl World {
    /// The place of a document, with the settings that are made for it.
    ///
    /// # Errors
    /// Everything in it that has no meaning, by the path of the field.
    pub fn new(cloud: &AzureCloud, context: &Arc<Context>) -> Result<Self, Problems> {
        let mut problems = Problems::none();
        let mut read = |at: &str, resource: &Resource, lists: &[&'static str]| {
            let text = Value::Object(resource.clone()).to_string();
            let read = Document::read(&text, lists);
            if read.is_err() {
                problems.push(no_resource(at));
            }
            read.unwrap_or_default()
        };
        let network = read("cloud.virtualNetwork", &cloud.virtual_network, &[]);
        let security = cloud.network_security_group.as_ref().map(|group| {
            let at = "cloud.networkSecurityGroup";
            read(at, group, crate::shared::lists("networkSecurityGroups"))
        });
        let (mut balancers, mut all) = (BTreeMap::new(), Vec::new());
        for (index, resource) in cloud.load_balancers.iter().enumerate() {
            let name = resource.get("name").and_then(Value::as_str);
            let name = name.unwrap_or_default();
            let schemes = [Scheme::InternetFacing, Scheme::Internal];
            let of = schemes
                .into_iter()
                .find(|scheme| context.load_balancer(*scheme).eq_ignore_ascii_case(name));
            let at = format!("cloud.loadBalancers[{index}]");
            let document = read(&at, resource, crate::shared::lists("loadBalancers"));
            if let Some(scheme) = of {
                balancers.insert(scheme, document.clone());
            }
            all.push(document);
        }
        let mut addresses = Vec::new();
        for (index, resource) in cloud.public_ip_addresses.iter().enumerate() {
            match address(resource) {
                Some(address) => addresses.push(address),
                None => problems.push(no_resource(&format!("cloud.publicIpAddresses[{index}]"))),
            }
        }
        problems.check()?;
        Ok(Self {
            context: Arc::clone(context),
            facts: Arc::new(Facts {
                subnets: subnets(&network),
                others: others(context, &all),
            }),
            balancers,
            security,
            addresses,
        })
    }

    fn seen(&self, key: &GroupKey, desired: Option<&Desired>) -> Observed {
        let side = |scheme: Scheme| {
            let side = Side {
                live: self.balancers.get(&scheme).cloned(),
                ..Side::default()
            };
            (scheme, side)
        };
        let shared = Shared {
            balancers: [Scheme::InternetFacing, Scheme::Internal].map(side).into(),
            security: self.security.clone().map(|live| (live, None)),
        };
        observe::seen(&self.context, key, desired, &shared, |asks| {
            let found = self.addresses.iter();
            let found = found.filter(|(id, seen)| asks(&folded(id), seen));
            (Arc::clone(&self.facts), found.cloned().collect())
        })
    }
}

fn no_resource(at: &str) -> Problem {
    Problem::new(
        at,
        "",
        "is no resource as Azure sends it",
        "Have `evenkeel facts` write the file, or correct it.",
    )
}

impl Record<Azure> for World {
    fn observe(&self, key: &GroupKey, want: &Want<Desired>) -> Observed {
        let desired = match want {
            Want::Exists(desired) => Some(desired),
            _ => None,
        };
        self.seen(key, desired)
    }

    fn snapshot(&self) -> Snapshot<Observed> {
        let cluster = &self.context.cluster;
        let own: Vec<Address> = self
            .addresses
            .iter()
            .filter(|(_, seen)| group_of(seen, &cluster.uid).is_some())
            .cloned()
            .collect();
        let parts = self.balancers.values().flat_map(Balancer::names);
        let rules = self.security.iter().flat_map(SecurityGroup::names);
        let identities = snapshot::identities(cluster, &own, parts.chain(rules).collect());
        let groups = identities.into_iter().filter_map(|(identity, service)| {
            let seen = self.seen(&snapshot::key(&identity, &service), None);
            snapshot::part(cluster, identity, service, seen)
        });
        Snapshot {
            groups: groups.collect(),
        }
    }
}
