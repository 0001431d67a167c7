//! Who may connect, as rules of the nodes' network security group (Decides).
//!
//! Each member has rules of its own, so that nobody's rules change when another Service comes or goes. What packets have as
//! destination there depends on the way they take: a node's address and NodePort, or the load balancer's address and the Service's port.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::{
    annotation::{Asked, key as neutral},
    intent::{Scheme, SourceRanges},
    net::{Cidr, IpFamily},
    problem::{Problem, Warning, reason},
};
use ipnet::IpNet;

use super::is_internal;
use crate::{
    Context,
    annotations::key,
    model::{Listener, Opening, Reached, SecurityRule, Transport},
    names,
};

/// Azure's tag for everybody outside.
const INTERNET: &str = "Internet";

/// Who may connect.
pub(super) struct Clients {
    /// None: everyone.
    ranges: Option<Vec<Cidr>>,
    service_tags: Vec<Arc<str>>,
    /// Everyone else is kept out, also who is in the virtual network.
    deny: bool,
    off: bool,
}

impl Clients {
    /// Reads what a member asks for.
    pub(super) fn read(asked: &mut Asked<'_>, context: &Context, scheme: Scheme) -> Self {
        let of_azure = asked.take(asked.keys.cidrs(key::IP_RANGES));
        let upstream = asked.take(asked.keys.cidrs(key::SOURCE_RANGES));
        let of_intent = match &asked.intent.source_ranges {
            SourceRanges::All => None,
            SourceRanges::Only(ranges) => Some(ranges.clone()),
        };
        let ranges = match (of_azure, of_intent) {
            (Some(mut of_azure), Some(ranges)) => {
                // Beside the annotation that upstream has for it they add up; beside the field they contradict.
                if upstream.is_none_or(|upstream| upstream != ranges) {
                    asked.wrong(
                        key::IP_RANGES,
                        "cannot be combined with spec.loadBalancerSourceRanges",
                        "Write all ranges in one of them.",
                    );
                }
                of_azure.extend(ranges);
                Some(of_azure)
            }
            (of_azure, of_intent) => of_azure.or(of_intent),
        };
        let clients = Self {
            ranges,
            service_tags: asked.list(key::SERVICE_TAGS).unwrap_or_default(),
            deny: asked.says(key::DENY_ALL),
            off: asked.says(key::DISABLE_SECURITY_RULES),
        };
        for tag in &clients.service_tags {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
            if !tag.bytes().all(allowed) {
                let advice = "Write the tags as Azure lists them, such as AzureFrontDoor.Backend.";
                asked.problems.push(Problem::new(
                    evenkeel_core::annotation::field(key::SERVICE_TAGS),
                    tag.to_string(),
                    "is no service tag",
                    advice,
                ));
            }
        }
        clients.warn(asked, context, scheme);
        clients
    }

    fn warn(&self, asked: &mut Asked<'_>, context: &Context, scheme: Scheme) {
        let restricted = self.ranges.is_some();
        if restricted && (self.off || context.security_group.is_none()) {
            asked.warnings.push(Warning::new(
                reason::SOURCE_RANGES_NOT_ENFORCED,
                "nobody writes rules of the network security group for this Service, so that its source ranges are kept by nothing before the \
                 nodes. Keep them there yourself, or let evenkeel write the rules.",
            ));
        } else if context.security_group.is_none() {
            asked.warnings.push(Warning::new(
                reason::PORT_NOT_OPENED,
                "the network security group is not evenkeel's to write. See that it lets in the ports of this Service.",
            ));
        } else if restricted && is_internal(scheme) && !self.deny {
            asked.warnings.push(Warning::new(
                reason::SOURCE_RANGES_NOT_ENFORCED,
                format!(
                    "whoever is in the virtual network may connect whatever the source ranges say, by a rule that every network security group \
                     has. Set {} to true to keep the others out.",
                    key::DENY_ALL
                ),
            ));
        }
        if restricted && !self.service_tags.is_empty() && asked.keys.raw(key::IP_RANGES).is_none() {
            asked.warn(
                key::SERVICE_TAGS,
                format_args!(
                    "kube-proxy, which knows no service tags, may drop their traffic, because of the source ranges. Use {} for the ranges.",
                    key::IP_RANGES
                ),
            );
        }
        if self.deny && !restricted {
            asked.warn(
                key::DENY_ALL,
                format_args!(
                    "has no effect without source ranges. Add {}.",
                    neutral::SOURCE_RANGES
                ),
            );
        }
    }

    /// The rules for what a member listens on.
    pub(super) fn openings(
        &self,
        context: &Context,
        member: &str,
        listeners: &[Listener],
        scheme: Scheme,
    ) -> Vec<Opening> {
        if self.off || context.security_group.is_none() {
            return Vec::new();
        }
        let mut served: BTreeMap<(IpFamily, Transport, bool), Vec<u16>> = BTreeMap::new();
        for Listener { rule, .. } in listeners {
            let port = if rule.floating {
                rule.port
            } else {
                rule.backend_port
            };
            served
                .entry((rule.family, rule.transport, rule.floating))
                .or_default()
                .push(port);
        }
        let mut openings = Vec::new();
        for ((family, transport, floating), mut ports) in served {
            ports.sort_unstable();
            ports.dedup();
            let reached = || {
                if floating {
                    Reached::Frontend(Vec::new())
                } else {
                    Reached::Nodes
                }
            };
            let mut open = |allow: bool,
                            what: Option<Transport>,
                            kind: &str,
                            sources: Vec<Arc<str>>,
                            ports: &[u16]| {
                openings.push(Opening {
                    name: names::security_rule(member, allow, what, family, kind),
                    family,
                    reached: reached(),
                    rule: SecurityRule {
                        allow,
                        transport: what,
                        sources,
                        destinations: Vec::new(),
                        ports: ports.to_vec(),
                    },
                });
            };
            for tag in &self.service_tags {
                open(true, Some(transport), tag, vec![Arc::clone(tag)], &ports);
            }
            match &self.ranges {
                None if is_internal(scheme) || !self.service_tags.is_empty() => {}
                None => open(
                    true,
                    Some(transport),
                    INTERNET,
                    vec![INTERNET.into()],
                    &ports,
                ),
                Some(ranges) => {
                    let ranges = aggregated(ranges, family);
                    // A family without a range is closed.
                    if !ranges.is_empty() {
                        open(true, Some(transport), "ranges", ranges, &ports);
                    }
                    if self.deny {
                        open(false, Some(transport), "*", vec!["*".into()], &ports);
                    }
                }
            }
        }
        openings
    }
}

/// The prefixes of a family, as few as say the same.
fn aggregated(ranges: &[Cidr], family: IpFamily) -> Vec<Arc<str>> {
    let nets: Vec<IpNet> = ranges
        .iter()
        .filter(|range| range.family() == family)
        .map(|range| range.net())
        .collect();
    let mut all: Vec<Arc<str>> = IpNet::aggregate(&nets)
        .iter()
        .map(|net| net.to_string().into())
        .collect();
    all.sort();
    all
}
