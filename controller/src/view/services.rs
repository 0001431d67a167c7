//! One Service as the command line shows it: what the API server has, and what its controller knows beyond (Decides).

use evenkeel_core::{
    claim::{Claim, ClaimRules, claim, leaving},
    condition::ConditionType,
    problem::reason,
    published::TargetHealth,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{LoadBalancerIngress, Service},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use serde::{Deserialize, Serialize};

use super::{
    standing::{Standing, Trouble},
    traffic::Traffic,
};
use crate::{
    metrics::State,
    publish::patch::{current_conditions, current_ingress},
};

#[cfg(test)]
mod tests;

/// The state of a Service without a class on which another controller's hand is.
pub const FOREIGN: &str = "foreign";

/// One Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its class; None where it has none.
    pub class: Option<String>,
    /// Who serves it; empty where nobody does.
    pub provider: String,
    /// `claimed`, `active`, `degraded`, `rejected`, `releasing`, or `foreign`.
    pub state: String,
    /// CamelCase: of the condition that says most.
    pub reason: String,
    /// That condition's message.
    pub message: String,
    /// Its published addresses.
    pub addresses: Vec<String>,
    /// The ports it asks for: `443/TCP`.
    pub ports: Vec<String>,
    /// Those of them that are published as open.
    pub open_ports: Vec<String>,
    /// Its node ports, in the order of its ports; 0 where it has none.
    pub node_ports: Vec<i32>,
    /// Targets of its load balancer; None where they are not known.
    pub targets: Option<TargetHealth>,
    /// The pools that its addresses are of, by name; empty where that is not known, or the provider has none.
    #[serde(default)]
    pub pools: Vec<String>,
    /// The group whose load balancer it shares.
    pub group: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Since when it is not as asked.
    pub since: Option<Timestamp>,
    /// What went through its load balancer; None where nobody counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// What stands in the way, as its controller knows it.
    #[serde(flatten)]
    pub trouble: Trouble,
}

impl Row {
    /// A Service that is ours by these rules, with what its controller knows of it.
    pub fn of(service: &Service, rules: &ClaimRules, standing: Option<&Standing>) -> Self {
        let meta = &service.metadata;
        let spec = service.spec.clone().unwrap_or_default();
        let standing = standing.filter(|standing| meta.uid.as_deref() == Some(&standing.uid));
        let claim = claim(service, rules);
        let leaves = leaving(service, rules);
        let by_rule = match (&claim, leaves.first()) {
            (Claim::Ours(rule), _) => rule.provider.to_string(),
            (_, Some(provider)) => provider.to_string(),
            _ => String::new(),
        };
        let conditions = current_conditions(service);
        let (state, (reason, message)) = match &claim {
            Claim::ForeignHand(hand) if leaves.is_empty() => (
                FOREIGN.to_owned(),
                (reason::OWNERSHIP_CONFLICT.to_owned(), hand.to_string()),
            ),
            _ => {
                let ours = matches!(claim, Claim::Ours(_));
                let state = standing.map_or_else(
                    || state(ours, conditions).as_str().to_owned(),
                    |standing| standing.state.clone(),
                );
                (state, why(ours, conditions))
            }
        };
        let ports = spec.ports.unwrap_or_default();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            namespace: text(&meta.namespace),
            name: text(&meta.name),
            uid: text(&meta.uid),
            class: spec.load_balancer_class,
            provider: standing
                .map(|standing| standing.provider.clone())
                .filter(|provider| !provider.is_empty())
                .unwrap_or(by_rule),
            state,
            reason,
            message,
            addresses: addresses(current_ingress(service)),
            ports: ports
                .iter()
                .map(|port| port_text(port.port, port.protocol.as_deref()))
                .collect(),
            open_ports: open_ports(current_ingress(service)),
            node_ports: ports
                .iter()
                .map(|port| port.node_port.unwrap_or(0))
                .collect(),
            targets: standing.and_then(|standing| standing.targets),
            pools: standing.map_or_else(Vec::new, |standing| standing.pools.clone()),
            group: standing.and_then(|standing| standing.group.clone()),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            since: standing.and_then(|standing| standing.since),
            traffic: None,
            trouble: standing
                .map(|standing| standing.trouble.clone())
                .unwrap_or_default(),
        }
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether nothing has to be said beyond its row.
    pub fn is_fine(&self) -> bool {
        let trouble = &self.trouble;
        let warned = Trouble {
            warnings: trouble.warnings.clone(),
            ..Trouble::default()
        };
        self.state == State::Active.as_str() && *trouble == warned
    }
}

/// The addresses of an ingress.
pub fn addresses(ingress: &[LoadBalancerIngress]) -> Vec<String> {
    ingress
        .iter()
        .filter_map(|entry| entry.ip.clone().or(entry.hostname.clone()))
        .collect()
}

/// The ports of an ingress that are open, each once.
pub fn open_ports(ingress: &[LoadBalancerIngress]) -> Vec<String> {
    let mut open = Vec::new();
    for port in ingress
        .iter()
        .flat_map(|entry| entry.ports.iter().flatten())
    {
        let text = port_text(port.port, Some(&port.protocol));
        if port.error.is_none() && !open.contains(&text) {
            open.push(text);
        }
    }
    open
}

fn port_text(port: i32, protocol: Option<&str>) -> String {
    format!("{port}/{}", protocol.unwrap_or("TCP"))
}

fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

fn holds(conditions: &[Condition], type_: ConditionType) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// Where a Service stands, as far as its conditions tell.
fn state(ours: bool, conditions: &[Condition]) -> State {
    if !ours {
        return State::Releasing;
    }
    let serving = holds(conditions, ConditionType::Serving);
    let unsupported = find(conditions, ConditionType::Serving)
        .is_some_and(|condition| condition.reason == "Unsupported");
    if holds(conditions, ConditionType::Degraded) {
        return if unsupported {
            State::Rejected
        } else {
            State::Degraded
        };
    }
    let complete = find(conditions, ConditionType::Provisioning)
        .is_some_and(|condition| condition.reason == "Complete");
    if serving && complete {
        State::Active
    } else {
        State::Claimed
    }
}

/// Reason and message of the condition that says most.
fn why(ours: bool, conditions: &[Condition]) -> (String, String) {
    let told = |condition: &Condition| (condition.reason.clone(), condition.message.clone());
    let degraded = find(conditions, ConditionType::Degraded).filter(|found| found.status == "True");
    let provisioning =
        find(conditions, ConditionType::Provisioning).filter(|found| found.reason != "Complete");
    if let Some(condition) = degraded
        .or(provisioning)
        .or(find(conditions, ConditionType::Serving).filter(|_| ours))
    {
        return told(condition);
    }
    if ours {
        let message = "No controller has said anything about this Service yet; see that evenkeel runs and is ready.";
        ("NotSeen".to_owned(), message.to_owned())
    } else {
        let message = "Its load balancer is being given back.";
        ("Releasing".to_owned(), message.to_owned())
    }
}

/// How long ago, as kubectl writes it: `42s`, `5m`, `3h`, `2d`.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else {
        return "<unknown>".to_owned();
    };
    let seconds = now
        .duration_since(since)
        .max(SignedDuration::ZERO)
        .as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
