//! A load balancer: groups' parts and the nodes in, the next body out (Decides). See the crate's page for the rules of a merge.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    intent::Scheme,
    net::IpFamily,
    shared::{Claim, SharedObject},
};
use serde_json::{Value, json};

use super::{
    json::{Child, Document},
    words::{self, list},
};
use crate::{
    Context,
    errors::named,
    model::{Fragment, Members, Part, Place},
    names::{self, tag},
};

/// Both families.
const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

/// One of the cluster's load balancers, as the object that groups share. What is live is None while there is none.
#[derive(Clone, Debug)]
pub struct Balancer {
    context: Arc<Context>,
    scheme: Scheme,
    id: String,
    pools: BTreeMap<IpFamily, Arc<str>>,
    proxy_probe: Arc<str>,
}

impl Balancer {
    /// The load balancer of this kind.
    pub fn new(context: Arc<Context>, scheme: Scheme) -> Self {
        Self {
            id: context.load_balancer_id(scheme),
            pools: FAMILIES
                .map(|family| (family, names::pool(&context.cluster, family)))
                .into(),
            proxy_probe: names::proxy_probe(&context.cluster),
            context,
            scheme,
        }
    }

    /// Which of the two it is.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Reads what Azure sent.
    ///
    /// # Errors
    /// When it is no load balancer.
    pub fn read(text: &str) -> Result<Document, serde_json::Error> {
        Document::read(text, &list::ALL)
    }

    /// What is live of a group.
    pub fn part(&self, live: &Document, key: &GroupKey) -> Part {
        let group = names::group(&self.context.cluster, key);
        let mut part = Part::default();
        for child in of_group(live, list::FRONTENDS, &group) {
            if let Some(frontend) = words::read_frontend(child) {
                part.frontends.insert(Arc::clone(&child.name), frontend);
            }
        }
        for child in of_group(live, list::RULES, &group) {
            if let Some(rule) = words::read_rule(child) {
                part.rules.insert(Arc::clone(&child.name), rule);
            }
        }
        let probes: BTreeSet<String> = part
            .rules
            .values()
            .filter_map(|rule| Some(rule.probe.as_ref()?.to_ascii_lowercase()))
            .collect();
        for child in live.list(list::PROBES) {
            let used = probes.contains(&child.name.to_ascii_lowercase());
            if (used || names::is_of(&child.name, &group))
                && let Some(probe) = words::read_probe(child)
            {
                part.probes.insert(Arc::clone(&child.name), probe);
            }
        }
        part
    }

    /// The nodes in the pools that there are.
    pub fn members(&self, live: &Document) -> Members {
        let pool = |(family, name): (&IpFamily, &Arc<str>)| {
            Some((*family, words::read_pool(live.child(list::POOLS, name)?)))
        };
        Members(self.pools.iter().filter_map(pool).collect())
    }

    /// A part in Azure's words, by list.
    pub(crate) fn words_of(&self, part: &Part) -> BTreeMap<String, Vec<Value>> {
        let word = |child: Child| serde_json::from_str(child.raw()).unwrap_or_default();
        let frontends = part.frontends.iter().map(|(name, frontend)| {
            let mut frontend = frontend.clone();
            if let Place::Subnet { address, .. } = &mut frontend.place {
                let given = frontend.given.filter(|ip| !ip.is_unspecified());
                *address = address.or(given);
            }
            word(words::frontend(name, &frontend, &Value::Null))
        });
        let rules = part.rules.iter();
        let rules = rules
            .map(|(name, rule)| word(words::rule(&self.id, name, rule, &self.pools[&rule.family])));
        let probes = part.probes.iter();
        let probes = probes.map(|(name, probe)| word(words::probe(name, probe)));
        [
            (list::FRONTENDS.to_owned(), frontends.collect()),
            (list::RULES.to_owned(), rules.collect()),
            (list::PROBES.to_owned(), probes.collect()),
        ]
        .into()
    }

    /// The names of all that may be a group's.
    pub(crate) fn names(live: &Document) -> impl Iterator<Item = String> {
        let lists = [list::FRONTENDS, list::RULES].into_iter();
        let children = lists.flat_map(|list| live.list(list));
        children.map(|child| child.name.to_string())
    }

    /// The ids of the public IP addresses that frontends have, with the names of these.
    pub(crate) fn public_frontends(live: &Document) -> impl Iterator<Item = (String, String)> {
        let frontends = live.list(list::FRONTENDS).iter();
        frontends.filter_map(|child| {
            let id = child.get("publicIPAddress")["id"].as_str()?;
            Some((id.to_owned(), child.name.to_string()))
        })
    }

    /// Whether machines are behind it by their network interfaces.
    pub(crate) fn has_interfaces(live: &Document) -> bool {
        let mut pools = live.list(list::POOLS).iter();
        pools.any(|pool| {
            let members = pool.get("backendIPConfigurations").as_array();
            let by_address = !pool.get("virtualNetwork").is_null();
            !by_address && members.is_some_and(|members| !members.is_empty())
        })
    }

    /// Where its frontends are.
    pub(crate) fn scheme_of(live: &Document) -> Scheme {
        let mut frontends = live.list(list::FRONTENDS).iter();
        match frontends.any(|frontend| frontend.get("subnet").is_object()) {
            true => Scheme::Internal,
            false => Scheme::InternetFacing,
        }
    }

    /// Whether it is of the SKU Basic.
    pub fn is_basic(live: &Document) -> bool {
        let sku = live.field("sku").unwrap_or_default();
        let name = sku["name"].as_str().unwrap_or_default();
        name.eq_ignore_ascii_case("Basic")
    }

    /// All rules, of whomever.
    pub fn rules(live: &Document) -> usize {
        live.list(list::RULES).len()
    }

    /// Whether outbound rules give the nodes their way out.
    pub fn has_outbound_rules(live: &Document) -> bool {
        !live.list(list::OTHERS[2]).is_empty()
    }

    /// Whether it is somebody else's, and the group's frontend its last: that one stays.
    pub fn keeps_last(&self, live: &Document, key: &GroupKey) -> bool {
        let group = names::group(&self.context.cluster, key);
        let frontends = live.list(list::FRONTENDS);
        !self.is_ours(live)
            && !frontends.is_empty()
            && frontends
                .iter()
                .all(|child| names::is_of(&child.name, &group))
    }

    fn is_ours(&self, live: &Document) -> bool {
        let tags = live.field("tags").unwrap_or_default();
        tags[tag::CLUSTER].as_str() == Some(&*self.context.cluster.uid)
    }

    fn new_body(&self) -> Document {
        let mut tags: BTreeMap<&str, &str> = self
            .context
            .tags
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect();
        tags.insert(tag::CLUSTER, &self.context.cluster.uid);
        tags.insert(tag::CLUSTER_NAME, &self.context.cluster.name);
        Document::new(&[
            ("location", json!(&*self.context.location)),
            ("sku", json!({ "name": "Standard", "tier": "Regional" })),
            ("tags", json!(tags)),
        ])
    }

    fn put(&self, body: &mut Document, group: &str, part: &Part) {
        for (name, frontend) in &part.frontends {
            let there = body.child(list::FRONTENDS, name);
            let same = there
                .and_then(words::read_frontend)
                .is_some_and(|there| there.is(frontend));
            if !same {
                let zones = there.map(zones).unwrap_or_default();
                body.upsert(list::FRONTENDS, words::frontend(name, frontend, &zones));
            }
        }
        for (name, probe) in &part.probes {
            if body
                .child(list::PROBES, name)
                .and_then(words::read_probe)
                .as_ref()
                != Some(probe)
            {
                body.upsert(list::PROBES, words::probe(name, probe));
            }
        }
        for (name, rule) in &part.rules {
            let there = body.child(list::RULES, name).and_then(words::read_rule);
            if !there.is_some_and(|there| there.is(rule)) {
                let child = words::rule(&self.id, name, rule, &self.pools[&rule.family]);
                body.upsert(list::RULES, child);
            }
            let pool = &self.pools[&rule.family];
            if body.child(list::POOLS, pool).is_none() {
                let network = &self.context.virtual_network;
                body.upsert(
                    list::POOLS,
                    words::pool(pool, rule.family, &part.seed, network),
                );
            }
        }
        body.retain(list::RULES, |child| {
            !names::is_of(&child.name, group) || has(&part.rules, &child.name)
        });
        self.drop_frontends(body, group, |name| has(&part.frontends, name));
    }

    /// Removes the frontends of a group that nobody refers to any more.
    fn drop_frontends(&self, body: &mut Document, group: &str, stays: impl Fn(&str) -> bool) {
        let used: BTreeSet<String> = body
            .list(list::FRONTENDS)
            .iter()
            .filter(|child| names::is_of(&child.name, group) && !stays(&child.name))
            .filter(|child| self.is_referred(body, list::FRONTENDS, &child.name))
            .map(|child| child.name.to_string())
            .collect();
        body.retain(list::FRONTENDS, |child| {
            !names::is_of(&child.name, group) || stays(&child.name) || used.contains(&*child.name)
        });
    }

    /// Whether any rule, outbound rule or NAT rule refers to a child.
    fn is_referred(&self, body: &Document, list: &str, name: &str) -> bool {
        let end = format!("/{list}/{name}\"").to_ascii_lowercase();
        [list::RULES]
            .iter()
            .chain(&list::OTHERS)
            .flat_map(|rules| body.list(rules))
            .any(|child| child.raw().to_ascii_lowercase().contains(&end))
    }

    /// Removes probes of these groups, and what all share, where no rule refers to it.
    fn tidy(&self, body: &mut Document, groups: &[String]) {
        let used: BTreeSet<String> = body
            .list(list::RULES)
            .iter()
            .filter_map(|child| words::referred(child.get("probe")))
            .map(str::to_ascii_lowercase)
            .collect();
        body.retain(list::PROBES, |child| {
            let name = child.name.to_ascii_lowercase();
            let ours =
                name == *self.proxy_probe || groups.iter().any(|group| names::is_of(&name, group));
            !ours || used.contains(&name)
        });
        for pool in self.pools.values() {
            if body.child(list::POOLS, pool).is_some() && !self.is_referred(body, list::POOLS, pool)
            {
                body.retain(list::POOLS, |child| !child.name.eq_ignore_ascii_case(pool));
            }
        }
    }

    /// Puts the nodes into the pools that there are.
    fn put_members(&self, body: &mut Document, members: &Members) {
        for (family, pool) in &self.pools {
            let Some(there) = body.child(list::POOLS, pool) else {
                continue;
            };
            let wanted = members.0.get(family).cloned().unwrap_or_default();
            if words::read_pool(there) != wanted {
                let network = &self.context.virtual_network;
                body.upsert(list::POOLS, words::pool(pool, *family, members, network));
            }
        }
    }

    fn shows_part(&self, live: &Document, key: &GroupKey, part: &Part) -> bool {
        let group = names::group(&self.context.cluster, key);
        let only = |list, has: &dyn Fn(&str) -> bool| {
            of_group(live, list, &group).all(|child| has(&child.name))
        };
        part.frontends.iter().all(|(name, want)| {
            let there = live
                .child(list::FRONTENDS, name)
                .and_then(words::read_frontend);
            there.is_some_and(|there| there.is(want))
        }) && part.rules.iter().all(|(name, want)| {
            let there = live.child(list::RULES, name).and_then(words::read_rule);
            there.is_some_and(|there| there.is(want))
        }) && part.probes.iter().all(|(name, want)| {
            live.child(list::PROBES, name)
                .and_then(words::read_probe)
                .as_ref()
                == Some(want)
        }) && only(list::RULES, &|name| has(&part.rules, name))
            && only(list::FRONTENDS, &|name| {
                has(&part.frontends, name) || self.is_referred(live, list::FRONTENDS, name)
            })
    }

    /// What a claim adds to the number of children of a list; negative where it takes some away.
    fn growth(
        &self,
        live: Option<&Document>,
        list: &str,
        key: &GroupKey,
        claim: &Claim<Fragment>,
    ) -> isize {
        let group = names::group(&self.context.cluster, key);
        let count = |count: usize| isize::try_from(count).unwrap_or(isize::MAX);
        let there = live.map_or(0, |live| count(of_group(live, list, &group).count()));
        match claim {
            Claim::Want(Fragment::Part(part)) if list == list::RULES => {
                count(part.rules.len()) - there
            }
            Claim::Want(Fragment::Part(part)) => count(part.frontends.len()) - there,
            Claim::Gone => -there,
            Claim::Want(Fragment::Members(_)) | Claim::Unknown => 0,
        }
    }
}

impl SharedObject for Balancer {
    type Live = Option<Document>;
    type Fragment = Fragment;

    fn merge(
        &self,
        live: &Option<Document>,
        claims: &BTreeMap<GroupKey, Claim<Fragment>>,
    ) -> Option<Document> {
        let wants = claims
            .values()
            .any(|claim| matches!(claim, Claim::Want(Fragment::Part(part)) if !part.frontends.is_empty()));
        let live = match live {
            Some(live) => live.clone(),
            None if wants => self.new_body(),
            None => return None,
        };
        let mut body = live.clone();
        let mut groups = Vec::new();
        for (key, claim) in claims {
            let group = names::group(&self.context.cluster, key);
            match claim {
                Claim::Want(Fragment::Part(part)) => self.put(&mut body, &group, part),
                Claim::Gone => {
                    body.retain(list::RULES, |child| !names::is_of(&child.name, &group));
                    self.drop_frontends(&mut body, &group, |_| false);
                }
                Claim::Want(Fragment::Members(members)) => {
                    self.put_members(&mut body, members);
                    continue;
                }
                Claim::Unknown => continue,
            }
            groups.push(group);
        }
        if !groups.is_empty() {
            self.tidy(&mut body, &groups);
        }
        if body.list(list::FRONTENDS).is_empty() && !live.list(list::FRONTENDS).is_empty() {
            if self.is_ours(&body) {
                return None;
            }
            // Azure takes no load balancer without a frontend, and whose this is did not ask for its end.
            for child in live.list(list::FRONTENDS) {
                body.upsert(list::FRONTENDS, child.clone());
            }
        }
        Some(body)
    }

    fn shows(&self, live: &Option<Document>, key: &GroupKey, claim: &Claim<Fragment>) -> bool {
        match (live, claim) {
            (_, Claim::Unknown) | (None, Claim::Gone | Claim::Want(Fragment::Members(_))) => true,
            (None, Claim::Want(Fragment::Part(part))) => part.is_empty(),
            (Some(live), Claim::Want(Fragment::Part(part))) => self.shows_part(live, key, part),
            (Some(live), Claim::Want(Fragment::Members(members))) => {
                let there = self.members(live);
                there.0.iter().all(|(family, nodes)| {
                    members
                        .0
                        .get(family)
                        .map_or(nodes.is_empty(), |want| want == nodes)
                })
            }
            (Some(document), Claim::Gone) => {
                let group = names::group(&self.context.cluster, key);
                let none = |list| of_group(document, list, &group).next().is_none();
                (none(list::RULES) && none(list::FRONTENDS))
                    || self.merge(live, &[(key.clone(), Claim::Gone)].into()) == *live
            }
        }
    }

    fn excess(
        &self,
        live: &Option<Document>,
        claims: &BTreeMap<GroupKey, Claim<Fragment>>,
    ) -> Vec<(GroupKey, CloudError)> {
        let limits = self.context.limits;
        let mut refused: BTreeMap<GroupKey, CloudError> = BTreeMap::new();
        for (list, limit, what) in [
            (list::RULES, limits.rules, "rules"),
            (list::FRONTENDS, limits.frontends, "frontends"),
        ] {
            let there = live.as_ref().map_or(0, |live| live.list(list).len());
            let grows = |key, claim| self.growth(live.as_ref(), list, key, claim);
            let leave: isize = claims
                .iter()
                .map(|(key, claim)| grows(key, claim).min(0))
                .sum();
            let mut room = isize::try_from(limit).unwrap_or(isize::MAX)
                - isize::try_from(there).unwrap_or(isize::MAX)
                - leave;
            for (key, claim) in claims
                .iter()
                .filter(|(key, _)| !refused.contains_key(key))
                .collect::<Vec<_>>()
            {
                let more = grows(key, claim);
                if more <= 0 {
                    continue;
                }
                if more <= room {
                    room -= more;
                    continue;
                }
                let text = format!(
                    "{more} more {what} would be above the {limit} that Azure allows on the load balancer of these nodes, of which {} are left; \
                     use fewer ports, or delete Services",
                    room.max(0)
                );
                refused.insert(
                    key.clone(),
                    CloudError::new(ErrorClass::Quota, "PUT loadBalancers", text),
                );
            }
        }
        refused.into_iter().collect()
    }

    fn blamed(
        &self,
        error: &CloudError,
        tried: &BTreeMap<GroupKey, Claim<Fragment>>,
    ) -> Option<GroupKey> {
        let names = tried.iter().map(|(key, claim)| {
            let mut names = vec![names::group(&self.context.cluster, key)];
            if let Claim::Want(Fragment::Part(part)) = claim {
                names.extend(part.frontends.values().filter_map(
                    |frontend| match &frontend.place {
                        crate::model::Place::PublicIp(id) => Some(id.to_string()),
                        crate::model::Place::Subnet { address, .. } => {
                            address.map(|ip| ip.to_string())
                        }
                    },
                ));
            }
            (key, names)
        });
        named(error, names).cloned()
    }
}

fn of_group<'a>(live: &'a Document, list: &str, group: &'a str) -> impl Iterator<Item = &'a Child> {
    live.list(list)
        .iter()
        .filter(move |child| names::is_of(&child.name, group))
}

fn has<T>(map: &BTreeMap<Arc<str>, T>, name: &str) -> bool {
    map.contains_key(name) || map.keys().any(|key| key.eq_ignore_ascii_case(name))
}

fn zones(child: &Child) -> Value {
    serde_json::from_str::<Value>(child.raw())
        .map_or(Value::Null, |mut value| value["zones"].take())
}
