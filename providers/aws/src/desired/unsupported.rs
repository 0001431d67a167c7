//! What the former controllers could and we cannot (Decides).
//!
//! The keys are in the table, so that the answer is precise: silently doing something else would change who gets traffic.

use evenkeel_core::annotation::Asked;

use crate::annotations::key;

/// Refuses what is recognised and not built.
pub(super) fn refuse(asked: &mut Asked<'_>) {
    let remove = "Remove the annotation.";
    if asked.keys.raw(key::CAPACITY).is_some() {
        asked.unsupported(
            key::CAPACITY,
            "reserves capacity, which is not supported",
            remove,
        );
    }
    if asked.keys.raw(key::QUIC_PORTS).is_some() {
        asked.unsupported(
            key::QUIC_PORTS,
            "asks for QUIC, which is not supported",
            remove,
        );
    }
    for (action, _) in asked.keys.family(key::ACTIONS) {
        asked.unsupported(
            action,
            "forwards to several target groups, which is not supported",
            "Remove the annotation: the Service's own pods get all traffic.",
        );
    }
    if asked.bool(key::MULTI_CLUSTER) == Some(true) {
        asked.unsupported(
            key::MULTI_CLUSTER,
            "shares target groups between clusters, which is not supported",
            remove,
        );
    }
}
