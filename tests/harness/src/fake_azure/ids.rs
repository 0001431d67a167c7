//! Ids of resources, which are their paths, and numbers that look drawn. Decides.

use std::fmt;

use serde_json::Value;

use super::settings::Casing;
use crate::cloud::drawn::Drawn;

/// The types that are known, as Azure writes them.
const TYPES: &[&str] = &[
    "loadBalancers",
    "frontendIPConfigurations",
    "backendAddressPools",
    "loadBalancingRules",
    "probes",
    "inboundNatRules",
    "inboundNatPools",
    "outboundRules",
    "publicIPAddresses",
    "publicIPPrefixes",
    "networkSecurityGroups",
    "securityRules",
    "defaultSecurityRules",
    "virtualNetworks",
    "subnets",
    "networkInterfaces",
    "natGateways",
    "routeTables",
    "virtualMachines",
    "virtualMachineScaleSets",
    "availabilitySets",
    "locations",
    "operations",
    "operationResults",
];

/// The namespaces that are known.
const PROVIDERS: &[&str] = &["Microsoft.Network", "Microsoft.Compute"];

/// An id, or the path of a collection: `/subscriptions/S[/resourceGroups/G]/providers/P/TYPE[/NAME[/TYPE[/NAME]]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArmId {
    pub(super) subscription: String,
    pub(super) group: Option<String>,
    pub(super) provider: String,
    /// Types and names by turns.
    pub(super) path: Vec<String>,
}

impl ArmId {
    /// "Azure resource IDs are not case-sensitive": types become as Azure writes them, names stay as they are.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.strip_prefix('/')?.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let [word, subscription, rest @ ..] = &parts[..] else {
            return None;
        };
        if !word.eq_ignore_ascii_case("subscriptions") {
            return None;
        }
        let (group, rest) = match rest {
            [word, group, rest @ ..] if word.eq_ignore_ascii_case("resourceGroups") => {
                (Some((*group).to_owned()), rest)
            }
            rest => (None, rest),
        };
        let [word, provider, path @ ..] = rest else {
            return None;
        };
        if !word.eq_ignore_ascii_case("providers") || path.is_empty() {
            return None;
        }
        let path = path
            .iter()
            .enumerate()
            .map(|(index, part)| match index.is_multiple_of(2) {
                true => known(TYPES, part),
                false => (*part).to_owned(),
            });
        Some(Self {
            subscription: (*subscription).to_owned(),
            group,
            provider: known(PROVIDERS, provider),
            path: path.collect(),
        })
    }

    /// Whether it names one resource, not a collection.
    pub(super) fn is_one(&self) -> bool {
        self.path.len().is_multiple_of(2)
    }

    /// `loadBalancers/backendAddressPools`
    pub(super) fn kind(&self) -> String {
        let types: Vec<_> = self.path.iter().step_by(2).map(String::as_str).collect();
        types.join("/")
    }

    /// `Microsoft.Network/loadBalancers`
    pub(super) fn full_kind(&self) -> String {
        format!("{}/{}", self.provider, self.kind())
    }

    /// The last name.
    pub(super) fn name(&self) -> &str {
        let last = self.path.len() - 1;
        &self.path[last - usize::from(!self.is_one())]
    }

    /// The resource at the top: of a pool, its load balancer.
    pub(super) fn top(&self) -> Self {
        let path = self.path.iter().take(2).cloned().collect();
        Self {
            path,
            ..self.clone()
        }
    }

    /// By what it is found.
    pub(super) fn key(&self) -> String {
        self.to_string().to_lowercase()
    }

    /// By what its resource group is found.
    pub(super) fn group_key(&self) -> String {
        group_key(
            &self.subscription,
            self.group.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for ArmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/subscriptions/{}", self.subscription)?;
        if let Some(group) = &self.group {
            write!(f, "/resourceGroups/{group}")?;
        }
        write!(f, "/providers/{}/{}", self.provider, self.path.join("/"))
    }
}

/// By what a resource group is found.
pub(super) fn group_key(subscription: &str, group: &str) -> String {
    format!("/subscriptions/{subscription}/resourceGroups/{group}").to_lowercase()
}

fn known(all: &[&str], word: &str) -> String {
    let found = all.iter().find(|known| known.eq_ignore_ascii_case(word));
    (*found.unwrap_or(&word)).to_owned()
}

/// Writes all ids of an answer in another case.
pub(super) fn write_ids(value: &mut Value, casing: Casing) {
    match value {
        Value::String(text) if text.starts_with("/subscriptions/") => match casing {
            Casing::AsWritten => {}
            Casing::Lower => *text = text.to_lowercase(),
            Casing::UpperGroups => {
                let parts = text.split('/').enumerate();
                let parts: Vec<_> = parts
                    .map(|(index, part)| match index {
                        4 => part.to_uppercase(),
                        _ => part.to_owned(),
                    })
                    .collect();
                *text = parts.join("/");
            }
        },
        Value::Array(items) => items.iter_mut().for_each(|item| write_ids(item, casing)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| write_ids(field, casing)),
        _ => {}
    }
}

/// Ids that look drawn, the same in every run.
#[derive(Debug, Default)]
pub(super) struct Ids(Drawn);

impl Ids {
    /// A GUID.
    pub(super) fn guid(&mut self) -> String {
        let text = format!("{:016x}{:016x}", self.0.next(), self.0.next());
        let (a, b, c, d, e) = (
            &text[..8],
            &text[8..12],
            &text[12..16],
            &text[16..20],
            &text[20..],
        );
        format!("{a}-{b}-{c}-{d}-{e}")
    }

    /// A weak ETag, as recorded: `W/"GUID"`.
    pub(super) fn etag(&mut self) -> String {
        format!("W/\"{}\"", self.guid())
    }
}
