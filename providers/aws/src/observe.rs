//! What one group has, and what it rests on (Reads).
//!
//! Which objects there are is the index's to know. What only a look at one object tells is read here: listeners, targets,
//! and attributes and certificates where a tag or the wanted state says that there are any.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::{error::CloudError, ids::GroupKey, provider::Want};
use futures::future::{try_join_all, try_join3};

use crate::{
    Aws,
    client::{ListenerReply, filter},
    facts::Need,
    index::security_group,
    model::{
        CloudId, Desired, Listener, ListenerProtocol, Marks, Observed, Pairs, Phase, Security,
        SeenListener, SeenLoadBalancer, SeenSecurityGroup, SeenTargetGroup,
    },
    names::{self, tag},
};

/// Reads what a group has.
///
/// # Errors
/// When AWS does not answer.
pub async fn observe(
    aws: &Aws,
    key: &GroupKey,
    want: &Want<Desired>,
) -> Result<Observed, CloudError> {
    aws.holder.known(aws)?;
    let identity = key.identity();
    let mut seen = aws.index.group(aws, &identity).await?;
    let group = Group {
        aws,
        identity: &identity,
    };
    match want {
        Want::Nothing | Want::Released => {
            group.prove(&mut seen).await?;
            seen.facts = aws.facts.known();
        }
        Want::Exists(desired) => {
            let need = Need::of(desired, !seen.load_balancers.is_empty());
            seen.facts = aws.facts.look(&aws.client, &need).await?;
            group.details(&mut seen, Some(desired)).await?;
        }
        Want::Frozen | Want::FrozenWithout(_) => {
            seen.facts = aws.facts.look(&aws.client, &Need::default()).await?;
            group.details(&mut seen, None).await?;
        }
    }
    Ok(seen)
}

struct Group<'a> {
    aws: &'a Aws,
    identity: &'a str,
}

impl Group<'_> {
    /// Whether what is to go is ours, by tags that are read now; and where nothing is left, that nothing is.
    async fn prove(&self, seen: &mut Observed) -> Result<(), CloudError> {
        // AWS said that it made these, and may not show them yet.
        let made = self.aws.index.just_made(self.identity);
        add(&mut seen.load_balancers, &made.load_balancers);
        add(&mut seen.target_groups, &made.target_groups);
        let load_balancers: Vec<_> = seen
            .load_balancers
            .values()
            .map(|lb| lb.arn.clone())
            .collect();
        let target_groups: Vec<_> = seen
            .target_groups
            .values()
            .map(|one| one.arn.clone())
            .collect();
        if !load_balancers.is_empty() {
            let tags = self.aws.client.tags(&load_balancers).await?;
            seen.load_balancers
                .retain(|name, lb| match tags.contains_key(&lb.arn) {
                    true => self.still_ours(&lb.arn, &tags, &mut lb.marks, &mut lb.tags),
                    false => made.load_balancers.contains_key(name),
                });
        } else if !target_groups.is_empty() {
            let tags = self.aws.client.tags(&target_groups).await?;
            seen.target_groups
                .retain(|name, one| match tags.contains_key(&one.arn) {
                    true => self.still_ours(&one.arn, &tags, &mut one.marks, &mut one.tags),
                    false => made.target_groups.contains_key(name),
                });
        } else {
            seen.security_groups = self.security_groups().await?;
            self.add_unseen(seen, made.security_groups).await?;
        }
        self.tell(seen);
        Ok(())
    }

    /// Adds the groups that were just made and that AWS does not show at all; whoever has lost our tags is not ours.
    async fn add_unseen(
        &self,
        seen: &mut Observed,
        mut made: BTreeMap<Arc<str>, SeenSecurityGroup>,
    ) -> Result<(), CloudError> {
        made.retain(|name, _| !seen.security_groups.contains_key(name));
        if made.is_empty() {
            return Ok(());
        }
        let ids = made.values().map(|group| group.id.as_str());
        let shown = self
            .aws
            .client
            .security_groups(vec![filter("group-id", ids)])
            .await?;
        made.retain(|_, group| !shown.iter().any(|shown| shown.id() == group.id));
        seen.security_groups.extend(made);
        Ok(())
    }

    fn still_ours(
        &self,
        arn: &CloudId,
        read: &BTreeMap<CloudId, Pairs>,
        marks: &mut Marks,
        tags: &mut Pairs,
    ) -> bool {
        let Some((now, found)) = read
            .get(arn)
            .and_then(|tags| Some((names::marks(tags)?, tags)))
        else {
            return false;
        };
        let ours = now.cluster == marks.cluster && *now.group == *self.identity;
        *marks = now;
        *tags = found.clone();
        ours
    }

    /// The group's security groups, read now.
    async fn security_groups(&self) -> Result<BTreeMap<Arc<str>, SeenSecurityGroup>, CloudError> {
        let cluster = &*self.aws.context.cluster.uid;
        let (of_cluster, of_group) = (
            format!("tag:{}", tag::CLUSTER),
            format!("tag:{}", tag::GROUP),
        );
        let filters = vec![
            filter(&of_cluster, [cluster]),
            filter(&of_group, [self.identity]),
        ];
        let found = self.aws.client.security_groups(filters).await?;
        let ours = |group| {
            let (identity, name, seen) = security_group(group, cluster)?;
            (*identity == *self.identity).then_some((name, seen))
        };
        Ok(found.iter().filter_map(ours).collect())
    }

    /// What the index does not know.
    async fn details(
        &self,
        seen: &mut Observed,
        desired: Option<&Desired>,
    ) -> Result<(), CloudError> {
        let known = std::mem::take(&mut seen.listeners);
        let Observed {
            load_balancers,
            target_groups,
            security_groups,
            ..
        } = seen;
        let names: BTreeMap<_, _> = target_groups
            .iter()
            .map(|(name, group)| (group.arn.clone(), Arc::clone(name)))
            .collect();
        let (found_lbs, found_groups, found_security) =
            try_join3(
                try_join_all(load_balancers.iter().map(|(name, lb)| {
                    self.load_balancer(name, lb.clone(), &known, &names, desired)
                })),
                try_join_all(
                    target_groups
                        .iter()
                        .map(|(name, group)| self.target_group(name, group.clone(), desired)),
                ),
                self.rules(security_groups, desired),
            )
            .await?;
        load_balancers.clear();
        for (name, lb, listeners) in found_lbs.into_iter().flatten() {
            load_balancers.insert(Arc::clone(&name), lb);
            for (port, listener) in listeners {
                seen.listeners.insert((Arc::clone(&name), port), listener);
            }
        }
        *target_groups = found_groups.into_iter().flatten().collect();
        if let Some(found) = found_security {
            *security_groups = found;
        }
        self.tell(seen);
        Ok(())
    }

    /// Tells the index what was found, without what a bulk look does not have.
    fn tell(&self, seen: &Observed) {
        self.aws.index.saw(self.identity, |known| {
            known.load_balancers = seen.load_balancers.clone();
            known.target_groups = seen.target_groups.clone();
            known.security_groups = seen.security_groups.clone();
            known.listeners = seen.listeners.clone();
            bulk(known);
        });
    }

    /// A load balancer with its listeners; None where it is gone.
    async fn load_balancer(
        &self,
        name: &Arc<str>,
        mut lb: SeenLoadBalancer,
        known: &BTreeMap<(Arc<str>, u16), SeenListener>,
        target_groups: &BTreeMap<CloudId, Arc<str>>,
        desired: Option<&Desired>,
    ) -> Result<Option<(Arc<str>, SeenLoadBalancer, Vec<(u16, SeenListener)>)>, CloudError> {
        let client = &self.aws.client;
        if matches!(lb.phase, Phase::Provisioning | Phase::Impaired) {
            let Some(now) = client.load_balancer(&lb.arn).await? else {
                return Ok(None);
            };
            lb = now.seen(lb.marks, lb.tags);
        }
        let Some(found) = client.listeners(&lb.arn).await? else {
            return Ok(None);
        };
        let tags = self.listener_tags(name, known, &found).await?;
        let before = |arn: &CloudId| {
            let listener = known.values().find(|listener| listener.arn == *arn)?;
            listener.marks.clone()
        };
        let listener = |reply: ListenerReply| {
            let tags = tags.get(&reply.arn()).cloned().unwrap_or_default();
            let before = before(&reply.arn());
            let to = reply.target_group();
            let to = to.and_then(|arn| target_groups.get(&arn).cloned());
            async move {
                let (Some(port), Some(seen)) = (reply.port(), reply.seen(to, tags)) else {
                    return Ok(None);
                };
                let marks = names::marks(&seen.tags)
                    .or_else(|| before.filter(|marks| names::lack_only(&seen.tags, marks)));
                Ok(Some((
                    port,
                    self.listener(port, seen, marks, desired).await?,
                )))
            }
        };
        let listeners = try_join_all(found.into_iter().map(listener)).await?;
        let wanted = desired.is_some_and(|desired| !desired.load_balancer.attributes.is_empty());
        if wanted || has_attributes(&lb.tags) {
            lb.attributes = client.load_balancer_attributes(&lb.arn).await?;
        }
        lb.listeners_known = true;
        Ok(Some((
            Arc::clone(name),
            lb,
            listeners.into_iter().flatten().collect(),
        )))
    }

    /// Those of listeners that we wrote or read are known; a new ARN is a new listener.
    async fn listener_tags(
        &self,
        load_balancer: &Arc<str>,
        known: &BTreeMap<(Arc<str>, u16), SeenListener>,
        found: &[ListenerReply],
    ) -> Result<BTreeMap<CloudId, Pairs>, CloudError> {
        let of_lb = known.iter().filter(|((name, _), _)| name == load_balancer);
        let mut tags: BTreeMap<_, _> = of_lb
            .map(|(_, listener)| (listener.arn.clone(), listener.tags.clone()))
            .collect();
        let unknown: Vec<_> = found
            .iter()
            .map(ListenerReply::arn)
            .filter(|arn| !tags.contains_key(arn))
            .collect();
        if !unknown.is_empty() {
            tags.extend(self.aws.client.tags(&unknown).await?);
        }
        Ok(tags)
    }

    async fn listener(
        &self,
        port: u16,
        mut seen: SeenListener,
        marks: Option<Marks>,
        desired: Option<&Desired>,
    ) -> Result<SeenListener, CloudError> {
        let client = &self.aws.client;
        seen.marks = marks.filter(|marks| {
            marks.cluster == self.aws.context.cluster.uid && *marks.group == *self.identity
        });
        let wanted = desired.and_then(|desired| {
            desired
                .listeners
                .iter()
                .find(|listener| listener.port == port)
        });
        if let Some(tls) = &mut seen.tls
            && has_further_certificates(&seen.tags, wanted)
        {
            let default = Arc::clone(&tls.certificate);
            let mut further = client
                .further_certificates(&seen.arn)
                .await?
                .unwrap_or_default();
            further.retain(|arn| *arn != default);
            tls.further = further;
        }
        let wanted = wanted.is_some_and(|wanted| !wanted.attributes.is_empty());
        if wanted || has_attributes(&seen.tags) {
            seen.attributes = client.listener_attributes(&seen.arn).await?;
        }
        debug_assert!(seen.protocol == ListenerProtocol::Tls || seen.tls.is_none());
        Ok(seen)
    }

    /// A target group with its targets; None where it is gone.
    async fn target_group(
        &self,
        name: &Arc<str>,
        mut group: SeenTargetGroup,
        desired: Option<&Desired>,
    ) -> Result<Option<(Arc<str>, SeenTargetGroup)>, CloudError> {
        let client = &self.aws.client;
        let Some(targets) = client.targets(&group.arn).await? else {
            return Ok(None);
        };
        group.targets = Some(targets);
        let wanted = desired.is_some_and(|desired| {
            let of_group = desired
                .target_groups
                .iter()
                .find(|one| one.id == group.marks.id);
            of_group.is_some_and(|wanted| !wanted.attributes.is_empty())
        });
        if wanted || has_attributes(&group.tags) {
            group.attributes = client.target_group_attributes(&group.arn).await?;
        }
        Ok(Some((Arc::clone(name), group)))
    }

    /// Security groups read anew where their rules are not the wanted ones: what is written then is a true difference.
    async fn rules(
        &self,
        known: &BTreeMap<Arc<str>, SeenSecurityGroup>,
        desired: Option<&Desired>,
    ) -> Result<Option<BTreeMap<Arc<str>, SeenSecurityGroup>>, CloudError> {
        let Some(desired) = desired else {
            return Ok(None);
        };
        let wrong = known
            .values()
            .any(|group| match &desired.load_balancer.security {
                Security::Managed(rules) => group.rules != *rules,
                Security::Given { .. } | Security::Absent(_) => true,
            });
        if !wrong {
            return Ok(None);
        }
        self.security_groups().await.map(Some)
    }
}

fn add<T: Clone>(there: &mut BTreeMap<Arc<str>, T>, made: &BTreeMap<Arc<str>, T>) {
    for (name, one) in made {
        there.entry(Arc::clone(name)).or_insert_with(|| one.clone());
    }
}

/// Whether a listener has more certificates than one, as its tag says, or shall have.
pub(crate) fn has_further_certificates(tags: &Pairs, wanted: Option<&Listener>) -> bool {
    let wanted = wanted.and_then(|wanted| wanted.tls.as_ref());
    let tagged = tags.get(tag::CERTIFICATES);
    wanted.is_some_and(|tls| !tls.further.is_empty())
        || tagged.is_some_and(|count| !matches!(&**count, "" | "0"))
}

/// Whether a tag says that attributes were set.
pub(crate) fn has_attributes(tags: &Pairs) -> bool {
    !names::listed_attributes(tags).is_empty()
}

/// Takes out what a bulk look does not have. Listeners stay where the caller lets them.
pub(crate) fn bulk(seen: &mut Observed) {
    for lb in seen.load_balancers.values_mut() {
        lb.attributes = None;
        lb.listeners_known = false;
    }
    for group in seen.target_groups.values_mut() {
        group.attributes = None;
        group.targets = None;
        group.since.clear();
        group.not_taken.clear();
    }
    for listener in seen.listeners.values_mut() {
        listener.attributes = None;
    }
}
