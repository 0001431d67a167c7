use std::time::{Duration, Instant};

use super::{Bucket, Limiter, Rate, Rates, Turn, Urgency, kinds};
use crate::call::{
    CREATE_SECURITY_GROUP, DELETE_SECURITY_GROUP, DEREGISTER_TARGETS, DESCRIBE_TARGET_HEALTH,
    MODIFY_TARGET_GROUP, REGISTER_TARGETS,
};

const RATE: Rate = Rate {
    per_second: 2.0,
    burst: 3.0,
};

/// Asks in a place of its own until it is one's turn; how long that took.
fn take(bucket: &mut Bucket, mut now: Instant) -> Duration {
    let began = now;
    let place = bucket.join(Urgency::Group);
    loop {
        match bucket.ask(place, now) {
            Turn::Now => return now - began,
            Turn::At(at) => now = at,
            Turn::Later => panic!("nobody else waits"),
        }
    }
}

fn about(found: Duration, expected_ms: u64) {
    let expected = Duration::from_millis(expected_ms);
    assert!(
        found >= expected && found < expected + Duration::from_millis(1),
        "{found:?} is not about {expected:?}"
    );
}

#[test]
fn a_burst_then_the_rate() {
    let now = Instant::now();
    let mut bucket = Bucket::new(RATE, now);
    for expected in [0, 0, 0, 500] {
        about(take(&mut bucket, now), expected);
    }
    // The fourth was taken half a second later; the bucket is empty then.
    about(take(&mut bucket, now + Duration::from_millis(500)), 500);
}

#[test]
fn a_rest_fills_it_no_further_than_the_burst() {
    let now = Instant::now();
    let mut bucket = Bucket::new(RATE, now);
    let later = now + Duration::from_secs(30);
    for expected in [0, 0, 0, 500] {
        about(take(&mut bucket, later), expected);
    }
}

#[test]
fn complaints_halve_it_once_a_second_and_down_to_a_sixteenth() {
    let now = Instant::now();
    let mut bucket = Bucket::new(RATE, now);
    bucket.throttled(now);
    bucket.throttled(now + Duration::from_millis(999));
    assert_eq!(bucket.per_second(), 1.0);
    bucket.throttled(now + Duration::from_secs(1));
    assert_eq!(bucket.per_second(), 0.5);
    for second in 2..20 {
        bucket.throttled(now + Duration::from_secs(second));
    }
    assert_eq!(bucket.per_second(), 0.125);
}

#[test]
fn a_complaint_empties_it() {
    let now = Instant::now();
    let mut bucket = Bucket::new(RATE, now);
    bucket.throttled(now);
    about(take(&mut bucket, now), 1000);
}

#[test]
fn a_quiet_minute_with_demand_raises_it_by_a_tenth_and_never_beyond_where_it_began() {
    let mut now = Instant::now();
    let mut bucket = Bucket::new(RATE, now);
    bucket.throttled(now);
    let mut demand = |bucket: &mut Bucket, minutes: u64| {
        now += Duration::from_secs(60 * minutes);
        for _ in 0..4 {
            take(bucket, now);
        }
    };
    demand(&mut bucket, 0);
    assert_eq!(bucket.per_second(), 1.0);
    demand(&mut bucket, 1);
    assert!((bucket.per_second() - 1.1).abs() < 1e-9);
    // Ten idle minutes prove no more than one.
    demand(&mut bucket, 10);
    assert!((bucket.per_second() - 1.21).abs() < 1e-9);
    for _ in 0..100 {
        demand(&mut bucket, 1);
    }
    assert_eq!(bucket.per_second(), 2.0);
}

#[test]
fn the_urgent_go_first_and_equals_in_their_order() {
    let now = Instant::now();
    let mut bucket = Bucket::new(
        Rate {
            per_second: 1.0,
            burst: 2.0,
        },
        now,
    );
    let sweep = bucket.join(Urgency::Sweep);
    let group = bucket.join(Urgency::Group);
    let other = bucket.join(Urgency::Group);
    let first = bucket.join(Urgency::First);
    assert_eq!(bucket.ask(sweep, now), Turn::Later);
    assert_eq!(bucket.ask(group, now), Turn::Later);
    assert_eq!(bucket.ask(first, now), Turn::Now);
    assert_eq!(bucket.ask(other, now), Turn::Later);
    assert_eq!(bucket.ask(group, now), Turn::Now);
    assert!(matches!(bucket.ask(other, now), Turn::At(_)));
    bucket.leave(other);
    assert!(matches!(bucket.ask(sweep, now), Turn::At(_)));
    assert_eq!(bucket.waiting(), 1);
}

/// At so much of AWS's buckets another tenant who asks once a second finds a token each time.
#[test]
fn rates_are_six_tenths_of_what_aws_documents() {
    let rates = Rates::default();
    for (rate, per_second, burst) in [
        (rates.elb, 6.0, 20.0),
        (rates.register, 2.4, 10.0),
        (rates.modify, 1.8, 10.0),
        (rates.ec2_read, 12.0, 50.0),
        (rates.ec2_write, 3.0, 25.0),
    ] {
        assert!((rate.per_second - per_second).abs() < 1e-9, "{rate:?}");
        assert!((rate.burst - burst).abs() < 1e-9, "{rate:?}");
    }
    let mut rates = rates;
    assert!(Rates::NAMES.iter().all(|name| rates.named(name).is_some()));
}

#[test]
fn calls_take_from_the_buckets_that_aws_counts_them_in() {
    for (call, expected) in [
        (&DESCRIBE_TARGET_HEALTH, "[Elb]"),
        (&REGISTER_TARGETS, "[Register, Elb]"),
        (&DEREGISTER_TARGETS, "[Register, Elb]"),
        (&MODIFY_TARGET_GROUP, "[Modify, Elb]"),
        (
            &CREATE_SECURITY_GROUP,
            "[Ec2Write(\"CreateSecurityGroup\")]",
        ),
    ] {
        let found: Vec<_> = kinds(call).collect();
        assert_eq!(format!("{found:?}"), expected, "{}", call.operation);
    }
}

#[tokio::test]
async fn one_who_gives_up_keeps_nobody_waiting() {
    let rate = Rate {
        per_second: 0.001,
        burst: 1.0,
    };
    let limiter = Limiter::new(Rates {
        elb: rate,
        ec2_write: rate,
        ..Rates::unlimited()
    });
    limiter.turn(&CREATE_SECURITY_GROUP).await;
    let patience = Duration::from_millis(5);
    let gave_up = tokio::time::timeout(patience, limiter.turn(&CREATE_SECURITY_GROUP)).await;
    assert!(gave_up.is_err());
    let [kind] = kinds(&CREATE_SECURITY_GROUP).collect::<Vec<_>>()[..] else {
        panic!("one bucket");
    };
    assert_eq!(limiter.line(kind).bucket().waiting(), 0);
    // Another operation of EC2 has a bucket of its own, and ELB has.
    limiter.turn(&DELETE_SECURITY_GROUP).await;
    limiter.turn(&REGISTER_TARGETS).await;
    // What registers counts against all of ELB, too.
    let gave_up = tokio::time::timeout(patience, limiter.turn(&DESCRIBE_TARGET_HEALTH)).await;
    assert!(gave_up.is_err());
}
