//! Which region and account a test gets. Decides.
//!
//! Emulators keep regions and accounts apart, so each test has a pair of its own, and nobody waits or cleans up: when the regions
//! are used up, the next account begins.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::emulator::Kind;
use super::iam::AccessKey;

/// Real regions with three zones or more: the emulators know no others.
const REGIONS: [&str; 24] = [
    "eu-west-1",
    "us-east-1",
    "eu-central-1",
    "us-west-2",
    "ap-northeast-1",
    "eu-west-2",
    "us-east-2",
    "ap-southeast-1",
    "eu-west-3",
    "ap-south-1",
    "eu-north-1",
    "ca-central-1",
    "ap-southeast-2",
    "sa-east-1",
    "ap-northeast-2",
    "eu-south-1",
    "ap-northeast-3",
    "eu-central-2",
    "af-south-1",
    "ap-east-1",
    "eu-south-2",
    "me-south-1",
    "ap-southeast-3",
    "il-central-1",
];

/// The account that checks signatures for itself: there access keys are its users'.
const ONLY_ACCOUNT: &str = "000000000000";

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// A region of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) region: &'static str,
    pub(super) account: String,
}

impl Lease {
    /// This region, of an account that no test of this process has had.
    pub(super) fn of(region: &'static str) -> Self {
        let number = TAKEN.fetch_add(1, Ordering::Relaxed);
        Self {
            region,
            account: format!("{:012}", 300_000_000_000 + number),
        }
    }

    /// One that no test of this process has had.
    pub(super) fn take(kind: Kind) -> Self {
        Self::nth(kind, TAKEN.fetch_add(1, Ordering::Relaxed))
    }

    fn nth(kind: Kind, number: usize) -> Self {
        Self {
            region: REGIONS[number % REGIONS.len()],
            account: match kind {
                Kind::MinistackWithAuth => ONLY_ACCOUNT.to_owned(),
                _ => format!("{:012}", 200_000_000_000 + number / REGIONS.len()),
            },
        }
    }

    /// ministack takes an access key of twelve digits for the account; moto does not look at it. The emulator that checks signatures
    /// knows `test` as the one that may do everything.
    pub(super) fn access_key(&self) -> AccessKey {
        let id = match self.account.as_str() {
            ONLY_ACCOUNT => "test",
            account => account,
        };
        AccessKey {
            id: id.to_owned(),
            secret: "test".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_tests_share_a_region_of_an_account() {
        let leases: Vec<_> = (0..100)
            .map(|number| Lease::nth(Kind::Moto, number))
            .collect();
        let distinct: BTreeSet<_> = leases
            .iter()
            .map(|lease| (lease.region, &lease.account))
            .collect();
        assert_eq!(distinct.len(), 100);
        assert!(leases.iter().all(|lease| lease.account.len() == 12));
        let names: BTreeSet<_> = REGIONS.into_iter().collect();
        assert_eq!(names.len(), REGIONS.len());
    }
}
