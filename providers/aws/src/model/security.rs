//! Security groups and their rules (Decides).

use std::{collections::BTreeSet, fmt, sync::Arc};

use evenkeel_core::net::{Cidr, IpFamily};
use serde::Serialize;

use super::{CloudId, Marks, Pairs};

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Security {
    /// A front-end group of our own with exactly these rules, and the cluster's backend group.
    Managed(BTreeSet<Rule>),
    /// These groups, by id or by the tag `Name`; what they allow is not ours to say.
    Given {
        /// Ids or names, in the order they were written.
        groups: Vec<Arc<str>>,
        /// Whether the cluster's backend group stands beside them, so that the nodes admit the traffic.
        backend: bool,
    },
    /// None at all, for good: the node groups say who may connect. A live load balancer that has a front-end group lets in by
    /// these rules until one without takes its place.
    Absent(BTreeSet<Rule>),
}

/// One ingress rule. Two rules are the same when these are; descriptions do not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Rule {
    /// The protocol.
    pub protocol: RuleProtocol,
    /// The first port; the type with ICMP.
    pub from: i32,
    /// The last port; the code with ICMP.
    pub to: i32,
    /// From where.
    pub source: Source,
}

/// `IpProtocol` of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum RuleProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// ICMPv6.
    Icmpv6,
    /// Another one, as AWS writes it; only rules that are not ours have one.
    Other(Arc<str>),
}

impl RuleProtocol {
    /// As AWS writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Other(text) => text,
        }
    }
}

/// From where a rule lets traffic in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Source {
    /// A prefix.
    Cidr(Cidr),
    /// A managed prefix list.
    PrefixList(Arc<str>),
    /// What has this security group.
    Group(CloudId),
}

impl Source {
    /// Every address of a family.
    pub fn everyone(family: IpFamily) -> Self {
        let text = match family {
            IpFamily::V4 => "0.0.0.0/0",
            IpFamily::V6 => "::/0",
        };
        Self::Cidr(text.parse().expect("a prefix"))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr(cidr) => cidr.fmt(f),
            Self::PrefixList(id) => f.write_str(id),
            Self::Group(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol.as_str(), self.from)?;
        if self.to != self.from {
            write!(f, "-{}", self.to)?;
        }
        write!(f, " from {}", self.source)
    }
}

/// A security group that is there, or is foretold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSecurityGroup {
    /// Its id.
    pub id: CloudId,
    /// Its ingress rules.
    pub rules: BTreeSet<Rule>,
    /// Whose it is.
    pub marks: Marks,
    /// All of its tags.
    pub tags: Pairs,
}
