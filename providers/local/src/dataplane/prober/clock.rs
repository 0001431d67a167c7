//! The task that knows when each probe is due, and lets a few look at one time. Reads the network through `look`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::{self, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    Probe,
    look::{Failure, look},
};
use crate::dataplane::pace::{Spread, Starts};

/// Most probes that look at one time; each holds one file descriptor.
const IN_FLIGHT: usize = 128;
/// The same of probes that got no answer the last time. They have places of their own: each takes its whole timeout,
/// and those that get answers must not wait for them.
const SILENT_IN_FLIGHT: usize = 128;

/// A probe that is not looking now.
#[derive(Debug)]
struct Waiting {
    probe: Weak<Probe>,
    spread: Spread,
}

/// Probes that wait by when they are due, a count telling apart what is due at one moment.
#[derive(Debug)]
struct Lane {
    waiting: BTreeMap<(Instant, u64), Waiting>,
    looking: usize,
    most: usize,
}

/// A look that is under way.
#[derive(Debug)]
struct Look {
    started: Instant,
    silent: bool,
    waiting: Waiting,
}

/// When each probe is due.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    starts: Starts,
    random: fastrand::Rng,
    /// Of those that get answers, and of those that do not.
    lanes: [Lane; 2],
    looks: HashMap<task::Id, Look>,
    count: u64,
}

impl Clock {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        let lane = |most| Lane {
            waiting: BTreeMap::new(),
            looking: 0,
            most,
        };
        Self {
            began: Instant::now(),
            starts: Starts::default(),
            random,
            lanes: [lane(IN_FLIGHT), lane(SILENT_IN_FLIGHT)],
            looks: HashMap::new(),
            count: 0,
        }
    }

    /// Runs until nobody can want a probe any more.
    pub(super) async fn run(mut self, mut wanted: UnboundedReceiver<Weak<Probe>>) {
        let mut tasks = JoinSet::new();
        loop {
            let next = self.start_due(&mut tasks);
            tokio::select! {
                probe = wanted.recv() => match probe {
                    Some(probe) => self.arrive(probe),
                    None => return,
                },
                Some(ended) = tasks.join_next_with_id() => match ended {
                    Ok((id, result)) => self.ended(id, result),
                    Err(error) => self.ended(error.id(), Err(Failure::Other("a bug in the probe".to_owned()))),
                },
                () = sleep_until(next.unwrap_or(self.began)), if next.is_some() => {}
            }
        }
    }

    fn arrive(&mut self, probe: Weak<Probe>) {
        let now = Instant::now();
        let due = now + self.starts.delay(now - self.began);
        let waiting = Waiting {
            probe,
            spread: Spread::new(self.random.u64(..)),
        };
        self.wait(due, false, waiting);
    }

    fn wait(&mut self, due: Instant, silent: bool, waiting: Waiting) {
        self.count += 1;
        self.lanes[usize::from(silent)]
            .waiting
            .insert((due, self.count), waiting);
    }

    /// Lets look who is due, as far as there are places, and says when the next one is.
    fn start_due(&mut self, tasks: &mut JoinSet<Result<(), Failure>>) -> Option<Instant> {
        let now = Instant::now();
        let mut next = None;
        for (lane, silent) in self.lanes.iter_mut().zip([false, true]) {
            while lane.looking < lane.most
                && let Some(first) = lane.waiting.first_entry()
            {
                let (due, _) = *first.key();
                if due > now {
                    next = Some(next.map_or(due, |next: Instant| next.min(due)));
                    break;
                }
                let waiting = first.remove();
                // Nobody wants it any more.
                let Some(key) = waiting.probe.upgrade().map(|probe| Arc::clone(&probe.key)) else {
                    continue;
                };
                let task = tasks.spawn(async move { look(&key).await });
                lane.looking += 1;
                let look = Look {
                    started: now,
                    silent,
                    waiting,
                };
                self.looks.insert(task.id(), look);
            }
        }
        next
    }

    fn ended(&mut self, id: task::Id, result: Result<(), Failure>) {
        let Some(look) = self.looks.remove(&id) else {
            return;
        };
        self.lanes[usize::from(look.silent)].looking -= 1;
        let mut waiting = look.waiting;
        let Some(probe) = waiting.probe.upgrade() else {
            return;
        };
        probe.heed(result.as_ref().copied());
        let interval = Duration::from_millis(probe.key.check.interval_ms.into());
        let due = look.started + waiting.spread.next(interval);
        let silent = matches!(result, Err(Failure::Timeout));
        self.wait(due, silent, waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::{
        api::{Health, HealthCheck, HealthCheckKind},
        dataplane::prober::Probes,
    };

    /// Many probes, of one place and different settings.
    fn probes(probes: &Probes, count: u32) -> Vec<Arc<Probe>> {
        let target = SocketAddr::from(([127, 0, 0, 1], 1));
        let check = |number| HealthCheck {
            kind: HealthCheckKind::Tcp,
            port: None,
            interval_ms: 60_000 + number,
            timeout_ms: 1_000,
            rise: 1,
            fall: 1,
        };
        (0..count)
            .map(|number| probes.want(target, &check(number), Health::Initial))
            .collect()
    }

    #[tokio::test]
    async fn probes_that_get_answers_do_not_wait_for_silent_targets() {
        let all = Probes::default();
        let probes = probes(&all, 700);
        let (silent, good) = probes.split_at(600);
        let mut clock = Clock::new(fastrand::Rng::with_seed(1));
        let mut tasks = JoinSet::new();
        let now = Instant::now();
        let waiting = |probe: &Arc<Probe>| Waiting {
            probe: Arc::downgrade(probe),
            spread: Spread::new(1),
        };
        for (probe, due) in silent.iter().zip(0..) {
            clock.wait(now - Duration::from_millis(due), true, waiting(probe));
        }
        assert_eq!(clock.start_due(&mut tasks), None, "none waits for its time");
        assert_eq!(tasks.len(), SILENT_IN_FLIGHT);
        for probe in good {
            clock.wait(now, false, waiting(probe));
        }
        clock.start_due(&mut tasks);
        assert_eq!(tasks.len(), SILENT_IN_FLIGHT + good.len());

        // A place that becomes free is for those that still have an owner.
        drop(probes);
        loop {
            let (id, _) = tasks
                .join_next_with_id()
                .await
                .expect("one looks")
                .expect("no panic");
            let was_silent = clock.looks[&id].silent;
            clock.ended(id, Err(Failure::Timeout));
            if was_silent {
                break;
            }
        }
        clock.start_due(&mut tasks);
        assert_eq!(clock.lanes[1].waiting.len(), 0);
        assert_eq!(all.count(), 0);
    }

    #[tokio::test]
    async fn after_a_look_the_next_is_an_interval_later() {
        let all = Probes::default();
        let probes = probes(&all, 1);
        let mut clock = Clock::new(fastrand::Rng::with_seed(1));
        let mut tasks = JoinSet::new();
        clock.arrive(Arc::downgrade(&probes[0]));
        for look in 0..3 {
            clock.start_due(&mut tasks);
            assert_eq!(tasks.len(), 1, "look {look}");
            let started = clock.looks.values().next().expect("one").started;
            let (id, result) = tasks
                .join_next_with_id()
                .await
                .expect("one")
                .expect("no panic");
            clock.ended(id, result);
            assert_eq!(
                probes[0].standing(),
                crate::dataplane::health::Standing::Unhealthy
            );
            let next = clock.start_due(&mut tasks).expect("it waits");
            let after = next - started;
            let allowed = if look == 0 { 6..=60 } else { 54..=66 };
            assert!(allowed.contains(&after.as_secs()), "look {look}: {after:?}");
            // Time is not waited for but brought on.
            let ((_, count), waiting) = clock.lanes[0].waiting.pop_first().expect("it waits");
            clock.lanes[0].waiting.insert((started, count), waiting);
        }
    }
}
