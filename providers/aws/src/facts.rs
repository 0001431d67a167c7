//! What the objects of all groups rest on, read once and shared by all of them (Reads).
//!
//! Each part has its age. What a new load balancer rests on (free addresses of subnets) is looked at anew when it is
//! old; what hardly changes (zones, routes, the VPC) is kept longer; security groups and prefix lists that Services name are read when
//! they are first named.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_core::{error::CloudError, intent::Scheme};

use crate::{
    client::{Client, filter},
    errors,
    index::SharedGroups,
    model::{Desired, Facts, Opening, Rule, Security, Source, Subnets, facts::Subnet},
};

/// How old subnets may be for a new load balancer: others take addresses there.
const SUBNETS_FOR_NEW: Duration = Duration::from_secs(60);

/// How old anything may be that changes by hand only.
const LONG: Duration = Duration::from_secs(30 * 60);

/// For how long what Services name and is not there is not looked for again.
const ABSENT: Duration = Duration::from_secs(30);

/// More than any cluster has nodes: most of these are gone.
const MANY_INSTANCES: usize = 20_000;

/// What a group needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// A new load balancer of this scheme is to be placed in subnets that are discovered.
    pub discovery: Option<Scheme>,
    /// A new load balancer is to be placed.
    pub placement: bool,
    /// Subnets, by id or name.
    pub subnets: BTreeSet<Arc<str>>,
    /// Security groups, by id or name.
    pub groups: BTreeSet<Arc<str>>,
    /// Prefix lists, by id.
    pub prefix_lists: BTreeSet<Arc<str>>,
}

impl Need {
    /// What this group needs, whose load balancer is there or not.
    pub fn of(desired: &Desired, is_there: bool) -> Self {
        let wanted = &desired.load_balancer;
        let mut need = Self {
            placement: !is_there,
            ..Self::default()
        };
        match &wanted.subnets {
            Subnets::Discovered if is_there => {}
            Subnets::Discovered => need.discovery = Some(wanted.new_scheme()),
            Subnets::Listed(names) => need.subnets = names.iter().cloned().collect(),
        }
        match &wanted.security {
            Security::Given { groups, .. } => need.groups = groups.iter().cloned().collect(),
            Security::Managed(rules) => {
                let list = |rule: &Rule| match &rule.source {
                    Source::PrefixList(id) => Some(Arc::clone(id)),
                    _ => None,
                };
                need.prefix_lists = rules.iter().filter_map(list).collect();
            }
            Security::Absent(_) => {}
        }
        need
    }
}

/// When something was read.
#[derive(Debug, Default)]
struct Ages {
    subnets: Option<Instant>,
    routes: Option<Instant>,
    vpc: Option<Instant>,
    named: BTreeMap<Arc<str>, Instant>,
}

#[derive(Debug, Default)]
struct State {
    facts: Arc<Facts>,
    zones: BTreeMap<Arc<str>, Arc<str>>,
    ages: Ages,
}

/// For how long a group may take to list openings that it said it would. When it takes longer it says so again.
const CLAIM: Duration = Duration::from_secs(10 * 60);

#[derive(Debug)]
struct Claim {
    openings: BTreeSet<Opening>,
    made_at: Instant,
}

/// The facts that are known.
#[derive(Debug, Default)]
pub struct FactsDesk {
    state: Mutex<State>,
    /// One looks, the others wait for what it finds.
    looking: tokio::sync::Mutex<()>,
    /// One writes what is shared.
    pub(crate) writing: tokio::sync::Mutex<()>,
    /// The openings that groups are about to list, by the group's identity.
    claims: Mutex<BTreeMap<Arc<str>, Claim>>,
}

impl FactsDesk {
    /// What is known, without a look.
    pub fn known(&self) -> Arc<Facts> {
        Arc::clone(&self.state().facts)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known, where that changes anything.
    pub(crate) fn learn(&self, change: impl FnOnce(&mut Facts)) -> Arc<Facts> {
        let mut state = self.state();
        let mut facts = Facts::clone(&state.facts);
        change(&mut facts);
        if facts != *state.facts {
            state.facts = Arc::new(facts);
        }
        Arc::clone(&state.facts)
    }

    /// Looks at what is missing or too old for this need.
    ///
    /// # Errors
    /// When AWS does not answer, or the VPC is not there.
    pub async fn look(&self, client: &Client, need: &Need) -> Result<Arc<Facts>, CloudError> {
        if self.suffices(need) {
            return Ok(self.known());
        }
        let _looking = self.looking.lock().await;
        let vpc = client.vpc().await?;
        if self.is_old(|ages| ages.vpc, LONG) {
            self.read_vpc(client, &vpc).await?;
        }
        if self.lacks_subnets(need) {
            let missing = self.missing_names(need);
            self.read_subnets(client, &vpc).await?;
            self.looked_for(missing);
        }
        if self.lacks_routes(need) {
            self.read_routes(client, &vpc).await?;
        }
        self.read_strangers(client, need).await?;
        self.read_groups(client, &vpc, need).await?;
        self.read_prefix_lists(client, need).await?;
        Ok(self.known())
    }

    fn suffices(&self, need: &Need) -> bool {
        !self.is_old(|ages| ages.vpc, LONG)
            && !self.lacks_subnets(need)
            && !self.lacks_routes(need)
            && self.unknown_subnets(need).is_empty()
            && self.unknown_groups(need).is_empty()
            && self.unknown_prefix_lists(need).is_empty()
    }

    fn is_old(&self, at: impl Fn(&Ages) -> Option<Instant>, longest: Duration) -> bool {
        at(&self.state().ages).is_none_or(|at| at.elapsed() >= longest)
    }

    fn lacks_subnets(&self, need: &Need) -> bool {
        let longest = if need.placement {
            SUBNETS_FOR_NEW
        } else {
            LONG
        };
        !self.missing_names(need).is_empty() || self.is_old(|ages| ages.subnets, longest)
    }

    /// Names that no subnet has, as far as is known: they may have been given just now.
    fn missing_names<'a>(&self, need: &'a Need) -> BTreeSet<&'a Arc<str>> {
        let has_name = |facts: &Facts, name: &str| {
            let mut all = facts.subnets.values();
            all.any(|subnet| subnet.tags.get("Name").is_some_and(|its| **its == *name))
        };
        let facts = self.known();
        let unknown = self.unknown(&need.subnets, has_name).into_iter();
        unknown
            .filter(|name| !name.starts_with("subnet-") && !has_name(&facts, name))
            .collect()
    }

    /// Routes decide only where no tag does.
    fn lacks_routes(&self, need: &Need) -> bool {
        let Some(scheme) = need.discovery else {
            return false;
        };
        let facts = self.known();
        let mut subnets = facts.subnets.values();
        if subnets.any(|subnet| has_role(subnet, scheme)) {
            return false;
        }
        // Of a subnet that came since, the routes are not known.
        let mut subnets = facts.subnets.values();
        let came = subnets.any(|subnet| subnet.vpc == facts.vpc && subnet.public.is_none());
        came || self.is_old(|ages| ages.routes, LONG)
    }

    /// What is named and neither known nor looked for just now.
    fn unknown<'a>(
        &self,
        names: &'a BTreeSet<Arc<str>>,
        is_known: impl Fn(&Facts, &str) -> bool,
    ) -> BTreeSet<&'a Arc<str>> {
        let state = self.state();
        let fresh = |name: &&Arc<str>| {
            let longest = match is_known(&state.facts, name) {
                true => LONG,
                false => ABSENT,
            };
            state
                .ages
                .named
                .get(*name)
                .is_some_and(|at| at.elapsed() < longest)
        };
        names.iter().filter(|name| !fresh(name)).collect()
    }

    /// Only ids: those of the VPC are all read together, and names are looked for there only.
    fn unknown_subnets<'a>(&self, need: &'a Need) -> BTreeSet<&'a Arc<str>> {
        let facts = self.known();
        let ours = |id: &str| {
            facts
                .subnets
                .get(id)
                .is_some_and(|subnet| subnet.vpc == facts.vpc)
        };
        let unknown = self.unknown(&need.subnets, |facts, id| facts.subnets.contains_key(id));
        unknown
            .into_iter()
            .filter(|id| id.starts_with("subnet-") && !ours(id))
            .collect()
    }

    fn unknown_groups<'a>(&self, need: &'a Need) -> BTreeSet<&'a Arc<str>> {
        self.unknown(&need.groups, |facts, name| {
            facts
                .given_groups
                .get(name)
                .is_some_and(|ids| !ids.is_empty())
        })
    }

    fn unknown_prefix_lists<'a>(&self, need: &'a Need) -> BTreeSet<&'a Arc<str>> {
        self.unknown(&need.prefix_lists, |facts, id| {
            facts.prefix_lists.contains_key(id)
        })
    }

    fn looked_for<'a>(&self, names: impl IntoIterator<Item = &'a Arc<str>>) {
        let now = Instant::now();
        let mut state = self.state();
        for name in names {
            state.ages.named.insert(Arc::clone(name), now);
        }
    }

    async fn read_vpc(&self, client: &Client, vpc: &Arc<str>) -> Result<(), CloudError> {
        let Some(prefixes) = client.vpc_prefixes(vpc).await? else {
            let region = client.region().await?;
            return Err(errors::not_configured(
                "DescribeVpcs",
                format!(
                    "there is no VPC `{vpc}` in {region} for this account; configure the VPC and the region of the cluster's nodes"
                ),
            ));
        };
        self.learn(|facts| {
            facts.vpc = Arc::clone(vpc);
            facts.vpc_prefixes = prefixes;
        });
        self.state().ages.vpc = Some(Instant::now());
        Ok(())
    }

    async fn read_subnets(&self, client: &Client, vpc: &str) -> Result<(), CloudError> {
        let mut found = client.subnets(vec![filter("vpc-id", [vpc])]).await?;
        self.name_locales(client, &mut found).await?;
        self.learn(|facts| {
            for subnet in found.values_mut() {
                // Routes have an age of their own.
                subnet.public = facts.subnets.get(&subnet.id).and_then(|known| known.public);
            }
            facts.subnets.retain(|_, subnet| *subnet.vpc != *vpc);
            facts.subnets.append(&mut found);
        });
        self.state().ages.subnets = Some(Instant::now());
        Ok(())
    }

    /// Zones are read once: a region gets a new one every few years.
    async fn name_locales(
        &self,
        client: &Client,
        subnets: &mut BTreeMap<Arc<str>, Subnet>,
    ) -> Result<(), CloudError> {
        let unknown = {
            let state = self.state();
            subnets
                .values()
                .any(|subnet| !state.zones.contains_key(&subnet.zone))
        };
        if unknown {
            let zones = client.zones().await?;
            self.state().zones.extend(zones);
        }
        let state = self.state();
        for subnet in subnets
            .values_mut()
            .filter(|subnet| subnet.locale.is_empty())
        {
            let kind = state.zones.get(&subnet.zone).cloned();
            subnet.locale = kind
                .filter(|kind| !kind.is_empty())
                .unwrap_or_else(|| "availability-zone".into());
        }
        Ok(())
    }

    pub(crate) async fn read_routes(&self, client: &Client, vpc: &str) -> Result<(), CloudError> {
        let tables = client.route_tables(vpc).await?;
        let main = tables
            .iter()
            .any(|table| table.is_main() && table.is_public());
        let mut own = BTreeMap::new();
        for table in &tables {
            own.extend(
                table
                    .subnets()
                    .map(|subnet| (subnet.to_owned(), table.is_public())),
            );
        }
        self.learn(|facts| {
            for (id, subnet) in &mut facts.subnets {
                subnet.public = Some(own.get(&**id).copied().unwrap_or(main));
            }
        });
        self.state().ages.routes = Some(Instant::now());
        Ok(())
    }

    /// Subnets that are named by id and are not of the VPC.
    async fn read_strangers(&self, client: &Client, need: &Need) -> Result<(), CloudError> {
        let unknown = self.unknown_subnets(need);
        if unknown.is_empty() {
            return Ok(());
        }
        let ids = unknown.iter().map(|id| &***id);
        let mut found = client.subnets(vec![filter("subnet-id", ids)]).await?;
        self.name_locales(client, &mut found).await?;
        self.learn(|facts| facts.subnets.append(&mut found));
        self.looked_for(unknown);
        Ok(())
    }

    async fn read_groups(&self, client: &Client, vpc: &str, need: &Need) -> Result<(), CloudError> {
        let unknown = self.unknown_groups(need);
        let (ids, names): (Vec<_>, Vec<_>) = unknown
            .iter()
            .map(|name| &***name)
            .partition(|name| name.starts_with("sg-"));
        let mut found: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
        if !ids.is_empty() {
            for group in client
                .security_groups(vec![filter("vpc-id", [vpc]), filter("group-id", ids)])
                .await?
            {
                found.insert(Arc::from(group.id().as_str()), vec![group.id()]);
            }
        }
        if !names.is_empty() {
            let filters = vec![filter("vpc-id", [vpc]), filter("tag:Name", names)];
            for group in client.security_groups(filters).await? {
                let name = group.tags().get("Name").cloned().unwrap_or_default();
                found.entry(name).or_insert_with(Vec::new).push(group.id());
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        self.learn(|facts| {
            for name in &unknown {
                let mut ids = found.remove(&***name).unwrap_or_default();
                ids.sort();
                facts.given_groups.insert(Arc::clone(name), ids);
            }
        });
        self.looked_for(unknown);
        Ok(())
    }

    async fn read_prefix_lists(&self, client: &Client, need: &Need) -> Result<(), CloudError> {
        let unknown = self.unknown_prefix_lists(need);
        if unknown.is_empty() {
            return Ok(());
        }
        let ids = unknown.iter().map(|id| &***id);
        let found = client
            .prefix_lists(vec![filter("prefix-list-id", ids)])
            .await?;
        self.learn(|facts| facts.prefix_lists.extend(found));
        self.looked_for(unknown);
        Ok(())
    }

    fn claims(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Claim>> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|_, claim| claim.made_at.elapsed() < CLAIM);
        claims
    }

    /// A group is about to list these openings: nobody closes them before its tags tell.
    pub(crate) fn claim(&self, group: &str, openings: &BTreeSet<Opening>) {
        let claim = Claim {
            openings: openings.clone(),
            made_at: Instant::now(),
        };
        self.claims().insert(group.into(), claim);
        self.lists(group, openings.clone());
    }

    /// The target groups of a group list these openings by now.
    pub(crate) fn lists(&self, group: &str, mut openings: BTreeSet<Opening>) {
        if let Some(claim) = self.claims().get(group) {
            openings.extend(&claim.openings);
        }
        let known = self.known();
        let before = known.openings.get(group);
        if before.is_some_and(|before| *before == openings)
            || (before.is_none() && openings.is_empty())
        {
            return;
        }
        self.learn(|facts| {
            if openings.is_empty() {
                facts.openings.remove(group);
            } else {
                facts.openings.insert(group.into(), openings);
            }
        });
    }

    /// A group has closed what it needs no more: what it claimed is over.
    pub(crate) fn forget_claim(&self, group: &str) {
        self.claims().remove(group);
    }

    /// What a bulk look found of the backend group and the node groups that admit it. Instances that were looked up one by one stay.
    pub(crate) fn found_groups(
        &self,
        found: SharedGroups,
        openings: BTreeMap<Arc<str>, BTreeSet<Opening>>,
    ) {
        let mut listed = openings;
        for (group, claim) in self.claims().iter() {
            let listed = listed.entry(Arc::clone(group)).or_default();
            listed.extend(&claim.openings);
        }
        listed.retain(|_, openings| !openings.is_empty());
        self.learn(|facts| {
            facts.backend_group = found.backend;
            facts.admitted = found.admitted;
            facts.node_groups = found.node_groups;
            facts.openings = listed;
            // Nobody tells which nodes are gone for good: those that are left are looked up anew.
            if facts.instances.len() > MANY_INSTANCES {
                facts.instances.clear();
            }
            for (id, instance) in found.instances {
                facts.instances.entry(id).or_insert(instance);
            }
        });
    }
}

/// Whether a subnet is tagged for load balancers of a scheme.
fn has_role(subnet: &Subnet, scheme: Scheme) -> bool {
    let key = match scheme {
        Scheme::Internal => "kubernetes.io/role/internal-elb",
        Scheme::InternetFacing => "kubernetes.io/role/elb",
    };
    subnet
        .tags
        .get(key)
        .is_some_and(|value| matches!(&**value, "" | "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A desk that has read this subnet and all routes.
    fn desk(subnet: Subnet) -> FactsDesk {
        let desk = FactsDesk::default();
        desk.learn(|facts| {
            facts.vpc = Arc::clone(&subnet.vpc);
            facts.subnets.insert(Arc::clone(&subnet.id), subnet);
        });
        let now = Some(Instant::now());
        desk.state().ages = Ages {
            vpc: now,
            subnets: now,
            routes: now,
            ..Ages::default()
        };
        desk
    }

    fn subnet(public: Option<bool>) -> Subnet {
        Subnet {
            id: "subnet-1".into(),
            vpc: "vpc-1".into(),
            public,
            tags: [("Name".into(), "edge".into())].into(),
            ..Subnet::default()
        }
    }

    #[test]
    fn routes_are_read_again_when_a_subnet_came() {
        let need = Need {
            discovery: Some(Scheme::Internal),
            ..Need::default()
        };
        assert!(desk(subnet(Some(false))).suffices(&need));
        assert!(!desk(subnet(None)).suffices(&need));
    }

    #[test]
    fn a_name_that_no_subnet_has_is_looked_for_once_in_a_while() {
        let named = |name: &str| Need {
            subnets: [name.into()].into(),
            ..Need::default()
        };
        let desk = desk(subnet(None));
        assert!(desk.suffices(&named("edge")));
        let missing = named("core");
        assert!(!desk.suffices(&missing));
        desk.looked_for(&missing.subnets);
        assert!(desk.suffices(&missing));
    }
}
