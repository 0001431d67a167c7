//! What AWS answers of load balancers, in our words (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_sdk_elasticloadbalancingv2::{
    primitives::DateTimeFormat,
    types::{self, ProtocolEnum, TargetHealthStateEnum},
};
use evenkeel_core::{intent::Scheme, net::IpFamily};

use crate::model::{
    AddressType, CloudId, HealthCheck, ListenerProtocol, Marks, Pairs, Phase, ProbePort,
    ProbeProtocol, SeenListener, SeenLoadBalancer, SeenTargetGroup, SubnetMapping, Target,
    TargetProtocol, TargetState, TargetType, Tls,
};

/// A text that AWS always sends; empty where it did not.
pub(crate) fn text(text: Option<String>) -> String {
    text.unwrap_or_default()
}

fn shared(text: &Option<String>) -> Arc<str> {
    text.as_deref().unwrap_or_default().into()
}

fn present(text: &Option<String>) -> Option<Arc<str>> {
    text.as_deref()
        .filter(|text| !text.is_empty())
        .map(Arc::from)
}

/// Tags as pairs.
pub(crate) fn pairs(tags: Option<Vec<types::Tag>>) -> Pairs {
    let tags = tags.unwrap_or_default().into_iter();
    tags.map(|tag| (text(tag.key).into(), text(tag.value).into()))
        .collect()
}

/// A load balancer as AWS described it.
#[derive(Clone, Debug)]
pub(crate) struct LoadBalancerReply(pub(crate) types::LoadBalancer);

impl LoadBalancerReply {
    pub(crate) fn arn(&self) -> CloudId {
        CloudId::new(shared(&self.0.load_balancer_arn))
    }

    pub(crate) fn name(&self) -> Arc<str> {
        shared(&self.0.load_balancer_name)
    }

    pub(crate) fn vpc(&self) -> Option<&str> {
        self.0.vpc_id()
    }

    /// Whether it is a Network Load Balancer.
    pub(crate) fn is_network(&self) -> bool {
        self.0.r#type() == Some(&types::LoadBalancerTypeEnum::Network)
    }

    /// In how many zones it stands.
    pub(crate) fn zones(&self) -> usize {
        self.0.availability_zones().len()
    }

    pub(crate) fn dns_name(&self) -> Option<Arc<str>> {
        present(&self.0.dns_name).map(|name| name.to_lowercase().into())
    }

    pub(crate) fn created_at(&self) -> Option<jiff::Timestamp> {
        let created = self.0.created_time()?;
        created.fmt(DateTimeFormat::DateTime).ok()?.parse().ok()
    }

    pub(crate) fn security_groups(&self) -> BTreeSet<CloudId> {
        let groups = self.0.security_groups().iter();
        groups.map(|id| CloudId::from(&**id)).collect()
    }

    pub(crate) fn subnets(&self) -> Vec<SubnetMapping> {
        let mut subnets: Vec<_> = self.0.availability_zones().iter().map(mapping).collect();
        subnets.sort();
        subnets
    }

    /// With these tags, read of it before or now.
    pub(crate) fn seen(&self, marks: Marks, tags: Pairs) -> SeenLoadBalancer {
        let lb = &self.0;
        let state = lb.state();
        let phase = match state.and_then(|state| state.code()) {
            Some(types::LoadBalancerStateEnum::Active) => Phase::Active,
            Some(types::LoadBalancerStateEnum::ActiveImpaired) => Phase::Impaired,
            Some(types::LoadBalancerStateEnum::Failed) => Phase::Failed,
            _ => Phase::Provisioning,
        };
        let rules = &lb.enforce_security_group_inbound_rules_on_private_link_traffic;
        SeenLoadBalancer {
            arn: self.arn(),
            phase,
            phase_reason: state.and_then(|state| present(&state.reason)),
            dns_name: self.dns_name(),
            scheme: match lb.scheme() {
                Some(types::LoadBalancerSchemeEnum::Internal) => Scheme::Internal,
                _ => Scheme::InternetFacing,
            },
            address_type: match lb.ip_address_type() {
                Some(types::IpAddressType::Dualstack) => AddressType::Dualstack,
                _ => AddressType::Ipv4,
            },
            vpc: shared(&lb.vpc_id),
            subnets: self.subnets(),
            security_groups: self.security_groups(),
            private_link_rules: rules.as_deref().map(|rules| rules == "on"),
            source_nat: lb.enable_prefix_for_ipv6_source_nat()
                == Some(&types::EnablePrefixForIpv6SourceNatEnum::On),
            created_at: self.created_at(),
            attributes: None,
            listeners_known: false,
            marks,
            tags,
        }
    }
}

fn mapping(zone: &types::AvailabilityZone) -> SubnetMapping {
    let mut mapping = SubnetMapping {
        subnet: shared(&zone.subnet_id),
        source_nat_prefix: zone
            .source_nat_ipv6_prefixes()
            .first()
            .map(|p| (**p).into()),
        ..SubnetMapping::default()
    };
    for address in zone.load_balancer_addresses() {
        let parsed = |text: &Option<String>| text.as_deref().map(str::to_owned);
        mapping.allocation = mapping.allocation.or(present(&address.allocation_id));
        mapping.private = mapping
            .private
            .or_else(|| parsed(&address.private_ipv4_address)?.parse().ok());
        mapping.ipv6 = mapping
            .ipv6
            .or_else(|| parsed(&address.ipv6_address)?.parse().ok());
    }
    mapping
}

/// A target group as AWS described it.
#[derive(Clone, Debug)]
pub(crate) struct TargetGroupReply(pub(crate) types::TargetGroup);

impl TargetGroupReply {
    pub(crate) fn arn(&self) -> CloudId {
        CloudId::new(shared(&self.0.target_group_arn))
    }

    pub(crate) fn name(&self) -> Arc<str> {
        shared(&self.0.target_group_name)
    }

    /// With these tags, read of it before or now. None: of a kind that we never make.
    pub(crate) fn seen(&self, marks: Marks, tags: Pairs) -> Option<SeenTargetGroup> {
        let group = &self.0;
        let load_balancers: BTreeSet<_> = group
            .load_balancer_arns()
            .iter()
            .map(|arn| CloudId::from(&**arn))
            .collect();
        Some(SeenTargetGroup {
            arn: self.arn(),
            protocol: match group.protocol()? {
                ProtocolEnum::Tcp => TargetProtocol::Tcp,
                ProtocolEnum::Udp => TargetProtocol::Udp,
                ProtocolEnum::TcpUdp => TargetProtocol::TcpUdp,
                ProtocolEnum::Tls => TargetProtocol::Tls,
                _ => return None,
            },
            port: u16::try_from(group.port?).ok()?,
            target_type: match group.target_type()? {
                types::TargetTypeEnum::Instance => TargetType::Instance,
                types::TargetTypeEnum::Ip => TargetType::Ip,
                _ => return None,
            },
            family: match group.ip_address_type() {
                Some(types::TargetGroupIpAddressTypeEnum::Ipv6) => IpFamily::V6,
                _ => IpFamily::V4,
            },
            health_check: health_check(group),
            load_balancers: load_balancers.into_iter().collect(),
            attributes: None,
            targets: None,
            since: BTreeSet::new(),
            not_taken: BTreeMap::new(),
            marks,
            tags,
        })
    }
}

fn health_check(group: &types::TargetGroup) -> HealthCheck {
    let protocol = match group.health_check_protocol() {
        Some(ProtocolEnum::Http) => ProbeProtocol::Http,
        Some(ProtocolEnum::Https) => ProbeProtocol::Https,
        _ => ProbeProtocol::Tcp,
    };
    let port = group.health_check_port().and_then(|port| port.parse().ok());
    let number = |number: Option<i32>| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    // AWS may send a path with TCP, which means nothing.
    let asks = protocol != ProbeProtocol::Tcp;
    let codes = group
        .matcher()
        .and_then(|matcher| present(&matcher.http_code));
    HealthCheck {
        protocol,
        port: port.map_or(ProbePort::Traffic, ProbePort::Number),
        path: present(&group.health_check_path).filter(|_| asks),
        matcher: codes.filter(|_| asks),
        interval: number(group.health_check_interval_seconds),
        timeout: number(group.health_check_timeout_seconds),
        healthy: number(group.healthy_threshold_count),
        unhealthy: number(group.unhealthy_threshold_count),
    }
}

/// A listener as AWS described it.
#[derive(Clone, Debug)]
pub(crate) struct ListenerReply(pub(crate) types::Listener);

impl ListenerReply {
    pub(crate) fn arn(&self) -> CloudId {
        CloudId::new(shared(&self.0.listener_arn))
    }

    pub(crate) fn port(&self) -> Option<u16> {
        u16::try_from(self.0.port?).ok()
    }

    /// The ARN of the one target group that it forwards to.
    pub(crate) fn target_group(&self) -> Option<CloudId> {
        let [action] = self.0.default_actions() else {
            return None;
        };
        let direct = present(&action.target_group_arn);
        let forwarded = || match action.forward_config()?.target_groups() {
            [one] => present(&one.target_group_arn),
            _ => None,
        };
        direct.or_else(forwarded).map(CloudId::new)
    }

    /// With what was read of it beside. None: of a kind that we never make.
    /// Whose it is is not judged here.
    pub(crate) fn seen(&self, target_group: Option<Arc<str>>, tags: Pairs) -> Option<SeenListener> {
        let protocol = match self.0.protocol()? {
            ProtocolEnum::Tcp => ListenerProtocol::Tcp,
            ProtocolEnum::Udp => ListenerProtocol::Udp,
            ProtocolEnum::TcpUdp => ListenerProtocol::TcpUdp,
            ProtocolEnum::Tls => ListenerProtocol::Tls,
            _ => return None,
        };
        Some(SeenListener {
            arn: self.arn(),
            protocol,
            target_group,
            // A policy on a listener without TLS means nothing.
            tls: (protocol == ListenerProtocol::Tls).then(|| self.tls()),
            attributes: None,
            marks: None,
            tags,
        })
    }

    fn tls(&self) -> Tls {
        let certificate = self.0.certificates().first();
        let alpn = self.0.alpn_policy().first();
        Tls {
            certificate: certificate.map_or_else(|| "".into(), |one| shared(&one.certificate_arn)),
            further: Vec::new(),
            policy: shared(&self.0.ssl_policy),
            alpn: alpn
                .filter(|alpn| *alpn != "None")
                .map(|alpn| (**alpn).into()),
        }
    }
}

/// How a target does.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) state: TargetState,
    /// AWS's word for why, and its text. A healthy target has none.
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) description: Option<Arc<str>>,
}

/// A target as AWS described it.
pub(crate) fn target(described: types::TargetHealthDescription) -> Option<(Target, Health)> {
    let target = described.target?;
    let health = described.target_health;
    let state = match health.as_ref().and_then(|health| health.state()) {
        Some(TargetHealthStateEnum::Initial) => TargetState::Initial,
        Some(TargetHealthStateEnum::Healthy) => TargetState::Healthy,
        Some(TargetHealthStateEnum::Unhealthy) => TargetState::Unhealthy,
        Some(TargetHealthStateEnum::Unused) => TargetState::Unused,
        Some(TargetHealthStateEnum::Draining | TargetHealthStateEnum::UnhealthyDraining) => {
            TargetState::Draining
        }
        _ => TargetState::Unavailable,
    };
    let reason = health.as_ref().and_then(|health| health.reason.as_ref());
    let leaves = reason == Some(&types::TargetHealthReasonEnum::DeregistrationInProgress);
    let reason = reason.map(|reason| reason.as_str().into());
    let description = health.as_ref().and_then(|health| health.description());
    let health = Health {
        state: if leaves { TargetState::Draining } else { state },
        reason,
        description: description.map(Arc::from),
    };
    let target = Target {
        id: text(target.id).into(),
        port: u16::try_from(target.port?).ok()?,
    };
    Some((target, health))
}
