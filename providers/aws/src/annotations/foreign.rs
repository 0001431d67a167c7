//! Keys that are for other kinds of load balancers (Decides).
//!
//! Classic Load Balancers had keys under the same prefix, Application Load Balancers have a prefix of their own. They change nothing
//! here, and a Service that carries them from elsewhere is told so, with what does the same.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::{
    annotation::field,
    problem::{Warning, reason},
};

/// The prefix of Application Load Balancers.
const ALB_PREFIX: &str = "alb.ingress.kubernetes.io/";

/// A key of Classic Load Balancers.
pub(super) struct Classic {
    /// The key.
    pub(super) key: &'static str,
    /// What to do.
    pub(super) advice: &'static str,
}

const REMOVE: &str = "Remove it.";
const DRAINING: &str = "Use evenkeel.dev/drain, or deregistration_delay.timeout_seconds in \
                        service.beta.kubernetes.io/aws-load-balancer-target-group-attributes.";

/// The keys of Classic Load Balancers.
pub(super) const CLASSIC: &[Classic] = &[
    Classic {
        key: "service.beta.kubernetes.io/aws-load-balancer-access-log-emit-interval",
        advice: REMOVE,
    },
    Classic {
        key: "service.beta.kubernetes.io/aws-load-balancer-connection-draining-enabled",
        advice: DRAINING,
    },
    Classic {
        key: "service.beta.kubernetes.io/aws-load-balancer-connection-draining-timeout",
        advice: DRAINING,
    },
    Classic {
        key: "service.beta.kubernetes.io/aws-load-balancer-connection-idle-timeout",
        advice: "Use evenkeel.dev/idle-timeout, or tcp.idle_timeout.seconds (60 to 6000, by default 350) in \
                 service.beta.kubernetes.io/aws-load-balancer-listener-attributes.TCP-{n}.",
    },
    Classic {
        key: "service.beta.kubernetes.io/aws-load-balancer-extra-security-groups",
        advice: "Use service.beta.kubernetes.io/aws-load-balancer-security-groups.",
    },
];

/// A warning for each of them, and one for all of those of Application Load Balancers.
pub(super) fn warnings(annotations: &BTreeMap<Arc<str>, Arc<str>>) -> Vec<Warning> {
    let warning = |message| Warning::new(reason::UNSUPPORTED_FEATURE, message);
    let mut warnings: Vec<_> = CLASSIC
        .iter()
        .filter(|classic| annotations.contains_key(classic.key))
        .map(|classic| {
            warning(format!(
                "{} is for Classic Load Balancers and has no effect on a Network Load Balancer. {}",
                field(classic.key),
                classic.advice
            ))
        })
        .collect();
    let alb: Vec<_> = annotations
        .keys()
        .filter(|key| key.starts_with(ALB_PREFIX))
        .map(|key| field(key))
        .collect();
    if !alb.is_empty() {
        warnings.push(warning(format!(
            "{}: keys of Application Load Balancers have no effect on a Network Load Balancer. Remove them.",
            alb.join(", ")
        )));
    }
    warnings
}
