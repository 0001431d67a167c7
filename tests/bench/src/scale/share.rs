//! How much of a bucket one tenant took (Decides).

use std::{collections::BTreeMap, time::Duration};

use evenkeel_harness::fake_aws::{Bucket, Taken};
use jiff::Timestamp;

/// The greatest part, per bucket, of what a bucket has for any span of time: what it holds when full, and what comes in meanwhile.
///
/// A call may have been on its way for some time: so much more may then seem to have come at once than was sent.
#[must_use]
pub fn shares(taken: &[Taken], on_its_way: Duration) -> BTreeMap<String, f64> {
    let mut calls: BTreeMap<&str, (Bucket, Vec<Timestamp>)> = BTreeMap::new();
    for one in taken {
        for (name, bucket) in &one.from {
            let (_, times) = calls.entry(name).or_insert_with(|| (*bucket, Vec::new()));
            times.push(one.at);
        }
    }
    calls
        .into_iter()
        .map(|(name, (bucket, times))| (name.to_owned(), share(bucket, &times, on_its_way)))
        .collect()
}

fn share(bucket: Bucket, times: &[Timestamp], on_its_way: Duration) -> f64 {
    let Some(first) = times.first() else {
        return 0.0;
    };
    let seconds = |time: &Timestamp| time.duration_since(*first).as_secs_f64();
    let times: Vec<f64> = times.iter().map(seconds).collect();
    let mut greatest = 0.0_f64;
    for (number, end) in times.iter().enumerate() {
        for (before, begin) in times[..=number].iter().rev().enumerate() {
            let passed = end - begin + on_its_way.as_secs_f64();
            let there = bucket.most + bucket.per_second * passed;
            greatest = greatest.max((before + 1) as f64 / there);
        }
    }
    greatest
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: Bucket = Bucket {
        most: 10.0,
        per_second: 2.0,
    };

    fn times(milliseconds: &[i64]) -> Vec<Timestamp> {
        let times = milliseconds.iter();
        times
            .map(|ms| Timestamp::from_millisecond(*ms).expect("a time"))
            .collect()
    }

    #[test]
    fn a_burst_and_a_rate_are_parts_of_what_there_is() {
        for (name, at, late, expected) in [
            ("nothing", vec![], 0, 0.0),
            ("half of a full bucket at once", vec![0; 5], 0, 0.5),
            ("the same, sent over a second", vec![0; 5], 1000, 5.0 / 12.0),
            (
                "a rest between them counts",
                vec![0, 0, 0, 5000, 5000],
                0,
                0.3,
            ),
            (
                "all there is",
                [vec![0; 10], vec![500, 1000]].concat(),
                0,
                1.0,
            ),
        ] {
            let found = share(BUCKET, &times(&at), Duration::from_millis(late));
            assert!((found - expected).abs() < 1e-9, "{name}: {found}");
        }
    }

    #[test]
    fn a_call_counts_in_each_of_its_buckets() {
        let call = |from: &[&str]| Taken {
            at: Timestamp::UNIX_EPOCH,
            by: "us".to_owned(),
            call: "elbv2:RegisterTargets".to_owned(),
            from: from
                .iter()
                .map(|name| ((*name).to_owned(), BUCKET))
                .collect(),
            throttled: false,
        };
        let shares = shares(&[call(&["a", "b"]), call(&["a"])], Duration::ZERO);
        assert_eq!(
            shares,
            [("a".to_owned(), 0.2), ("b".to_owned(), 0.1)].into()
        );
    }
}
