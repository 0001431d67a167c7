//! A shared object for tests: a board with a line of text per group, and lines of others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::channel::oneshot;

use super::{Claim, Desk, Gather, SharedBackend, SharedObject, Turn};
use crate::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    ticket::Ticket,
};

/// The lines that there is room for: more than most tests need.
pub(super) const ROOM: usize = 2000;

/// Lines by group.
pub(super) type Lines = BTreeMap<String, String>;

/// The key of a group.
pub(super) fn key(name: &str) -> GroupKey {
    GroupKey::Shared {
        namespace: "shop".into(),
        name: name.into(),
    }
}

/// A claim of a line.
pub(super) fn want(line: &str) -> Claim<String> {
    Claim::Want(line.to_owned())
}

/// An error of a write that was refused because of the line of `blamed`, or of nobody in particular.
pub(super) fn error(class: ErrorClass, blamed: &str) -> CloudError {
    CloudError::new(class, "PUT board", blamed)
}

/// The board.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<State>>);

/// What is on it, and what happened to it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) lines: Lines,
    pub(super) reads: usize,
    pub(super) writes: usize,
    /// What every write ends with.
    pub(super) fails: Option<ErrorClass>,
    /// How long claims are gathered.
    pub(super) gather: Option<Gather>,
    /// Who waits, for how long.
    pub(super) pauses: Vec<(Duration, oneshot::Sender<()>)>,
}

impl Board {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and writes so far.
    pub(super) fn calls(&self) -> (usize, usize) {
        let state = self.state();
        (state.reads, state.writes)
    }
}

impl SharedObject for Board {
    type Live = Lines;
    type Fragment = String;

    fn merge(&self, live: &Lines, claims: &BTreeMap<GroupKey, Claim<String>>) -> Lines {
        let mut lines = live.clone();
        for (key, claim) in claims {
            match claim {
                Claim::Want(line) => drop(lines.insert(key.name().to_owned(), line.clone())),
                Claim::Gone => drop(lines.remove(key.name())),
                Claim::Unknown => {}
            }
        }
        lines
    }

    fn excess(
        &self,
        lines: &Lines,
        claims: &BTreeMap<GroupKey, Claim<String>>,
    ) -> Vec<(GroupKey, CloudError)> {
        let leaves = |(key, claim): &(&GroupKey, &Claim<String>)| {
            **claim == Claim::Gone && lines.contains_key(key.name())
        };
        let stay = lines.len() - claims.iter().filter(leaves).count();
        let mut room = ROOM.saturating_sub(stay);
        claims
            .iter()
            .filter(|(key, claim)| {
                matches!(claim, Claim::Want(_)) && !lines.contains_key(key.name())
            })
            .filter(|_| match room {
                0 => true,
                _ => {
                    room -= 1;
                    false
                }
            })
            .map(|(key, _)| (key.clone(), error(ErrorClass::Quota, "the board is full")))
            .collect()
    }

    fn blamed(
        &self,
        error: &CloudError,
        tried: &BTreeMap<GroupKey, Claim<String>>,
    ) -> Option<GroupKey> {
        tried
            .keys()
            .find(|key| key.name() == error.message)
            .cloned()
    }
}

#[async_trait]
impl SharedBackend for Board {
    async fn read(&self) -> Result<Lines, CloudError> {
        self.state().reads += 1;
        // Others ask while it lasts.
        yield_once().await;
        Ok(self.state().lines.clone())
    }

    async fn write(&self, base: &Lines, body: Lines, _: &Ticket) -> Result<Lines, CloudError> {
        yield_once().await;
        let mut state = self.state();
        state.writes += 1;
        if let Some(class) = state.fails {
            return Err(error(class, ""));
        }
        if state.lines != *base {
            return Err(error(ErrorClass::Conflict, ""));
        }
        state.lines = body;
        Ok(state.lines.clone())
    }

    fn gathers(&self) -> Option<Gather> {
        self.state().gather
    }

    async fn pause(&self, time: Duration) {
        let (over, waits) = oneshot::channel();
        self.state().pauses.push((time, over));
        let _ = waits.await;
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// A desk that has seen these lines.
pub(super) fn desk(lines: &[(&str, &str)]) -> Desk<Board> {
    let mut desk = Desk::new(Board::default());
    let lines = lines
        .iter()
        .map(|(name, line)| ((*name).to_owned(), (*line).to_owned()));
    desk.read_ended(Ok(lines.collect()));
    desk
}

/// The body of the write that the desk asks for.
pub(super) fn body(turn: Turn<Lines>) -> Lines {
    match turn {
        Turn::Write { body, .. } => body,
        turn => panic!("no write: {turn:?}"),
    }
}

/// The names of groups.
pub(super) fn names(groups: &[GroupKey]) -> Vec<&str> {
    groups.iter().map(GroupKey::name).collect()
}
