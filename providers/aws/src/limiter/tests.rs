use std::time::Duration;

use super::{Limiter, Rate, Rates, kinds};
use crate::call::{
    CREATE_SECURITY_GROUP, DELETE_SECURITY_GROUP, DEREGISTER_TARGETS, DESCRIBE_TARGET_HEALTH,
    MODIFY_TARGET_GROUP, REGISTER_TARGETS,
};

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
    assert_eq!(limiter.line(kind).with(|bucket, _| bucket.waiting()), 0);
    // Another operation of EC2 has a bucket of its own, and ELB has.
    limiter.turn(&DELETE_SECURITY_GROUP).await;
    limiter.turn(&REGISTER_TARGETS).await;
    // What registers counts against all of ELB, too.
    let gave_up = tokio::time::timeout(patience, limiter.turn(&DESCRIBE_TARGET_HEALTH)).await;
    assert!(gave_up.is_err());
}
