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
