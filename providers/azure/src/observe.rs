//! What a group has, where its claims stand, and what it rests on (Reads).
//!
//! Nothing is read that is known: of the shared objects their writers know what is live, of the addresses the index does. Only for
//! what a Service names and nobody has seen, and while an address is on its way, is it looked anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use evenkeel_core::{
    error::CloudError,
    ids::GroupKey,
    intent::Scheme,
    provider::Want,
    shared::{Claim, Standing},
};

use crate::{
    Azure, Context,
    index::Address,
    model::{
        Access, Desired, Facts, Fragment, Observed, Phase, Place, SeenBalancer, SeenPublicIp,
        SeenSecurity, Source,
    },
    names,
    public_ips::folded,
    shared::{Balancer, SecurityGroup, json::Document},
    writers::{both, is_missing},
};

/// Looks at a group.
///
/// # Errors
/// When Azure does not answer.
pub async fn observe(
    azure: &Azure,
    key: &GroupKey,
    want: &Want<Desired>,
) -> Result<Observed, CloudError> {
    let desired = match want {
        Want::Exists(desired) => Some(desired),
        _ => None,
    };
    azure.index.keep(azure).await?;
    if desired.is_some_and(names_subnet) {
        azure.facts.keep(azure).await?;
    }
    let seen = assemble(azure, key, desired).await?;
    let (addresses, subnets) = (lacks_address(&seen, desired), lacks_subnet(&seen, desired));
    let addresses = addresses || is_on_its_way(azure, key, &seen);
    if !addresses && !subnets {
        return Ok(seen);
    }
    if addresses {
        azure.index.list(azure).await?;
    }
    if subnets {
        azure.facts.read(azure).await?;
    }
    assemble(azure, key, desired).await
}

fn names_subnet(desired: &Desired) -> bool {
    let mut sources = desired.addresses.iter();
    sources.any(|(_, source)| matches!(source, Source::Subnet { .. }))
}

/// Whether an address is asked for that is there by what the Service says, and nobody has seen.
fn lacks_address(seen: &Observed, desired: Option<&Desired>) -> bool {
    let mut sources = desired.iter().flat_map(|desired| &desired.addresses);
    sources.any(|(_, source)| match source {
        Source::Named(id) => !seen.public_ips.contains_key(id),
        Source::Address(ip) => !seen.public_ips.values().any(|one| one.address == Some(*ip)),
        Source::Managed(_) | Source::Subnet { .. } => false,
    })
}

/// The same of subnets, and of addresses in them.
fn lacks_subnet(seen: &Observed, desired: Option<&Desired>) -> bool {
    let mut sources = desired.iter().flat_map(|desired| &desired.addresses);
    sources.any(|(_, source)| match source {
        Source::Subnet { name, address } => {
            let subnet = seen.facts.subnets.get(name);
            let holds = |ip| {
                let mut prefixes = subnet.iter().flat_map(|subnet| &subnet.prefixes);
                prefixes.any(|prefix| prefix.contains(ip))
            };
            subnet.is_none() || address.is_some_and(|ip| !holds(ip))
        }
        _ => false,
    })
}

/// Whether an address of the group is being made or unmade, or somebody else has it: that ends without us.
fn is_on_its_way(azure: &Azure, key: &GroupKey, seen: &Observed) -> bool {
    let identity = key.identity();
    let group = names::group(&azure.context.cluster, key);
    seen.public_ips.values().any(|ip| {
        let holder = ip.attached.as_deref();
        let holder = holder.map(|id| id.rsplit('/').next().unwrap_or_default());
        ip.is_of(&azure.context.cluster.uid, &identity)
            && (matches!(ip.phase, Phase::Updating | Phase::Deleting)
                || holder.is_some_and(|name| !names::is_of(name, &group)))
    })
}

/// What is known of a group.
pub(crate) async fn assemble(
    azure: &Azure,
    key: &GroupKey,
    desired: Option<&Desired>,
) -> Result<Observed, CloudError> {
    let mut shared = Shared::default();
    for (scheme, writer) in both(&azure.writers) {
        let claim = writer.writer().view(key);
        let live = writer.writer().live(false).await?;
        let balancer = Balancer::new(Arc::clone(&azure.context), scheme);
        let has_part = live
            .as_ref()
            .is_some_and(|live| !balancer.part(live, key).is_empty());
        let members_claim = match has_part || claim.is_some() {
            true => writer.followed(key),
            false => {
                writer.left(key);
                None
            }
        };
        let side = Side {
            live,
            claim,
            members_claim,
        };
        shared.balancers.insert(scheme, side);
    }
    if let Some(security) = &azure.writers.security {
        let claim = security.writer().view(key);
        match security.writer().live(false).await {
            Err(error) if is_missing(&error) => {}
            live => shared.security = Some((live?, claim)),
        }
    }
    Ok(seen(&azure.context, key, desired, &shared, |of| {
        let public_ips = azure.index.addresses(of);
        (azure.facts.known(), public_ips)
    }))
}

/// A claim, and where it stands.
type Claimed<F> = Option<(Claim<F>, Standing)>;

/// The shared objects, as a group finds them.
#[derive(Default)]
pub(crate) struct Shared {
    /// Both load balancers.
    pub(crate) balancers: BTreeMap<Scheme, Side>,
    /// The network security group, where there is one that we may write, with the group's claim.
    pub(crate) security: Option<(Document, Claimed<Access>)>,
}

/// One load balancer.
#[derive(Default)]
pub(crate) struct Side {
    /// What is live.
    pub(crate) live: Option<Document>,
    /// The group's claim.
    pub(crate) claim: Claimed<Fragment>,
    /// The nodes'.
    pub(crate) members_claim: Claimed<Fragment>,
}

/// Which addresses are asked for.
pub(crate) type Asks<'a> = &'a dyn Fn(&str, &SeenPublicIp) -> bool;

/// What a group sees of these, and of the facts and addresses that it asks for. Decides.
pub(crate) fn seen(
    context: &Arc<Context>,
    key: &GroupKey,
    desired: Option<&Desired>,
    shared: &Shared,
    known: impl Fn(Asks<'_>) -> (Arc<Facts>, Vec<Address>),
) -> Observed {
    let mut balancers = BTreeMap::new();
    for (scheme, side) in &shared.balancers {
        if side.live.is_none() && side.claim.is_none() {
            continue;
        }
        let balancer = Balancer::new(Arc::clone(context), *scheme);
        let live = side.live.as_ref();
        let seen = live.map_or_else(SeenBalancer::default, |live| SeenBalancer {
            part: balancer.part(live, key),
            members: balancer.members(live),
            rules: Balancer::rules(live),
            outbound: Balancer::has_outbound_rules(live),
            basic: Balancer::is_basic(live),
            keeps_last: balancer.keeps_last(live, key),
            ..SeenBalancer::default()
        });
        let seen = SeenBalancer {
            claim: side.claim.clone(),
            members_claim: side.members_claim.clone(),
            ..seen
        };
        balancers.insert(*scheme, seen);
    }
    let wanted = Wanted::of(context, key, desired, &balancers);
    let (facts, found) = known(&|id, seen| wanted.asks(id, seen));
    let public_ips = addresses(wanted, found, &mut balancers, &Holders::of(context, shared));
    let security = shared.security.as_ref().map(|(live, claim)| {
        let object = SecurityGroup::new(Arc::clone(context));
        SeenSecurity {
            access: object.access(live, key),
            claim: claim.clone(),
        }
    });
    Observed {
        facts,
        public_ips,
        balancers,
        security,
    }
}

/// Which frontends of the load balancers have which public addresses, by id without case. What we wrote there since the addresses were
/// listed, the list does not tell.
struct Holders {
    /// What the ids of frontends of the load balancers begin with.
    balancers: Vec<String>,
    frontends: BTreeMap<String, Arc<str>>,
}

impl Holders {
    fn of(context: &Context, shared: &Shared) -> Self {
        let mut frontends: BTreeMap<String, Arc<str>> = BTreeMap::new();
        let mut balancers = Vec::new();
        for (scheme, side) in &shared.balancers {
            let id = context.load_balancer_id(*scheme);
            for (address, name) in side.live.iter().flat_map(Balancer::public_frontends) {
                let frontend = format!("{id}/frontendIPConfigurations/{name}");
                frontends.insert(folded(&address), frontend.into());
            }
            balancers.push(format!("{}/", folded(&id)));
        }
        Self {
            balancers,
            frontends,
        }
    }

    fn correct(&self, id: &str, seen: &mut SeenPublicIp) {
        if let Some(frontend) = self.frontends.get(&folded(id)) {
            seen.attached = Some(Arc::clone(frontend));
            return;
        }
        let is_theirs = |holder: &str| {
            let mut balancers = self.balancers.iter();
            balancers.any(|balancer| holder.starts_with(&**balancer))
        };
        seen.attached.take_if(|holder| is_theirs(&folded(holder)));
    }
}

/// Which addresses concern a group: its own, those that it asks for, and those that its frontends have.
struct Wanted {
    cluster: Arc<str>,
    group: String,
    /// Ids as they are asked for, by the same without case.
    asked: BTreeMap<String, Arc<str>>,
    numbers: BTreeSet<IpAddr>,
    used: BTreeSet<String>,
}

impl Wanted {
    fn of(
        context: &Context,
        key: &GroupKey,
        desired: Option<&Desired>,
        balancers: &BTreeMap<Scheme, SeenBalancer>,
    ) -> Self {
        let (mut asked, mut numbers) = (BTreeMap::new(), BTreeSet::new());
        for (_, source) in desired.iter().flat_map(|desired| &desired.addresses) {
            match source {
                Source::Managed(new) => drop(asked.insert(folded(&new.id), Arc::clone(&new.id))),
                Source::Named(id) => drop(asked.insert(folded(id), Arc::clone(id))),
                Source::Address(ip) => drop(numbers.insert(*ip)),
                Source::Subnet { .. } => {}
            }
        }
        let parts = balancers.values().map(|seen| &seen.part);
        let frontends = parts.flat_map(|part| part.frontends.values());
        let used = frontends.filter_map(|frontend| match &frontend.place {
            Place::PublicIp(id) => Some(folded(id)),
            Place::Subnet { .. } => None,
        });
        Self {
            cluster: Arc::clone(&context.cluster.uid),
            group: key.identity(),
            asked,
            numbers,
            used: used.collect(),
        }
    }

    fn asks(&self, id: &str, seen: &SeenPublicIp) -> bool {
        self.asked.contains_key(id)
            || self.used.contains(id)
            || seen.is_of(&self.cluster, &self.group)
            || seen.address.is_some_and(|ip| self.numbers.contains(&ip))
    }
}

/// These addresses, under ids as they are asked for, also where frontends have them.
fn addresses(
    wanted: Wanted,
    found: Vec<Address>,
    balancers: &mut BTreeMap<Scheme, SeenBalancer>,
    holders: &Holders,
) -> BTreeMap<Arc<str>, SeenPublicIp> {
    let mut spelled = wanted.asked;
    let mut all = BTreeMap::new();
    for (id, mut seen) in found {
        holders.correct(&id, &mut seen);
        let id = Arc::clone(spelled.entry(folded(&id)).or_insert(id));
        all.insert(id, seen);
    }
    for seen in balancers.values_mut() {
        for frontend in seen.part.frontends.values_mut() {
            if let Place::PublicIp(id) = &mut frontend.place
                && let Some(known) = spelled.get(&folded(id))
            {
                *id = Arc::clone(known);
            }
        }
    }
    all
}
