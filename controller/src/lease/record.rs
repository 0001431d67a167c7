//! What a Lease says, in our words, and what it says after we wrote it (Decides).
//!
//! Every write names the version it is meant for, so that of two replicas that write at the same time one is told so.
//! What others put on it (labels, annotations) stays.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// Who holds it; None when it is free.
    pub(crate) holder: Option<String>,
    /// Since when, by that one's clock.
    pub(crate) acquired: Option<Timestamp>,
    /// When its holder last renewed it, by that one's clock: good for seeing that it changed, and for nothing else.
    pub(crate) renewed: Option<Timestamp>,
    /// How long the holder asks to be left in peace after each renewal.
    pub(crate) lease: Option<Duration>,
    /// How often the holder has changed.
    pub(crate) transitions: i32,
    /// The object around it, with the API server's version of it.
    pub(crate) meta: ObjectMeta,
}

impl Record {
    /// What a Lease says.
    pub(crate) fn of(lease: Lease) -> Self {
        let spec = lease.spec.unwrap_or_default();
        let seconds = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
            lease: seconds.map(Duration::from_secs),
            transitions: spec.lease_transitions.unwrap_or_default(),
            meta: ObjectMeta {
                managed_fields: None,
                ..lease.metadata
            },
        }
    }

    /// A Lease that nobody has held yet.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            meta: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Self::default()
        }
    }

    /// The API server's version of it.
    #[cfg(test)]
    pub(crate) fn version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }

    /// The same, held by us; renewed, if it is ours already.
    pub(crate) fn held_by(self, us: &str, lease: Duration, now: Timestamp) -> Self {
        let ours = self.holder.as_deref() == Some(us);
        // Nobody has held a Lease without a time.
        let first = self.acquired.is_none();
        Self {
            holder: Some(us.to_owned()),
            acquired: self.acquired.filter(|_| ours).or(Some(now)),
            renewed: Some(now),
            lease: Some(lease),
            transitions: self.transitions.saturating_add(i32::from(!ours && !first)),
            meta: self.meta,
        }
    }

    /// The same, held by nobody.
    pub(crate) fn released(self, now: Timestamp) -> Self {
        Self {
            holder: None,
            renewed: Some(now),
            ..self
        }
    }

    /// As the API server takes it.
    pub(crate) fn into_lease(self) -> Lease {
        Lease {
            metadata: self.meta,
            spec: Some(LeaseSpec {
                holder_identity: self.holder,
                lease_duration_seconds: self.lease.map(seconds),
                acquire_time: self.acquired.map(MicroTime),
                renew_time: self.renewed.map(MicroTime),
                lease_transitions: Some(self.transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Rounded up: nobody may take it earlier than we count on.
fn seconds(lease: Duration) -> i32 {
    let up = u64::from(lease.subsec_nanos() > 0);
    i32::try_from(lease.as_secs() + up).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_lease_goes_from_hand_to_hand() {
        let lease = Duration::from_millis(14_100);
        let mut record = Record::new("kube-system", "evenkeel");
        for (name, now, hand, holder, acquired, transitions) in [
            ("made", 1, "a", Some("a"), 1, 0),
            ("renewed", 2, "a", Some("a"), 1, 0),
            ("taken", 3, "b", Some("b"), 3, 1),
            ("released", 4, "", None, 3, 1),
            ("taken again", 5, "b", Some("b"), 5, 2),
        ] {
            record = match hand {
                "" => record.released(second(now)),
                us => record.held_by(us, lease, second(now)),
            };
            record = Record::of(record.into_lease());
            assert_eq!(
                (
                    record.holder.as_deref(),
                    record.acquired,
                    record.renewed,
                    record.transitions
                ),
                (
                    holder,
                    Some(second(acquired)),
                    Some(second(now)),
                    transitions
                ),
                "{name}"
            );
            assert_eq!(
                record.lease,
                Some(Duration::from_secs(15)),
                "{name}: rounded up"
            );
        }
    }

    #[test]
    fn what_others_put_on_it_stays_and_the_version_is_named() {
        let seen = json!({
            "metadata": {"name": "evenkeel", "resourceVersion": "7", "labels": {"team": "net"}},
            "spec": {"holderIdentity": "a"},
        });
        let seen = Record::of(serde_json::from_value(seen).expect("a Lease"));
        let written = seen
            .held_by("b", Duration::from_secs(15), second(1))
            .into_lease();
        assert_eq!(written.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(written.metadata.labels.expect("kept")["team"], "net");
    }

    #[test]
    fn an_empty_holder_is_none_and_nonsense_is_nothing() {
        for (name, spec, want) in [
            ("no spec", json!({}), Record::default()),
            (
                "empty",
                json!({"spec": {"holderIdentity": ""}}),
                Record::default(),
            ),
            (
                "a negative duration",
                json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": -1}}),
                Record {
                    holder: Some("a".into()),
                    ..Record::default()
                },
            ),
        ] {
            let lease = serde_json::from_value(spec).expect(name);
            assert_eq!(Record::of(lease), want, "{name}");
        }
    }
}
