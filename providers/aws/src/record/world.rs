//! What a look at a group would find in a region that was written down (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    ids::GroupKey,
    net::Cidr,
    problem::{Problem, Problems},
    provider::{Snapshot, Want},
    record::Record,
};

use super::{AwsCloud, SubnetRecord, UsageRecord};
use crate::{
    Aws, Context,
    facts::Need,
    index::{Index, Region},
    model::{
        CloudId, Desired, Facts, Marks, NodeGroup, Observed, Pairs, Rule, Source,
        facts::{Subnet, node_rules},
    },
    names::{self, tag},
    nodes,
    observe::{bulk, has_attributes, has_further_certificates},
    snapshot,
};

/// A region that was written down, as the provider sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    facts: Facts,
    groups: BTreeMap<Arc<str>, Observed>,
    /// The security groups of the VPC, by id and by tag `Name`: their ids, ascending.
    named: BTreeMap<Arc<str>, Vec<CloudId>>,
}

impl World {
    /// The region of a document.
    ///
    /// # Errors
    /// Everything in it that has no meaning, by the path of the field.
    pub fn new(cloud: &AwsCloud, context: &Context) -> Result<Self, Problems> {
        let mut reading = Reading {
            cluster: &context.cluster.uid,
            problems: Problems::none(),
            world: Self::default(),
        };
        reading.network(cloud);
        reading.security_groups(cloud, context);
        reading.load_balancers(cloud);
        reading.target_groups(cloud);
        reading.references(cloud);
        let Reading {
            problems,
            mut world,
            ..
        } = reading;
        problems.check()?;
        let listed = world.groups.iter();
        let listed = listed.map(|(identity, group)| (Arc::clone(identity), group.openings()));
        world.facts.openings = listed
            .filter(|(_, openings)| !openings.is_empty())
            .collect();
        Ok(world)
    }

    /// Has an index count these objects, and those of others.
    pub(super) fn is_known_to(&self, index: &Index, others: Option<UsageRecord>) {
        let others = others.map(|others| Region {
            load_balancers: others.load_balancers,
            interfaces: others.interfaces,
            target_groups: others.target_groups,
        });
        index.recall(self.groups.clone(), others);
    }

    /// The facts as they are where a group needs these.
    fn facts(&self, need: &Need) -> Facts {
        let mut facts = self.facts.clone();
        for name in &need.groups {
            let found = self.named.get(name).cloned().unwrap_or_default();
            facts.given_groups.insert(Arc::clone(name), found);
        }
        facts
            .prefix_lists
            .retain(|id, _| need.prefix_lists.contains(id));
        facts
    }
}

impl Record<Aws> for World {
    fn observe(&self, key: &GroupKey, want: &Want<Desired>) -> Observed {
        let identity: Arc<str> = key.identity().into();
        let mut seen = self.groups.get(&identity).cloned().unwrap_or_default();
        let need = match want {
            Want::Exists(desired) => Need::of(desired, !seen.load_balancers.is_empty()),
            _ => Need::default(),
        };
        seen.facts = self.facts(&need).into();
        match want {
            // What is to go is looked at from afar.
            Want::Nothing | Want::Released => {
                bulk(&mut seen);
                seen.listeners.clear();
            }
            Want::Exists(desired) => as_read(&mut seen, Some(desired)),
            Want::Frozen | Want::FrozenWithout(_) => as_read(&mut seen, None),
        }
        seen
    }

    fn snapshot(&self) -> Snapshot<Observed> {
        let facts = Arc::new(self.facts(&Need::default()));
        let groups = self.groups.iter().map(|(identity, group)| {
            let mut seen = group.clone();
            bulk(&mut seen);
            (Arc::clone(identity), seen)
        });
        Snapshot {
            groups: groups.map(|group| snapshot::part(group, &facts)).collect(),
        }
    }
}

/// Leaves out what a look does not read: what nobody set and nobody wants.
fn as_read(seen: &mut Observed, desired: Option<&Desired>) {
    let is_wanted = |attributes: fn(&Desired) -> Vec<&Pairs>| {
        let wanted = desired.map(attributes).unwrap_or_default();
        wanted.iter().any(|attributes| !attributes.is_empty())
    };
    let wanted = is_wanted(|desired| vec![&desired.load_balancer.attributes]);
    for lb in seen.load_balancers.values_mut() {
        if !wanted && !has_attributes(&lb.tags) {
            lb.attributes = None;
        }
    }
    for group in seen.target_groups.values_mut() {
        let wanted = desired.is_some_and(|desired| {
            let mut groups = desired.target_groups.iter();
            groups.any(|one| one.id == group.marks.id && !one.attributes.is_empty())
        });
        if !wanted && !has_attributes(&group.tags) {
            group.attributes = None;
        }
    }
    for ((_, port), listener) in &mut seen.listeners {
        let wanted = desired.and_then(|desired| {
            let mut listeners = desired.listeners.iter();
            listeners.find(|wanted| wanted.port == *port)
        });
        if wanted.is_none_or(|wanted| wanted.attributes.is_empty())
            && !has_attributes(&listener.tags)
        {
            listener.attributes = None;
        }
        if let Some(tls) = &mut listener.tls
            && !has_further_certificates(&listener.tags, wanted)
        {
            tls.further.clear();
        }
    }
}

/// A document on its way.
struct Reading<'a> {
    cluster: &'a str,
    problems: Problems,
    world: World,
}

impl Reading<'_> {
    fn cidr(&mut self, at: String, text: &str) -> Option<Cidr> {
        let read = text
            .parse()
            .map_err(|_| Problem::new(at, text, "must be a prefix", "Write it as 10.0.0.0/16."));
        self.problems.take(read)
    }

    fn network(&mut self, cloud: &AwsCloud) {
        let vpc: Arc<str> = cloud.vpc.id.as_str().into();
        let prefixes = cloud.vpc.cidrs.iter().enumerate();
        let mut prefixes: Vec<Cidr> = prefixes
            .filter_map(|(index, text)| self.cidr(format!("cloud.vpc.cidrs[{index}]"), text))
            .collect();
        prefixes.sort_by_key(|prefix| prefix.net());
        prefixes.dedup();
        for (index, record) in cloud.subnets.iter().enumerate() {
            let at = format!("cloud.subnets[{index}]");
            let subnet = self.subnet(&at, record, &vpc);
            let before = self
                .world
                .facts
                .subnets
                .insert(Arc::clone(&subnet.id), subnet);
            if before.is_some() {
                self.twice(format!("{at}.id"), &record.id);
            }
        }
        let lists = cloud.prefix_lists.iter();
        let facts = &mut self.world.facts;
        facts.vpc = vpc;
        facts.vpc_prefixes = prefixes;
        facts.prefix_lists = lists
            .map(|list| (list.id.as_str().into(), list.max_entries))
            .collect();
    }

    fn subnet(&mut self, at: &str, record: &SubnetRecord, vpc: &Arc<str>) -> Subnet {
        let prefix = record.cidr.as_deref();
        let prefix = prefix.and_then(|text| self.cidr(format!("{at}.cidr"), text));
        let ipv6 = record.ipv6_cidrs.iter().enumerate();
        let ipv6 = ipv6
            .filter_map(|(index, text)| self.cidr(format!("{at}.ipv6Cidrs[{index}]"), text))
            .collect();
        let tags = record.tags.iter();
        Subnet {
            id: record.id.as_str().into(),
            vpc: record
                .vpc
                .as_deref()
                .map_or_else(|| Arc::clone(vpc), Arc::from),
            zone: record.zone.as_str().into(),
            locale: record.locale.as_str().into(),
            prefix,
            ipv6,
            free_addresses: record.free_addresses,
            public: Some(record.public),
            tags: tags
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
        }
    }

    fn security_groups(&mut self, cloud: &AwsCloud, context: &Context) {
        let is_backend = |tags: &Pairs| {
            let is = |key: &str, text: &str| tags.get(key).is_some_and(|value| **value == *text);
            is(tag::CLUSTER, self.cluster) && is(tag::RESOURCE, names::BACKEND_GROUP)
        };
        let backend = cloud
            .security_groups
            .iter()
            .find(|group| is_backend(&group.tags()));
        let backend = backend.map(|group| group.id());
        let opening = names::opening(self.cluster);
        let mut tags: BTreeMap<CloudId, Pairs> = BTreeMap::new();
        for (index, record) in cloud.security_groups.iter().enumerate() {
            let at = format!("cloud.securityGroups[{index}]");
            let described = record.rules(&at, &mut self.problems);
            let all: BTreeSet<Rule> = described.iter().map(|(rule, _)| rule.clone()).collect();
            let (id, its) = (record.id(), record.tags());
            self.named(&record.id, &id);
            if let Some(name) = its.get("Name") {
                self.named(name, &id);
            }
            let marks = names::marks(&its).filter(|marks| *marks.cluster == *self.cluster);
            if let Some(marks) = marks {
                let group = self.group(&marks);
                let seen = record.seen(marks, all.clone());
                group
                    .security_groups
                    .insert(record.name.as_str().into(), seen);
            }
            let admits = |rule: &Rule| match (&rule.source, &backend) {
                (Source::Group(from), Some(backend)) => from == backend,
                _ => false,
            };
            let facts = &mut self.world.facts;
            if let Some(backend) = &backend
                && all.iter().any(admits)
            {
                let rules = node_rules(backend, context.node_ports.clone());
                if rules.iter().all(|rule| all.contains(rule)) {
                    facts.admitted.insert(id.clone());
                }
                let openings = described.iter().filter(|(_, text)| *text == opening);
                let openings = openings.map(|(rule, _)| rule.clone()).collect();
                facts.node_groups.insert(
                    id.clone(),
                    NodeGroup {
                        rules: all,
                        openings,
                    },
                );
            }
            if tags.insert(id, its).is_some() {
                self.twice(format!("{at}.id"), &record.id);
            }
        }
        let facts = &mut self.world.facts;
        facts.backend_group = backend;
        for record in &cloud.instances {
            let ids = record.security_groups.iter();
            let ids = ids.map(|id| CloudId::from(id.as_str())).collect();
            let group = nodes::group_of(&context.cluster, &ids, &tags);
            facts.instances.insert(record.id.as_str().into(), group);
        }
    }

    fn load_balancers(&mut self, cloud: &AwsCloud) {
        let vpc = Arc::clone(&self.world.facts.vpc);
        for (index, record) in cloud.load_balancers.iter().enumerate() {
            let at = format!("cloud.loadBalancers[{index}]");
            let Some(marks) = self.owned(&at, &record.name, record.marks(self.cluster)) else {
                continue;
            };
            let (cluster, identity) = (self.cluster, Arc::clone(&marks.group));
            let group = self.group(&marks);
            let name: Arc<str> = record.name.as_str().into();
            for listener in &record.listeners {
                let seen = listener.seen(cluster, &identity);
                group
                    .listeners
                    .insert((Arc::clone(&name), listener.port), seen);
            }
            let seen = record.seen(&vpc, marks);
            if group.load_balancers.insert(name, seen).is_some() {
                self.twice(format!("{at}.name"), &record.name);
            }
        }
    }

    fn target_groups(&mut self, cloud: &AwsCloud) {
        for (index, record) in cloud.target_groups.iter().enumerate() {
            let at = format!("cloud.targetGroups[{index}]");
            let Some(marks) = self.owned(&at, &record.name, record.marks(self.cluster)) else {
                continue;
            };
            let seen = record.seen(&at, marks.clone(), &mut self.problems);
            let group = self.group(&marks);
            let name: Arc<str> = record.name.as_str().into();
            if group.target_groups.insert(name, seen).is_some() {
                self.twice(format!("{at}.name"), &record.name);
            }
        }
    }

    /// Listeners forward to what is there.
    fn references(&mut self, cloud: &AwsCloud) {
        let known: BTreeSet<&str> = cloud
            .target_groups
            .iter()
            .map(|group| group.name.as_str())
            .collect();
        for (index, lb) in cloud.load_balancers.iter().enumerate() {
            for (place, listener) in lb.listeners.iter().enumerate() {
                let target = listener.target_group.as_deref();
                if let Some(name) = target.filter(|name| !known.contains(name)) {
                    let at = format!("cloud.loadBalancers[{index}].listeners[{place}].targetGroup");
                    let near = evenkeel_core::annotation::nearest(name, known.iter().copied());
                    let advice = match near {
                        Some(near) => format!("Did you mean {near}?"),
                        None => "Write that target group, or leave the field out.".to_owned(),
                    };
                    let message = "is the name of none of cloud.targetGroups";
                    self.problems.push(Problem::new(at, name, message, advice));
                }
            }
        }
    }

    fn owned(&mut self, at: &str, name: &str, marks: Option<Marks>) -> Option<Marks> {
        if marks.is_none() {
            let message = format!(
                "carries no tags that say that it is this cluster's: {}, {}, {}, {}, {}",
                tag::CLUSTER,
                tag::GROUP,
                tag::SERVICE,
                tag::MEMBER,
                tag::RESOURCE
            );
            let advice = "Write its tags as they are, or leave out what is somebody else's.";
            self.problems
                .push(Problem::new(format!("{at}.tags"), name, message, advice));
        }
        marks
    }

    fn twice(&mut self, at: String, name: &str) {
        self.problems.push(Problem::new(
            at,
            name,
            "stands twice",
            "Keep one of the two.",
        ));
    }

    fn named(&mut self, name: &str, id: &CloudId) {
        let ids = self.world.named.entry(name.into()).or_default();
        if let Err(place) = ids.binary_search(id) {
            ids.insert(place, id.clone());
        }
    }

    fn group(&mut self, marks: &Marks) -> &mut Observed {
        self.world
            .groups
            .entry(Arc::clone(&marks.group))
            .or_default()
    }
}
