//! Writes a live region down (Reads).

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::{GroupKey, ServiceKey, ServiceRef, ServiceUid},
    provider::Want,
};
use futures::future::try_join_all;

use super::{
    AwsCloud, GroupObjects, InstanceRecord, PrefixListRecord, RuleRecord, SecurityGroupRecord,
    SubnetRecord, Texts, UsageRecord, VpcRecord,
};
use crate::{
    Aws,
    client::{GroupReply, InstanceReply, filter},
    facts::Need,
    model::{CloudId, Facts, Observed, Pairs, Source, facts::Subnet},
    names::tag,
    observe, snapshot,
};

/// Reads all that plans may rest on: the network, security groups, and every object of the cluster with all of its attributes.
///
/// # Errors
/// When AWS does not answer.
pub async fn look(aws: &Aws) -> Result<AwsCloud, CloudError> {
    let client = &aws.client;
    let (region, vpc) = (client.region().await?, client.vpc().await?);
    aws.facts.look(client, &Need::default()).await?;
    aws.facts.read_routes(client, &vpc).await?;
    let groups = aws.index.all(aws).await?;
    let facts = aws.facts.known();
    let all = client
        .security_groups(vec![filter("vpc-id", [&*vpc])])
        .await?;
    let seen = try_join_all(groups.iter().map(|(identity, group)| {
        let key = key(identity, &snapshot::service(group));
        async move { everything(aws, &key).await }
    }))
    .await?;
    let (mut load_balancers, mut target_groups) = (Vec::new(), Vec::new());
    for group in &seen {
        let mut objects = GroupObjects::of(&aws.context, group);
        load_balancers.append(&mut objects.load_balancers);
        target_groups.append(&mut objects.target_groups);
    }
    let subnets = facts.subnets.values().filter(|subnet| subnet.vpc == vpc);
    Ok(AwsCloud {
        region: region.to_string(),
        vpc: VpcRecord {
            id: vpc.to_string(),
            cidrs: facts.vpc_prefixes.iter().map(ToString::to_string).collect(),
        },
        subnets: subnets.map(subnet).collect(),
        security_groups: all
            .iter()
            .map(|group| security_group(group, aws, &facts))
            .collect(),
        instances: instances(aws, &facts).await?,
        prefix_lists: prefix_lists(aws).await?,
        others: aws.index.others().map(|others| UsageRecord {
            load_balancers: others.load_balancers,
            interfaces: others.interfaces,
            target_groups: others.target_groups,
        }),
        load_balancers,
        target_groups,
    })
}

/// What one group has, with what a look leaves out because nobody set it.
async fn everything(aws: &Aws, key: &GroupKey) -> Result<Observed, CloudError> {
    let client = &aws.client;
    let mut seen = observe::observe(aws, key, &Want::Frozen).await?;
    for lb in seen.load_balancers.values_mut() {
        if lb.attributes.is_none() {
            lb.attributes = client.load_balancer_attributes(&lb.arn).await?;
        }
    }
    for group in seen.target_groups.values_mut() {
        if group.attributes.is_none() {
            group.attributes = client.target_group_attributes(&group.arn).await?;
        }
    }
    for listener in seen.listeners.values_mut() {
        if listener.attributes.is_none() {
            listener.attributes = client.listener_attributes(&listener.arn).await?;
        }
        if let Some(tls) = listener.tls.as_mut().filter(|tls| tls.further.is_empty()) {
            let mut further = client.further_certificates(&listener.arn).await?;
            further
                .iter_mut()
                .for_each(|all| all.retain(|arn| *arn != tls.certificate));
            tls.further = further.unwrap_or_default();
        }
    }
    Ok(seen)
}

/// The group of an identity, as its marks tell it.
fn key(identity: &str, service: &str) -> GroupKey {
    GroupKey::shared(identity).unwrap_or_else(|| {
        let (namespace, name) = service.split_once('/').unwrap_or(("", service));
        GroupKey::Service(ServiceRef {
            key: ServiceKey::new(namespace, name),
            uid: ServiceUid::new(identity),
        })
    })
}

fn texts(pairs: &Pairs) -> Texts {
    let text = |(key, value): (&Arc<str>, &Arc<str>)| (key.to_string(), value.to_string());
    pairs.iter().map(text).collect()
}

fn subnet(subnet: &Subnet) -> SubnetRecord {
    SubnetRecord {
        id: subnet.id.to_string(),
        vpc: None,
        zone: subnet.zone.to_string(),
        locale: subnet.locale.to_string(),
        cidr: subnet.prefix.map(|prefix| prefix.to_string()),
        ipv6_cidrs: subnet.ipv6.iter().map(ToString::to_string).collect(),
        free_addresses: subnet.free_addresses,
        public: subnet.public.unwrap_or(false),
        tags: texts(&subnet.tags),
    }
}

/// A security group; the rules of those that are nobody's here matter to nobody.
fn security_group(group: &GroupReply, aws: &Aws, facts: &Facts) -> SecurityGroupRecord {
    let tags = group.tags();
    let cluster = &aws.context.cluster.uid;
    let ours = tags.get(tag::CLUSTER) == Some(cluster);
    let backend = facts.backend_group.as_ref();
    let admits = group.rules().iter().any(|rule| match &rule.source {
        Source::Group(from) => Some(from) == backend,
        _ => false,
    });
    let rules = group
        .described_rules()
        .map(|(rule, description)| RuleRecord {
            description: description.to_owned(),
            ..RuleRecord::of(&rule)
        });
    SecurityGroupRecord {
        id: group.id().to_string(),
        name: group.name().to_string(),
        tags: texts(&tags),
        rules: if ours || admits {
            rules.collect()
        } else {
            Vec::new()
        },
    }
}

/// The instances in the groups that admit the load balancers: those that a bulk look tells.
async fn instances(aws: &Aws, facts: &Facts) -> Result<Vec<InstanceRecord>, CloudError> {
    if facts.admitted.is_empty() {
        return Ok(Vec::new());
    }
    let groups = facts.admitted.iter().map(CloudId::as_str);
    let filters = vec![filter("instance.group-id", groups)];
    let found = aws.client.instances(filters).await?;
    let told = |instance: &&InstanceReply| facts.instances.contains_key(&instance.id());
    let record = |instance: &InstanceReply| InstanceRecord {
        id: instance.id().to_string(),
        security_groups: instance.groups().iter().map(CloudId::to_string).collect(),
    };
    Ok(found.iter().filter(told).map(record).collect())
}

/// All prefix lists, where we may read them: they are needed by few.
async fn prefix_lists(aws: &Aws) -> Result<Vec<PrefixListRecord>, CloudError> {
    let found = match aws.client.prefix_lists(Vec::new()).await {
        Err(error) if error.class == ErrorClass::Denied => return Ok(Vec::new()),
        found => found?,
    };
    let record = |(id, max_entries): (Arc<str>, u32)| PrefixListRecord {
        id: id.to_string(),
        max_entries,
    };
    let all: BTreeSet<_> = found.into_iter().collect();
    Ok(all.into_iter().map(record).collect())
}
