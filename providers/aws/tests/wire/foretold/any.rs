//! Lives of Services, drawn at random: ports, protocols, annotations, who shares what, whose security groups, what is done by hand.

use std::{collections::BTreeMap, fmt};

use evenkeel_core::{
    intent::{Affinity, Intent, SourceRanges, TargetPort, TrafficPolicy},
    ports::{PortKey, Protocol},
};
use evenkeel_harness::aws::World;
use proptest::prelude::*;

use super::super::stage::service;

/// The life of one group of Services.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// What it is made as, and what it becomes then; several members share a load balancer, and are as many in each turn.
    pub(super) turns: Vec<Vec<Intent>>,
    /// What somebody does by hand before the next turn.
    pub(super) drifts: Vec<Option<Drift>>,
}

/// What somebody does by hand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Drift {
    Listener,
    Target,
    Rule,
    HealthCheck,
    Tag,
}

/// What was drawn, without what is the same in all.
impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (turn, drift) in self.turns.iter().zip(&self.drifts) {
            for member in turn {
                write!(f, "\n  {}:", member.service.key.name)?;
                for port in &member.ports {
                    write!(f, " {}->{:?}", port.key, port.node_port)?;
                }
                for (key, value) in &member.annotations {
                    write!(f, " {}={value}", key.rsplit('/').next().unwrap_or(key))?;
                }
                write!(f, " {:?} {:?}", member.traffic_policy, member.affinity)?;
                write!(f, " {:?}", member.source_ranges)?;
            }
            write!(f, "\n  by hand: {drift:?}")?;
        }
        Ok(())
    }
}

const PORTS: [u16; 4] = [53, 80, 443, 8080];

/// Annotations that stand together: suffixes with their values.
type Words = &'static [(&'static str, &'static str)];

/// About the load balancer: of a shared one all members say the same.
const OF_ALL: &[Words] = &[
    &[("scheme", "internal")],
    &[("scheme", "internet-facing")],
    &[("attributes", "load_balancing.cross_zone.enabled=true")],
    &[(
        "attributes",
        "deletion_protection.enabled=false,dns_record.client_routing_policy=availability_zone_affinity",
    )],
    &[("additional-resource-tags", "team=shop,cost center=7")],
    &[("security-groups", "{node-group}")],
    &[
        ("security-groups", "{node-group}"),
        ("manage-backend-security-group-rules", "true"),
    ],
    &[("disable-nlb-sg", "true")],
    &[("enable-icmp-for-path-mtu-discovery", "on")],
    &[("inbound-sg-rules-on-private-link-traffic", "off")],
    &[("subnets", "{private}"), ("scheme", "internal")],
    &[("subnets", "{two}"), ("scheme", "internal")],
];

/// About a member's ports and targets.
const OF_ONE: &[Words] = &[
    &[(
        "target-group-attributes",
        "deregistration_delay.timeout_seconds=60",
    )],
    &[(
        "target-group-attributes",
        "stickiness.enabled=true,stickiness.type=source_ip",
    )],
    &[("listener-attributes.TCP-80", "tcp.idle_timeout.seconds=600")],
    &[("proxy-protocol", "*")],
    &[("healthcheck-interval", "15")],
    &[
        ("healthcheck-protocol", "http"),
        ("healthcheck-path", "/ready"),
    ],
    &[("healthcheck-port", "8081")],
    &[
        ("healthcheck-port", "8081"),
        ("healthcheck-unhealthy-threshold", "4"),
    ],
    &[("ssl-cert", "{certificate}"), ("ssl-ports", "443")],
    &[("nlb-target-type", "ip")],
];

/// What is known of the place.
struct Place {
    words: BTreeMap<&'static str, String>,
}

impl Place {
    fn of(world: &World) -> Self {
        let words = [
            ("{node-group}", world.node_security_group.clone()),
            ("{two}", world.private_subnets[..2].join(",")),
            ("{private}", world.private_subnets.join(",")),
            ("{certificate}", world.certificate_arn.clone()),
        ];
        Self {
            words: words.into(),
        }
    }

    fn annotate(&self, intent: &mut Intent, words: &[Words]) {
        for (suffix, value) in words.iter().copied().flatten() {
            let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
            let value = self.words.get(value).map_or(*value, String::as_str);
            intent.annotations.insert(key.into(), value.into());
        }
    }
}

/// A member at one time, but for its name and its group.
#[derive(Clone, Debug)]
struct Draft {
    ports: Vec<(u16, Protocol, u16)>,
    words: Vec<Words>,
    local: bool,
    affinity: bool,
    ranges: bool,
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let protocol = prop_oneof![4 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)];
    let port = (
        prop::sample::select(PORTS.to_vec()),
        protocol,
        prop::sample::select(vec![0u16, 0, 0, 1]),
    );
    (
        prop::collection::vec(port, 1..4),
        prop::sample::subsequence(OF_ONE.to_vec(), 0..4),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(ports, words, local, affinity, ranges)| Draft {
            ports,
            words,
            local,
            affinity,
            ranges,
        })
}

impl Draft {
    /// The member of this number. Members have ports of their own, so that none stands in another's way.
    fn member(&self, place: &Place, number: u16, shared: bool, of_all: &[Words]) -> Intent {
        let mut intent = service(&format!("s{number}"), &[]);
        let mut ports = self.ports.clone();
        // One listener has one protocol; both on one number are asked for by another annotation.
        ports.sort_by_key(|(port, ..)| *port);
        ports.dedup_by_key(|(port, ..)| *port);
        for (port, protocol, node_port) in ports {
            let plain = service("plain", &[port + 1_000 * number]).ports.remove(0);
            intent.ports.push(evenkeel_core::intent::PortIntent {
                key: PortKey {
                    protocol,
                    ..plain.key
                },
                node_port: plain.node_port.map(|there| there + node_port),
                target_port: TargetPort::Number(port),
                ..plain
            });
        }
        if self.local {
            intent.traffic_policy = TrafficPolicy::Local {
                health_check_node_port: Some(32_222),
            };
        }
        if self.affinity {
            intent.affinity = Affinity::ClientIp {
                timeout_seconds: 10_800,
            };
        }
        if self.ranges {
            let ranges =
                ["10.0.0.0/8", "192.168.7.0/24"].map(|text| text.parse().expect("a prefix"));
            intent.source_ranges = SourceRanges::Only(ranges.to_vec());
        }
        place.annotate(&mut intent, &self.words);
        place.annotate(&mut intent, of_all);
        if shared {
            intent.options.group = Some("edge".into());
        }
        intent
    }
}

/// A life in this place.
pub(super) fn any_life(world: &World) -> impl Strategy<Value = Life> + use<> {
    let place = Place::of(world);
    let of_all = || prop::sample::subsequence(OF_ALL.to_vec(), 0..4);
    let drift = prop::option::weighted(
        0.5,
        prop::sample::select(vec![
            Drift::Listener,
            Drift::Target,
            Drift::Rule,
            Drift::HealthCheck,
            Drift::Tag,
        ]),
    );
    let turn = (prop::collection::vec(any_draft(), 2), of_all());
    (
        prop::collection::vec(turn, 3),
        prop::bool::weighted(0.3),
        prop::collection::vec(drift, 3),
    )
        .prop_map(move |(turns, shared, drifts)| {
            let members = if shared { 2 } else { 1 };
            let turn = |(drafts, of_all): &(Vec<Draft>, Vec<Words>)| {
                let numbered = drafts.iter().take(members).zip(0u16..);
                let members =
                    numbered.map(|(draft, number)| draft.member(&place, number, shared, of_all));
                members.collect()
            };
            Life {
                turns: turns.iter().map(turn).collect(),
                drifts,
            }
        })
}
