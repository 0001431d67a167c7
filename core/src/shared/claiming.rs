//! What a claim changes, when it counts as done, and who is woken.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::{
    board::{Lines, ROOM, body, desk, error, key, names, want},
    *,
};

#[test]
fn a_claim_that_is_shown_already_wakes_its_group_without_a_write() {
    let mut desk = desk(&[("a", "1")]);
    desk.claim(key("a"), want("1")).expect("it is taken");
    assert_eq!(desk.turn(), Turn::Idle);
    assert_eq!(names(&desk.take_done()), ["a"]);
    assert!(desk.take_done().is_empty(), "once");
}

#[test]
fn what_supersedes_a_claim_in_flight_is_neither_done_nor_refused_with_it() {
    for (name, next) in [("another line", want("2")), ("gone", Claim::Gone)] {
        let mut desk = desk(&[]);
        desk.claim(key("a"), want("1")).expect("it is queued");
        let first = body(desk.turn());
        desk.claim(key("a"), next.clone()).expect("it is queued");
        assert_eq!(desk.standing(&key("a")), Some(Standing::Queued), "{name}");
        assert!(desk.take_done().is_empty(), "{name}");

        let mut refused = desk;
        assert!(
            refused
                .write_ended(Err(error(ErrorClass::Rejected, "a")))
                .is_empty(),
            "{name}"
        );
        let standing = refused.standing(&key("a"));
        assert!(
            !matches!(standing, Some(Standing::Refused { .. })),
            "{name}"
        );

        let mut done = super::board::desk(&[]);
        done.claim(key("a"), want("1")).expect("it is queued");
        body(done.turn());
        done.claim(key("a"), next).expect("it is queued");
        assert!(
            done.write_ended(Ok(first)).is_empty(),
            "{name}: what it waits for is the next write"
        );
        let second = body(done.turn());
        assert_eq!(names(&done.write_ended(Ok(second))), ["a"], "{name}");
    }
}

#[test]
fn who_sees_its_claim_queued_is_woken_also_when_it_was_done_before() {
    let mut desk = desk(&[]);
    desk.claim(key("a"), want("1")).expect("it is queued");
    let done = body(desk.turn());
    assert_eq!(names(&desk.write_ended(Ok(done))), ["a"]);

    let undone = super::board::desk(&[])
        .live()
        .cloned()
        .expect("it was read");
    assert!(desk.read_ended(Ok(undone)).is_empty(), "nobody waits");
    let (_, standing) = desk.view(&key("a")).expect("it claims");
    assert_eq!(standing, Standing::Queued);
    let again = body(desk.turn());
    assert_eq!(names(&desk.write_ended(Ok(again))), ["a"]);
}

#[test]
fn claims_that_have_done_their_work_are_forgotten() {
    let mut desk = desk(&[("a", "1"), ("b", "1"), ("c", "1")]);
    desk.claim(key("a"), Claim::Gone).expect("it is queued");
    desk.claim(key("x"), Claim::Gone).expect("it is taken");
    desk.claim(key("b"), want("1")).expect("it is taken");
    desk.claim(key("b"), Claim::Unknown).expect("it is taken");
    let body = body(desk.turn());
    desk.write_ended(Ok(body));
    assert_eq!(desk.claims.len(), 0, "{:?}", desk.claims);

    // Refused, and gone by another hand.
    desk.claim(key("c"), Claim::Gone).expect("it is queued");
    desk.turn();
    assert_eq!(
        names(&desk.write_ended(Err(error(ErrorClass::Rejected, "c")))),
        ["c"]
    );
    desk.read_ended(Ok(Lines::new()));
    assert_eq!(desk.claims.len(), 0, "{:?}", desk.claims);
}

#[test]
fn a_claim_for_which_there_is_no_room_is_refused_before_the_write_and_its_neighbours_go_through() {
    let full: Lines = (1..ROOM)
        .map(|line| (format!("old{line}"), "1".into()))
        .collect();
    let mut desk = desk(&[]);
    desk.read_ended(Ok(full));
    for name in ["a", "b", "old1"] {
        desk.claim(key(name), want("2")).expect("it is queued");
    }
    let body = body(desk.turn());
    assert!(body.contains_key("a") && !body.contains_key("b"));
    assert_eq!(names(&desk.take_done()), ["b"]);
    assert!(matches!(
        desk.standing(&key("b")),
        Some(Standing::Refused {
            class: ErrorClass::Quota,
            ..
        })
    ));
    assert_eq!(names(&desk.write_ended(Ok(body))), ["a", "old1"]);
    let told = desk
        .claim(key("b"), want("2"))
        .expect_err("it is told once");
    assert_eq!(told.class, ErrorClass::Quota);
    desk.claim(key("a"), Claim::Gone).expect("it is queued");
    desk.claim(key("b"), want("2")).expect("it has waited");
    assert_eq!(
        desk.turn(),
        Turn::Write {
            base: desk.live().cloned().expect("it was read"),
            body: {
                let mut next = desk.live().cloned().expect("it was read");
                next.remove("a");
                next.insert("b".into(), "2".into());
                next
            }
        }
    );
}

/// What happens to a desk.
#[derive(Clone, Debug)]
enum Event {
    Claim(u8, Claim<String>),
    /// The call on its way ends well, or as a conflict, or not at all for a while.
    Ends(u8),
    /// Somebody else writes their line.
    Foreign(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let claim = prop_oneof![
        4 => "[a-c]".prop_map(Claim::Want),
        // Refused by the cloud, which names nobody.
        1 => Just(want("bad")),
        2 => Just(Claim::Gone),
        1 => Just(Claim::Unknown),
    ];
    let event = prop_oneof![
        4 => (0_u8..6, claim).prop_map(|(group, claim)| Event::Claim(group, claim)),
        3 => (0_u8..4).prop_map(Event::Ends),
        1 => (0_u8..3).prop_map(Event::Foreign),
    ];
    vec(event, 0..40)
}

/// A cloud that refuses bodies with a bad line, and versions that are not its own.
struct Cloud {
    lines: Lines,
    call: Option<Turn<Lines>>,
    calls: usize,
}

impl Cloud {
    fn answer(
        &mut self,
        desk: &mut Desk<super::board::Board>,
        how: u8,
        told: &mut Vec<GroupKey>,
    ) -> bool {
        let call = self.call.take().unwrap_or_else(|| desk.turn());
        let called = call != Turn::Idle;
        self.calls += usize::from(called);
        match (call, how) {
            (Turn::Idle, _) => {}
            (call, 3) => self.call = Some(call),
            (Turn::Read, 2) => told.extend(desk.read_ended(Err(error(ErrorClass::Transient, "")))),
            (Turn::Read, _) => told.extend(desk.read_ended(Ok(self.lines.clone()))),
            (Turn::Write { .. }, 2) => {
                told.extend(desk.write_ended(Err(error(ErrorClass::Transient, ""))))
            }
            (Turn::Write { base, body }, how) => {
                let result = if base != self.lines {
                    Err(error(ErrorClass::Conflict, ""))
                } else if body.values().any(|line| line == "bad") {
                    Err(error(ErrorClass::Rejected, ""))
                } else {
                    self.lines = body;
                    // The answer may be lost.
                    if how == 1 {
                        Err(error(ErrorClass::Conflict, ""))
                    } else {
                        Ok(self.lines.clone())
                    }
                };
                told.extend(desk.write_ended(result));
            }
        }
        told.extend(desk.take_done());
        called
    }
}

proptest! {
    /// Whatever happens on the way: once the calls go well again, every claim but a bad one is on the board or off it, lines
    /// without a claim are as they were, whoever waits is woken, and the calls come to an end.
    #[test]
    fn every_claim_is_done_or_refused_in_the_end_and_nobody_sleeps_for_ever(events in events()) {
        let mut desk = desk(&[]);
        let mut cloud = Cloud { lines: Lines::new(), call: None, calls: 0 };
        let mut wants: BTreeMap<u8, Claim<String>> = BTreeMap::new();
        let mut waits: BTreeMap<GroupKey, u8> = BTreeMap::new();
        let mut foreign = Lines::new();
        let mut told = Vec::new();
        let name = |group: u8| format!("g{group}");
        for event in events {
            match event {
                Event::Claim(group, claim) => {
                    wants.insert(group, claim.clone());
                    if desk.claim(key(&name(group)), claim.clone()).is_ok() && claim != Claim::Unknown {
                        waits.insert(key(&name(group)), group);
                    } else {
                        waits.remove(&key(&name(group)));
                    }
                }
                Event::Ends(how) => drop(cloud.answer(&mut desk, how, &mut told)),
                Event::Foreign(who) => {
                    let line = foreign.len().to_string();
                    foreign.insert(format!("other{who}"), line.clone());
                    cloud.lines.insert(format!("other{who}"), line);
                }
            }
            for key in told.drain(..) {
                waits.remove(&key);
            }
        }
        // Everyone whose claim is not done hands it in until it is, as groups that are woken or come back do.
        for round in 0..6 {
            for (group, claim) in &wants {
                let standing = desk.standing(&key(&name(*group)));
                if !matches!(standing, Some(Standing::Done | Standing::Queued)) && *claim != Claim::Unknown
                    && !(round > 2 && *claim == want("bad"))
                    && desk.claim(key(&name(*group)), claim.clone()).is_ok() {
                    waits.insert(key(&name(*group)), *group);
                }
            }
            cloud.calls = 0;
            while cloud.answer(&mut desk, 0, &mut told) {
                prop_assert!(cloud.calls < 60, "the calls do not end");
            }
            told.extend(desk.take_done());
            for key in told.drain(..) {
                waits.remove(&key);
            }
        }
        prop_assert!(waits.is_empty(), "never woken: {waits:?}");
        for (group, claim) in &wants {
            let line = cloud.lines.get(&name(*group));
            match claim {
                Claim::Want(want) if want == "bad" => prop_assert_ne!(line, Some(want)),
                Claim::Want(want) => prop_assert_eq!(line, Some(want)),
                Claim::Gone => prop_assert_eq!(line, None),
                Claim::Unknown => {}
            }
        }
        for (name, line) in &foreign {
            prop_assert_eq!(cloud.lines.get(name), Some(line));
        }
        let kept: Vec<_> = desk.claims.values().filter(|entry| !matches!(entry.claim, Claim::Want(_))).collect();
        prop_assert!(kept.is_empty(), "kept for ever: {kept:?}");
    }
}
