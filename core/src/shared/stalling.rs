//! A shared object that fails as a whole: who is told, who tries again, and how often.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use futures::task::noop_waker_ref;

use super::{
    board::{Board, body, desk, error, key, names, want},
    *,
};
use crate::ticket::Ticket;

fn group(number: usize) -> GroupKey {
    key(&format!("g{number:04}"))
}

/// Groups that come back a while after each failure, each at its own time, and at once when woken; over a cloud that fails
/// every write. Returns the tries, and the runs of groups.
fn outage(groups: usize, class: ErrorClass, delay: usize, end: usize) -> (usize, usize) {
    let mut desk = desk(&[]);
    let (mut tries, mut runs) = (0, 0);
    let mut due: BTreeMap<usize, Vec<GroupKey>> = BTreeMap::new();
    for number in 0..groups {
        due.entry(number % delay).or_default().push(group(number));
    }
    for time in 0..end {
        let mut woken = due.remove(&time).unwrap_or_default();
        while !woken.is_empty() {
            for key in std::mem::take(&mut woken) {
                runs += 1;
                assert!(runs < 1_000_000, "they wake each other for ever");
                if desk.claim(key.clone(), want("line")).is_err() {
                    due.entry(time + delay).or_default().push(key);
                }
            }
            loop {
                match desk.turn() {
                    Turn::Idle => break,
                    Turn::Read => drop(desk.read_ended(Ok(BTreeMap::new()))),
                    Turn::Write { .. } => {
                        tries += 1;
                        woken.extend(desk.write_ended(Err(error(class, ""))));
                    }
                }
            }
        }
    }
    (tries, runs)
}

#[test]
fn a_thousand_groups_make_about_as_many_tries_as_one() {
    for class in [
        ErrorClass::Transient,
        ErrorClass::Denied,
        ErrorClass::Throttled { after: None },
    ] {
        let (alone, _) = outage(1, class, 10, 1000);
        let (tries, runs) = outage(1000, class, 10, 1000);
        assert!(
            (50..=100).contains(&alone),
            "{class:?}: one group makes {alone}"
        );
        assert!(
            tries <= 2 * alone,
            "{class:?}: a thousand groups make {tries} tries, one makes {alone}"
        );
        // Each comes back a hundred times by itself.
        assert!(runs <= 150_000, "{class:?}: {runs} runs");
    }
}

#[test]
fn a_claim_made_while_it_is_stalled_is_kept_and_told_why() {
    let mut desk = desk(&[]);
    desk.claim(key("a"), want("1")).expect("it is queued");
    body(desk.turn());
    assert_eq!(
        names(&desk.write_ended(Err(error(ErrorClass::Transient, "")))),
        ["a"]
    );
    let told = desk
        .claim(key("b"), want("2"))
        .expect_err("nothing goes on");
    assert_eq!(
        (told.class, desk.turn()),
        (ErrorClass::Transient, Turn::Idle)
    );
    desk.claim(key("b"), want("2"))
        .expect("it was told and has waited");
    assert_eq!(desk.turn(), Turn::Read);
    assert!(desk.read_ended(Ok(BTreeMap::new())).is_empty());
    let body = body(desk.turn());
    assert_eq!(body.len(), 2, "the next write carries all: {body:?}");
    assert_eq!(
        names(&desk.write_ended(Ok(body))),
        ["a", "b"],
        "also who was told of the failure and waits for nobody"
    );
}

#[test]
fn who_was_told_of_a_failure_is_not_woken_by_the_next() {
    let mut desk = desk(&[]);
    for name in ["a", "b"] {
        desk.claim(key(name), want("1")).expect("it is queued");
    }
    body(desk.turn());
    assert_eq!(
        names(&desk.write_ended(Err(error(ErrorClass::Transient, "")))),
        ["a", "b"]
    );
    for name in ["a", "b"] {
        desk.claim(key(name), want("1")).expect_err("it failed");
    }
    desk.claim(key("a"), want("1")).expect("it was told");
    assert_eq!(desk.turn(), Turn::Read);
    desk.read_ended(Ok(BTreeMap::new()));
    body(desk.turn());
    assert_eq!(
        names(&desk.write_ended(Err(error(ErrorClass::Transient, "")))),
        ["a"]
    );
    desk.claim(key("b"), want("1"))
        .expect_err("it knows of the failure before only");
    assert_eq!(desk.turn(), Turn::Idle);
}

#[test]
fn endless_conflicts_end_and_whoever_claims_comes_back_later() {
    let mut desk = desk(&[]);
    desk.claim(key("a"), want("1")).expect("it is queued");
    let mut writes = 0;
    let told = loop {
        match desk.turn() {
            Turn::Idle => panic!("nobody was told"),
            Turn::Read => drop(desk.read_ended(Ok(BTreeMap::new()))),
            Turn::Write { .. } => {
                writes += 1;
                assert!(writes < 10, "it never ends");
                // Claims of others come all the time.
                desk.claim(group(writes), want("1")).expect("it is queued");
                let told = desk.write_ended(Err(error(ErrorClass::Conflict, "")));
                if !told.is_empty() {
                    break told;
                }
            }
        }
    };
    assert_eq!((writes, told.len()), (4, 5));
    // A conflict would make the group's run look again at once.
    let error = desk.claim(key("a"), want("1")).expect_err("it failed");
    assert_eq!(error.class, ErrorClass::Transient);
}

#[test]
fn a_missing_permission_is_set_aside_where_it_names_somebody() {
    let mut desk = desk(&[]);
    for name in ["a", "b"] {
        desk.claim(key(name), want("1")).expect("it is queued");
    }
    body(desk.turn());
    assert_eq!(
        names(&desk.write_ended(Err(error(ErrorClass::Denied, "a")))),
        ["a"]
    );
    let body = body(desk.turn());
    assert_eq!(body.keys().collect::<Vec<_>>(), ["b"]);
}

type Woken = Arc<Mutex<Vec<GroupKey>>>;

/// A writer with its work, and who was woken.
fn writer(board: &Board) -> (Arc<Writer<Board>>, impl FnMut(), Woken) {
    let woken = Woken::default();
    let wake = {
        let woken = woken.clone();
        Arc::new(move |key: &GroupKey| {
            woken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(key.clone())
        })
    };
    let (writer, work) = Writer::new(board.clone(), wake);
    let mut work = Box::pin(work);
    // More turns than any test needs.
    let go_on = move || {
        for _ in 0..100 {
            let mut context = std::task::Context::from_waker(noop_waker_ref());
            let _ = Future::poll(work.as_mut(), &mut context);
        }
    };
    (writer, go_on, woken)
}

#[test]
fn without_the_right_to_write_nothing_is_called_until_it_is_back() {
    let board = Board::default();
    let (writer, mut go_on, woken) = writer(&board);
    let revoked = Arc::new(AtomicBool::new(false));
    let soon = Instant::now() + Duration::from_secs(3600);
    let ticket = Ticket::until(soon, revoked.clone());
    writer
        .claim(key("a"), want("1"), &ticket)
        .expect("it is queued");
    revoked.store(true, std::sync::atomic::Ordering::Release);
    go_on();
    assert_eq!(board.calls(), (1, 0));
    assert!(matches!(
        writer.view(&key("a")),
        Some((_, Standing::Stalled { .. }))
    ));
    assert_eq!(names(&woken.lock().expect("nobody panics")), ["a"]);
    writer
        .claim(key("a"), want("1"), &Ticket::unlimited())
        .expect("whoever claims has the right");
    go_on();
    assert_eq!(board.calls(), (1, 1), "what was read still stands");
    assert_eq!(names(&woken.lock().expect("nobody panics")), ["a", "a"]);
}

#[test]
fn a_claim_that_comes_late_takes_no_newer_right_away() {
    let board = Board::default();
    let (writer, mut go_on, _) = writer(&board);
    let in_an_hour = Instant::now() + Duration::from_secs(3600);
    let newer = Ticket::until(in_an_hour, Arc::default());
    let older = Ticket::until(Instant::now(), Arc::default());
    writer
        .claim(key("a"), want("1"), &newer)
        .expect("it is queued");
    writer
        .claim(key("b"), want("1"), &older)
        .expect("it is queued");
    go_on();
    assert_eq!(board.state().lines.len(), 2);
}

#[test]
fn groups_that_look_at_the_same_time_share_a_read_that_began_after_they_asked() {
    let board = Board::default();
    let (writer, ..) = writer(&board);
    let mut context = std::task::Context::from_waker(noop_waker_ref());
    let mut looks: Vec<_> = (0..50).map(|_| Box::pin(writer.live(true))).collect();
    for _ in 0..200 {
        looks.retain_mut(|look| Future::poll(look.as_mut(), &mut context).is_pending());
    }
    assert!(looks.is_empty(), "{} never ended", looks.len());
    // Those who asked while the first was on its way need one that began later.
    assert_eq!(board.state().reads, 2);
}
