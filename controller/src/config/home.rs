//! Where the controller keeps its own objects, and how its replicas agree (Decides).

use std::time::Duration;

use evenkeel_core::problem::{Problem, Problems};

use super::{
    Surroundings, duration,
    sources::{Given, Sources},
    word,
};

/// Every cluster has it.
const NAMESPACE: &str = "kube-system";

/// A name that says what it is.
const INSTANCE: &str = "evenkeel";

/// As long as the leaders of Kubernetes itself.
const LEASE: Duration = Duration::from_secs(15);

/// With less, a slow moment of the API server takes the lead away.
const SHORTEST_LEASE: Duration = Duration::from_secs(5);

/// The controller's own objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeConfig {
    /// Their namespace.
    pub namespace: String,
    /// Their name.
    pub instance: String,
    /// Whether replicas agree on one that writes.
    pub election: bool,
    /// How long a leader that is not heard of stays leader.
    pub lease: Duration,
}

impl HomeConfig {
    pub(super) fn read(sources: &Sources, around: &Surroundings, problems: &mut Problems) -> Self {
        let default = around.pod_namespace.as_deref().unwrap_or(NAMESPACE);
        let switch = [("on", true), ("off", false)];
        let lease = duration(sources, "lease-duration", LEASE, problems);
        if lease < SHORTEST_LEASE
            && let Some(Given { place, text }) = sources.given("lease-duration")
        {
            let message = format!("must be {} s at least", SHORTEST_LEASE.as_secs());
            problems.push(Problem::new(place, text, message, "Leave it out for 15s."));
        }
        Self {
            namespace: name(sources, "namespace", default, problems),
            instance: name(sources, "instance", INSTANCE, problems),
            election: word(sources, "leader-election", &switch, problems).unwrap_or(true),
            lease,
        }
    }
}

/// A name that Kubernetes takes for a namespace.
fn name(sources: &Sources, key: &'static str, default: &str, problems: &mut Problems) -> String {
    let Some(Given { place, text }) = sources.given(key) else {
        return default.to_owned();
    };
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() > 63 || !text.chars().all(inside) || text.starts_with('-') || text.ends_with('-')
    {
        problems.push(Problem::new(
            place,
            text,
            "must be lower-case letters, digits and dashes, 63 at most, with no dash at either end",
            format!("Leave it out for {default}."),
        ));
    }
    text.clone()
}
