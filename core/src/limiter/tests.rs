use std::{
    pin::pin,
    task::Context,
    time::{Duration, Instant},
};

use futures::task::noop_waker;

use super::{Bucket, Line, Rate, Turn, Urgency};

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

#[test]
fn a_closed_bucket_gives_nothing_until_then_and_no_burst_after_it() {
    let now = Instant::now();
    let mut bucket = Bucket::new(RATE, now);
    bucket.close(now + Duration::from_secs(17), now);
    about(take(&mut bucket, now), 17_000);
    about(take(&mut bucket, now + Duration::from_secs(17)), 500);
    // Of two complaints the longer counts.
    bucket.close(now + Duration::from_secs(30), now + Duration::from_secs(20));
    bucket.close(now + Duration::from_secs(25), now + Duration::from_secs(20));
    about(take(&mut bucket, now + Duration::from_secs(20)), 10_000);
}

#[test]
fn while_little_is_left_it_fills_half_as_fast() {
    let now = Instant::now();
    let mut bucket = Bucket::new(RATE, now);
    for _ in 0..3 {
        take(&mut bucket, now);
    }
    bucket.ease(true, now);
    about(take(&mut bucket, now), 1000);
    bucket.ease(false, now + Duration::from_secs(1));
    about(take(&mut bucket, now + Duration::from_secs(1)), 500);
}

/// Never sleeps: who is sent to sleep waits for ever.
async fn asleep(_: Instant) {
    std::future::pending().await
}

#[test]
fn who_leaves_the_line_lets_the_next_one_go_first() {
    let line = Line::new(Rate {
        per_second: 0.001,
        burst: 1.0,
    });
    let waker = noop_waker();
    let mut context = Context::from_waker(&waker);
    assert!(
        pin!(line.turn(Urgency::Group, asleep))
            .poll(&mut context)
            .is_ready()
    );
    let mut first = Box::pin(line.turn(Urgency::First, asleep));
    let mut second = Box::pin(line.turn(Urgency::Sweep, asleep));
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert_eq!(line.0.lock().expect("a line").wakers.len(), 1);
    drop(first);
    assert!(line.0.lock().expect("a line").wakers.is_empty());
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(second);
    assert_eq!(line.with(|bucket, _| bucket.waiting()), 0);
}
