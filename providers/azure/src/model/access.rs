//! A group's rules of the network security group (Decides).

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use evenkeel_core::net::IpFamily;
use serde::Serialize;

use super::Transport;

/// A group's security rules, by name. Their priorities are chosen when they are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// Rules by name.
    pub rules: BTreeMap<Arc<str>, SecurityRule>,
}

/// A security rule, without its priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecurityRule {
    /// It lets in; else it keeps out.
    pub allow: bool,
    /// Of what; None for everything.
    pub transport: Option<Transport>,
    /// Prefixes, or one service tag. Sorted.
    pub sources: Vec<Arc<str>>,
    /// Prefixes. Sorted.
    pub destinations: Vec<Arc<str>>,
    /// Ports; empty for all. Sorted.
    pub ports: Vec<u16>,
}

/// A security rule whose destination is known once its addresses are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opening {
    /// The name of the rule.
    pub name: Arc<str>,
    /// The family.
    pub family: IpFamily,
    /// What is reached.
    pub reached: Reached,
    /// The rule; its destinations are empty.
    pub rule: SecurityRule,
}

/// What packets have as destination when they meet the security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Reached {
    /// A node.
    Nodes,
    /// The address of the frontend, and these.
    Frontend(Vec<IpAddr>),
}

impl fmt::Display for SecurityRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.transport.map_or("*", Transport::as_str);
        let ports: Vec<_> = self.ports.iter().map(ToString::to_string).collect();
        let ports = if ports.is_empty() {
            "*".to_owned()
        } else {
            ports.join(",")
        };
        // Addresses that are known after apply are unspecified ones until then.
        let known = |destination: &Arc<str>| match &**destination {
            "0.0.0.0" | "::" => "(known after apply)".to_owned(),
            known => known.to_owned(),
        };
        let destinations: Vec<_> = self.destinations.iter().map(known).collect();
        write!(
            f,
            "{} {what} {} -> {}:{ports}",
            if self.allow { "allow" } else { "deny" },
            self.sources.join(","),
            destinations.join(","),
        )
    }
}
