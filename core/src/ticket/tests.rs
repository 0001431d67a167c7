//! When the right to write ends.

use super::*;

#[test]
fn a_ticket_ends_at_its_deadline_or_when_it_is_taken_back() {
    let hour = Duration::from_secs(3600);
    let now = Instant::now();
    for (name, ticket, good) in [
        ("without an end", Ticket::unlimited(), true),
        (
            "an hour left",
            Ticket::until(now + hour, Arc::default()),
            true,
        ),
        ("nothing left", Ticket::until(now, Arc::default()), false),
        (
            "taken back",
            Ticket::until(now + hour, Arc::new(AtomicBool::new(true))),
            false,
        ),
    ] {
        match ticket.remaining() {
            Ok(left) => {
                assert!(good, "{name}");
                assert!(
                    left.is_none_or(|left| !left.is_zero() && left <= hour),
                    "{name}: {left:?}"
                );
            }
            Err(error) => {
                assert!(!good, "{name}");
                // Somebody else may be writing: what is there has to be looked at again.
                assert_eq!(error.class, ErrorClass::Conflict, "{name}");
            }
        }
    }
}

#[test]
fn taking_it_back_ends_every_clone() {
    let revoked = Arc::new(AtomicBool::new(false));
    let ticket = Ticket::until(Instant::now() + Duration::from_secs(3600), revoked.clone());
    let clone = ticket.clone();
    assert!(ticket.remaining().is_ok() && clone.remaining().is_ok());
    revoked.store(true, Ordering::Release);
    assert!(ticket.remaining().is_err() && clone.remaining().is_err());
}

#[test]
fn of_two_good_tickets_the_later_outlasts() {
    let end = |seconds| Instant::now() + Duration::from_secs(seconds);
    let early = Ticket::until(end(60), Arc::default());
    let late = Ticket::until(end(3600), Arc::default());
    let taken_back = Ticket::until(end(7200), Arc::new(AtomicBool::new(true)));
    for (name, one, other, outlasts) in [
        ("later", &late, &early, true),
        ("earlier", &early, &late, false),
        ("itself", &late, &late, false),
        ("taken back", &taken_back, &early, false),
        ("without an end", &Ticket::unlimited(), &early, false),
        (
            "than one without an end",
            &late,
            &Ticket::unlimited(),
            false,
        ),
    ] {
        assert_eq!(one.outlasts(other), outlasts, "{name}");
    }
}

#[test]
fn a_term_is_renewed_in_every_ticket_and_never_shortened() {
    let term = Term::new();
    let (early, now) = (term.ticket(), Instant::now());
    assert!(early.remaining().is_err(), "it has not begun");
    for (name, until, least) in [
        ("begun", 60, 50),
        ("renewed", 600, 500),
        ("a late answer", 60, 500),
    ] {
        term.renew(now + Duration::from_secs(until));
        for ticket in [&early, &term.ticket()] {
            let left = ticket.remaining().expect(name).expect("it ends");
            assert!(left > Duration::from_secs(least), "{name}: {left:?}");
        }
    }
    term.revoke();
    term.renew(now + Duration::from_secs(3600));
    assert!(early.remaining().is_err(), "taken back for good");
    let endless = Term::endless();
    assert_eq!(endless.ticket().remaining().expect("good"), None);
    endless.revoke();
    assert!(endless.ticket().remaining().is_err());
}

#[test]
fn tickets_of_one_term_do_not_outlast_each_other() {
    let term = Term::new();
    term.renew(Instant::now() + Duration::from_secs(60));
    assert!(!term.ticket().outlasts(&term.ticket()));
    let over = Ticket::until(Instant::now(), Arc::default());
    assert!(term.ticket().outlasts(&over));
}

#[test]
fn the_lead_waits_for_the_writes_under_way_and_none_begins_after() {
    let term = Term::endless();
    let ticket = term.ticket();
    let (one, other) = (ticket.begin().expect("good"), ticket.begin().expect("good"));
    term.revoke();
    assert!(ticket.begin().is_err());
    let mut idle = std::pin::pin!(term.idle());
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    let mut context = std::task::Context::from_waker(&waker);
    assert!(idle.as_mut().poll(&mut context).is_pending());
    drop(one);
    assert!(idle.as_mut().poll(&mut context).is_pending());
    woken.0.store(false, Ordering::SeqCst);
    drop(other);
    assert!(woken.0.load(Ordering::SeqCst), "told when the last is over");
    assert!(idle.as_mut().poll(&mut context).is_ready());
}

#[derive(Default)]
struct Woken(AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn destroys_wait_as_long_as_was_said() {
    let term = Term::endless();
    let ticket = term.ticket();
    assert_eq!(ticket.destroys_wait(), None);
    term.hold_destroys(Instant::now());
    assert_eq!(ticket.destroys_wait(), None, "over");
    term.hold_destroys(Instant::now() + Duration::from_secs(60));
    let left = ticket.destroys_wait().expect("it waits");
    assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60));
    assert!(ticket.remaining().is_ok(), "everything else may be written");
}
