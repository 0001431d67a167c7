//! How often may be asked: token buckets on the fake's clock. Decides.
//!
//! "Understand how Azure Resource Manager throttles requests": buckets per subscription, region and principal; "Subscription deletes and
//! tenant deletes" apart from writes; the limits of the subscription as a whole are 15 times as high. The same page of
//! Microsoft.Network: 1,000 writes and 10,000 reads in five minutes.

use std::collections::BTreeMap;

use http::Method;
use jiff::Timestamp;

use super::refusal::{Refusal, refuse};
use crate::fake_aws::Bucket;

/// The buckets of a principal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buckets {
    /// Reads by Azure Resource Manager. Polls are reads.
    pub reads: Bucket,
    /// Writes.
    pub writes: Bucket,
    /// Deletes.
    pub deletes: Bucket,
    /// PUT, PATCH and DELETE at the network provider.
    pub network_writes: Bucket,
    /// GET there.
    pub network_reads: Bucket,
}

impl Buckets {
    /// The documented ones.
    #[must_use]
    pub const fn documented() -> Self {
        const fn bucket(most: f64, per_second: f64) -> Bucket {
            Bucket { most, per_second }
        }
        Self {
            reads: bucket(250.0, 25.0),
            writes: bucket(200.0, 10.0),
            deletes: bucket(200.0, 10.0),
            network_writes: bucket(1000.0, 1000.0 / 300.0),
            network_reads: bucket(10_000.0, 10_000.0 / 300.0),
        }
    }

    /// The same, so many times as high.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        let times = |bucket: Bucket| Bucket {
            most: bucket.most * factor,
            per_second: bucket.per_second * factor,
        };
        Self {
            reads: times(self.reads),
            writes: times(self.writes),
            deletes: times(self.deletes),
            network_writes: times(self.network_writes),
            network_reads: times(self.network_reads),
        }
    }

    fn of(&self, method: &Method) -> [(&'static str, Bucket); 2] {
        match *method {
            Method::GET => [("reads", self.reads), ("NetworkReads", self.network_reads)],
            Method::DELETE => [
                ("deletes", self.deletes),
                ("NetworkWrites", self.network_writes),
            ],
            _ => [
                ("writes", self.writes),
                ("NetworkWrites", self.network_writes),
            ],
        }
    }
}

/// What is left of calls of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) principal: u64,
    pub(super) subscription: u64,
}

/// What is left where nothing is counted. The second is as recorded after a first call.
fn uncounted(method: &Method) -> Left {
    let (principal, subscription) = match *method {
        Method::GET => (249, 16_499),
        _ => (199, 11_999),
    };
    Left {
        principal,
        subscription,
    }
}

/// The headers that say what is left, of the principal's and of the whole subscription's.
pub(super) fn headers(method: &Method) -> (&'static str, &'static str) {
    match *method {
        Method::GET => (
            "x-ms-ratelimit-remaining-subscription-reads",
            "x-ms-ratelimit-remaining-subscription-global-reads",
        ),
        Method::DELETE => (
            "x-ms-ratelimit-remaining-subscription-deletes",
            "x-ms-ratelimit-remaining-subscription-global-deletes",
        ),
        _ => (
            "x-ms-ratelimit-remaining-subscription-writes",
            "x-ms-ratelimit-remaining-subscription-global-writes",
        ),
    }
}

/// What is in the buckets.
#[derive(Debug, Default)]
pub(super) struct Levels(BTreeMap<&'static str, (f64, Timestamp)>);

impl Levels {
    /// Takes a token out of each bucket of a call and tells what is left, or says that one is empty. A call that is throttled
    /// takes none.
    pub(super) fn take(
        &mut self,
        buckets: Option<&Buckets>,
        method: &Method,
        subscription: &str,
        now: Timestamp,
    ) -> Result<Left, Refusal> {
        let Some(buckets) = buckets else {
            return Ok(uncounted(method));
        };
        let concerned = buckets.of(method);
        for (name, bucket) in concerned {
            let (level, at) = self.0.entry(name).or_insert((bucket.most, now));
            let passed = now.duration_since(*at).as_secs_f64();
            *level = (*level + passed * bucket.per_second).min(bucket.most);
            *at = now;
        }
        for (name, bucket) in concerned {
            let missing = 1.0 - self.0[name].0;
            if missing > 0.0 {
                return Err(throttled(name, subscription, wait(missing, bucket)));
            }
        }
        for (name, _) in concerned {
            self.0.entry(name).and_modify(|(level, _)| *level -= 1.0);
        }
        let (name, _) = concerned[0];
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a level is small and not negative"
        )]
        let left = self.0[name].0 as u64;
        Ok(Left {
            principal: left,
            subscription: left * 15,
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "less than a token, at a rate of some a second"
)]
fn wait(missing: f64, bucket: Bucket) -> u64 {
    (missing / bucket.per_second).ceil().max(1.0) as u64
}

/// The same page, "Error code": "HTTP status code 429 Too Many Requests. The response includes a Retry-After value, which specifies the
/// number of seconds". The codes are those that users report.
fn throttled(name: &str, subscription: &str, after: u64) -> Refusal {
    let (code, message) = match name {
        "NetworkReads" | "NetworkWrites" => (
            "TooManyRequests",
            format!(
                "The request limit of the resource provider is reached. Retry after {after} seconds."
            ),
        ),
        _ => (
            "SubscriptionRequestsThrottled",
            format!(
                "Number of requests for subscription '{subscription}' and operation '{name}' exceeded the backend storage limit. Please try again after '{after}' seconds."
            ),
        ),
    };
    Refusal {
        status: 429,
        retry_after: Some(after),
        ..refuse(code, message)
    }
}
