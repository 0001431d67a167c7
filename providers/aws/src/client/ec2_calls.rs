//! The calls that we make of EC2 (Reads, Writes).

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{error::CloudError, net::Cidr, ticket::Ticket};
use serde::de::DeserializeOwned;

use super::{
    Client,
    ec2::{self, Params},
    ec2_replies::{
        GroupReply, GroupsReply, InstanceReply, InstancesReply, InterfacesReply, NewGroupReply,
        PrefixListsReply, RouteTableReply, RouteTablesReply, SubnetsReply, VpcsReply, ZonesReply,
    },
};
use crate::{
    call::{self, Call},
    errors::{self, code},
    model::{CloudId, Pairs, Rule, Source, facts::Subnet},
};

/// The largest page of most calls.
const PAGE: &str = "1000";

/// The largest page of route tables.
const ROUTE_TABLE_PAGE: &str = "100";

/// The most instance ids in one call, so that one unknown id spoils few.
const INSTANCES: usize = 100;

/// A filter: its name, and values of which one must match.
pub(crate) type Filter<'a> = (&'a str, Vec<Cow<'a, str>>);

/// An answer that may be one page of several.
trait Page {
    fn next(&mut self) -> Option<String>;
}

macro_rules! pages {
    ($($reply:ty),*) => {$(
        impl Page for $reply {
            fn next(&mut self) -> Option<String> {
                self.next_token.take().filter(|token| !token.is_empty())
            }
        }
    )*};
}

pages!(GroupsReply, InstancesReply, RouteTablesReply, SubnetsReply);

impl Client {
    async fn ec2_read<T: DeserializeOwned>(
        &self,
        call: &'static Call,
        params: Params,
    ) -> Result<T, CloudError> {
        let api = self.apis().await?;
        let document = self.read(call, api.ec2.send(params)).await?;
        ec2::parse(&document).map_err(|error| errors::not_understood(call, error.into()))
    }

    async fn ec2_write(
        &self,
        call: &'static Call,
        params: Params,
        ticket: &Ticket,
    ) -> Result<String, CloudError> {
        let api = self.apis().await?;
        self.write(call, ticket, api.ec2.send(params)).await
    }

    async fn ec2_pages<T: DeserializeOwned + Page>(
        &self,
        call: &'static Call,
        params: Params,
    ) -> Result<Vec<T>, CloudError> {
        let mut pages = Vec::new();
        let mut next = params.clone();
        loop {
            let mut page: T = self.ec2_read(call, next).await?;
            let token = page.next();
            pages.push(page);
            match token {
                None => return Ok(pages),
                Some(token) => next = params.clone().with("NextToken", token),
            }
        }
    }

    /// The prefixes associated with a VPC; None where it is not there.
    pub(crate) async fn vpc_prefixes(&self, vpc: &str) -> Result<Option<Vec<Cidr>>, CloudError> {
        let params = Params::new("DescribeVpcs").filters([filter("vpc-id", [vpc])]);
        let reply: VpcsReply = self.ec2_read(&call::DESCRIBE_VPCS, params).await?;
        Ok(reply.vpcs.item.into_iter().next().map(|vpc| vpc.prefixes()))
    }

    /// The subnets that match, by id. Their locale is filled in by who knows the zones.
    pub(crate) async fn subnets(
        &self,
        filters: Vec<Filter<'_>>,
    ) -> Result<BTreeMap<Arc<str>, Subnet>, CloudError> {
        let params = Params::new("DescribeSubnets")
            .filters(filters)
            .with("MaxResults", PAGE);
        let pages: Vec<SubnetsReply> = self.ec2_pages(&call::DESCRIBE_SUBNETS, params).await?;
        let all = pages.into_iter().flat_map(|page| page.subnets.item);
        Ok(all
            .map(|subnet| subnet.subnet())
            .map(|subnet| (Arc::clone(&subnet.id), subnet))
            .collect())
    }

    /// The route tables of a VPC.
    pub(crate) async fn route_tables(&self, vpc: &str) -> Result<Vec<RouteTableReply>, CloudError> {
        let params = Params::new("DescribeRouteTables")
            .filters([filter("vpc-id", [vpc])])
            .with("MaxResults", ROUTE_TABLE_PAGE);
        let pages: Vec<RouteTablesReply> =
            self.ec2_pages(&call::DESCRIBE_ROUTE_TABLES, params).await?;
        Ok(pages
            .into_iter()
            .flat_map(|page| page.route_tables.item)
            .collect())
    }

    /// The kinds of the region's zones, by name.
    pub(crate) async fn zones(&self) -> Result<BTreeMap<Arc<str>, Arc<str>>, CloudError> {
        let params = Params::new("DescribeAvailabilityZones");
        let reply: ZonesReply = self
            .ec2_read(&call::DESCRIBE_AVAILABILITY_ZONES, params)
            .await?;
        let all = reply.zones.item.into_iter();
        Ok(all
            .map(|zone| (zone.name.into(), zone.kind.into()))
            .collect())
    }

    /// The security groups that match.
    pub(crate) async fn security_groups(
        &self,
        filters: Vec<Filter<'_>>,
    ) -> Result<Vec<GroupReply>, CloudError> {
        let params = Params::new("DescribeSecurityGroups")
            .filters(filters)
            .with("MaxResults", PAGE);
        let pages: Vec<GroupsReply> = self
            .ec2_pages(&call::DESCRIBE_SECURITY_GROUPS, params)
            .await?;
        Ok(pages
            .into_iter()
            .flat_map(|page| page.groups.item)
            .collect())
    }

    /// How many entries the prefix lists that match may have, by id.
    pub(crate) async fn prefix_lists(
        &self,
        filters: Vec<Filter<'_>>,
    ) -> Result<BTreeMap<Arc<str>, u32>, CloudError> {
        let params = Params::new("DescribeManagedPrefixLists").filters(filters);
        let reply: PrefixListsReply = self.ec2_read(&call::DESCRIBE_PREFIX_LISTS, params).await?;
        let all = reply.prefix_lists.item.into_iter();
        Ok(all.map(|list| (list.id.into(), list.entries)).collect())
    }

    /// The instances that match and are not terminated.
    pub(crate) async fn instances(
        &self,
        filters: Vec<Filter<'_>>,
    ) -> Result<Vec<InstanceReply>, CloudError> {
        let params = Params::new("DescribeInstances")
            .filters(filters)
            .with("MaxResults", PAGE);
        let pages: Vec<InstancesReply> = self.ec2_pages(&call::DESCRIBE_INSTANCES, params).await?;
        Ok(pages
            .into_iter()
            .flat_map(InstancesReply::instances)
            .collect())
    }

    /// The instances of these ids. Those that EC2 does not know are missing: they are taken out and the others asked again.
    pub(crate) async fn instances_of_ids(
        &self,
        ids: &BTreeSet<Arc<str>>,
    ) -> Result<Vec<InstanceReply>, CloudError> {
        let ids: Vec<_> = ids.iter().cloned().collect();
        let mut all = Vec::new();
        let mut waiting: Vec<Vec<Arc<str>>> = ids.chunks(INSTANCES).map(<[_]>::to_vec).collect();
        while let Some(chunk) = waiting.pop() {
            let params = Params::new("DescribeInstances").list("InstanceId", &chunk);
            let error = match self.ec2_read(&call::DESCRIBE_INSTANCES, params).await {
                Ok(reply) => {
                    all.extend(InstancesReply::instances(reply));
                    continue;
                }
                Err(error) => error,
            };
            if !matches!(
                error.code.as_deref(),
                Some(code::NO_INSTANCE | code::NOT_AN_INSTANCE)
            ) {
                return Err(error);
            }
            let named = named(&error.message);
            let rest: Vec<_> = chunk
                .iter()
                .filter(|id| !named.contains(&***id))
                .cloned()
                .collect();
            match rest.len() {
                0 => {}
                // Nothing was named: one of them it is.
                left if left == chunk.len() && left > 1 => {
                    let middle = left / 2;
                    waiting.extend([rest[..middle].to_vec(), rest[middle..].to_vec()]);
                }
                left if left == chunk.len() => {}
                _ => waiting.push(rest),
            }
        }
        Ok(all)
    }

    /// What uses a security group: descriptions of its network interfaces, for people.
    pub(crate) async fn users_of_group(&self, group: &CloudId) -> Result<Vec<String>, CloudError> {
        let params = Params::new("DescribeNetworkInterfaces")
            .filters([filter("group-id", [group.as_str()])])
            .with("MaxResults", "5");
        let reply: InterfacesReply = self
            .ec2_read(&call::DESCRIBE_NETWORK_INTERFACES, params)
            .await?;
        let all = reply.interfaces.item.into_iter();
        Ok(all
            .map(|one| format!("{} ({})", one.id, one.description))
            .collect())
    }

    /// `CreateSecurityGroup`.
    pub(crate) async fn create_security_group(
        &self,
        name: &str,
        description: &str,
        vpc: &str,
        tags: &Pairs,
        ticket: &Ticket,
    ) -> Result<CloudId, CloudError> {
        let mut params = Params::new("CreateSecurityGroup")
            .with("GroupName", name)
            .with("GroupDescription", description)
            .with("VpcId", vpc)
            .with("TagSpecification.1.ResourceType", "security-group");
        for (n, (key, value)) in (1..).zip(tags) {
            params.put(&format!("TagSpecification.1.Tag.{n}.Key"), key);
            params.put(&format!("TagSpecification.1.Tag.{n}.Value"), value);
        }
        let call = &call::CREATE_SECURITY_GROUP;
        let document = self.ec2_write(call, params, ticket).await?;
        let reply: NewGroupReply =
            ec2::parse(&document).map_err(|error| errors::not_understood(call, error.into()))?;
        Ok(CloudId::new(reply.id))
    }

    /// `AuthorizeSecurityGroupIngress`: all of the rules or none, with a description where there is one.
    pub(crate) async fn authorize(
        &self,
        group: &CloudId,
        rules: &BTreeSet<Rule>,
        description: Option<&str>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let params = permissions("AuthorizeSecurityGroupIngress", group, rules, description);
        self.ec2_write(&call::AUTHORIZE_INGRESS, params, ticket)
            .await?;
        Ok(())
    }

    /// `RevokeSecurityGroupIngress`: all of the rules or none.
    pub(crate) async fn revoke(
        &self,
        group: &CloudId,
        rules: &BTreeSet<Rule>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let params = permissions("RevokeSecurityGroupIngress", group, rules, None);
        self.ec2_write(&call::REVOKE_INGRESS, params, ticket)
            .await?;
        Ok(())
    }

    /// `DeleteSecurityGroup`.
    pub(crate) async fn delete_security_group(
        &self,
        group: &CloudId,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let params = Params::new("DeleteSecurityGroup").with("GroupId", group.as_str());
        self.ec2_write(&call::DELETE_SECURITY_GROUP, params, ticket)
            .await?;
        Ok(())
    }

    /// `CreateTags`, of a security group.
    pub(crate) async fn create_tags(
        &self,
        group: &CloudId,
        set: &Pairs,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let mut params = Params::new("CreateTags").with("ResourceId.1", group.as_str());
        for (n, (key, value)) in (1..).zip(set) {
            params.put(&format!("Tag.{n}.Key"), key);
            params.put(&format!("Tag.{n}.Value"), value);
        }
        self.ec2_write(&call::CREATE_TAGS, params, ticket).await?;
        Ok(())
    }

    /// `DeleteTags`, of a security group.
    pub(crate) async fn delete_tags(
        &self,
        group: &CloudId,
        keys: &BTreeSet<Arc<str>>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let mut params = Params::new("DeleteTags").with("ResourceId.1", group.as_str());
        for (n, key) in (1..).zip(keys) {
            params.put(&format!("Tag.{n}.Key"), key);
        }
        self.ec2_write(&call::DELETE_TAGS, params, ticket).await?;
        Ok(())
    }
}

/// A filter.
pub(crate) fn filter<'a, T: Into<Cow<'a, str>>>(
    name: &'a str,
    values: impl IntoIterator<Item = T>,
) -> Filter<'a> {
    (name, values.into_iter().map(Into::into).collect())
}

/// The instance ids in a message: `The instance IDs 'i-1, i-2' do not exist`.
fn named(message: &str) -> BTreeSet<&str> {
    let part = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    message
        .split(part)
        .filter(|word| word.starts_with("i-"))
        .collect()
}

/// One permission per rule: rules are compared one by one, and so they are written.
fn permissions(
    action: &str,
    group: &CloudId,
    rules: &BTreeSet<Rule>,
    description: Option<&str>,
) -> Params {
    let mut params = Params::new(action).with("GroupId", group.as_str());
    for (n, rule) in (1..).zip(rules) {
        let key = |rest: &str| format!("IpPermissions.{n}.{rest}");
        params.put(&key("IpProtocol"), rule.protocol.as_str());
        params.put(&key("FromPort"), &rule.from.to_string());
        params.put(&key("ToPort"), &rule.to.to_string());
        let (kind, field, source) = match &rule.source {
            Source::Cidr(cidr) if cidr.net().addr().is_ipv4() => {
                ("IpRanges", "CidrIp", cidr.to_string())
            }
            Source::Cidr(cidr) => ("Ipv6Ranges", "CidrIpv6", cidr.to_string()),
            Source::PrefixList(id) => ("PrefixListIds", "PrefixListId", id.to_string()),
            Source::Group(id) => ("Groups", "GroupId", id.to_string()),
        };
        params.put(&key(&format!("{kind}.1.{field}")), &source);
        if let Some(description) = description {
            params.put(&key(&format!("{kind}.1.Description")), description);
        }
    }
    params
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::named;

    #[test]
    fn instances_that_a_message_names() {
        for (message, expected) in [
            ("The instance ID 'i-0a' does not exist", vec!["i-0a"]),
            (
                "The instance IDs 'i-0a, i-0b' do not exist",
                vec!["i-0a", "i-0b"],
            ),
            ("Invalid id: \"i-zz\"", vec!["i-zz"]),
            ("nothing", vec![]),
        ] {
            assert_eq!(
                named(message),
                expected.into_iter().collect::<BTreeSet<_>>()
            );
        }
    }
}
