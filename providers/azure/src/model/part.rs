//! A group's part of a load balancer, and the nodes behind it (Decides).

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use evenkeel_core::{ids::NodeName, net::IpFamily, ports::Protocol};
use serde::Serialize;

/// What is claimed of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Fragment {
    /// A group's part.
    Part(Part),
    /// The addresses of the pools that there are, under [`crate::names::nodes_key`].
    Members(Members),
}

/// A group's frontends, rules and probes, by name.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Part {
    /// Frontend IP configurations.
    pub frontends: BTreeMap<Arc<str>, Frontend>,
    /// Load balancing rules.
    pub rules: BTreeMap<Arc<str>, Rule>,
    /// Probes.
    pub probes: BTreeMap<Arc<str>, Probe>,
    /// The addresses that a pool starts with where the first part makes it. They say nothing of pools that are there.
    #[serde(skip)]
    pub seed: Members,
}

/// What a pool starts with makes no part another.
impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.frontends == other.frontends
            && self.rules == other.rules
            && self.probes == other.probes
    }
}

impl Eq for Part {}

impl Part {
    /// Whether this, which is live, is what is wanted. Azure's names and ids know no case.
    pub fn is(&self, want: &Self) -> bool {
        fn all<T>(
            there: &BTreeMap<Arc<str>, T>,
            want: &BTreeMap<Arc<str>, T>,
            same: impl Fn(&T, &T) -> bool,
        ) -> bool {
            there.len() == want.len()
                && want.iter().all(|(name, want)| {
                    let mut named = there
                        .iter()
                        .filter(|(other, _)| other.eq_ignore_ascii_case(name));
                    named.next().is_some_and(|(_, there)| same(there, want))
                })
        }
        all(&self.frontends, &want.frontends, Frontend::is)
            && all(&self.rules, &want.rules, Rule::is)
            && all(&self.probes, &want.probes, Probe::eq)
    }

    /// Whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        self.frontends.is_empty() && self.rules.is_empty() && self.probes.is_empty()
    }

    /// The same without what Azure chose: what can be claimed.
    #[must_use]
    pub fn as_claimed(&self) -> Self {
        let mut part = self.clone();
        for frontend in part.frontends.values_mut() {
            frontend.given = None;
        }
        part.seed = Members::default();
        part
    }
}

/// A frontend IP configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frontend {
    /// Its family.
    pub family: IpFamily,
    /// Where it gets its address.
    pub place: Place,
    /// The private address it has; None in a claim. A public one is that of its public IP address.
    pub given: Option<IpAddr>,
}

impl Frontend {
    /// Whether this, which is live, is what is wanted.
    pub fn is(&self, want: &Self) -> bool {
        self.family == want.family
            && match (&self.place, &want.place) {
                (Place::PublicIp(there), Place::PublicIp(want)) => there.eq_ignore_ascii_case(want),
                (
                    Place::Subnet { id: there, address },
                    Place::Subnet {
                        id: want,
                        address: wanted,
                    },
                ) => there.eq_ignore_ascii_case(want) && address == wanted,
                _ => false,
            }
    }
}

/// Where a frontend gets its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Place {
    /// The id of a public IP address.
    PublicIp(Arc<str>),
    /// A subnet.
    Subnet {
        /// Its id.
        id: Arc<str>,
        /// The address in it; None for any.
        address: Option<IpAddr>,
    },
}

/// What a rule balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// As Azure writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "Tcp",
            Self::Udp => "Udp",
        }
    }

    /// As the Kubernetes API has it.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
        }
    }
}

/// A load balancing rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The name of its frontend.
    pub frontend: Arc<str>,
    /// Which pool it sends to.
    pub family: IpFamily,
    /// What it balances.
    pub transport: Transport,
    /// The frontend's port.
    pub port: u16,
    /// The port at the nodes.
    pub backend_port: u16,
    /// Packets arrive with the frontend's address as destination.
    pub floating: bool,
    /// The name of its probe; None: every node counts as healthy.
    pub probe: Option<Arc<str>>,
    /// A client sticks to a node.
    pub sticky: bool,
    /// Minutes until a silent connection is forgotten.
    pub idle_minutes: u32,
    /// Both ends of a forgotten connection are told; None for UDP.
    pub tcp_reset: Option<bool>,
    /// The rule gives no outbound connections.
    pub no_outbound: bool,
}

impl Rule {
    /// Whether this, which is live, is what is wanted; what it refers to may be spelled in another case.
    pub fn is(&self, want: &Self) -> bool {
        let probe = match (&self.probe, &want.probe) {
            (Some(there), Some(want)) => there.eq_ignore_ascii_case(want),
            (there, want) => there == want,
        };
        let spelled = Self {
            frontend: want.frontend.clone(),
            probe: want.probe.clone(),
            ..self.clone()
        };
        probe && self.frontend.eq_ignore_ascii_case(&want.frontend) && spelled == *want
    }
}

/// A probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// How it asks.
    pub protocol: ProbeProtocol,
    /// Where.
    pub port: u16,
    /// What it asks for; None over TCP.
    pub path: Option<Arc<str>>,
    /// Seconds between two probes.
    pub interval: u32,
    /// So many failures take a node out, so many successes back in.
    pub threshold: u32,
}

/// How a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ProbeProtocol {
    /// It connects.
    Tcp,
    /// It asks for a path.
    Http,
    /// The same over TLS.
    Https,
}

impl ProbeProtocol {
    /// As Azure writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "Tcp",
            Self::Http => "Http",
            Self::Https => "Https",
        }
    }

    /// Reads Azure's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Tcp, Self::Http, Self::Https]
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(word))
    }
}

/// The addresses of the nodes, by family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Members(pub BTreeMap<IpFamily, BTreeMap<NodeName, IpAddr>>);

impl fmt::Display for Part {
    /// One line for each child, for people and for tests.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for (name, frontend) in &self.frontends {
            lines.push(format!("{name}: {frontend}"));
        }
        for (name, rule) in &self.rules {
            lines.push(format!("{name}: {rule}"));
        }
        for (name, probe) in &self.probes {
            lines.push(format!("{name}: {probe}"));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
        match &self.place {
            Place::PublicIp(id) => write!(f, "{}", last(id)),
            Place::Subnet { id, address: None } => write!(f, "subnet {}", last(id)),
            Place::Subnet {
                id,
                address: Some(address),
            } => write!(f, "subnet {} {address}", last(id)),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}->{} idle {}",
            self.transport.as_str(),
            self.port,
            self.backend_port,
            self.idle_minutes
        )?;
        for (there, word) in [
            (self.floating, "floating"),
            (self.sticky, "sticky"),
            (self.tcp_reset == Some(true), "reset"),
            (self.no_outbound, "no outbound"),
        ] {
            if there {
                write!(f, " {word}")?;
            }
        }
        match &self.probe {
            Some(probe) => write!(f, " probe {probe}"),
            None => f.write_str(" unprobed"),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol.as_str(), self.port)?;
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        write!(f, " {}s x{}", self.interval, self.threshold)
    }
}
