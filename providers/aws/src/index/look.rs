//! One bulk look: pages, and what they mean (Reads, Decides).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use evenkeel_core::error::CloudError;
use futures::future::try_join3;

use super::used::Region;
use crate::{
    Aws,
    client::{ELB_ARNS, GroupReply, InstanceReply, LoadBalancerReply, TargetGroupReply, filter},
    model::{
        CloudId, Marks, NodeGroup, Observed, Pairs, SeenSecurityGroup,
        facts::{Instance, node_rules},
    },
    names::{self, tag},
    nodes,
};

/// What all our target groups are named like; load balancers can have names that users chose.
const OURS: &str = "ek-";

/// What a look found.
#[derive(Debug)]
pub(crate) struct Look {
    cluster: Arc<str>,
    load_balancers: Vec<LoadBalancerReply>,
    target_groups: Vec<TargetGroupReply>,
    security_groups: Vec<GroupReply>,
    backend: Option<CloudId>,
    admitted: BTreeSet<CloudId>,
    node_groups: BTreeMap<CloudId, NodeGroup>,
    instances: BTreeMap<Arc<str>, Instance>,
    /// Tags of load balancers and target groups.
    pub(crate) tags: HashMap<CloudId, Pairs>,
    /// Whether all tags were read anew.
    pub(crate) all_tags: bool,
    /// What the region has, whoever made it.
    pub(super) region: Region,
}

/// What all groups rest on, as a look found it.
#[derive(Debug)]
pub(crate) struct SharedGroups {
    /// The cluster's backend group.
    pub(crate) backend: Option<CloudId>,
    /// The node groups that admit it whole.
    pub(crate) admitted: BTreeSet<CloudId>,
    /// What these and others that admit some of it admit.
    pub(crate) node_groups: BTreeMap<CloudId, NodeGroup>,
    /// The instances in these.
    pub(crate) instances: BTreeMap<Arc<str>, Instance>,
}

impl Look {
    /// One that found nothing.
    #[cfg(test)]
    pub(crate) fn empty(cluster: &str) -> Self {
        Self {
            cluster: cluster.into(),
            load_balancers: Vec::new(),
            target_groups: Vec::new(),
            security_groups: Vec::new(),
            backend: None,
            admitted: BTreeSet::new(),
            node_groups: BTreeMap::new(),
            instances: BTreeMap::new(),
            tags: HashMap::new(),
            all_tags: false,
            region: Region::default(),
        }
    }

    /// Reads all pages.
    pub(crate) async fn bulk(aws: &Aws) -> Result<Self, CloudError> {
        let (client, cluster) = (&aws.client, &aws.context.cluster);
        let vpc = client.vpc().await?;
        let key = format!("tag:{}", tag::CLUSTER);
        let ours = vec![filter("vpc-id", [&*vpc]), filter(&key, [&*cluster.uid])];
        let (mut load_balancers, mut target_groups, security_groups) = try_join3(
            client.load_balancers(),
            client.target_groups(),
            client.security_groups(ours),
        )
        .await?;
        let is_network = |lb: &&LoadBalancerReply| lb.is_network();
        let of_kind = load_balancers.iter().filter(is_network);
        let region = Region {
            load_balancers: of_kind.clone().count(),
            interfaces: of_kind
                .filter(|lb| lb.vpc() == Some(&*vpc))
                .map(LoadBalancerReply::zones)
                .sum(),
            target_groups: target_groups.len(),
        };
        load_balancers.retain(|lb| lb.vpc() == Some(&*vpc));
        target_groups.retain(|group| group.name().starts_with(OURS));
        let backend = security_groups.iter().find(is_backend);
        let mut look = Self {
            cluster: Arc::clone(&cluster.uid),
            backend: backend.map(GroupReply::id),
            load_balancers,
            target_groups,
            security_groups,
            admitted: BTreeSet::new(),
            node_groups: BTreeMap::new(),
            instances: BTreeMap::new(),
            tags: HashMap::new(),
            all_tags: false,
            region,
        };
        look.read_nodes(aws, &vpc).await?;
        Ok(look)
    }

    /// The cluster's backend group.
    pub(crate) fn backend_group(&self) -> Option<&GroupReply> {
        self.security_groups.iter().find(is_backend)
    }

    /// Which node groups admit the backend group, and, where no instance is known yet, the instances there: in pages, rather
    /// than each by its id.
    async fn read_nodes(&mut self, aws: &Aws, vpc: &str) -> Result<(), CloudError> {
        let Some(backend) = self.backend.clone() else {
            return Ok(());
        };
        let client = &aws.client;
        let filters = vec![
            filter("vpc-id", [vpc]),
            filter("ip-permission.group-id", [backend.as_str()]),
        ];
        let rules = node_rules(&backend, aws.context.node_ports.clone());
        let admitting = client.security_groups(filters).await?;
        let whole = |group: &&GroupReply| {
            let there = group.rules();
            rules.iter().all(|rule| there.contains(rule))
        };
        self.admitted = admitting.iter().filter(whole).map(GroupReply::id).collect();
        let cluster = &*aws.context.cluster.uid;
        self.node_groups = admitting
            .iter()
            .map(|group| (group.id(), node_group(group, cluster)))
            .collect();
        if self.admitted.is_empty() || !aws.facts.known().instances.is_empty() {
            return Ok(());
        }
        let groups = self.admitted.iter().map(CloudId::as_str);
        let found = client
            .instances(vec![filter("instance.group-id", groups)])
            .await?;
        let tags: BTreeMap<_, _> = admitting
            .iter()
            .map(|group| (group.id(), group.tags()))
            .collect();
        // One with a group that is not known here is looked at by itself once it is a target.
        let known = |instance: &&InstanceReply| {
            let groups = instance.groups();
            groups.iter().all(|id| tags.contains_key(id))
        };
        self.instances = found
            .iter()
            .filter(known)
            .map(|instance| {
                let group = nodes::group_of(&aws.context.cluster, &instance.groups(), &tags);
                (instance.id(), group)
            })
            .collect();
        Ok(())
    }

    /// What all groups rest on.
    pub(crate) fn shared(&self) -> SharedGroups {
        SharedGroups {
            backend: self.backend.clone(),
            admitted: self.admitted.clone(),
            node_groups: self.node_groups.clone(),
            instances: self.instances.clone(),
        }
    }

    /// The objects whose tags are to be read, in calls. Kinds are not mixed: AWS does not say that they may be.
    pub(crate) fn without_tags(&self, known: impl Fn(&CloudId) -> bool) -> Vec<Vec<CloudId>> {
        let load_balancers = self.load_balancers.iter().map(LoadBalancerReply::arn);
        let target_groups = self.target_groups.iter().map(TargetGroupReply::arn);
        let load_balancers: Vec<_> = load_balancers.filter(|arn| !known(arn)).collect();
        let target_groups: Vec<_> = target_groups.filter(|arn| !known(arn)).collect();
        let calls = load_balancers
            .chunks(ELB_ARNS)
            .chain(target_groups.chunks(ELB_ARNS));
        calls.map(<[_]>::to_vec).collect()
    }

    /// What each of our groups has, and whose tags say that they are not ours. An object whose tags were not told is neither: it is
    /// gone, or so new that AWS does not know it everywhere. `known` are marks that were seen before.
    pub(crate) fn groups(
        &self,
        known: &HashMap<CloudId, Marks>,
    ) -> (BTreeMap<Arc<str>, Observed>, Vec<CloudId>) {
        let mut groups: BTreeMap<Arc<str>, Observed> = BTreeMap::new();
        let mut foreign = Vec::new();
        let mut is_foreign = |arn: CloudId| {
            if self.tags.contains_key(&arn) {
                foreign.push(arn);
            }
        };
        for lb in &self.load_balancers {
            match self.marked(&lb.arn(), known) {
                Some((marks, tags)) => {
                    let group = groups.entry(Arc::clone(&marks.group)).or_default();
                    group.load_balancers.insert(lb.name(), lb.seen(marks, tags));
                }
                None => is_foreign(lb.arn()),
            }
        }
        for group in &self.target_groups {
            let found = self.marked(&group.arn(), known).and_then(|(marks, tags)| {
                let identity = Arc::clone(&marks.group);
                Some((identity, group.seen(marks, tags)?))
            });
            match found {
                Some((identity, seen)) => {
                    let into = groups.entry(identity).or_default();
                    into.target_groups.insert(group.name(), seen);
                }
                None => is_foreign(group.arn()),
            }
        }
        for group in &self.security_groups {
            if let Some((identity, name, seen)) = security_group(group, &self.cluster) {
                let into = groups.entry(identity).or_default();
                into.security_groups.insert(name, seen);
            }
        }
        (groups, foreign)
    }

    fn marked(&self, arn: &CloudId, known: &HashMap<CloudId, Marks>) -> Option<(Marks, Pairs)> {
        let tags = self.tags.get(arn)?;
        let marks = match names::marks(tags) {
            Some(marks) => Some(marks).filter(|marks| marks.cluster == self.cluster),
            // An ARN is never given twice: what was ours is, and gets the marks back that somebody took.
            None => known
                .get(arn)
                .filter(|marks| names::lack_only(tags, marks))
                .cloned(),
        };
        Some((marks?, tags.clone()))
    }
}

fn is_backend(group: &&GroupReply) -> bool {
    let tags = group.tags();
    tags.get(tag::RESOURCE)
        .is_some_and(|id| **id == *names::BACKEND_GROUP)
}

/// What a node group admits, and which of that is our openings.
pub(crate) fn node_group(group: &GroupReply, cluster: &str) -> NodeGroup {
    NodeGroup {
        rules: group.rules(),
        openings: group.rules_described(&names::opening(cluster)),
    }
}

/// A front-end group of ours, with the identity of its group and its name.
pub(crate) fn security_group(
    group: &GroupReply,
    cluster: &str,
) -> Option<(Arc<str>, Arc<str>, SeenSecurityGroup)> {
    let tags = group.tags();
    let marks = names::marks(&tags).filter(|marks| *marks.cluster == *cluster)?;
    let identity = Arc::clone(&marks.group);
    let seen = SeenSecurityGroup {
        id: group.id(),
        rules: group.rules(),
        marks,
        tags,
    };
    Some((identity, group.name(), seen))
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticloadbalancingv2::types::TargetGroup;

    use super::*;

    /// What is called foreign is not asked about again for an hour.
    #[test]
    fn what_told_no_tags_is_not_called_foreign() {
        let group =
            |arn: &str| TargetGroupReply(TargetGroup::builder().target_group_arn(arn).build());
        let mut look = Look::empty("uid");
        look.target_groups = vec![group("arn:theirs"), group("arn:new")];
        look.tags.insert("arn:theirs".into(), Pairs::new());
        let (groups, foreign) = look.groups(&HashMap::new());
        assert!(groups.is_empty());
        assert_eq!(foreign, ["arn:theirs".into()]);
    }
}
