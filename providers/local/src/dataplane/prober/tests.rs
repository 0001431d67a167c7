use super::*;
use crate::api::HealthCheckKind;

fn check(port: Option<u16>, rise: u8) -> HealthCheck {
    HealthCheck {
        kind: HealthCheckKind::Tcp,
        port,
        interval_ms: 300_000,
        timeout_ms: 50,
        rise,
        fall: 1,
    }
}

#[tokio::test]
async fn a_probe_is_shared_and_ends_with_its_last_owner() {
    let probes = Probes::default();
    let target = SocketAddr::from(([127, 0, 0, 1], 1));
    let first = probes.want(target, &check(None, 1), Health::Initial);
    let second = probes.want(target, &check(Some(1), 1), Health::Initial);
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(probes.count(), 1);
    let other = probes.want(target, &check(None, 2), Health::Healthy);
    assert_eq!((probes.count(), other.standing()), (2, Standing::Healthy));
    drop((first, other));
    assert_eq!(probes.count(), 1);
    drop(second);
    assert_eq!(probes.count(), 0);
}

#[tokio::test]
async fn what_is_believed_goes_to_the_next_data_plane_with_its_damping() {
    let target = SocketAddr::from(([127, 0, 0, 1], 1));
    let failure = Failure::Timeout;
    let check = HealthCheck {
        interval_ms: 1_000,
        ..check(None, 1)
    };
    let before = Probes::default();
    let probe = before.want(target, &check, Health::Initial);
    for _ in 0..5 {
        probe.heed(Ok(()));
        probe.heed(Err(&failure));
    }
    probe.heed(Ok(()));
    assert_eq!(probe.standing(), Standing::Flapping);
    let beliefs = serde_json::to_string(&before.beliefs()).expect("JSON");

    let after = Probes::default();
    after.inherit(serde_json::from_str(&beliefs).expect("beliefs"));
    let heir = after.want(target, &check, Health::Initial);
    assert_eq!(heir.standing(), Standing::Flapping);
    let mut good = 1;
    while heir.standing() == Standing::Flapping {
        heir.heed(Ok(()));
        good += 1;
    }
    assert_eq!((good, heir.standing()), (10, Standing::Healthy));
}
