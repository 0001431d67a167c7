//! The cluster's backend group, and the node groups that admit it: made once for all groups, under a lock (Writes).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::error::CloudError;

use super::{Doing, real};
use crate::{
    client::{GroupReply, InstanceReply, filter},
    errors,
    index::node_group,
    model::{
        CloudId, Opening, Pairs, Rule, Told,
        facts::{Instance, node_rules},
    },
    names::{self, tag},
    nodes,
};

impl Doing<'_> {
    /// Another group may have made it meanwhile: what is known once the lock is ours counts.
    pub(super) async fn create_backend_group(&self) -> Result<Told, CloudError> {
        let facts = &self.aws.facts;
        let _writing = facts.writing.lock().await;
        let known = facts.known();
        if known.backend_group.is_some() {
            return Ok(Told::Facts(known));
        }
        let cluster = &self.aws.context.cluster;
        let vpc = self.client.vpc().await?;
        let mut tags = names::backend_tags(cluster);
        tags.extend(self.aws.holder.of_new_group().await?);
        let is_ours = |there: &Pairs| {
            [tag::CLUSTER, tag::RESOURCE]
                .iter()
                .all(|key| there.get(*key) == tags.get(*key))
        };
        let name = names::backend_group(cluster, &vpc);
        let what = "from the load balancers of this cluster to its nodes";
        let id = self.create_or_find(&name, what, &tags, is_ours).await?;
        self.aws.holder.made(&id);
        Ok(Told::Facts(facts.learn(|facts| {
            facts.vpc = vpc;
            facts.backend_group = Some(id);
        })))
    }

    /// Finds the security groups of the instances that are not known yet, and adds the rules that are missing there.
    pub(super) async fn admit_nodes(
        &self,
        instances: &BTreeSet<Arc<str>>,
    ) -> Result<Told, CloudError> {
        let facts = &self.aws.facts;
        let _writing = facts.writing.lock().await;
        let known = facts.known();
        let Some(backend) = known.backend_group.clone() else {
            return Err(errors::stale(
                "AdmitNodes",
                "there is no backend group yet; it is looked at anew",
            ));
        };
        let backend = real(&backend)?;
        let unknown: BTreeSet<_> = instances
            .iter()
            // One that AWS did not know, or that told nothing, may be told of now.
            .filter(|id| !matches!(known.instances.get(*id), Some(Instance::Group { .. })))
            .cloned()
            .collect();
        let found = match unknown.is_empty() {
            true => BTreeMap::new(),
            false => self.find(unknown).await?,
        };
        let known = facts.learn(|facts| facts.instances.extend(found));
        let groups: BTreeSet<_> = instances
            .iter()
            .filter_map(|id| match known.instances.get(id)? {
                Instance::Group { group, .. } => Some(group.clone()),
                Instance::Unknown | Instance::Ambiguous => None,
            })
            .collect();
        let closed: BTreeSet<_> = groups.difference(&known.admitted).cloned().collect();
        if closed.is_empty() {
            return Ok(Told::Facts(known));
        }
        self.open(&closed, backend).await
    }

    /// Adds the rules that are missing. What is open is known even when the next group fails.
    async fn open(
        &self,
        closed: &BTreeSet<CloudId>,
        backend: &CloudId,
    ) -> Result<Told, CloudError> {
        let facts = &self.aws.facts;
        let rules = node_rules(backend, self.aws.context.node_ports.clone());
        let ids = closed.iter().map(CloudId::as_str);
        let there = self
            .client
            .security_groups(vec![filter("group-id", ids)])
            .await?;
        let mut known = facts.known();
        for group in there {
            let id = group.id();
            let mut seen = node_group(&group, &self.aws.context.cluster.uid);
            let missing: BTreeSet<_> = rules
                .iter()
                .filter(|rule| !seen.rules.contains(rule))
                .cloned()
                .collect();
            if !missing.is_empty() {
                self.add_rules(&id, &missing, None).await?;
            }
            seen.rules.extend(missing);
            known = facts.learn(|facts| {
                facts.node_groups.insert(id.clone(), seen);
                facts.admitted.insert(id);
            });
        }
        Ok(Told::Facts(known))
    }

    /// Adds the rules of openings that are not known to be there. That the group relies on them is known first.
    pub(super) async fn open_nodes(
        &self,
        openings: &BTreeSet<Opening>,
        groups: &BTreeSet<CloudId>,
        rules: &BTreeSet<Rule>,
    ) -> Result<Told, CloudError> {
        let facts = &self.aws.facts;
        let _writing = facts.writing.lock().await;
        facts.claim(self.identity, openings);
        let description = names::opening(&self.aws.context.cluster.uid);
        let mut known = facts.known();
        for id in groups {
            let there = known.node_groups.get(real(id)?);
            let missing: BTreeSet<_> = rules
                .iter()
                .filter(|rule| !there.is_some_and(|there| there.rules.contains(rule)))
                .cloned()
                .collect();
            if missing.is_empty() {
                continue;
            }
            self.add_rules(id, &missing, Some(&description)).await?;
            known = facts.learn(|facts| {
                let group = facts.node_groups.entry(id.clone()).or_default();
                group.open(&missing);
            });
        }
        Ok(Told::Facts(known))
    }

    /// Removes rules of openings that no other group lists, by a look at all target groups and node groups that begins now.
    pub(super) async fn close_nodes(&self, rules: &BTreeSet<Rule>) -> Result<Told, CloudError> {
        let facts = &self.aws.facts;
        let _writing = facts.writing.lock().await;
        facts.forget_claim(self.identity);
        self.aws.index.all(self.aws).await?;
        let mut known = facts.known();
        let others = known
            .openings
            .iter()
            .filter(|(group, _)| &***group != self.identity)
            .flat_map(|(_, openings)| openings);
        let unneeded: BTreeSet<_> = rules
            .iter()
            .filter(|rule| !others.clone().any(|one| one.covers(rule, &known)))
            .cloned()
            .collect();
        for (id, group) in &Arc::clone(&known).node_groups {
            let going: BTreeSet<_> = group.openings.intersection(&unneeded).cloned().collect();
            if going.is_empty() {
                continue;
            }
            self.remove_rules(id, &going).await?;
            known = facts.learn(|facts| {
                let group = facts.node_groups.entry(id.clone()).or_default();
                group.close(&going);
            });
        }
        Ok(Told::Facts(known))
    }

    async fn find(
        &self,
        unknown: BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Instance>, CloudError> {
        let found = self.client.instances_of_ids(&unknown).await?;
        // Tags are read only where they decide.
        let several: BTreeSet<_> = found
            .iter()
            .map(InstanceReply::groups)
            .filter(|groups| groups.len() > 1)
            .flatten()
            .collect();
        let tags: BTreeMap<CloudId, Pairs> = match several.is_empty() {
            true => BTreeMap::new(),
            false => {
                let ids = several.iter().map(CloudId::as_str);
                let groups = self
                    .client
                    .security_groups(vec![filter("group-id", ids)])
                    .await?;
                groups
                    .iter()
                    .map(|group: &GroupReply| (group.id(), group.tags()))
                    .collect()
            }
        };
        let mut all: BTreeMap<_, _> = unknown
            .into_iter()
            .map(|id| (id, Instance::Unknown))
            .collect();
        for instance in found {
            let group = nodes::group_of(&self.aws.context.cluster, &instance.groups(), &tags);
            all.insert(instance.id(), group);
        }
        Ok(all)
    }
}
