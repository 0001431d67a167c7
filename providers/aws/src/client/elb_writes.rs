//! Elastic Load Balancing: the writes (Writes).
//!
//! One method per operation; what a name means by ARN, and what an error means besides, is [`crate::apply`]'s to know.

use std::{collections::BTreeSet, sync::Arc};

use aws_sdk_elasticloadbalancingv2::types;
use evenkeel_core::{error::CloudError, intent::Scheme, net::IpFamily, ticket::Ticket};

use super::{
    Client,
    replies::{ListenerReply, LoadBalancerReply, TargetGroupReply},
};
use crate::{
    call,
    model::{
        AddressType, CloudId, HealthCheck, ListenerProtocol, Pairs, SubnetMapping, Target,
        TargetProtocol, TargetType, Tls,
        step::{NewListener, NewLoadBalancer, NewTargetGroup},
    },
};

impl Client {
    /// `CreateLoadBalancer`. AWS answers with the one that is there where all settings are the same.
    pub(crate) async fn create_load_balancer(
        &self,
        new: &NewLoadBalancer,
        ticket: &Ticket,
    ) -> Result<Option<LoadBalancerReply>, CloudError> {
        let api = self.apis().await?;
        let groups = new.security_groups.iter().map(ToString::to_string);
        let request = api
            .elb
            .create_load_balancer()
            .name(&*new.name)
            .r#type(types::LoadBalancerTypeEnum::Network)
            .scheme(match new.scheme {
                Scheme::Internal => types::LoadBalancerSchemeEnum::Internal,
                Scheme::InternetFacing => types::LoadBalancerSchemeEnum::InternetFacing,
            })
            .ip_address_type(address_type(new.address_type))
            .set_subnet_mappings(Some(mappings(&new.subnets)))
            .set_security_groups(some(groups.collect()))
            .set_enable_prefix_for_ipv6_source_nat(new.source_nat.map(source_nat))
            .set_tags(some(tags(&new.tags)));
        let reply = self
            .write(&call::CREATE_LOAD_BALANCER, ticket, request.send())
            .await?;
        Ok(reply
            .load_balancers
            .and_then(|all| all.into_iter().next())
            .map(LoadBalancerReply))
    }

    /// `SetSubnets`.
    pub(crate) async fn set_subnets(
        &self,
        arn: &CloudId,
        subnets: &[SubnetMapping],
        prefixes: Option<bool>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .set_subnets()
            .load_balancer_arn(arn.as_str())
            .set_subnet_mappings(Some(mappings(subnets)))
            .set_enable_prefix_for_ipv6_source_nat(prefixes.map(source_nat));
        self.write(&call::SET_SUBNETS, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `SetSecurityGroups`.
    pub(crate) async fn set_security_groups(
        &self,
        arn: &CloudId,
        groups: &BTreeSet<CloudId>,
        private_link_rules: Option<bool>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        use types::EnforceSecurityGroupInboundRulesOnPrivateLinkTrafficEnum as Enforce;
        let api = self.apis().await?;
        let enforce = |on| if on { Enforce::On } else { Enforce::Off };
        let groups = groups.iter().map(ToString::to_string);
        let request = api
            .elb
            .set_security_groups()
            .load_balancer_arn(arn.as_str())
            .set_security_groups(Some(groups.collect()))
            .set_enforce_security_group_inbound_rules_on_private_link_traffic(
                private_link_rules.map(enforce),
            );
        self.write(&call::SET_SECURITY_GROUPS, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `SetIpAddressType`.
    pub(crate) async fn set_address_type(
        &self,
        arn: &CloudId,
        new: AddressType,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .set_ip_address_type()
            .load_balancer_arn(arn.as_str())
            .ip_address_type(address_type(new));
        self.write(&call::SET_IP_ADDRESS_TYPE, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `CreateTargetGroup`. AWS answers with the one that is there where all settings are the same.
    pub(crate) async fn create_target_group(
        &self,
        new: &NewTargetGroup,
        vpc: &str,
        ticket: &Ticket,
    ) -> Result<Option<TargetGroupReply>, CloudError> {
        let api = self.apis().await?;
        let check = &new.health_check;
        let request = api
            .elb
            .create_target_group()
            .name(&*new.name)
            .protocol(target_protocol(new.protocol))
            .port(new.port.into())
            .target_type(match new.target_type {
                TargetType::Instance => types::TargetTypeEnum::Instance,
                TargetType::Ip => types::TargetTypeEnum::Ip,
            })
            .set_ip_address_type(match new.family {
                IpFamily::V4 => None,
                IpFamily::V6 => Some(types::TargetGroupIpAddressTypeEnum::Ipv6),
            })
            .vpc_id(vpc)
            .health_check_protocol(check.protocol.as_str().into())
            .health_check_port(check.port.to_string())
            .set_health_check_path(check.path.as_deref().map(str::to_owned))
            .set_matcher(matcher(check))
            .health_check_interval_seconds(number(check.interval))
            .health_check_timeout_seconds(number(check.timeout))
            .healthy_threshold_count(number(check.healthy))
            .unhealthy_threshold_count(number(check.unhealthy))
            .set_tags(some(tags(&new.tags)));
        let reply = self
            .write(&call::CREATE_TARGET_GROUP, ticket, request.send())
            .await?;
        Ok(reply
            .target_groups
            .and_then(|all| all.into_iter().next())
            .map(TargetGroupReply))
    }

    /// `ModifyTargetGroup`.
    pub(crate) async fn set_health_check(
        &self,
        arn: &CloudId,
        check: &HealthCheck,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .modify_target_group()
            .target_group_arn(arn.as_str())
            .health_check_protocol(check.protocol.as_str().into())
            .health_check_port(check.port.to_string())
            .set_health_check_path(check.path.as_deref().map(str::to_owned))
            .set_matcher(matcher(check))
            .health_check_interval_seconds(number(check.interval))
            .health_check_timeout_seconds(number(check.timeout))
            .healthy_threshold_count(number(check.healthy))
            .unhealthy_threshold_count(number(check.unhealthy));
        self.write(&call::MODIFY_TARGET_GROUP, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `RegisterTargets`.
    pub(crate) async fn register(
        &self,
        arn: &CloudId,
        targets: &[Target],
        outside: &BTreeSet<Arc<str>>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .register_targets()
            .target_group_arn(arn.as_str())
            .set_targets(Some(described(targets, outside)));
        self.write(&call::REGISTER_TARGETS, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `DeregisterTargets`.
    pub(crate) async fn deregister(
        &self,
        arn: &CloudId,
        targets: &[Target],
        outside: &BTreeSet<Arc<str>>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .deregister_targets()
            .target_group_arn(arn.as_str())
            .set_targets(Some(described(targets, outside)));
        self.write(&call::DEREGISTER_TARGETS, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `CreateListener`. AWS answers with the one that is there where all settings are the same.
    pub(crate) async fn create_listener(
        &self,
        load_balancer: &CloudId,
        target_group: &CloudId,
        new: &NewListener,
        ticket: &Ticket,
    ) -> Result<Option<ListenerReply>, CloudError> {
        let api = self.apis().await?;
        let tls = new.tls.as_ref();
        let request = api
            .elb
            .create_listener()
            .load_balancer_arn(load_balancer.as_str())
            .port(new.port.into())
            .protocol(listener_protocol(new.protocol))
            .default_actions(forward(target_group))
            .set_certificates(tls.map(|tls| vec![certificate(&tls.certificate)]))
            .set_ssl_policy(tls.map(|tls| tls.policy.to_string()))
            .set_alpn_policy(tls.and_then(|tls| Some(vec![tls.alpn.as_ref()?.to_string()])))
            .set_tags(some(tags(&new.tags)));
        let reply = self
            .write(&call::CREATE_LISTENER, ticket, request.send())
            .await?;
        Ok(reply
            .listeners
            .and_then(|all| all.into_iter().next())
            .map(ListenerReply))
    }

    /// `ModifyListener`, whole but for its tags and further certificates. What only TLS has goes with TLS.
    pub(crate) async fn set_listener(
        &self,
        arn: &CloudId,
        target_group: &CloudId,
        new: &NewListener,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let tls = new.tls.as_ref();
        let alpn = |tls: &Tls| vec![tls.alpn.as_deref().unwrap_or("None").to_owned()];
        let request = api
            .elb
            .modify_listener()
            .listener_arn(arn.as_str())
            .protocol(listener_protocol(new.protocol))
            .default_actions(forward(target_group))
            .set_certificates(tls.map(|tls| vec![certificate(&tls.certificate)]))
            .set_ssl_policy(tls.map(|tls| tls.policy.to_string()))
            .set_alpn_policy(tls.map(alpn));
        self.write(&call::MODIFY_LISTENER, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `AddListenerCertificates`; one that is there is success.
    pub(crate) async fn add_certificate(
        &self,
        listener: &CloudId,
        arn: &Arc<str>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .add_listener_certificates()
            .listener_arn(listener.as_str())
            .certificates(certificate(arn));
        self.write(&call::ADD_LISTENER_CERTIFICATES, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `RemoveListenerCertificates`.
    pub(crate) async fn remove_certificate(
        &self,
        listener: &CloudId,
        arn: &Arc<str>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .remove_listener_certificates()
            .listener_arn(listener.as_str())
            .certificates(certificate(arn));
        self.write(&call::REMOVE_LISTENER_CERTIFICATES, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `ModifyLoadBalancerAttributes`.
    pub(crate) async fn set_load_balancer_attributes(
        &self,
        arn: &CloudId,
        attributes: &Pairs,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let one = |(key, value): (&Arc<str>, &Arc<str>)| {
            types::LoadBalancerAttribute::builder()
                .key(&**key)
                .value(&**value)
                .build()
        };
        let request = api
            .elb
            .modify_load_balancer_attributes()
            .load_balancer_arn(arn.as_str())
            .set_attributes(Some(attributes.iter().map(one).collect()));
        self.write(
            &call::MODIFY_LOAD_BALANCER_ATTRIBUTES,
            ticket,
            request.send(),
        )
        .await?;
        Ok(())
    }

    /// `ModifyTargetGroupAttributes`.
    pub(crate) async fn set_target_group_attributes(
        &self,
        arn: &CloudId,
        attributes: &Pairs,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let one = |(key, value): (&Arc<str>, &Arc<str>)| {
            types::TargetGroupAttribute::builder()
                .key(&**key)
                .value(&**value)
                .build()
        };
        let request = api
            .elb
            .modify_target_group_attributes()
            .target_group_arn(arn.as_str())
            .set_attributes(Some(attributes.iter().map(one).collect()));
        self.write(
            &call::MODIFY_TARGET_GROUP_ATTRIBUTES,
            ticket,
            request.send(),
        )
        .await?;
        Ok(())
    }

    /// `ModifyListenerAttributes`.
    pub(crate) async fn set_listener_attributes(
        &self,
        arn: &CloudId,
        attributes: &Pairs,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let one = |(key, value): (&Arc<str>, &Arc<str>)| {
            types::ListenerAttribute::builder()
                .key(&**key)
                .value(&**value)
                .build()
        };
        let request = api
            .elb
            .modify_listener_attributes()
            .listener_arn(arn.as_str())
            .set_attributes(Some(attributes.iter().map(one).collect()));
        self.write(&call::MODIFY_LISTENER_ATTRIBUTES, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `AddTags`.
    pub(crate) async fn add_tags(
        &self,
        arn: &CloudId,
        set: &Pairs,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .add_tags()
            .resource_arns(arn.as_str())
            .set_tags(Some(tags(set)));
        self.write(&call::ADD_TAGS, ticket, request.send()).await?;
        Ok(())
    }

    /// `RemoveTags`.
    pub(crate) async fn remove_tags(
        &self,
        arn: &CloudId,
        keys: &BTreeSet<Arc<str>>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .remove_tags()
            .resource_arns(arn.as_str())
            .set_tag_keys(Some(keys.iter().map(ToString::to_string).collect()));
        self.write(&call::REMOVE_TAGS, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `DeleteListener`.
    pub(crate) async fn delete_listener(
        &self,
        arn: &CloudId,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api.elb.delete_listener().listener_arn(arn.as_str());
        self.write(&call::DELETE_LISTENER, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `DeleteLoadBalancer`, with its listeners.
    pub(crate) async fn delete_load_balancer(
        &self,
        arn: &CloudId,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api
            .elb
            .delete_load_balancer()
            .load_balancer_arn(arn.as_str());
        self.write(&call::DELETE_LOAD_BALANCER, ticket, request.send())
            .await?;
        Ok(())
    }

    /// `DeleteTargetGroup`, with its targets.
    pub(crate) async fn delete_target_group(
        &self,
        arn: &CloudId,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let api = self.apis().await?;
        let request = api.elb.delete_target_group().target_group_arn(arn.as_str());
        self.write(&call::DELETE_TARGET_GROUP, ticket, request.send())
            .await?;
        Ok(())
    }
}

/// AWS refuses empty lists.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn tags(pairs: &Pairs) -> Vec<types::Tag> {
    let tag = |(key, value): (&Arc<str>, &Arc<str>)| {
        types::Tag::builder().key(&**key).value(&**value).build()
    };
    pairs.iter().map(tag).collect()
}

fn mappings(subnets: &[SubnetMapping]) -> Vec<types::SubnetMapping> {
    let mapping = |subnet: &SubnetMapping| {
        types::SubnetMapping::builder()
            .subnet_id(&*subnet.subnet)
            .set_allocation_id(subnet.allocation.as_ref().map(ToString::to_string))
            .set_private_ipv4_address(subnet.private.as_ref().map(ToString::to_string))
            .set_ipv6_address(subnet.ipv6.as_ref().map(ToString::to_string))
            .set_source_nat_ipv6_prefix(subnet.source_nat_prefix.as_ref().map(ToString::to_string))
            .build()
    };
    subnets.iter().map(mapping).collect()
}

fn source_nat(on: bool) -> types::EnablePrefixForIpv6SourceNatEnum {
    match on {
        true => types::EnablePrefixForIpv6SourceNatEnum::On,
        false => types::EnablePrefixForIpv6SourceNatEnum::Off,
    }
}

fn address_type(address_type: AddressType) -> types::IpAddressType {
    address_type.as_str().into()
}

fn target_protocol(protocol: TargetProtocol) -> types::ProtocolEnum {
    protocol.as_str().into()
}

fn listener_protocol(protocol: ListenerProtocol) -> types::ProtocolEnum {
    protocol.as_str().into()
}

fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn matcher(check: &HealthCheck) -> Option<types::Matcher> {
    let codes = check.matcher.as_deref()?;
    Some(types::Matcher::builder().http_code(codes).build())
}

/// An address that is none of the VPC's has to be of all zones.
fn described(targets: &[Target], outside: &BTreeSet<Arc<str>>) -> Vec<types::TargetDescription> {
    let one = |target: &Target| {
        let zone = outside.contains(&target.id).then(|| "all".to_owned());
        types::TargetDescription::builder()
            .id(&*target.id)
            .port(target.port.into())
            .set_availability_zone(zone)
            .build()
    };
    targets.iter().map(one).collect()
}

fn certificate(arn: &str) -> types::Certificate {
    types::Certificate::builder().certificate_arn(arn).build()
}

fn forward(target_group: &CloudId) -> types::Action {
    types::Action::builder()
        .r#type(types::ActionTypeEnum::Forward)
        .target_group_arn(target_group.as_str())
        .build()
}
