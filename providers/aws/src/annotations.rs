//! What the annotations of a Service are called here (Decides).
//!
//! The keys are those of the two controllers that people come from, the cloud controller manager (`ccm`) and the AWS load
//! balancer controller (`lbc`), so that a Service can move here as it is. A neutral key (`evenkeel.dev/…`) wins over one of
//! these for the same thing. What a key does, is decided beside the object that it is about, in [`crate::desired`].

use evenkeel_core::{annotation::Asked, intent::Intent};

mod foreign;
pub mod key;
mod table;
#[cfg(test)]
mod tests;

pub use table::TABLE;

/// What most of the keys begin with.
pub const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer-";

/// What the keys of weighted forwarding begin with.
pub const ACTIONS_PREFIX: &str = "service.beta.kubernetes.io/actions.";

/// The annotations of a Service.
pub(crate) fn asked(intent: &Intent) -> Asked<'_> {
    Asked::new(&TABLE, intent)
}

/// Warns of the keys that nobody knows, and of those that are not for a Network Load Balancer.
pub(crate) fn warn_of_keys_without_effect(asked: &mut Asked<'_>) {
    asked.warn_of_unknown(|key| foreign::CLASSIC.iter().any(|classic| classic.key == key));
    asked
        .warnings
        .extend(foreign::warnings(&asked.intent.annotations));
}
