//! Is this Service ours, wanted, leaving? One small predicate per question (Decides).
//!
//! A Service is claimed by its class, which must be one of ours to the letter. A Service without a class is claimed
//! only where a default provider is set, and never while another controller's hand is on it: its finalizer, or an
//! address in the status that we did not put there. What we own is told by our finalizer alone; status and type can
//! be wiped by the API server before we look.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::core::v1::Service;
use serde::{Deserialize, Serialize};

use crate::{
    ids::ProviderName,
    problem::{Warning, reason},
};

#[cfg(test)]
mod tests;

/// The domain of our names: classes, finalizers, annotations, conditions.
pub const DOMAIN: &str = "evenkeel.dev";

/// Finalizers of other load balancer controllers: the cloud controller managers (also what KEP-1959 recommends to
/// everyone), the AWS load balancer controller, GKE's internal and external passthrough controllers.
pub const FOREIGN_FINALIZERS: &[&str] = &[
    "service.kubernetes.io/load-balancer-cleanup",
    "service.k8s.aws/resources",
    "gke.networking.io/l4-ilb-v1",
    "gke.networking.io/l4-ilb-v2",
    "gke.networking.io/l4-netlb-v1",
    "gke.networking.io/l4-netlb-v2",
    "gke.networking.io/l4-netlb-v3",
];

/// Where defaults come from when no annotation speaks: a Service that moves here from another controller behaves
/// as it did there.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Ours: public unless asked otherwise, as the type promises.
    #[default]
    Neutral,
    /// The cloud controller managers.
    Ccm,
    /// The AWS load balancer controller: internal unless asked otherwise.
    Lbc,
    /// The Azure cloud provider: floating IP.
    Azure,
}

/// What a class stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRule {
    /// Who serves it.
    pub provider: ProviderName,
    /// Whose defaults apply.
    #[serde(default)]
    pub profile: Profile,
}

impl ClassRule {
    /// A provider with our own defaults.
    pub fn neutral(provider: ProviderName) -> Self {
        Self {
            provider,
            profile: Profile::Neutral,
        }
    }
}

/// Which Services this process serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRules {
    /// The providers that run in this process. A finalizer of a provider that is not among them belongs to another
    /// process.
    pub enabled: BTreeSet<ProviderName>,
    /// Class names, compared to the letter.
    pub classes: BTreeMap<String, ClassRule>,
    /// What a Service without a class gets; None leaves such Services alone.
    pub default_provider: Option<ClassRule>,
}

impl ClaimRules {
    /// Rules that accept `evenkeel.dev/<provider>` for every enabled provider, and no Service without a class.
    pub fn new(enabled: impl IntoIterator<Item = ProviderName>) -> Self {
        let enabled: BTreeSet<_> = enabled.into_iter().collect();
        let classes = enabled
            .iter()
            .map(|provider| (class_name(provider), ClassRule::neutral(provider.clone())))
            .collect();
        Self {
            enabled,
            classes,
            default_provider: None,
        }
    }

    /// The same with one more class name, or with another rule for one that is there.
    #[must_use]
    pub fn with_class(mut self, name: impl Into<String>, rule: ClassRule) -> Self {
        self.classes.insert(name.into(), rule);
        self
    }

    /// The same, taking Services without a class.
    #[must_use]
    pub fn with_default(mut self, rule: ClassRule) -> Self {
        self.default_provider = Some(rule);
        self
    }
}

/// Whether a Service is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Ours, and what it gets.
    Ours(ClassRule),
    /// None of our business.
    NotOurs,
    /// The default provider would take it, but another controller's hand is on it.
    ForeignHand(Hand),
}

/// The trace of another controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Its finalizer.
    Finalizer(String),
    /// An address or host name in the status that is not ours.
    Status(String),
}

impl Hand {
    /// What the user is told, once.
    pub fn warning(&self) -> Warning {
        Warning::new(reason::OWNERSHIP_CONFLICT, self.to_string())
    }
}

impl fmt::Display for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finalizer(name) => write!(
                f,
                "metadata.finalizers: {name:?} belongs to another controller"
            )?,
            Self::Status(address) => write!(
                f,
                "status.loadBalancer.ingress: {address:?} was published by another controller"
            )?,
        }
        f.write_str(
            ", so this Service without a loadBalancerClass is left alone. \
             Adopt its load balancer, or create the Service with the class of the controller that shall serve it.",
        )
    }
}

/// Whether this Service is ours.
pub fn claim(service: &Service, rules: &ClaimRules) -> Claim {
    if !wants(service) {
        return Claim::NotOurs;
    }
    if let Some(class) = class(service) {
        return rules
            .classes
            .get(class)
            .cloned()
            .map_or(Claim::NotOurs, Claim::Ours);
    }
    let Some(default) = &rules.default_provider else {
        return Claim::NotOurs;
    };
    match foreign_hand(service, rules) {
        Some(hand) => Claim::ForeignHand(hand),
        None => Claim::Ours(default.clone()),
    }
}

/// Whether the Service asks for a load balancer at all, of whomever.
pub fn wants(service: &Service) -> bool {
    let type_ = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    type_ == Some("LoadBalancer") && service.metadata.deletion_timestamp.is_none()
}

/// The class; an empty one, which old stored objects may carry, is none.
fn class(service: &Service) -> Option<&str> {
    let class = service.spec.as_ref()?.load_balancer_class.as_deref()?;
    (!class.is_empty()).then_some(class)
}

/// The hand of another controller. There is none where one of our finalizers stands: the Service was ours first.
fn foreign_hand(service: &Service, rules: &ClaimRules) -> Option<Hand> {
    let owners = owned_by(service);
    if owners.iter().any(|owner| rules.enabled.contains(owner)) {
        return None;
    }
    let others = owners.first().map(finalizer);
    let foreign = || {
        finalizers(service)
            .find(|name| FOREIGN_FINALIZERS.contains(name))
            .map(str::to_owned)
    };
    if let Some(name) = others.or_else(foreign) {
        return Some(Hand::Finalizer(name));
    }
    let ingress = service
        .status
        .as_ref()?
        .load_balancer
        .as_ref()?
        .ingress
        .as_ref()?;
    let first = ingress.first()?;
    let address = first
        .ip
        .as_deref()
        .or(first.hostname.as_deref())
        .unwrap_or_default();
    Some(Hand::Status(address.to_owned()))
}

fn finalizers(service: &Service) -> impl Iterator<Item = &str> {
    service
        .metadata
        .finalizers
        .iter()
        .flatten()
        .map(String::as_str)
}

/// The class that stands for a provider without any configuration.
pub fn class_name(provider: &ProviderName) -> String {
    format!("{DOMAIN}/{provider}")
}

/// The finalizer of a provider. It is set before the first write to the cloud and goes after the last.
pub fn finalizer(provider: &ProviderName) -> String {
    format!("{DOMAIN}/{provider}")
}

/// The providers whose finalizer the Service carries, whether they run in this process or not.
pub fn owned_by(service: &Service) -> Vec<ProviderName> {
    finalizers(service)
        .filter_map(|name| name.strip_prefix(DOMAIN)?.strip_prefix('/'))
        .filter(|provider| !provider.is_empty())
        .map(ProviderName::from)
        .collect()
}

/// The providers of this process that own something of the Service and must give it back: it is being deleted,
/// has another type or class, or the default provider was switched off or changed.
pub fn leaving(service: &Service, rules: &ClaimRules) -> Vec<ProviderName> {
    let stays = match claim(service, rules) {
        Claim::Ours(rule) => Some(rule.provider),
        Claim::NotOurs | Claim::ForeignHand(_) => None,
    };
    owned_by(service)
        .into_iter()
        .filter(|owner| rules.enabled.contains(owner) && stays.as_ref() != Some(owner))
        .collect()
}
