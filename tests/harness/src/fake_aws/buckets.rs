//! How often may be asked: token buckets on the fake's clock. Decides.
//!
//! Elastic Load Balancing user guide, "Request throttling for the ELB API": buckets per account and Region; all actions of one API version
//! share one (40 tokens, 10 a second), and some have another of their own. EC2 developer guide, "Request throttling for the Amazon EC2
//! API": "each API is evaluated individually".

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::refusal::{Refusal, refuse};
use crate::aws::identify::Identified;

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// How many tokens it holds.
    pub most: f64,
    /// How many it gets a second.
    pub per_second: f64,
}

const fn bucket(most: f64, per_second: f64) -> Bucket {
    Bucket { most, per_second }
}

/// The buckets of an account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buckets {
    /// All actions of ELB.
    pub elb: Bucket,
    /// RegisterTargets and DeregisterTargets together, besides.
    pub registrations: Bucket,
    /// The Modify actions together, besides.
    pub modifications: Bucket,
    /// Each Describe action of EC2 with a filter, ids or pages.
    pub ec2_reads: Bucket,
    /// Each without.
    pub ec2_unfiltered_reads: Bucket,
    /// Each other action of EC2.
    pub ec2_writes: Bucket,
}

impl Buckets {
    /// The documented ones.
    #[must_use]
    pub const fn documented() -> Self {
        Self {
            elb: bucket(40.0, 10.0),
            registrations: bucket(20.0, 4.0),
            modifications: bucket(20.0, 3.0),
            ec2_reads: bucket(100.0, 20.0),
            ec2_unfiltered_reads: bucket(50.0, 10.0),
            ec2_writes: bucket(50.0, 5.0),
        }
    }

    /// Those that get their tokens so many times as slowly.
    #[must_use]
    pub fn slowed(self, factor: u32) -> Self {
        let slowed = |bucket: Bucket| Bucket {
            per_second: bucket.per_second / f64::from(factor),
            ..bucket
        };
        Self {
            elb: slowed(self.elb),
            registrations: slowed(self.registrations),
            modifications: slowed(self.modifications),
            ec2_reads: slowed(self.ec2_reads),
            ec2_unfiltered_reads: slowed(self.ec2_unfiltered_reads),
            ec2_writes: slowed(self.ec2_writes),
        }
    }

    /// The buckets out of which a call takes.
    fn of(&self, service: &str, operation: &str, asked: &Value) -> Vec<(String, Bucket)> {
        let own = |bucket| vec![(format!("{service}:{operation}"), bucket)];
        match service {
            "elbv2" => {
                let mut all = vec![("elbv2".to_owned(), self.elb)];
                if matches!(operation, "RegisterTargets" | "DeregisterTargets") {
                    all.push(("registrations".to_owned(), self.registrations));
                } else if operation.starts_with("Modify") {
                    all.push(("modifications".to_owned(), self.modifications));
                }
                all
            }
            "ec2" if operation.starts_with("Describe") => {
                let narrow = asked.as_object().is_some_and(|asked| !asked.is_empty());
                // "Unfiltered and unpaginated non-mutating actions" are these.
                let wide = matches!(
                    operation,
                    "DescribeInstances" | "DescribeNetworkInterfaces" | "DescribeSecurityGroups"
                );
                own(if wide && !narrow {
                    self.ec2_unfiltered_reads
                } else {
                    self.ec2_reads
                })
            }
            "ec2" => own(self.ec2_writes),
            _ => Vec::new(),
        }
    }
}

/// A call that took a token out of each of its buckets, or was refused for want of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// When.
    pub at: Timestamp,
    /// The access key that it was signed with.
    pub by: String,
    /// `elbv2:RegisterTargets`.
    pub call: String,
    /// The buckets, by name.
    pub from: Vec<(String, Bucket)>,
    /// Whether it was refused.
    pub throttled: bool,
}

/// What is in the buckets.
#[derive(Debug, Default)]
pub(super) struct Levels {
    levels: BTreeMap<String, (f64, Timestamp)>,
    taken: Vec<Taken>,
}

impl Levels {
    /// All calls so far.
    pub(super) fn taken(&self) -> &[Taken] {
        &self.taken
    }

    /// Takes a token out of each bucket of a call, or says that one is empty. A call that is throttled takes none.
    pub(super) fn take(
        &mut self,
        buckets: &Buckets,
        asked: &Identified<'_>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let (service, operation) = (&*asked.model.service, &*asked.operation);
        let concerned = buckets.of(service, operation, &asked.parameters);
        let taken = self.tokens(&concerned, service, now);
        self.taken.push(Taken {
            at: now,
            by: asked.access_key.clone(),
            call: format!("{service}:{operation}"),
            from: concerned,
            throttled: taken.is_err(),
        });
        taken
    }

    fn tokens(
        &mut self,
        concerned: &[(String, Bucket)],
        service: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        for (name, bucket) in concerned {
            let (level, at) = self
                .levels
                .entry(name.clone())
                .or_insert((bucket.most, now));
            let passed = now.duration_since(*at).as_secs_f64();
            *level = (*level + passed * bucket.per_second).min(bucket.most);
            *at = now;
        }
        if concerned.iter().any(|(name, _)| self.levels[name].0 < 1.0) {
            // The ELB guide names ThrottlingException; the query protocol writes `Throttling`, with the text "Rate exceeded". EC2's is
            // RequestLimitExceeded, status 503 (EC2 API reference, "Query API request rate").
            return Err(match service {
                "ec2" => Refusal {
                    status: 503,
                    ..refuse("RequestLimitExceeded", "Request limit exceeded.")
                },
                _ => refuse("Throttling", "Rate exceeded"),
            });
        }
        for (name, _) in concerned {
            self.levels
                .entry(name.clone())
                .and_modify(|(level, _)| *level -= 1.0);
        }
        Ok(())
    }
}
