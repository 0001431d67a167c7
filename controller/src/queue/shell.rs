//! The queue among threads: who asks, who works, who waits (Writes nothing by itself).

use std::{
    hash::Hash,
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Next, Queue, Turn, Why};
use crate::clock::Clock;

/// A queue that many may ask.
#[derive(Debug)]
pub struct Shared<K> {
    queue: Mutex<Queue<K>>,
    asked: Notify,
    clock: Clock,
}

impl<K: Clone + Ord + Hash> Shared<K> {
    /// An empty queue; what is delayed waits on this clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            queue: Mutex::default(),
            asked: Notify::new(),
            clock,
        }
    }

    /// Asks for a key.
    pub fn ask(&self, key: K, why: Why) {
        self.lock().ask(key, why, self.clock.instant());
        self.asked.notify_one();
    }

    /// How many keys stand in the line.
    pub fn depth(&self) -> usize {
        self.lock().depth()
    }

    async fn next(&self) -> Turn<K> {
        loop {
            let due = {
                let mut queue = self.lock();
                if let Some(turn) = queue.next(self.clock.instant()) {
                    return turn;
                }
                queue.due()
            };
            match due {
                None => self.asked.notified().await,
                Some(due) => {
                    // Whichever comes first, the line is looked at again.
                    tokio::select! {
                        () = self.asked.notified() => {}
                        () = self.clock.sleep_until(due) => {}
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<K>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works on what is asked for, `workers` keys at a time, until told to stop; then lets the running ones end.
///
/// # Panics
/// When a run panics.
pub async fn work<K, F, Fut>(queue: Arc<Shared<K>>, workers: usize, stop: CancellationToken, run: F)
where
    K: Clone + Ord + Hash + Send + Sync + 'static,
    F: Fn(Turn<K>) -> Fut,
    Fut: Future<Output = Next> + Send + 'static,
{
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = running.join_next() => finish(ended),
            turn = queue.next(), if running.len() < workers => {
                let queue = queue.clone();
                let key = turn.key.clone();
                let work = run(turn);
                running.spawn(async move {
                    let next = work.await;
                    queue.lock().done(&key, next);
                    queue.asked.notify_one();
                });
            }
        }
    }
    while let Some(ended) = running.join_next().await {
        finish(ended);
    }
}

fn finish(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::{Duration, Instant},
    };

    use super::*;

    #[tokio::test]
    async fn never_more_workers_than_allowed_and_all_keys_are_served() {
        let queue = Arc::new(Shared::new(Clock::default()));
        let stop = CancellationToken::new();
        let (running, most, served) = (
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        let counters = Arc::new((running, most, served));
        for key in 0..20 {
            queue.ask(key, Why::WORK);
        }
        let task = tokio::spawn(work(queue.clone(), 3, stop.clone(), {
            let (counters, stop) = (counters.clone(), stop.clone());
            move |_| {
                let (counters, stop) = (counters.clone(), stop.clone());
                async move {
                    let now = counters.0.fetch_add(1, Ordering::SeqCst) + 1;
                    counters.1.fetch_max(now, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    counters.0.fetch_sub(1, Ordering::SeqCst);
                    if counters.2.fetch_add(1, Ordering::SeqCst) + 1 == 20 {
                        stop.cancel();
                    }
                    Next::Rest
                }
            }
        }));
        tokio::time::timeout(Duration::from_secs(10), task)
            .await
            .expect("ends")
            .expect("no panic");
        assert_eq!(counters.2.load(Ordering::SeqCst), 20);
        assert!(
            (2..=3).contains(&counters.1.load(Ordering::SeqCst)),
            "{:?}",
            counters.1
        );
    }

    #[tokio::test]
    async fn a_stop_lets_the_running_ones_end() {
        let queue = Arc::new(Shared::new(Clock::default()));
        let stop = CancellationToken::new();
        let ended = Arc::new(AtomicUsize::new(0));
        queue.ask("first", Why::WORK);
        let task = tokio::spawn(work(queue.clone(), 1, stop.clone(), {
            let (queue, stop, ended) = (queue.clone(), stop.clone(), ended.clone());
            move |turn| {
                let (queue, stop, ended) = (queue.clone(), stop.clone(), ended.clone());
                async move {
                    assert_eq!(turn.key, "first");
                    queue.ask("second", Why::WORK);
                    stop.cancel();
                    tokio::task::yield_now().await;
                    ended.fetch_add(1, Ordering::SeqCst);
                    Next::Rest
                }
            }
        }));
        tokio::time::timeout(Duration::from_secs(10), task)
            .await
            .expect("ends")
            .expect("no panic");
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert_eq!(
            queue.depth(),
            1,
            "what was asked for after the stop is not begun"
        );
    }

    #[tokio::test]
    async fn a_delay_is_waited_for() {
        let queue = Arc::new(Shared::new(Clock::default()));
        let stop = CancellationToken::new();
        let runs = Arc::new(AtomicUsize::new(0));
        queue.ask("key", Why::WORK);
        let task = tokio::spawn(work(queue, 1, stop.clone(), {
            let (stop, runs) = (stop.clone(), runs.clone());
            move |_| {
                let (stop, runs) = (stop.clone(), runs.clone());
                async move {
                    if runs.fetch_add(1, Ordering::SeqCst) == 1 {
                        stop.cancel();
                    }
                    Next::At(Instant::now() + Duration::from_millis(20), Why::WORK)
                }
            }
        }));
        tokio::time::timeout(Duration::from_secs(10), task)
            .await
            .expect("ends")
            .expect("no panic");
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }
}
