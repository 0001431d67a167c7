//! Listeners. Decides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::asked::Parameters as _;
use super::super::paging;
use super::super::refusal::{Answer, Refusal, invalid, misconfigured, refuse};
use super::super::state::State;
use super::super::turn::{Ask, Turn};
use super::load_balancers::named;
use super::target_groups::{check_forward, refresh_use};
use super::{attributes, certificates, load_balancers, tags, targets};

/// A target group's ARN with its weight.
pub type Forward = (String, Option<i64>);

/// A listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its ARN.
    pub arn: String,
    /// Its load balancer.
    pub load_balancer: String,
    /// Its port.
    pub port: u16,
    /// `TCP`, `UDP`, `TCP_UDP`, `TLS`.
    pub protocol: String,
    /// Of TLS: the default certificate first, then the others.
    pub certificates: Vec<String>,
    /// Of TLS.
    pub policy: Option<String>,
    /// Of TLS.
    pub alpn: Option<String>,
    /// What it forwards to.
    pub forwards: Vec<Forward>,
    /// All of its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Network Load Balancer guide, "Security policies": the predefined ones that TLS listeners take.
const POLICIES: [&str; 12] = [
    "ELBSecurityPolicy-2016-08",
    "ELBSecurityPolicy-TLS-1-0-2015-04",
    "ELBSecurityPolicy-TLS-1-1-2017-01",
    "ELBSecurityPolicy-TLS-1-2-2017-01",
    "ELBSecurityPolicy-TLS-1-2-Ext-2018-06",
    "ELBSecurityPolicy-FS-1-2-Res-2020-10",
    "ELBSecurityPolicy-TLS13-1-0-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06",
    "ELBSecurityPolicy-TLS13-1-3-2021-06",
];

/// The policy of a TLS listener that names none: the same guide.
const POLICY: &str = "ELBSecurityPolicy-2016-08";

/// ELB API reference, CreateListener, AlpnPolicy: "The following are the possible values".
const ALPN: [&str; 5] = [
    "HTTP1Only",
    "HTTP2Only",
    "HTTP2Optional",
    "HTTP2Preferred",
    "None",
];

impl Listener {
    /// Whether it forwards to a target group.
    #[must_use]
    pub fn forwards_to(&self, group: &str) -> bool {
        self.forwards.iter().any(|(arn, _)| arn == group)
    }

    pub(super) fn target_groups(&self) -> BTreeSet<String> {
        self.forwards.iter().map(|(arn, _)| arn.clone()).collect()
    }

    fn show(&self) -> Value {
        let groups = self.forwards.iter();
        let groups = groups.map(|(arn, weight)| json!({"TargetGroupArn": arn, "Weight": weight}));
        let one = match &self.forwards[..] {
            [(arn, _)] => Some(arn),
            _ => None,
        };
        let certificate = self.certificates.first();
        json!({
            "ListenerArn": self.arn,
            "LoadBalancerArn": self.load_balancer,
            "Port": self.port,
            "Protocol": self.protocol,
            "Certificates": certificate.map(|arn| json!([{"CertificateArn": arn}])),
            "SslPolicy": self.policy,
            "AlpnPolicy": self.alpn.as_ref().map(|alpn| json!([alpn])),
            "DefaultActions": [{
                "Type": "forward",
                "TargetGroupArn": one,
                "ForwardConfig": {"TargetGroups": groups.collect::<Value>()},
            }],
        })
    }

    fn has_settings_of(&self, other: &Self) -> bool {
        (
            &self.protocol,
            &self.policy,
            &self.alpn,
            &self.forwards,
            self.certificates.first(),
        ) == (
            &other.protocol,
            &other.policy,
            &other.alpn,
            &other.forwards,
            other.certificates.first(),
        )
    }
}

/// ListenerNotFound, errors of the ELB API reference: "The specified listener does not exist."
pub(super) fn not_there(arn: &str) -> Refusal {
    refuse(
        "ListenerNotFound",
        format!("One or more listeners not found: '{arn}'"),
    )
}

pub(super) fn get<'a>(state: &'a State, arn: &str) -> Result<&'a Listener, Refusal> {
    state.listeners.get(arn).ok_or_else(|| not_there(arn))
}

/// What the default actions forward to. Network Load Balancer guide, "Listeners": there is one action, and it forwards.
fn forwards(asked: &Value) -> Result<Option<Vec<Forward>>, Refusal> {
    let [action] = asked.list("DefaultActions") else {
        return match asked.list("DefaultActions").len() {
            0 => Ok(None),
            _ => Err(refuse(
                "TooManyActions",
                "You've reached the limit on the number of actions per rule.",
            )),
        };
    };
    if action.required("Type") != "forward" {
        // InvalidLoadBalancerAction, errors of CreateListener: "The requested action is not valid."
        return Err(refuse(
            "InvalidLoadBalancerAction",
            format!(
                "Actions of the type '{}' are not for network load balancers",
                action.required("Type")
            ),
        ));
    }
    let of_config = action["ForwardConfig"].list("TargetGroups").iter();
    let of_config: Vec<_> = of_config
        .map(|group| {
            (
                group.text("TargetGroupArn").unwrap_or_default().to_owned(),
                group.number("Weight"),
            )
        })
        .collect();
    let single = action
        .text("TargetGroupArn")
        .map(|arn| vec![(arn.to_owned(), None)]);
    match (of_config.is_empty(), single) {
        // Action, TargetGroupArn: "If you specify both ForwardConfig and TargetGroupArn, you can specify only one target group using
        // ForwardConfig and it must be the same target group specified in TargetGroupArn."
        (false, Some(single)) if of_config.len() > 1 || of_config[0].0 != single[0].0 => Err(
            invalid("ForwardConfig and TargetGroupArn must name the same target group"),
        ),
        (false, _) => Ok(Some(of_config)),
        (true, Some(single)) => Ok(Some(single)),
        (true, None) => Err(invalid("A target group ARN must be specified")),
    }
}

/// What a listener must be, whole.
fn check(turn: &Turn<'_>, new: &Listener) -> Result<(), Refusal> {
    let balancer = load_balancers::get(turn.state, &new.load_balancer)?;
    let protocol = &*new.protocol;
    if !matches!(protocol, "TCP" | "UDP" | "TCP_UDP" | "TLS") {
        // UnsupportedProtocol, errors of CreateListener: "The specified protocol is not supported."
        return Err(refuse(
            "UnsupportedProtocol",
            format!("The {protocol} protocol is not supported for network load balancers"),
        ));
    }
    // CreateListener, Protocol: "You can't specify the UDP, TCP_UDP, QUIC, or TCP_QUIC protocol if dual-stack mode is enabled", but for source
    // NAT prefixes, which are there for that (CreateLoadBalancer, EnablePrefixForIpv6SourceNat).
    if protocol.contains("UDP")
        && balancer.address_type == "dualstack"
        && balancer.source_nat != "on"
    {
        return Err(misconfigured(
            "UDP listeners on a dualstack load balancer need IPv6 source NAT prefixes",
        ));
    }
    if protocol == "TLS" {
        if new.certificates.is_empty() {
            return Err(invalid("A certificate must be specified for TLS listeners"));
        }
        for certificate in &new.certificates {
            certificates::check(turn.state, certificate)?;
        }
        if let Some(policy) = new
            .policy
            .as_ref()
            .filter(|policy| !POLICIES.contains(&&***policy))
        {
            return Err(refuse(
                "SSLPolicyNotFound",
                format!("SSL policy '{policy}' not found"),
            ));
        }
        if let Some(alpn) = new.alpn.as_ref().filter(|alpn| !ALPN.contains(&&***alpn)) {
            return Err(refuse(
                "ALPNPolicyNotFound",
                format!("The specified ALPN policy '{alpn}' is not supported"),
            ));
        }
    } else if !new.certificates.is_empty() || new.policy.is_some() || new.alpn.is_some() {
        // Certificates, SslPolicy: "[HTTPS and TLS listeners]"; AlpnPolicy: "[TLS listeners]".
        return Err(misconfigured(format!(
            "A certificate, security policy or ALPN policy cannot be specified for {protocol} listeners"
        )));
    }
    let mut listeners = turn.state.listeners.values();
    if listeners.any(|one| {
        one.load_balancer == new.load_balancer && one.port == new.port && one.arn != new.arn
    }) {
        // DuplicateListener, errors of CreateListener: "A listener with the specified port already exists."
        return Err(refuse(
            "DuplicateListener",
            format!(
                "A listener already exists on this port for this load balancer '{}'",
                new.load_balancer
            ),
        ));
    }
    new.forwards
        .iter()
        .try_for_each(|(group, _)| check_forward(turn, &new.load_balancer, protocol, group))
}

/// The certificate that a call names: "You must provide exactly one certificate. Set CertificateArn to the certificate ARN but do not set
/// IsDefault."
fn certificate(asked: &Value) -> Result<Option<String>, Refusal> {
    match asked.list("Certificates") {
        [] => Ok(None),
        [one] if one.flag("IsDefault").is_none() => {
            Ok(one.text("CertificateArn").map(str::to_owned))
        }
        _ => Err(invalid(
            "Exactly one certificate must be specified, without IsDefault",
        )),
    }
}

fn alpn(asked: &Value) -> Result<Option<String>, Refusal> {
    match asked.texts("AlpnPolicy")[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.to_owned())),
        // "You can specify one policy name."
        _ => Err(invalid("Only one ALPN policy can be specified")),
    }
}

/// ELB API reference, CreateListener: idempotent by all settings; TooManyListeners.
pub(in super::super) fn create(turn: &mut Turn<'_>) -> Answer {
    let asked = turn.asked;
    let balancer = asked.required("LoadBalancerArn").to_owned();
    load_balancers::get(turn.state, &balancer)?;
    let protocol = asked
        .text("Protocol")
        .ok_or_else(|| invalid("A listener protocol must be specified"))?;
    let port = asked
        .number("Port")
        .ok_or_else(|| invalid("A listener port must be specified"))?;
    let policy = asked.text("SslPolicy").map(str::to_owned);
    let mut new = Listener {
        arn: String::new(),
        port: u16::try_from(port).unwrap_or_default(),
        protocol: protocol.to_owned(),
        certificates: certificate(asked)?.into_iter().collect(),
        policy: policy.or((protocol == "TLS").then(|| POLICY.to_owned())),
        alpn: alpn(asked)?,
        forwards: forwards(asked)?.ok_or_else(|| invalid("Default actions must be specified"))?,
        attributes: attributes::of_listener(protocol),
        tags: tags::read(asked, BTreeMap::new(), turn.settings.quotas.tags)?,
        load_balancer: balancer,
    };
    let there = |one: &Listener| one.load_balancer == new.load_balancer && one.port == new.port;
    if let Some(same) = turn.state.listeners.find(there)
        && same.has_settings_of(&new)
    {
        return Ok(json!({"Listeners": [same.show()]}));
    }
    check(turn, &new)?;
    let all = turn
        .state
        .listeners
        .values()
        .filter(|one| one.load_balancer == new.load_balancer);
    if all.count() >= turn.settings.quotas.listeners {
        return Err(refuse(
            "TooManyListeners",
            "You've reached the limit on the number of listeners per load balancer.",
        ));
    }
    new.arn = format!(
        "{}/{}",
        new.load_balancer.replace(":loadbalancer/", ":listener/"),
        turn.ids.elb()
    );
    let (shown, groups, balancer) = (new.show(), new.target_groups(), new.load_balancer.clone());
    turn.state.listeners.insert(new.arn.clone(), new);
    refresh_use(turn, &groups);
    targets::check_load_balancer(turn, &balancer, None)?;
    Ok(json!({"Listeners": [shown]}))
}

/// ELB API reference, DescribeListeners: those of a load balancer, or by ARNs.
pub(in super::super) fn describe(ask: &Ask<'_>) -> Answer {
    let arns = named(ask.asked, "ListenerArns")?;
    let of = ask.asked.text("LoadBalancerArn");
    if arns.is_empty() == of.is_none() {
        return Err(invalid(
            "You must specify either listener ARNs or a load balancer ARN",
        ));
    }
    if let Some(of) = of {
        load_balancers::get(ask.state, of)?;
    }
    for arn in &arns {
        get(ask.state, arn)?;
    }
    let wanted =
        ask.state.listeners.iter().filter(|(arn, one)| {
            arns.contains(arn) || of.is_some_and(|of| one.load_balancer == of)
        });
    paging::elb(ask.asked, "Listeners", wanted, Listener::show)
}

/// ELB API reference, ModifyListener: "Any properties that you do not specify remain unchanged. Changing the protocol from HTTPS to HTTP, or
/// from TLS to TCP, removes the security policy and default certificate properties. If you change the protocol from HTTP to HTTPS, or from
/// TCP to TLS, you must add the security policy and default certificate properties."
pub(in super::super) fn modify(turn: &mut Turn<'_>) -> Answer {
    let asked = turn.asked;
    let old = get(turn.state, asked.required("ListenerArn"))?.clone();
    let mut new = old.clone();
    if let Some(port) = asked.number("Port") {
        new.port = u16::try_from(port).unwrap_or_default();
    }
    if let Some(protocol) = asked.text("Protocol") {
        new.protocol = protocol.to_owned();
    }
    if new.protocol != old.protocol {
        (new.certificates, new.policy, new.alpn) = (Vec::new(), None, None);
        new.attributes = attributes::of_listener(&new.protocol);
    }
    if let Some(certificate) = certificate(asked)? {
        new.certificates.retain(|other| *other != certificate);
        match new.certificates.first_mut() {
            // The default one is replaced; what it was before is not kept.
            Some(first) if old.certificates.first() == Some(first) => *first = certificate,
            _ => new.certificates.insert(0, certificate),
        }
    }
    if let Some(policy) = asked.text("SslPolicy") {
        new.policy = Some(policy.to_owned());
    }
    if new.protocol == "TLS" {
        new.policy.get_or_insert_with(|| POLICY.to_owned());
    }
    if let Some(alpn) = alpn(asked)? {
        new.alpn = Some(alpn);
    }
    if let Some(forwards) = forwards(asked)? {
        new.forwards = forwards;
    }
    check(turn, &new)?;
    let groups: BTreeSet<_> = old
        .target_groups()
        .union(&new.target_groups())
        .cloned()
        .collect();
    let (shown, balancer) = (new.show(), new.load_balancer.clone());
    turn.state.listeners.insert(new.arn.clone(), new);
    refresh_use(turn, &groups);
    targets::check_load_balancer(turn, &balancer, None)?;
    Ok(json!({"Listeners": [shown]}))
}

/// ELB API reference, DeleteListener.
pub(in super::super) fn delete(turn: &mut Turn<'_>) -> Answer {
    let arn = turn.asked.required("ListenerArn");
    let gone = turn
        .state
        .listeners
        .remove(arn)
        .ok_or_else(|| not_there(arn))?;
    refresh_use(turn, &gone.target_groups());
    Ok(json!({}))
}
