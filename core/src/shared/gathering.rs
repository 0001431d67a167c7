//! How long a writer waits for others, and what a read by another way tells it.

use std::{sync::Arc, task, time::Duration};

use futures::{FutureExt as _, task::noop_waker_ref};

use super::{
    board::{Board, Lines, key, want},
    *,
};

const GATHER: Gather = Gather {
    quiet: Duration::from_millis(300),
    longest: Duration::from_secs(2),
};

/// A writer at work, and a function that has it go on.
fn writer(board: &Board) -> (Arc<Writer<Board>>, impl FnMut()) {
    let (writer, work) = Writer::new(board.clone(), Arc::new(|_| {}));
    let mut work = Box::pin(work);
    let go_on = move || {
        // More turns than any test needs.
        for _ in 0..100 {
            let mut context = task::Context::from_waker(noop_waker_ref());
            let _ = Future::poll(work.as_mut(), &mut context);
        }
    };
    (writer, go_on)
}

/// Ends every pause of this length.
fn pass(board: &Board, time: Duration) {
    let mut state = board.state();
    let (over, go_on) = std::mem::take(&mut state.pauses)
        .into_iter()
        .partition(|(paused, _)| *paused == time);
    state.pauses = go_on;
    drop(over);
}

fn gathering() -> Board {
    let board = Board::default();
    board.state().gather = Some(GATHER);
    board
}

#[test]
fn claims_that_come_together_are_one_write() {
    let board = gathering();
    let (writer, mut go_on) = writer(&board);
    for name in ["a", "b", "c"] {
        let claimed = writer.claim(key(name), want("1"), &Ticket::unlimited());
        claimed.expect("it is queued");
        go_on();
        assert_eq!(board.calls(), (0, 0));
    }
    // Those before a claim that has come since are over too.
    pass(&board, GATHER.quiet);
    go_on();
    assert_eq!(board.calls(), (1, 1));
    assert_eq!(board.state().lines.len(), 3);
    assert!(board.state().pauses.len() <= 1, "nobody waits any more");
}

#[test]
fn claims_that_never_end_are_waited_for_no_longer_than_said() {
    let board = gathering();
    let (writer, mut go_on) = writer(&board);
    for name in ["a", "b"] {
        let claimed = writer.claim(key(name), want("1"), &Ticket::unlimited());
        claimed.expect("it is queued");
        go_on();
    }
    pass(&board, GATHER.longest);
    go_on();
    assert_eq!(board.calls(), (1, 1));
}

#[test]
fn a_read_by_another_way_is_known_unless_a_write_has_overtaken_it() {
    let board = Board::default();
    let (writer, mut go_on) = writer(&board);
    let found: Lines = [("old".to_owned(), "1".to_owned())].into();
    board.state().lines = found.clone();
    let reading = writer.begin_read();
    writer.end_read(&reading, found.clone());
    let live = writer.live(false).now_or_never().expect("it does not wait");
    assert_eq!(live.expect("it is known"), found);
    assert_eq!(board.calls(), (0, 0));

    let late = writer.begin_read();
    let claimed = writer.claim(key("a"), want("1"), &Ticket::unlimited());
    claimed.expect("it is queued");
    go_on();
    writer.end_read(&late, found);
    let live = writer.live(false).now_or_never().expect("it does not wait");
    assert!(live.expect("it is known").contains_key("a"));
    assert_eq!(board.calls(), (0, 1));
}

#[test]
fn what_another_way_shows_to_be_undone_is_written_anew() {
    let board = Board::default();
    let (writer, mut go_on) = writer(&board);
    let claimed = writer.claim(key("a"), want("1"), &Ticket::unlimited());
    claimed.expect("it is queued");
    go_on();
    board.state().lines = Lines::new();
    let reading = writer.begin_read();
    writer.end_read(&reading, Lines::new());
    go_on();
    assert!(board.state().lines.contains_key("a"));
}
