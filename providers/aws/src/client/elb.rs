//! Elastic Load Balancing: the reads (Reads).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_sdk_elasticloadbalancingv2::{
    operation::describe_load_balancers::builders::DescribeLoadBalancersFluentBuilder as DescribeLoadBalancers,
    types,
};
use evenkeel_core::error::CloudError;
use futures::TryFutureExt as _;

use super::{
    Client,
    replies::{Health, ListenerReply, LoadBalancerReply, TargetGroupReply, pairs, text},
};
use crate::{
    call,
    errors::code,
    model::{CloudId, Pairs, Target, TargetState},
};

/// The largest page that there is.
const PAGE: i32 = 400;

/// The most ARNs in one call.
pub(crate) const ARNS: usize = 20;

impl Client {
    /// Every Network Load Balancer of the region, those of others too.
    pub(crate) async fn load_balancers(&self) -> Result<Vec<LoadBalancerReply>, CloudError> {
        let api = self.apis().await?;
        let found = pages(|marker| {
            let request = api
                .elb
                .describe_load_balancers()
                .page_size(PAGE)
                .set_marker(marker);
            self.read(&call::DESCRIBE_LOAD_BALANCERS, request.send())
                .map_ok(|page| (page.load_balancers, page.next_marker))
        })
        .await?;
        let network =
            |lb: &types::LoadBalancer| lb.r#type() == Some(&types::LoadBalancerTypeEnum::Network);
        Ok(found
            .into_iter()
            .filter(network)
            .map(LoadBalancerReply)
            .collect())
    }

    /// The load balancer of this ARN, if there is one.
    pub(crate) async fn load_balancer(
        &self,
        arn: &CloudId,
    ) -> Result<Option<LoadBalancerReply>, CloudError> {
        self.one_load_balancer(|request| request.load_balancer_arns(arn.as_str()))
            .await
    }

    /// The load balancer of this name, if there is one.
    pub(crate) async fn load_balancer_of_name(
        &self,
        name: &str,
    ) -> Result<Option<LoadBalancerReply>, CloudError> {
        self.one_load_balancer(|request| request.names(name)).await
    }

    async fn one_load_balancer(
        &self,
        which: impl FnOnce(DescribeLoadBalancers) -> DescribeLoadBalancers,
    ) -> Result<Option<LoadBalancerReply>, CloudError> {
        let request = which(self.apis().await?.elb.describe_load_balancers());
        let found = self
            .read(&call::DESCRIBE_LOAD_BALANCERS, request.send())
            .await;
        let found = absent(found, code::NO_LOAD_BALANCER)?;
        Ok(found
            .and_then(|reply| reply.load_balancers?.into_iter().next())
            .map(LoadBalancerReply))
    }

    /// Every target group of the region, those of others too.
    pub(crate) async fn target_groups(&self) -> Result<Vec<TargetGroupReply>, CloudError> {
        let api = self.apis().await?;
        let found = pages(|marker| {
            let request = api
                .elb
                .describe_target_groups()
                .page_size(PAGE)
                .set_marker(marker);
            self.read(&call::DESCRIBE_TARGET_GROUPS, request.send())
                .map_ok(|page| (page.target_groups, page.next_marker))
        })
        .await?;
        Ok(found.into_iter().map(TargetGroupReply).collect())
    }

    /// The target group of this name, if there is one.
    pub(crate) async fn target_group_of_name(
        &self,
        name: &str,
    ) -> Result<Option<TargetGroupReply>, CloudError> {
        let api = self.apis().await?;
        let request = api.elb.describe_target_groups().names(name);
        let found = self
            .read(&call::DESCRIBE_TARGET_GROUPS, request.send())
            .await;
        let found = absent(found, code::NO_TARGET_GROUP)?;
        Ok(found
            .and_then(|reply| reply.target_groups?.into_iter().next())
            .map(TargetGroupReply))
    }

    /// The listeners of a load balancer; None where that is gone.
    pub(crate) async fn listeners(
        &self,
        load_balancer: &CloudId,
    ) -> Result<Option<Vec<ListenerReply>>, CloudError> {
        let api = self.apis().await?;
        let found = pages(|marker| {
            let request = api
                .elb
                .describe_listeners()
                .load_balancer_arn(load_balancer.as_str())
                .page_size(PAGE)
                .set_marker(marker);
            self.read(&call::DESCRIBE_LISTENERS, request.send())
                .map_ok(|page| (page.listeners, page.next_marker))
        });
        let found = absent(found.await, code::NO_LOAD_BALANCER)?;
        Ok(found.map(|all| all.into_iter().map(ListenerReply).collect()))
    }

    /// The certificates of a listener beside its default one, ascending; None where it is gone.
    pub(crate) async fn further_certificates(
        &self,
        listener: &CloudId,
    ) -> Result<Option<Vec<Arc<str>>>, CloudError> {
        let api = self.apis().await?;
        let found = pages(|marker| {
            let request = api
                .elb
                .describe_listener_certificates()
                .listener_arn(listener.as_str())
                .page_size(PAGE)
                .set_marker(marker);
            self.read(&call::DESCRIBE_LISTENER_CERTIFICATES, request.send())
                .map_ok(|page| (page.certificates, page.next_marker))
        });
        let further = |found: Vec<types::Certificate>| {
            let further = found
                .into_iter()
                .filter(|certificate| certificate.is_default != Some(true));
            let arns: BTreeSet<_> = further
                .filter_map(|certificate| certificate.certificate_arn)
                .collect();
            arns.into_iter().map(Arc::from).collect()
        };
        Ok(absent(found.await, code::NO_LISTENER)?.map(further))
    }

    /// The targets of a target group; None where it is gone. A target that is being deregistered is `Draining`.
    pub(crate) async fn targets(
        &self,
        target_group: &CloudId,
    ) -> Result<Option<BTreeMap<Target, TargetState>>, CloudError> {
        let found = self.target_health(target_group).await?;
        let states = |found: Vec<(Target, Health)>| {
            let found = found.into_iter();
            found.map(|(target, health)| (target, health.state))
        };
        Ok(found.map(|found| states(found).collect()))
    }

    /// The same with what AWS says of each.
    pub(crate) async fn target_health(
        &self,
        target_group: &CloudId,
    ) -> Result<Option<Vec<(Target, Health)>>, CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .describe_target_health()
            .target_group_arn(target_group.as_str());
        let found = self
            .read(&call::DESCRIBE_TARGET_HEALTH, request.send())
            .await;
        let Some(found) = absent(found, code::NO_TARGET_GROUP)? else {
            return Ok(None);
        };
        let targets = found.target_health_descriptions.unwrap_or_default();
        Ok(Some(
            targets
                .into_iter()
                .filter_map(super::replies::target)
                .collect(),
        ))
    }

    /// The tags of these objects, by ARN. What is gone is missing.
    pub(crate) async fn tags(
        &self,
        arns: &[CloudId],
    ) -> Result<BTreeMap<CloudId, Pairs>, CloudError> {
        let api = self.apis().await?;
        let mut all = BTreeMap::new();
        let mut waiting: Vec<Vec<CloudId>> = arns.chunks(ARNS).map(<[_]>::to_vec).collect();
        while let Some(chunk) = waiting.pop() {
            let request = api
                .elb
                .describe_tags()
                .set_resource_arns(Some(chunk.iter().map(ToString::to_string).collect()));
            match self.read(&call::DESCRIBE_TAGS, request.send()).await {
                Ok(reply) => {
                    for described in reply.tag_descriptions.unwrap_or_default() {
                        let arn = CloudId::new(text(described.resource_arn));
                        all.insert(arn, pairs(described.tags));
                    }
                }
                // One that is gone fails all of them: its message names it, mostly.
                Err(error) if is_gone(&error) && chunk.len() > 1 => {
                    let (gone, rest): (Vec<_>, Vec<_>) = chunk
                        .into_iter()
                        .partition(|arn| error.message.contains(arn.as_str()));
                    if gone.is_empty() {
                        let middle = rest.len() / 2;
                        waiting.extend([rest[..middle].to_vec(), rest[middle..].to_vec()]);
                    } else if !rest.is_empty() {
                        waiting.push(rest);
                    }
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// The attributes of a load balancer; None where it is gone.
    pub(crate) async fn load_balancer_attributes(
        &self,
        arn: &CloudId,
    ) -> Result<Option<Pairs>, CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .describe_load_balancer_attributes()
            .load_balancer_arn(arn.as_str());
        let found = self
            .read(&call::DESCRIBE_LOAD_BALANCER_ATTRIBUTES, request.send())
            .await;
        let found = absent(found, code::NO_LOAD_BALANCER)?;
        Ok(found.map(|reply| attributes(reply.attributes, |a| (a.key, a.value))))
    }

    /// The attributes of a target group; None where it is gone.
    pub(crate) async fn target_group_attributes(
        &self,
        arn: &CloudId,
    ) -> Result<Option<Pairs>, CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .describe_target_group_attributes()
            .target_group_arn(arn.as_str());
        let found = self
            .read(&call::DESCRIBE_TARGET_GROUP_ATTRIBUTES, request.send())
            .await;
        let found = absent(found, code::NO_TARGET_GROUP)?;
        Ok(found.map(|reply| attributes(reply.attributes, |a| (a.key, a.value))))
    }

    /// The attributes of a listener; None where it is gone.
    pub(crate) async fn listener_attributes(
        &self,
        arn: &CloudId,
    ) -> Result<Option<Pairs>, CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .describe_listener_attributes()
            .listener_arn(arn.as_str());
        let found = self
            .read(&call::DESCRIBE_LISTENER_ATTRIBUTES, request.send())
            .await;
        let found = absent(found, code::NO_LISTENER)?;
        Ok(found.map(|reply| attributes(reply.attributes, |a| (a.key, a.value))))
    }
}

/// A whole list. `page` asks for what comes at a marker, and gives the marker of the next page.
async fn pages<T, P>(page: impl Fn(Option<String>) -> P) -> Result<Vec<T>, CloudError>
where
    P: Future<Output = Result<(Option<Vec<T>>, Option<String>), CloudError>>,
{
    let (mut all, mut marker) = (Vec::new(), None);
    loop {
        let (found, next) = page(marker).await?;
        all.extend(found.unwrap_or_default());
        marker = next.filter(|marker| !marker.is_empty());
        if marker.is_none() {
            return Ok(all);
        }
    }
}

fn attributes<A>(
    attributes: Option<Vec<A>>,
    parts: impl Fn(A) -> (Option<String>, Option<String>),
) -> Pairs {
    let attributes = attributes.unwrap_or_default().into_iter().map(parts);
    attributes
        .map(|(key, value)| (text(key).into(), text(value).into()))
        .collect()
}

fn is_gone(error: &CloudError) -> bool {
    error.code.as_deref().is_some_and(code::is_gone)
}

/// None where the error says that what was asked about is not there.
fn absent<T>(result: Result<T, CloudError>, not_there: &str) -> Result<Option<T>, CloudError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code.as_deref() == Some(not_there) => Ok(None),
        Err(error) => Err(error),
    }
}
