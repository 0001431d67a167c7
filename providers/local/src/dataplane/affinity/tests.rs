//! Clients come, come again, time out, and are too many.

use std::net::Ipv4Addr;

use super::*;

fn client(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + number).into()
}

fn after(began: Instant, seconds: u64) -> Instant {
    began + Duration::from_secs(seconds)
}

fn targets(ports: &[u16]) -> Vec<SocketAddr> {
    let target = |port: &u16| SocketAddr::new(client(0), *port);
    ports.iter().map(target).collect()
}

#[test]
fn every_connection_within_the_timeout_renews_it() {
    let began = Instant::now();
    // When a client connects, and whether it is known then.
    for (name, connects, want) in [
        ("at once", &[0, 0][..], &[false, true][..]),
        ("just in time", &[0, 59], &[false, true]),
        ("too late", &[0, 60], &[false, false]),
        (
            "renewed",
            &[0, 40, 80, 120, 180],
            &[false, true, true, true, false],
        ),
    ] {
        let mut table = Affinity::new(60, began);
        let known: Vec<bool> = connects
            .iter()
            .map(|seconds| {
                let now = after(began, *seconds);
                let known = table.find(client(1), now).is_some();
                table.note(client(1), 7, now);
                known
            })
            .collect();
        assert_eq!(known, want, "{name}");
    }
}

#[test]
fn a_client_moves_and_others_do_not() {
    let now = Instant::now();
    let mut table = Affinity::new(60, now);
    table.note(client(1), 1, now);
    table.note(client(2), 1, now);
    table.note(client(1), 2, now);
    assert_eq!(table.find(client(1), now), Some(2));
    assert_eq!(table.find(client(2), now), Some(1));
    assert_eq!(table.find(client(3), now), None);
}

#[test]
fn a_changed_timeout_holds_for_the_clients_that_are_known() {
    let began = Instant::now();
    let mut table = Affinity::new(60, began);
    table.note(client(1), 1, began);
    let now = after(began, 30);
    table.set_timeout(20);
    assert_eq!(table.find(client(1), now), None);
    table.set_timeout(86_400);
    assert_eq!(table.find(client(1), now), Some(1));
    assert_eq!(table.find(client(1), after(began, 86_400)), None);
}

#[test]
fn what_is_remembered_follows_its_target() {
    let now = Instant::now();
    for (name, after, want) in [
        ("the same", &[1, 2, 3][..], [Some(0), Some(1), Some(2)]),
        ("another order", &[3, 1, 2], [Some(1), Some(2), Some(0)]),
        ("one goes", &[1, 3], [Some(0), None, Some(1)]),
        ("one comes", &[9, 1, 2, 3], [Some(1), Some(2), Some(3)]),
        ("all go", &[], [None; 3]),
    ] {
        let mut table = Affinity::new(60, now);
        for target in 0..3 {
            table.note(client(target), target as usize, now);
        }
        table.retarget(&targets(&[1, 2, 3]), &targets(after));
        let found = [0, 1, 2].map(|number| table.find(client(number), now));
        assert_eq!(found, want, "{name}");
    }
}

#[test]
fn a_target_that_comes_back_has_lost_its_clients() {
    let now = Instant::now();
    let mut table = Affinity::new(60, now);
    table.note(client(1), 0, now);
    table.retarget(&targets(&[1, 2]), &targets(&[2]));
    table.retarget(&targets(&[2]), &targets(&[1, 2]));
    assert_eq!(table.find(client(1), now), None);
}

#[test]
fn of_too_many_clients_the_longest_unused_go() {
    let began = Instant::now();
    let mut table = Affinity::new(86_400, began);
    table.limit(32, began);
    for number in 0..32 {
        table.note(client(number), 0, after(began, number.into()));
    }
    // The first one is used again, so the next two are the oldest.
    table.note(client(0), 0, after(began, 40));
    table.note(client(99), 0, after(began, 41));
    let known: Vec<u32> = (0..100)
        .filter(|number| table.find(client(*number), after(began, 41)).is_some())
        .collect();
    let want: Vec<u32> = [0].into_iter().chain(3..32).chain([99]).collect();
    assert_eq!(known, want);

    for number in 0..10_000 {
        table.note(client(number), 0, after(began, 50));
        assert!(table.len() <= 32, "{number}: {}", table.len());
        assert!(table.find(client(number), after(began, 50)).is_some());
    }
    table.limit(4, after(began, 50));
    assert!(table.len() <= 4);
    table.limit(1, after(began, 50));
    table.note(client(77), 3, after(began, 50));
    assert_eq!(table.len(), 1);
    assert_eq!(table.find(client(77), after(began, 50)), Some(3));
}

#[test]
fn those_that_timed_out_make_room_first() {
    let began = Instant::now();
    let mut table = Affinity::new(60, began);
    table.limit(32, began);
    for number in 0..32 {
        let used = if number < 8 { 0 } else { 30 };
        table.note(client(number), 0, after(began, used));
    }
    table.note(client(99), 0, after(began, 70));
    assert_eq!(table.len(), 25);
    assert!((8..32).all(|number| table.find(client(number), after(began, 70)).is_some()));
}

#[test]
fn a_restart_keeps_the_time_that_is_left() {
    let began = Instant::now();
    let mut table = Affinity::new(60, began);
    table.note(client(1), 1, began);
    table.note(client(2), 2, after(began, 50));
    let records = table.records(after(began, 50));
    assert_eq!(records.len(), 2);

    // As a process that was just started would do it 5 seconds later.
    let again = after(began, 55);
    let mut table = Affinity::new(60, again);
    let later = |record: &Record| Record {
        age: record.age + Duration::from_secs(5),
        ..*record
    };
    table.restore(records.iter().map(later), again);
    assert_eq!(table.find(client(1), again), Some(1));
    assert_eq!(table.find(client(1), after(began, 60)), None);
    assert_eq!(table.find(client(2), after(began, 109)), Some(2));
    assert_eq!(table.find(client(2), after(began, 110)), None);
    assert_eq!(table.records(after(began, 110)), []);
    assert_eq!(table.len(), 0, "what has timed out is forgotten");
}

#[test]
fn sets_share_what_may_be_remembered_in_all() {
    for (sets, want) in [
        (0, MOST),
        (1, MOST),
        (16, MOST),
        (17, MOST / 2),
        (1_000, 1_024),
        (usize::MAX / 4, 1),
    ] {
        assert_eq!(share(sets), want, "{sets}");
        assert!(sets > MOST_IN_ALL || sets * share(sets) <= MOST_IN_ALL);
    }
}
