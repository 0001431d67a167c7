//! Target groups. Decides.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::asked::Parameters as _;
use super::super::paging;
use super::super::refusal::{Answer, Refusal, invalid, misconfigured, refuse};
use super::super::state::State;
use super::super::turn::{Ask, Turn};
use super::load_balancers::named;
use super::targets::{Key, Target};
use super::{attributes, tags};

/// A target group.
#[derive(Clone, Debug)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// `TCP`, `UDP`, `TCP_UDP`, `TLS`.
    pub protocol: String,
    /// The port of targets that name none.
    pub port: u16,
    /// Its VPC.
    pub vpc: String,
    /// `instance` or `ip`.
    pub target_type: String,
    /// `ipv4` or `ipv6`.
    pub address_type: String,
    /// How targets are judged.
    pub check: HealthCheck,
    /// All of its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its targets, those that drain too.
    pub targets: BTreeMap<Key, Target>,
    /// Whether some of them may drain.
    pub drains: bool,
    /// The load balancers whose listeners forward to it.
    pub load_balancers: BTreeSet<String>,
    /// Since when there are some.
    pub in_use_since: Option<Timestamp>,
    /// When the last of them let go of it,
    pub released_at: Option<Timestamp>,
    /// and how often that happened.
    pub releases: u32,
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `TCP`, `HTTP`, `HTTPS`.
    pub protocol: String,
    /// A number, or `traffic-port`.
    pub port: String,
    /// The path of a request.
    pub path: Option<String>,
    /// The codes that count as healthy.
    pub codes: Option<String>,
    /// Seconds between two checks.
    pub interval: i64,
    /// Seconds until a check has failed.
    pub timeout: i64,
    /// Checks in a row that make healthy.
    pub healthy: i64,
    /// Checks in a row that make unhealthy.
    pub unhealthy: i64,
}

impl HealthCheck {
    /// ELB API reference, CreateTargetGroup, the HealthCheck parameters: defaults of target groups of Network Load Balancers, and which
    /// protocols cannot check. `old` is what stays where nothing is given.
    fn read(asked: &Value, old: Option<&Self>) -> Result<Self, Refusal> {
        let given = asked.text("HealthCheckProtocol");
        let protocol = given.or(old.map(|old| &*old.protocol)).unwrap_or("TCP");
        if !matches!(protocol, "TCP" | "HTTP" | "HTTPS") {
            // "The GENEVE, TLS, UDP, TCP_UDP, QUIC, and TCP_QUIC protocols are not supported for health checks."
            return Err(invalid(format!(
                "Health check protocol '{protocol}' is not supported"
            )));
        }
        let port = asked.text("HealthCheckPort");
        let port = port.or(old.map(|old| &*old.port)).unwrap_or("traffic-port");
        if port != "traffic-port" && !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(invalid(format!(
                "Health check port '{port}' must be 'traffic-port' or in the range 1-65535"
            )));
        }
        let asks = protocol != "TCP";
        let path = asked.text("HealthCheckPath").map(str::to_owned);
        let codes = asked["Matcher"].text("HttpCode").map(str::to_owned);
        if !asks && (path.is_some() || codes.is_some()) {
            // HealthCheckPath and Matcher: "[HTTP/HTTPS health checks]".
            return Err(invalid(
                "Health check path and matcher are for HTTP and HTTPS health checks",
            ));
        }
        let path = path
            .or_else(|| old?.path.clone())
            .unwrap_or_else(|| "/".to_owned());
        let codes = codes
            .or_else(|| old?.codes.clone())
            .unwrap_or_else(|| "200-399".to_owned());
        if asks && !codes_are_good(&codes) {
            // Matcher: "For target groups with a protocol of TCP, TCP_UDP, UDP, QUIC, TCP_QUIC, or TLS the range is 200-599."
            return Err(invalid(format!(
                "Health check matcher HTTP code '{codes}' must be within 200-599"
            )));
        }
        let number =
            |name: &str, old: Option<i64>, default| asked.number(name).or(old).unwrap_or(default);
        let check = Self {
            protocol: protocol.to_owned(),
            port: port.to_owned(),
            path: asks.then_some(path),
            codes: asks.then_some(codes),
            interval: number(
                "HealthCheckIntervalSeconds",
                old.map(|old| old.interval),
                30,
            ),
            timeout: number(
                "HealthCheckTimeoutSeconds",
                old.map(|old| old.timeout),
                if protocol == "HTTP" { 6 } else { 10 },
            ),
            healthy: number("HealthyThresholdCount", old.map(|old| old.healthy), 5),
            unhealthy: number("UnhealthyThresholdCount", old.map(|old| old.unhealthy), 2),
        };
        // Network Load Balancer guide, "Health checks for target groups": the time-out is at most the interval.
        if check.timeout > check.interval {
            return Err(invalid(format!(
                "Health check timeout '{}' must be smaller than or equal to the interval '{}'",
                check.timeout, check.interval
            )));
        }
        Ok(check)
    }
}

fn codes_are_good(codes: &str) -> bool {
    codes.split(',').all(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let code = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|code| (200..=599).contains(code))
        };
        matches!((code(from), code(to)), (Some(from), Some(to)) if from <= to)
    })
}

/// TargetGroupNotFound, errors of the ELB API reference: "The specified target group does not exist."
pub(super) fn not_there(arn: &str) -> Refusal {
    refuse(
        "TargetGroupNotFound",
        format!("Target groups '[{arn}]' not found"),
    )
}

pub(in super::super) fn get<'a>(state: &'a State, arn: &str) -> Result<&'a TargetGroup, Refusal> {
    state.target_groups.get(arn).ok_or_else(|| not_there(arn))
}

/// ELB API reference, CreateTargetGroup: idempotent by all settings; DuplicateTargetGroupName; TooManyTargetGroups.
pub(in super::super) fn create(turn: &mut Turn<'_>) -> Answer {
    let asked = turn.asked;
    let name = asked.required("Name");
    super::load_balancers::check_name(name)?;
    let protocol = asked.text("Protocol").unwrap_or_default();
    if !matches!(protocol, "TCP" | "UDP" | "TCP_UDP" | "TLS") {
        return Err(invalid(format!(
            "Protocol '{protocol}' is not supported here"
        )));
    }
    let port = asked
        .number("Port")
        .ok_or_else(|| invalid("A port must be specified"))?;
    let vpc = asked
        .text("VpcId")
        .ok_or_else(|| invalid("A VPC ID must be specified"))?;
    if turn.state.vpcs.get(vpc).is_none() {
        return Err(invalid(format!("The VPC ID '{vpc}' is not found")));
    }
    let target_type = asked.text("TargetType").unwrap_or("instance");
    if !matches!(target_type, "instance" | "ip") {
        return Err(invalid(format!(
            "Target type '{target_type}' is not supported here"
        )));
    }
    let new = TargetGroup {
        arn: String::new(),
        name: name.to_owned(),
        protocol: protocol.to_owned(),
        port: u16::try_from(port).unwrap_or_default(),
        vpc: vpc.to_owned(),
        target_type: target_type.to_owned(),
        address_type: asked.text("IpAddressType").unwrap_or("ipv4").to_owned(),
        check: HealthCheck::read(asked, None)?,
        attributes: attributes::of_target_group(protocol, target_type),
        tags: tags::read(asked, BTreeMap::new(), turn.settings.quotas.tags)?,
        targets: BTreeMap::new(),
        drains: false,
        load_balancers: BTreeSet::new(),
        in_use_since: None,
        released_at: None,
        releases: 0,
    };
    if let Some(there) = turn
        .state
        .target_groups
        .values()
        .find(|group| group.name == name)
    {
        if there.has_settings_of(&new) {
            return Ok(json!({"TargetGroups": [there.show()]}));
        }
        return Err(refuse(
            "DuplicateTargetGroupName",
            format!(
                "A target group with the same name '{name}' exists, but with different settings"
            ),
        ));
    }
    if turn.state.target_groups.len() >= turn.settings.quotas.target_groups {
        return Err(refuse(
            "TooManyTargetGroups",
            "You've reached the limit on the number of target groups for your AWS account.",
        ));
    }
    let arn = turn
        .place
        .elb_arn(format_args!("targetgroup/{name}/{}", turn.ids.elb()));
    let new = TargetGroup {
        arn: arn.clone(),
        ..new
    };
    let shown = new.show();
    turn.state.target_groups.insert(arn, new);
    Ok(json!({"TargetGroups": [shown]}))
}

impl TargetGroup {
    fn has_settings_of(&self, other: &Self) -> bool {
        let settings = |group: &Self| {
            (
                group.protocol.clone(),
                group.port,
                group.vpc.clone(),
                group.target_type.clone(),
                group.address_type.clone(),
                group.check.clone(),
            )
        };
        settings(self) == settings(other)
    }

    fn show(&self) -> Value {
        let codes = self.check.codes.as_ref();
        json!({
            "TargetGroupArn": self.arn,
            "TargetGroupName": self.name,
            "Protocol": self.protocol,
            "Port": self.port,
            "VpcId": self.vpc,
            "TargetType": self.target_type,
            "IpAddressType": self.address_type,
            "HealthCheckEnabled": true,
            "HealthCheckProtocol": self.check.protocol,
            "HealthCheckPort": self.check.port,
            "HealthCheckPath": self.check.path,
            "Matcher": codes.map(|codes| json!({"HttpCode": codes})),
            "HealthCheckIntervalSeconds": self.check.interval,
            "HealthCheckTimeoutSeconds": self.check.timeout,
            "HealthyThresholdCount": self.check.healthy,
            "UnhealthyThresholdCount": self.check.unhealthy,
            "LoadBalancerArns": self.load_balancers,
        })
    }
}

/// ELB API reference, DescribeTargetGroups: by load balancer, by names, by ARNs, or all; TargetGroupNotFound if one is not there.
pub(in super::super) fn describe(ask: &Ask<'_>) -> Answer {
    let names = named(ask.asked, "Names")?;
    let arns = named(ask.asked, "TargetGroupArns")?;
    let of = ask.asked.text("LoadBalancerArn");
    if [!names.is_empty(), !arns.is_empty(), of.is_some()]
        .iter()
        .filter(|given| **given)
        .count()
        > 1
    {
        return Err(invalid(
            "Load balancer ARN, target group ARNs and names cannot be specified together",
        ));
    }
    if let Some(of) = of {
        super::load_balancers::get(ask.state, of)?;
    }
    let all = || ask.state.target_groups.values();
    for arn in &arns {
        get(ask.state, arn)?;
    }
    if let Some(name) = names
        .iter()
        .find(|name| !all().any(|group| group.name == **name))
    {
        return Err(refuse(
            "TargetGroupNotFound",
            format!("Target groups '[{name}]' not found"),
        ));
    }
    let wanted = ask.state.target_groups.iter().filter(|(arn, group)| {
        (arns.is_empty() || arns.contains(arn))
            && (names.is_empty() || names.contains(&&*group.name))
            && of.is_none_or(|of| group.load_balancers.contains(of))
    });
    paging::elb(ask.asked, "TargetGroups", wanted, TargetGroup::show)
}

/// ELB API reference, ModifyTargetGroup.
pub(in super::super) fn modify(turn: &mut Turn<'_>) -> Answer {
    let asked = turn.asked;
    let arn = asked.required("TargetGroupArn");
    let group = turn
        .state
        .target_groups
        .get_mut(arn)
        .ok_or_else(|| not_there(arn))?;
    // Changing to TCP drops what only requests have.
    let to_tcp = asked
        .text("HealthCheckProtocol")
        .unwrap_or(&group.check.protocol)
        == "TCP";
    let old = match to_tcp {
        true => HealthCheck {
            path: None,
            codes: None,
            ..group.check.clone()
        },
        false => group.check.clone(),
    };
    group.check = HealthCheck::read(asked, Some(&old))?;
    Ok(json!({"TargetGroups": [group.show()]}))
}

/// ELB API reference, DeleteTargetGroup: "You can delete a target group if it is not referenced by any actions."; its one error is
/// ResourceInUse, so what is not there is gone. A reference that was just taken away counts for a while.
pub(in super::super) fn delete(turn: &mut Turn<'_>) -> Answer {
    let arn = turn.asked.required("TargetGroupArn");
    let Some(group) = turn.state.target_groups.get(arn) else {
        return Ok(json!({}));
    };
    let settle = turn.settings.times.target_group_release;
    let (used, released) = (!group.load_balancers.is_empty(), group.released_at);
    let release = format!("{arn}, release {}", group.releases);
    let is_over = |since| turn.patience.is_over(&release, since, settle, turn.now);
    let released = released.is_none_or(is_over);
    if used || !released {
        return Err(refuse(
            "ResourceInUse",
            format!("Target group '{arn}' is currently in use by a listener or a rule"),
        ));
    }
    turn.state.target_groups.remove(arn);
    Ok(json!({}))
}

/// Notes which load balancers use these groups, after their listeners changed.
pub(super) fn refresh_use(turn: &mut Turn<'_>, groups: &BTreeSet<String>) {
    for arn in groups {
        let listeners = turn.state.listeners.values();
        let users: BTreeSet<_> = listeners
            .filter(|listener| listener.forwards_to(arn))
            .map(|listener| listener.load_balancer.clone())
            .collect();
        let now = turn.now;
        let Some(group) = turn.state.target_groups.get(arn) else {
            continue;
        };
        if group.load_balancers == users {
            continue;
        }
        if let Some(group) = turn.state.target_groups.get_mut(arn) {
            match (group.load_balancers.is_empty(), users.is_empty()) {
                (true, false) => (group.in_use_since, group.released_at) = (Some(now), None),
                (false, true) => {
                    (group.in_use_since, group.released_at) = (None, Some(now));
                    group.releases += 1;
                }
                _ => {}
            }
            group.load_balancers = users;
        }
    }
}

/// What a listener needs of a target group that it forwards to.
pub(super) fn check_forward(
    turn: &Turn<'_>,
    balancer: &str,
    protocol: &str,
    arn: &str,
) -> Result<(), Refusal> {
    let group = get(turn.state, arn)?;
    // Network Load Balancer guide, "Listeners", "Listener protocols and ports": TLS listeners forward to TCP and TLS target groups, the
    // others to those of their protocol, TCP and UDP to TCP_UDP too. IncompatibleProtocols, errors of the ELB API reference.
    let fits = match protocol {
        "TLS" => matches!(&*group.protocol, "TCP" | "TLS"),
        "TCP" => matches!(&*group.protocol, "TCP" | "TCP_UDP"),
        "UDP" => matches!(&*group.protocol, "UDP" | "TCP_UDP"),
        other => group.protocol == other,
    };
    if !fits {
        return Err(refuse(
            "IncompatibleProtocols",
            format!(
                "The {protocol} listener and the {} target group '{arn}' have incompatible protocols",
                group.protocol
            ),
        ));
    }
    if protocol == "TLS" && group.attributes["stickiness.enabled"] == "true" {
        return Err(misconfigured(format!(
            "Stickiness is not supported with TLS listeners: '{arn}'"
        )));
    }
    let lb = super::load_balancers::get(turn.state, balancer)?;
    if group.vpc != lb.vpc {
        return Err(misconfigured(format!(
            "The target group '{arn}' is in another VPC than the load balancer '{balancer}'"
        )));
    }
    if group.address_type == "ipv6" && lb.address_type != "dualstack" {
        // Network Load Balancer guide, "Target groups", "IP address type": IPv6 groups need a dualstack load balancer.
        return Err(misconfigured(format!(
            "The IPv6 target group '{arn}' needs a load balancer with the IP address type dualstack"
        )));
    }
    // TargetGroupAssociationLimit, errors of CreateListener: "You've reached the limit on the number of load balancers per target group."
    let others = group
        .load_balancers
        .iter()
        .filter(|other| *other != balancer)
        .count();
    if others >= turn.settings.quotas.load_balancers_per_group {
        return Err(refuse(
            "TargetGroupAssociationLimit",
            format!(
                "The following target groups cannot be associated with more than one load balancer: {arn}"
            ),
        ));
    }
    Ok(())
}
