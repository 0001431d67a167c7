//! Load balancers. Decides.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::asked::Parameters as _;
use super::super::paging;
use super::super::refusal::{Answer, Refusal, invalid, misconfigured, refuse};
use super::super::state::State;
use super::super::turn::{Ask, Turn};
use super::mappings::{self, Zone};
use super::{attributes, tags, target_groups};

/// The tag of a VPC by which a test says what is shown of its load balancers, as with the emulators.
const TOLD: &str = "harness/load-balancer-state";

/// A load balancer.
#[derive(Clone, Debug)]
pub struct LoadBalancer {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// `network`, or `application`: that of others.
    pub kind: String,
    /// `internet-facing` or `internal`.
    pub scheme: String,
    /// `ipv4` or `dualstack`.
    pub address_type: String,
    /// Its VPC.
    pub vpc: String,
    /// Its name in the DNS.
    pub dns_name: String,
    /// When it was made, by the clock on the wall.
    pub created_at: Timestamp,
    /// When it stops being `provisioning`,
    pub active_at: Timestamp,
    /// but not before so many reads.
    pub reads_left: u32,
    /// Why it is `failed` then, if it is.
    pub fails: Option<String>,
    /// Where it stands.
    pub zones: Vec<Zone>,
    /// Its security groups.
    pub security_groups: BTreeSet<String>,
    /// Whether it was made with some: else it never gets any.
    pub may_have_groups: bool,
    /// Whether rules apply to traffic from PrivateLink; none without groups.
    pub private_link_rules: Option<String>,
    /// `on` or `off`.
    pub source_nat: String,
    /// All of its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl LoadBalancer {
    /// ELB API reference, LoadBalancerState: "The initial state of the load balancer is provisioning. After the load balancer is fully set up
    /// and ready to route traffic, its state is active. If load balancer is routing traffic but does not have the resources it needs to
    /// scale, its state is active_impaired. If the load balancer could not be set up, its state is failed."
    #[must_use]
    pub fn phase<'a>(&self, state: &'a State, now: Timestamp) -> &'a str {
        if let Some(told) = self.told(state) {
            return told;
        }
        match now < self.active_at || self.reads_left > 0 {
            true => "provisioning",
            false if self.fails.is_some() => "failed",
            false => "active",
        }
    }

    /// When it began, or begins, to route traffic; none where that is not to be told.
    pub(super) fn routes_at(&self, state: &State) -> Option<Timestamp> {
        let never = match self.told(state) {
            Some(told) => matches!(told, "provisioning" | "failed"),
            None => self.fails.is_some() || self.reads_left > 0,
        };
        (!never).then_some(self.active_at)
    }

    fn told<'a>(&self, state: &'a State) -> Option<&'a str> {
        let vpc = state.vpcs.get(&self.vpc)?;
        vpc.tags.get(TOLD).map(String::as_str)
    }

    fn show(&self, phase: &str) -> Value {
        let zones = self.zones.iter().map(Zone::show);
        let reason = self.fails.as_ref().filter(|_| phase == "failed");
        json!({
            "LoadBalancerArn": self.arn,
            "LoadBalancerName": self.name,
            "DNSName": self.dns_name,
            // Elastic Load Balancing endpoints and quotas: each region has a zone of its own for Network Load Balancers.
            "CanonicalHostedZoneId": "Z2IFOLAFXWLO4F",
            "CreatedTime": self.created_at.to_string(),
            "Type": self.kind,
            "Scheme": self.scheme,
            "IpAddressType": self.address_type,
            "VpcId": self.vpc,
            "State": {"Code": phase, "Reason": reason},
            "AvailabilityZones": zones.collect::<Value>(),
            "SecurityGroups": self.security_groups,
            "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic": self.private_link_rules,
            "EnablePrefixForIpv6SourceNat": self.source_nat,
        })
    }
}

/// LoadBalancerNotFound, errors of the ELB API reference: "The specified load balancer does not exist."
fn not_there(which: &str) -> Refusal {
    refuse(
        "LoadBalancerNotFound",
        format!("Load balancers '[{which}]' not found"),
    )
}

pub(super) fn get<'a>(state: &'a State, arn: &str) -> Result<&'a LoadBalancer, Refusal> {
    state.load_balancers.get(arn).ok_or_else(|| not_there(arn))
}

/// ELB API reference, CreateLoadBalancer and CreateTargetGroup, Name: "can have a maximum of 32 characters, must contain only alphanumeric
/// characters or hyphens, must not begin or end with a hyphen".
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    let good = !name.is_empty()
        && name.len() <= 32
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    match good {
        true => Ok(()),
        false => Err(invalid(format!(
            "The name '{name}' can have at most 32 characters, only alphanumeric characters and hyphens, and no hyphen at its ends"
        ))),
    }
}

/// ELB API reference, the Describe operations: "You can specify up to 20" names or ARNs "in a single call".
pub(super) fn named<'a>(asked: &'a Value, list: &str) -> Result<Vec<&'a str>, Refusal> {
    let names = asked.texts(list);
    match names.len() {
        0..=20 => Ok(names),
        _ => Err(invalid(format!(
            "{list}: at most 20 can be specified in a single call"
        ))),
    }
}

/// Security groups that are there, at most as many as an interface has: InvalidSecurityGroup, errors of CreateLoadBalancer and
/// SetSecurityGroups.
fn groups(turn: &Turn<'_>, vpc: &str) -> Result<BTreeSet<String>, Refusal> {
    let groups: BTreeSet<_> = turn
        .asked
        .texts("SecurityGroups")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let there = |id: &String| {
        turn.state
            .security_groups
            .get(id)
            .is_some_and(|group| group.vpc == vpc)
    };
    if let Some(id) = groups.iter().find(|id| !there(id)) {
        return Err(refuse(
            "InvalidSecurityGroup",
            format!("Security group '{id}' does not exist in VPC '{vpc}'"),
        ));
    }
    let most = turn.settings.quotas.security_groups_per_interface;
    if groups.len() > most {
        return Err(misconfigured(format!(
            "At most {most} security groups can be specified"
        )));
    }
    Ok(groups)
}

/// ELB API reference, CreateLoadBalancer: idempotent by all settings; DuplicateLoadBalancerName; TooManyLoadBalancers.
pub(in super::super) fn create(turn: &mut Turn<'_>) -> Answer {
    let asked = turn.asked;
    let name = asked.required("Name");
    check_name(name)?;
    if name.starts_with("internal-") {
        return Err(invalid(format!(
            "The name '{name}' must not begin with \"internal-\""
        )));
    }
    // Type: "The default is application." Scheme: "The default is an Internet-facing load balancer."
    let kind = asked.text("Type").unwrap_or("application");
    let scheme = asked.text("Scheme").unwrap_or("internet-facing");
    let address_type = asked.text("IpAddressType").unwrap_or("ipv4");
    let short = match (kind, address_type) {
        ("network", "ipv4" | "dualstack") => "net",
        ("application", _) => "app",
        // IpAddressType: "[Network Load Balancers and Gateway Load Balancers] The possible values are ipv4 [...] and dualstack".
        ("network", _) => {
            return Err(invalid(format!(
                "The IP address type '{address_type}' is not for network load balancers"
            )));
        }
        _ => {
            return Err(invalid(format!(
                "Load balancers of the type '{kind}' are not known here"
            )));
        }
    };
    let source_nat = asked.text("EnablePrefixForIpv6SourceNat").unwrap_or("off");
    if source_nat == "on" && address_type != "dualstack" {
        // EnablePrefixForIpv6SourceNat: "The IP address type must be dualstack."
        return Err(misconfigured(
            "IPv6 source NAT prefixes need the IP address type dualstack",
        ));
    }
    let zones = mappings::read(turn, scheme, address_type)?;
    let vpc = mappings::vpc(turn.state, &zones);
    let security_groups = groups(turn, &vpc)?;
    let times = turn.settings.times.provisioning;
    let mut new = LoadBalancer {
        arn: String::new(),
        name: name.to_owned(),
        kind: kind.to_owned(),
        scheme: scheme.to_owned(),
        address_type: address_type.to_owned(),
        vpc,
        dns_name: String::new(),
        created_at: turn.wall,
        active_at: turn.now + times.after,
        reads_left: times.calls,
        fails: turn.settings.fails.get(name).cloned(),
        zones,
        may_have_groups: !security_groups.is_empty(),
        private_link_rules: (!security_groups.is_empty()).then(|| "on".to_owned()),
        security_groups,
        source_nat: source_nat.to_owned(),
        attributes: attributes::of_load_balancer(scheme),
        tags: tags::read(asked, BTreeMap::new(), turn.settings.quotas.tags)?,
    };
    if let Some(there) = turn
        .state
        .load_balancers
        .values()
        .find(|one| one.name == name)
    {
        if there.has_settings_of(&new) {
            return Ok(json!({"LoadBalancers": [there.show(there.phase(turn.state, turn.now))]}));
        }
        return Err(refuse(
            "DuplicateLoadBalancerName",
            format!(
                "A load balancer with the same name '{name}' exists, but with different settings"
            ),
        ));
    }
    let of_kind = turn
        .state
        .load_balancers
        .values()
        .filter(|one| one.kind == kind)
        .count();
    if of_kind >= turn.settings.quotas.load_balancers {
        return Err(refuse(
            "TooManyLoadBalancers",
            "You've reached the limit on the number of load balancers for your AWS account.",
        ));
    }
    if kind == "network" {
        is_public(turn.state, &new)?;
    }
    let id = turn.ids.elb();
    new.arn = turn
        .place
        .elb_arn(format_args!("loadbalancer/{short}/{name}/{id}"));
    // Network Load Balancer guide, "DNS name": NAME-ID.elb.REGION.amazonaws.com.
    new.dns_name = format!("{name}-{id}.elb.{}.amazonaws.com", turn.place.region);
    let mut zones = std::mem::take(&mut new.zones);
    for zone in &mut zones {
        mappings::take(turn, zone, &new)?;
    }
    new.zones = zones;
    // The answer says `provisioning` even where nothing takes time.
    let shown = new.show("provisioning");
    turn.state.load_balancers.insert(new.arn.clone(), new);
    Ok(json!({"LoadBalancers": [shown]}))
}

/// ELB API reference, errors of CreateLoadBalancer, InvalidSubnet; VPC guide, "Enable internet access": without an internet gateway there is
/// no way to an internet-facing load balancer.
fn is_public(state: &State, new: &LoadBalancer) -> Result<(), Refusal> {
    let attached = state
        .gateways
        .values()
        .any(|one| one.vpc.as_ref() == Some(&new.vpc));
    match new.scheme != "internet-facing" || attached {
        true => Ok(()),
        false => Err(refuse(
            "InvalidSubnet",
            format!("VPC {} has no internet gateway", new.vpc),
        )),
    }
}

impl LoadBalancer {
    fn has_settings_of(&self, other: &Self) -> bool {
        let wishes = |one: &Self| {
            let mut zones: Vec<_> = one.zones.iter().collect();
            zones.sort_by(|one, other| one.zone.cmp(&other.zone));
            zones.into_iter().map(Zone::wish).collect::<Vec<_>>()
        };
        (
            &self.kind,
            &self.scheme,
            &self.address_type,
            &self.security_groups,
            &self.source_nat,
        ) == (
            &other.kind,
            &other.scheme,
            &other.address_type,
            &other.security_groups,
            &other.source_nat,
        ) && wishes(self) == wishes(other)
    }
}

/// ELB API reference, DescribeLoadBalancers: by names, by ARNs, or all; LoadBalancerNotFound if one is not there.
pub(in super::super) fn describe(ask: &Ask<'_>) -> Answer {
    let names = named(ask.asked, "Names")?;
    let arns = named(ask.asked, "LoadBalancerArns")?;
    if !names.is_empty() && !arns.is_empty() {
        return Err(invalid(
            "Load balancer names and load balancer ARNs cannot be specified at the same time",
        ));
    }
    for arn in &arns {
        get(ask.state, arn)?;
    }
    let all = || ask.state.load_balancers.values();
    if let Some(name) = names
        .iter()
        .find(|name| !all().any(|one| one.name == **name))
    {
        return Err(not_there(name));
    }
    let wanted = ask.state.load_balancers.iter().filter(|(arn, one)| {
        (arns.is_empty() || arns.contains(arn)) && (names.is_empty() || names.contains(&&*one.name))
    });
    paging::elb(ask.asked, "LoadBalancers", wanted, |one| {
        one.show(one.phase(ask.state, ask.now))
    })
}

/// Counts a read of load balancers that become active by being looked at.
pub(in super::super) fn were_read(state: &mut State, answer: &Value, now: Timestamp) {
    for shown in answer.list("LoadBalancers") {
        let arn = shown.required("LoadBalancerArn");
        if state
            .load_balancers
            .get(arn)
            .is_some_and(|one| one.reads_left > 0)
            && let Some(one) = state.load_balancers.get_mut(arn)
        {
            one.reads_left -= 1;
            one.active_at = one.active_at.max(now);
        }
    }
}

/// ELB API reference, DeleteLoadBalancer: "You can't delete a load balancer if deletion protection is enabled. If the load balancer does not
/// exist or has already been deleted, the call succeeds."
pub(in super::super) fn delete(turn: &mut Turn<'_>) -> Answer {
    let arn = turn.asked.required("LoadBalancerArn");
    let Some(balancer) = turn.state.load_balancers.get(arn).cloned() else {
        return Ok(json!({}));
    };
    if balancer.attributes["deletion_protection.enabled"] == "true" {
        return Err(refuse(
            "OperationNotPermitted",
            format!(
                "Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
            ),
        ));
    }
    let listeners = turn.state.listeners.values();
    let listeners: Vec<_> = listeners
        .filter(|one| one.load_balancer == arn)
        .cloned()
        .collect();
    let mut groups = BTreeSet::new();
    for listener in listeners {
        groups.extend(listener.target_groups());
        turn.state.listeners.remove(&listener.arn);
    }
    turn.state.load_balancers.remove(arn);
    for zone in &balancer.zones {
        mappings::release(turn, zone);
    }
    target_groups::refresh_use(turn, &groups);
    Ok(json!({}))
}

/// ELB API reference, SetSubnets: "The specified subnets replace the previously enabled subnets." Network Load Balancer guide, "Availability
/// Zones": a zone's subnet cannot be exchanged; the zone is disabled first.
pub(in super::super) fn set_subnets(turn: &mut Turn<'_>) -> Answer {
    let arn = turn.asked.required("LoadBalancerArn");
    let mut balancer = get(turn.state, arn)?.clone();
    let address_type = turn
        .asked
        .text("IpAddressType")
        .unwrap_or(&balancer.address_type)
        .to_owned();
    let wanted = mappings::read(turn, &balancer.scheme, &address_type)?;
    if mappings::vpc(turn.state, &wanted) != balancer.vpc {
        return Err(misconfigured(
            "The subnets must belong to the load balancer's VPC",
        ));
    }
    let source_nat = turn
        .asked
        .text("EnablePrefixForIpv6SourceNat")
        .unwrap_or(&balancer.source_nat)
        .to_owned();
    if source_nat == "off" && balancer.source_nat == "on" && has_udp_listener(turn.state, arn) {
        return Err(misconfigured(
            "IPv6 source NAT prefixes cannot be disabled while there is a UDP listener",
        ));
    }
    let old = std::mem::take(&mut balancer.zones);
    let mut zones = Vec::new();
    for mut zone in wanted {
        match old.iter().find(|there| there.zone == zone.zone) {
            Some(there) if there.subnet != zone.subnet => {
                return Err(misconfigured(format!(
                    "The subnet of the Availability Zone '{}' cannot be changed from '{}' to '{}': disable the zone first",
                    zone.zone, there.subnet, zone.subnet
                )));
            }
            Some(there) if there.allocation != zone.allocation || there.private != zone.private => {
                // The same, "Static IP addresses": they are chosen when a zone is enabled.
                return Err(misconfigured(format!(
                    "The addresses in the Availability Zone '{}' cannot be changed",
                    zone.zone
                )));
            }
            Some(there) => zone.interface.clone_from(&there.interface),
            None => mappings::take(turn, &mut zone, &balancer)?,
        }
        zones.push(zone);
    }
    for gone in old
        .iter()
        .filter(|there| !zones.iter().any(|zone| zone.zone == there.zone))
    {
        mappings::release(turn, gone);
    }
    balancer.zones = zones;
    (balancer.address_type, balancer.source_nat) = (address_type, source_nat);
    let shown: Value = balancer.zones.iter().map(Zone::show).collect();
    let answer = json!({
        "AvailabilityZones": shown,
        "IpAddressType": balancer.address_type,
        "EnablePrefixForIpv6SourceNat": balancer.source_nat,
    });
    turn.state.load_balancers.insert(arn.to_owned(), balancer);
    Ok(answer)
}

fn has_udp_listener(state: &State, arn: &str) -> bool {
    let mut listeners = state.listeners.values();
    listeners.any(|one| one.load_balancer == arn && matches!(&*one.protocol, "UDP" | "TCP_UDP"))
}

/// ELB API reference, SetSecurityGroups: "The specified security groups override the previously associated security groups. You can't perform
/// this operation on a Network Load Balancer unless you specified a security group for the load balancer when you created it."
pub(in super::super) fn set_security_groups(turn: &mut Turn<'_>) -> Answer {
    let arn = turn.asked.required("LoadBalancerArn");
    let balancer = get(turn.state, arn)?.clone();
    let wanted = groups(turn, &balancer.vpc)?;
    if !balancer.may_have_groups {
        return Err(misconfigured(
            "You cannot set security groups on a Network Load Balancer that was created without one",
        ));
    }
    if wanted.is_empty() {
        // Network Load Balancer guide, "Update the security groups": one at least stays.
        return Err(misconfigured(
            "At least one security group must be specified",
        ));
    }
    for zone in &balancer.zones {
        if let Some(interface) = turn.state.interfaces.get_mut(&zone.interface) {
            interface.groups.clone_from(&wanted);
        }
    }
    const KEY: &str = "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic";
    let rules = turn
        .asked
        .text(KEY)
        .map(str::to_owned)
        .or(balancer.private_link_rules);
    let answer = json!({"SecurityGroupIds": wanted, KEY: rules});
    if let Some(there) = turn.state.load_balancers.get_mut(arn) {
        (there.security_groups, there.private_link_rules) = (wanted, rules);
    }
    Ok(answer)
}

/// ELB API reference, SetIpAddressType; errors InvalidSubnet and InvalidConfigurationRequest.
pub(in super::super) fn set_address_type(turn: &mut Turn<'_>) -> Answer {
    let arn = turn.asked.required("LoadBalancerArn");
    let wanted = turn.asked.required("IpAddressType").to_owned();
    let balancer = get(turn.state, arn)?;
    if !matches!(&*wanted, "ipv4" | "dualstack") {
        return Err(invalid(format!(
            "The IP address type '{wanted}' is not for network load balancers"
        )));
    }
    for zone in &balancer.zones {
        let subnet = turn.state.subnets.get(&zone.subnet);
        if wanted == "dualstack" && subnet.is_none_or(|subnet| subnet.ipv6.is_none()) {
            return Err(refuse(
                "InvalidSubnet",
                format!(
                    "The subnet '{}' does not have an associated IPv6 CIDR block",
                    zone.subnet
                ),
            ));
        }
    }
    // CreateListener, Protocol: no UDP with dualstack but with source NAT prefixes (EnablePrefixForIpv6SourceNat: "[Network Load Balancers
    // with UDP listeners]").
    if wanted == "dualstack" && balancer.source_nat != "on" && has_udp_listener(turn.state, arn) {
        return Err(misconfigured(
            "Dualstack load balancers with UDP listeners need IPv6 source NAT prefixes",
        ));
    }
    if let Some(there) = turn.state.load_balancers.get_mut(arn) {
        there.address_type.clone_from(&wanted);
    }
    Ok(json!({"IpAddressType": wanted}))
}
