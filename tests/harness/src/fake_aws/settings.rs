//! How AWS behaves in a test: what takes how long, how many there may be, how often may be asked. Decides.

use std::collections::BTreeMap;
use std::time::Duration;

use super::buckets::Buckets;
use super::quotas::Quotas;
use crate::cloud::Settle;

/// How AWS behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What takes how long.
    pub times: Times,
    /// Why load balancers cannot be set up, by the names that these are made with; the others can.
    pub fails: BTreeMap<String, String>,
    /// How late reads may be.
    pub lag: Settle,
    /// For how long a write may not find what was made a moment ago; calls are those that are refused for one object.
    pub write_lag: Settle,
    /// How many there may be.
    pub quotas: Quotas,
    /// How often may be asked; none: as often as one likes.
    pub buckets: Option<Buckets>,
    /// Whether the history is kept. It grows with each change.
    pub history: bool,
}

impl Default for Settings {
    /// AWS in no time: what is asked for is there at once, within AWS's quotas.
    fn default() -> Self {
        Self {
            times: Times::none(),
            fails: BTreeMap::new(),
            lag: Settle::AT_ONCE,
            write_lag: Settle::AT_ONCE,
            quotas: Quotas::default(),
            buckets: None,
            history: true,
        }
    }
}

impl Settings {
    /// AWS as slow as it is, with the documented limits of calls.
    #[must_use]
    pub fn as_aws() -> Self {
        Self {
            times: Times::typical(),
            buckets: Some(Buckets::documented()),
            ..Self::default()
        }
    }

    /// AWS at its own pace for those whose time passes so many times as slowly as its: reads are late by ten seconds of its time, and its limits
    /// of calls are the documented ones by theirs.
    ///
    /// What was released is free at once, and writes are not late: who is refused for that waits for seconds by its own clock, every time,
    /// and no haste of AWS's shortens that.
    #[must_use]
    pub fn hastened(factor: u32) -> Self {
        Self {
            times: Times {
                target_group_release: Settle::AT_ONCE,
                interface_release: Settle::AT_ONCE,
                ..Times::typical()
            },
            lag: Settle::after(Duration::from_secs(10)),
            buckets: Some(Buckets::documented().slowed(factor)),
            ..Self::default()
        }
    }
}

/// What takes how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From `provisioning` to `active`; calls are those that describe the load balancer.
    pub provisioning: Settle,
    /// From registration to the first health check.
    pub registration: Duration,
    /// Whether health is found out check by check, at the intervals of the target group; else at once.
    pub health_checks: bool,
    /// Whether deregistered targets drain for `deregistration_delay.timeout_seconds`; else they are gone at once.
    pub draining: bool,
    /// For how long a target group that was in use cannot be deleted; calls are those that are refused.
    pub target_group_release: Settle,
    /// For how long the interfaces of a load balancer that was deleted hold its security groups, subnets and addresses; calls are those
    /// that are refused.
    pub interface_release: Settle,
}

impl Times {
    /// Everything at once.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            provisioning: Settle::AT_ONCE,
            registration: Duration::ZERO,
            health_checks: false,
            draining: false,
            target_group_release: Settle::AT_ONCE,
            interface_release: Settle::AT_ONCE,
        }
    }

    /// What users of Network Load Balancers see; AWS documents the states, and of the times only the intervals and the delay.
    #[must_use]
    pub const fn typical() -> Self {
        Self {
            provisioning: Settle::after(Duration::from_secs(150)),
            registration: Duration::from_secs(30),
            health_checks: true,
            draining: true,
            target_group_release: Settle::after(Duration::from_secs(5)),
            interface_release: Settle::after(Duration::from_secs(60)),
        }
    }
}
