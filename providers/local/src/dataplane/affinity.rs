//! Which target a client went to last. Decides: no IO, no clock; the time comes in.
//!
//! The rules are those of kube-proxy's iptables and nftables modes: a client is an IP address, every new connection within the
//! timeout renews it, an open connection alone does not, and what is remembered goes with its target. A client whose target
//! is unhealthy or did not answer gets another one and stays there, as its session now lives there.
//!
//! A target is its index in the list of the set; when the list changes, [`Affinity::retarget`] follows.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::time::Instant;

pub(crate) mod file;
#[cfg(test)]
mod tests;

/// Most clients that one set remembers: 3 MiB or so. (The kernel's module behind kube-proxy's iptables rules keeps 100 for
/// each target unless told otherwise.)
const MOST: usize = 1 << 16;
/// Most clients that all sets remember, which bounds the memory to 50 MiB or so.
const MOST_IN_ALL: usize = 1 << 20;

/// One unit of time: a tenth of a second, so that the times of 13 years fit into 32 bits.
const TENTHS: u128 = 100;
/// The time of a table's beginning: what was used before it began still has a positive time, up to the longest timeout.
const BEGINNING: u32 = 864_000;

/// How many clients a set may remember while so many sets do.
pub(crate) fn share(sets: usize) -> usize {
    // In steps, so that most sets that come and go change nothing for the others.
    (MOST_IN_ALL / sets.max(1).next_power_of_two()).clamp(1, MOST)
}

/// The clients of one set.
#[derive(Debug)]
pub(crate) struct Affinity {
    /// In tenths of a second.
    timeout: u32,
    most: usize,
    began: Instant,
    clients: HashMap<IpAddr, Last>,
    /// Grows with every change.
    revision: u64,
}

/// A client's last connection.
#[derive(Clone, Copy, Debug)]
struct Last {
    target: u32,
    /// In tenths of a second; the table's beginning is [`BEGINNING`].
    used: u32,
}

/// A client as it is kept over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) client: IpAddr,
    /// Index in the list of targets.
    pub(crate) target: u32,
    /// How long ago its last connection was.
    pub(crate) age: Duration,
}

impl Affinity {
    pub(crate) fn new(timeout_seconds: u32, now: Instant) -> Self {
        Self {
            timeout: timeout_seconds.saturating_mul(10),
            most: MOST,
            began: now,
            clients: HashMap::new(),
            revision: 0,
        }
    }

    /// Changes the timeout, also for the clients that are remembered.
    pub(crate) fn set_timeout(&mut self, timeout_seconds: u32) {
        self.timeout = timeout_seconds.saturating_mul(10);
    }

    /// Changes how many clients are remembered.
    pub(crate) fn limit(&mut self, most: usize, now: Instant) {
        self.most = most;
        if self.clients.len() > most {
            self.make_room(now);
        }
    }

    /// The target of the client's last connection, if that was within the timeout.
    pub(crate) fn find(&self, client: IpAddr, now: Instant) -> Option<usize> {
        let last = self.clients.get(&client)?;
        let live = self.tenths(now).saturating_sub(last.used) < self.timeout;
        live.then_some(last.target as usize)
    }

    /// Remembers that the client's connection goes to this target.
    pub(crate) fn note(&mut self, client: IpAddr, target: usize, now: Instant) {
        let last = Last {
            // A set has at most 10,000 targets.
            target: u32::try_from(target).unwrap_or(u32::MAX),
            used: self.tenths(now),
        };
        self.revision += 1;
        if let Some(known) = self.clients.get_mut(&client) {
            *known = last;
            return;
        }
        if self.clients.len() >= self.most {
            self.make_room(now);
        }
        self.clients.insert(client, last);
    }

    /// Follows a change of the targets: what went to one that is gone is forgotten.
    pub(crate) fn retarget(&mut self, before: &[SocketAddr], after: &[SocketAddr]) {
        if before == after || self.clients.is_empty() {
            return;
        }
        let new: HashMap<&SocketAddr, u32> = after.iter().zip(0..).collect();
        let moved: Vec<Option<u32>> = before
            .iter()
            .map(|target| new.get(target).copied())
            .collect();
        self.revision += 1;
        self.clients.retain(|_, last| {
            let target = moved.get(last.target as usize).copied().flatten();
            last.target = target.unwrap_or_default();
            target.is_some()
        });
    }

    /// Takes up what was remembered before a restart.
    pub(crate) fn restore(&mut self, records: impl IntoIterator<Item = Record>, now: Instant) {
        let present = self.tenths(now);
        for record in records {
            let age = in_tenths(record.age);
            if age < self.timeout {
                let used = present.saturating_sub(age);
                let last = Last {
                    target: record.target,
                    used,
                };
                // A connection that came since knows better.
                self.clients.entry(record.client).or_insert(last);
            }
        }
        if self.clients.len() > self.most {
            self.make_room(now);
        }
    }

    /// Who is remembered now. What has timed out is forgotten, and its memory given back.
    pub(crate) fn records(&mut self, now: Instant) -> Vec<Record> {
        self.forget_old(now);
        if self.clients.capacity() > 4 * self.clients.len() {
            self.clients.shrink_to(2 * self.clients.len());
        }
        let present = self.tenths(now);
        let record = |(client, last): (&IpAddr, &Last)| Record {
            client: *client,
            target: last.target,
            age: Duration::from_millis(100) * present.saturating_sub(last.used),
        };
        self.clients.iter().map(record).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    fn forget_old(&mut self, now: Instant) {
        let (present, timeout) = (self.tenths(now), self.timeout);
        self.clients
            .retain(|_, last| present.saturating_sub(last.used) < timeout);
    }

    /// Forgets what has timed out, and else the sixteenth that was unused the longest: looking for the oldest one with every
    /// new client would cost a walk each time.
    fn make_room(&mut self, now: Instant) {
        self.forget_old(now);
        if self.clients.len() < self.most {
            return;
        }
        let goes = self.clients.len() - self.most + (self.most / 16).max(1);
        let mut used: Vec<u32> = self.clients.values().map(|last| last.used).collect();
        let goes = goes.min(used.len());
        let (before, edge, _) = used.select_nth_unstable(goes - 1);
        let edge = *edge;
        let mut of_edge = goes - before.iter().filter(|used| **used < edge).count();
        self.clients.retain(|_, last| {
            if last.used == edge && of_edge > 0 {
                of_edge -= 1;
                return false;
            }
            last.used >= edge
        });
    }

    fn tenths(&self, now: Instant) -> u32 {
        BEGINNING.saturating_add(in_tenths(now.saturating_duration_since(self.began)))
    }
}

fn in_tenths(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TENTHS).unwrap_or(u32::MAX)
}
