//! What the annotations of a Service are called here (Decides).
//!
//! The keys are those of the cloud provider of Azure, so that a Service can move here as it is. A neutral key (`evenkeel.dev/…`) wins
//! over one of these for the same thing. What a key does, is decided beside the object that it is about, in [`crate::desired`].

use evenkeel_core::{annotation::Asked, intent::Intent};

pub mod key;
mod table;
#[cfg(test)]
mod tests;

pub use table::TABLE;

/// What most of the keys begin with.
pub const PREFIX: &str = "service.beta.kubernetes.io/azure-";

/// What the keys of single ports begin with.
pub const PORT_PREFIX: &str = "service.beta.kubernetes.io/port_";

/// A key that the documentation of the cloud provider lists and nobody reads any more.
const SHARED_SECURITY_RULE: &str = "service.beta.kubernetes.io/azure-shared-securityrule";

/// The annotations of a Service.
pub(crate) fn asked(intent: &Intent) -> Asked<'_> {
    Asked::new(&TABLE, intent)
}

/// Warns of the keys that nobody knows, and of those that nobody reads.
pub(crate) fn warn_of_keys_without_effect(asked: &mut Asked<'_>) {
    asked.warn_of_unknown(|key| key == SHARED_SECURITY_RULE);
    if asked.intent.annotations.contains_key(SHARED_SECURITY_RULE) {
        asked.warn(SHARED_SECURITY_RULE, "nobody reads it any more. Remove it.");
    }
    if asked.keys.raw(key::MODE).is_some() {
        asked.warn(
            key::MODE,
            "is for load balancers of the SKU Basic and has no effect. Remove it.",
        );
    }
}
