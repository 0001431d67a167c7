//! What the cloud provider of Azure can and we cannot (Decides).
//!
//! The keys are in the table, so that the answer is precise: silently doing something else would change who gets traffic.

use evenkeel_core::annotation::{Asked, key as neutral};

use crate::annotations::key;

const REMOVE: &str = "Remove the annotation.";

/// Refuses what is recognised and not built.
pub(super) fn refuse(asked: &mut Asked<'_>) {
    if asked.says(key::HA_PORTS) {
        asked.unsupported(
            key::HA_PORTS,
            "asks for one rule for all ports, which is not supported",
            REMOVE,
        );
    }
    if asked.says(key::PLS_CREATE) {
        asked.unsupported(
            key::PLS_CREATE,
            "asks for a Private Link Service, which is not supported: it takes no pool of addresses",
            REMOVE,
        );
    }
    if asked.keys.raw(key::CONFIGURATIONS).is_some() {
        asked.unsupported(
            key::CONFIGURATIONS,
            "chooses among several load balancers of a cluster, which is not supported",
            REMOVE,
        );
    }
    if asked.intent.options.proxy_protocol == Some(true) {
        asked.unsupported(
            neutral::PROXY_PROTOCOL,
            "asks for the PROXY protocol, which Azure's load balancers do not speak",
            REMOVE,
        );
    }
}
