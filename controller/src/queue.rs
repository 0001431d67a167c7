//! What to work on next (Decides; the thin shell at the end of the module tree waits).
//!
//! A state machine with time as an argument. A key is ready, running, delayed, or nothing. It runs once at a time: an
//! event during a run makes one more run after it. First come, first served: a key that is asked for all the time goes to
//! the end of the line each time, so that it starves nobody. Keys whose Services changed have a line of their own, which
//! moves faster: a node port or a health check port that was given up may be somebody else's at once, while a thousand
//! groups follow a node. The other line never stands still for it.
//!
//! Each request says [`Why`]; the requests of one run add up.

mod shell;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

pub use shell::{Shared, work};

/// Why a group is worked on. The least is to see whether what is published still stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// Something may have to be done: nodes changed, a wait is over, somebody woke it.
    pub work: bool,
    /// Its Services changed: past failures do not count.
    pub changed: bool,
    /// The cloud is to be looked at though nothing is known to have changed.
    pub look: bool,
}

impl Why {
    /// What is published may not stand any more.
    pub const PUBLISHED: Self = Self {
        work: false,
        changed: false,
        look: false,
    };
    /// There may be something to do.
    pub const WORK: Self = Self {
        work: true,
        changed: false,
        look: false,
    };
    /// Its Services changed.
    pub const CHANGED: Self = Self {
        work: true,
        changed: true,
        look: false,
    };

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            work: self.work || other.work,
            changed: self.changed || other.changed,
            look: self.look || other.look,
        }
    }
}

/// What becomes of a key after its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It rests until somebody asks for it.
    Rest,
    /// It is worked on again at this time, or earlier when somebody asks.
    At(Instant, Why),
}

impl Next {
    /// The earlier of the two. The later one is not remembered: each run says anew what it waits for.
    #[must_use]
    pub fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::At(a, why), Self::At(b, other)) if a == b => Self::At(a, why.and(other)),
            (Self::At(a, why), Self::At(b, other)) => {
                if a < b {
                    Self::At(a, why)
                } else {
                    Self::At(b, other)
                }
            }
            (at @ Self::At(..), Self::Rest) | (Self::Rest, at) => at,
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// Asked for, and not begun: since when and why.
    asked: Option<(Instant, Why)>,
    running: bool,
    delayed: Option<(Instant, Why)>,
}

/// How many keys of the fast line go in a row while others wait.
const IN_A_ROW: u32 = 4;

/// The lines of keys.
#[derive(Debug)]
pub struct Queue<K> {
    entries: HashMap<K, Entry>,
    /// The keys that are asked for and do not run, in the order in which they came.
    line: VecDeque<K>,
    /// The same of those whose Services changed.
    fast: VecDeque<K>,
    /// How many keys went from the fast line since one went from the other.
    in_a_row: u32,
    /// The delayed keys by time.
    clock: BTreeSet<(Instant, K)>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            line: VecDeque::new(),
            fast: VecDeque::new(),
            in_a_row: 0,
            clock: BTreeSet::new(),
        }
    }
}

/// A key to work on now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn<K> {
    /// Which.
    pub key: K,
    /// Why.
    pub why: Why,
    /// How long it stood in the line.
    pub waited: Duration,
}

impl<K: Clone + Ord + Hash> Queue<K> {
    /// Asks for a key.
    pub fn ask(&mut self, key: K, why: Why, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_insert(Entry {
            asked: None,
            running: false,
            delayed: None,
        });
        match &mut entry.asked {
            Some((_, known)) => {
                let overtakes = why.changed && !known.changed && !entry.running;
                *known = known.and(why);
                if overtakes {
                    self.line.retain(|other| *other != key);
                    self.fast.push_back(key);
                }
            }
            None => {
                entry.asked = Some((now, why));
                if !entry.running {
                    self.stand(key, why);
                }
            }
        }
    }

    fn stand(&mut self, key: K, why: Why) {
        if why.changed {
            self.fast.push_back(key);
        } else {
            self.line.push_back(key);
        }
    }

    /// The first of the line whose turn it is.
    fn first(&mut self) -> Option<K> {
        if (self.in_a_row < IN_A_ROW || self.line.is_empty())
            && let Some(key) = self.fast.pop_front()
        {
            self.in_a_row += 1;
            return Some(key);
        }
        self.in_a_row = 0;
        self.line.pop_front()
    }

    /// The next key, which runs from now on.
    pub fn next(&mut self, now: Instant) -> Option<Turn<K>> {
        self.end_delays(now);
        let key = self.first()?;
        let entry = self
            .entries
            .get_mut(&key)
            .expect("what stands in the line has an entry");
        let (since, why) = entry
            .asked
            .take()
            .expect("what stands in the line was asked for");
        entry.running = true;
        let waited = now.saturating_duration_since(since);
        Some(Turn { key, why, waited })
    }

    /// A run has ended.
    pub fn done(&mut self, key: &K, next: Next) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.running = false;
        if let Some((at, _)) = entry.delayed.take() {
            self.clock.remove(&(at, key.clone()));
        }
        if let Next::At(at, why) = next {
            entry.delayed = Some((at, why));
            self.clock.insert((at, key.clone()));
        }
        if let Some((_, why)) = entry.asked {
            self.stand(key.clone(), why);
        } else if entry.delayed.is_none() {
            self.entries.remove(key);
        }
    }

    /// When the next delay ends.
    pub fn due(&self) -> Option<Instant> {
        self.clock.first().map(|(at, _)| *at)
    }

    /// How many keys stand in the line.
    pub fn depth(&self) -> usize {
        self.line.len() + self.fast.len()
    }

    fn end_delays(&mut self, now: Instant) {
        while let Some((at, key)) = self.clock.first().cloned() {
            if at > now {
                return;
            }
            self.clock.pop_first();
            let entry = self
                .entries
                .get_mut(&key)
                .expect("what is delayed has an entry");
            if let Some((_, why)) = entry.delayed.take() {
                // It is in the line from when it was due.
                self.ask(key, why, at);
            }
        }
    }
}
