//! Which client is which flow, and which flows have ended. Decides: no IO, no clock.
//!
//! A flow is what a client's address and port send and get back. UDP has no end of its own: a flow ends when nothing was
//! said for as long as is allowed, sooner when nobody ever answered.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use tokio::time::Instant;

/// Without a word from the Service: as long as a client may wait between two questions and come to the same target.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// The longest for a flow without an answer: its target says nothing, or its client's address is made up.
pub(super) const UNANSWERED: Duration = Duration::from_secs(15);
/// A flow without an answer for so long may give its place to a new one when there is no other place left.
const PATIENCE: Duration = Duration::from_secs(1);
/// Flows that are looked at to find one that may go.
const LOOKED_AT: usize = 64;

/// One client's flow, with what it needs to reach its target.
#[derive(Debug)]
pub(super) struct Flow<U> {
    pub(super) client: SocketAddr,
    /// When a datagram last came, from either side.
    pub(super) last: Instant,
    /// Whether the target ever said something.
    pub(super) answered: bool,
    pub(super) upstream: U,
}

impl<U> Flow<U> {
    fn is_idle(&self, now: Instant, idle: Duration) -> bool {
        let allowed = if self.answered {
            idle
        } else {
            idle.min(UNANSWERED)
        };
        now.saturating_duration_since(self.last) >= allowed
    }
}

/// All flows, each under a number that stays while it is there.
#[derive(Debug)]
pub(super) struct Flows<U> {
    by_client: HashMap<SocketAddr, usize>,
    slots: Vec<Option<Flow<U>>>,
    free: Vec<usize>,
    /// Where the next look for a flow that may go begins.
    hand: usize,
}

impl<U> Flows<U> {
    pub(super) fn new() -> Self {
        Self {
            by_client: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    pub(super) fn of(&self, client: SocketAddr) -> Option<usize> {
        self.by_client.get(&client).copied()
    }

    pub(super) fn get(&mut self, id: usize) -> Option<&mut Flow<U>> {
        self.slots.get_mut(id)?.as_mut()
    }

    /// All of them, with their clients.
    pub(super) fn all(&self) -> Vec<(usize, SocketAddr)> {
        self.by_client
            .iter()
            .map(|(client, id)| (*id, *client))
            .collect()
    }

    /// The number that the next flow will have.
    pub(super) fn next_id(&self) -> usize {
        self.free.last().copied().unwrap_or(self.slots.len())
    }

    /// Adds the flow of a client that has none, under [`Flows::next_id`].
    pub(super) fn add(&mut self, client: SocketAddr, now: Instant, upstream: U) {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_client.insert(client, id);
        self.slots[id] = Some(Flow {
            client,
            last: now,
            answered: false,
            upstream,
        });
    }

    pub(super) fn remove(&mut self, id: usize) {
        if let Some(flow) = self.slots.get_mut(id).and_then(Option::take) {
            self.by_client.remove(&flow.client);
            self.free.push(id);
        }
    }

    /// Removes the flows that are not to stay, each told whether nothing was said in it for as long as is allowed.
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        idle: Duration,
        mut stays: impl FnMut(&mut U, bool) -> bool,
    ) {
        for id in 0..self.slots.len() {
            let goes = self.slots[id].as_mut().is_some_and(|flow| {
                let is_idle = flow.is_idle(now, idle);
                !stays(&mut flow.upstream, is_idle)
            });
            if goes {
                self.remove(id);
            }
        }
        if self.is_empty() {
            // What a flood made large must not stay so.
            *self = Self::new();
        }
    }

    /// Removes one flow that nobody answers, if a few are found; true when there is a place now.
    pub(super) fn make_place(&mut self, now: Instant) -> bool {
        let count = self.slots.len();
        let looked_at = (0..count.min(LOOKED_AT)).map(|step| (self.hand + step) % count);
        let quiet = |flow: &Flow<U>| now.saturating_duration_since(flow.last);
        let found = looked_at
            .filter_map(|id| Some((id, self.slots[id].as_ref()?)))
            .filter(|(_, flow)| !flow.answered && quiet(flow) >= PATIENCE)
            .max_by_key(|(_, flow)| quiet(flow))
            .map(|(id, _)| id);
        self.hand = (self.hand + LOOKED_AT) % count.max(1);
        if let Some(id) = found {
            self.remove(id);
        }
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Flows of clients 0, 1, 2 ...; each last heard of so many seconds after the start, and answered or not.
    fn flows(start: Instant, heard: &[(u64, bool)]) -> Flows<()> {
        let mut flows = Flows::new();
        for (number, (last, answered)) in (0..).zip(heard) {
            let id = flows.next_id();
            flows.add(client(number), start + secs(*last), ());
            flows.get(id).expect("it was added").answered = *answered;
        }
        flows
    }

    fn there(flows: &Flows<()>) -> Vec<u16> {
        (0..10)
            .filter(|number| flows.of(client(*number)).is_some())
            .collect()
    }

    #[test]
    fn flows_end_when_nothing_is_said() {
        let start = Instant::now();
        for (name, idle, now, want) in [
            ("at first all are there", 60, 10, &[0, 1, 2, 3][..]),
            ("without an answer it ends sooner", 60, 15, &[0, 1, 3]),
            ("each from its own last word", 60, 25, &[0, 1]),
            ("and in the end", 60, 60, &[1]),
            ("a shorter time holds for all", 5, 10, &[1, 3]),
            (
                "a longer one not for those without an answer",
                600,
                70,
                &[0, 1],
            ),
        ] {
            let mut flows = flows(start, &[(0, true), (10, true), (0, false), (10, false)]);
            flows.sweep(start + secs(now), secs(idle), |(), is_idle| !is_idle);
            assert_eq!(there(&flows), want, "{name}");
        }
    }

    #[test]
    fn a_number_is_used_again_only_after_its_flow_has_gone() {
        let start = Instant::now();
        let mut flows = flows(start, &[(0, true), (0, true), (0, true)]);
        assert_eq!((flows.of(client(1)), flows.next_id()), (Some(1), 3));
        flows.remove(1);
        assert_eq!((flows.of(client(1)), flows.next_id()), (None, 1));
        flows.add(client(7), start, ());
        assert_eq!((flows.of(client(7)), flows.next_id()), (Some(1), 3));
        flows.remove(1);
        flows.remove(1);
        assert_eq!((there(&flows), flows.next_id()), (vec![0, 2], 1));
    }

    #[test]
    fn flows_whose_target_is_gone_end_with_the_next_sweep() {
        let start = Instant::now();
        let mut flows = flows(start, &[(0, true), (0, true)]);
        let mut first = true;
        flows.sweep(start, IDLE, |(), _| !std::mem::take(&mut first));
        assert_eq!(there(&flows), [1]);
        flows.sweep(start, IDLE, |(), _| false);
        assert!(flows.is_empty() && flows.next_id() == 0);
    }

    #[test]
    fn only_a_flow_that_nobody_answers_gives_its_place_away() {
        let start = Instant::now();
        for (name, heard, want) in [
            ("none", &[][..], None),
            ("answered ones never", &[(0, true), (0, true)], None),
            ("not at once", &[(10, false)], None),
            (
                "the one that is silent longest",
                &[(0, true), (8, false), (7, false), (9, false)],
                Some(2),
            ),
        ] {
            let mut flows = flows(start, heard);
            let before = there(&flows);
            assert_eq!(flows.make_place(start + secs(10)), want.is_some(), "{name}");
            let gone: Vec<u16> = before
                .into_iter()
                .filter(|number| flows.of(client(*number)).is_none())
                .collect();
            assert_eq!(gone, want.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn the_look_for_a_place_comes_round() {
        let start = Instant::now();
        let mut heard = vec![(0, true); 3 * LOOKED_AT];
        heard[2 * LOOKED_AT + 1].1 = false;
        let mut flows = flows(start, &heard);
        let looks = (0..4).map(|_| flows.make_place(start + secs(10)));
        assert_eq!(looks.collect::<Vec<_>>(), [false, false, true, false]);
    }
}
