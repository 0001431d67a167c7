//! The threads that accept TCP connections and move their bytes. Writes: threads.
//!
//! Each has a runtime and an epoll instance of its own, and a connection stays with its thread to the end. So threads neither
//! wake nor wait for each other while bytes flow, and what arrives together is passed on together; a runtime that shares its
//! work among threads spends more on sharing it than small messages cost. Everything else (API, probes, UDP) is at home in the
//! runtime of the process.

use std::{
    io,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Running threads, one or more.
#[derive(Debug)]
pub(crate) struct Workers {
    handles: Vec<Handle>,
    turn: AtomicUsize,
}

impl Workers {
    /// Starts so many threads, at least one. They end, and with them what runs on them, when the guard is dropped.
    pub(crate) fn start(count: usize) -> io::Result<(Self, DropGuard)> {
        let end = CancellationToken::new();
        // Ends those that run already, should one fail.
        let guard = end.clone().drop_guard();
        let handles = (0..count.max(1))
            .map(|number| start(number, end.clone()))
            .collect::<io::Result<_>>()?;
        let workers = Self {
            handles,
            turn: AtomicUsize::new(0),
        };
        Ok((workers, guard))
    }

    /// Each of them in turn.
    pub(crate) fn next(&self) -> &Handle {
        &self.handles[self.turn.fetch_add(1, Relaxed) % self.handles.len()]
    }

    /// The one with the fewest tasks, which are nearly all connections.
    pub(crate) fn idlest(&self) -> &Handle {
        self.handles
            .iter()
            .min_by_key(|handle| handle.metrics().num_alive_tasks())
            .expect("there is at least one worker")
    }
}

fn start(number: usize, end: CancellationToken) -> io::Result<Handle> {
    let (tell, told) = mpsc::sync_channel(1);
    // The runtime is made and dropped on its thread: dropping one waits, which a task must not.
    thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(
            move || match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let _ = tell.send(Ok(runtime.handle().clone()));
                    runtime.block_on(end.cancelled());
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            },
        )?;
    told.recv().unwrap_or_else(|_| {
        let message = "a thread ended before it began";
        Err(io::Error::other(message))
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    async fn thread_of(handle: &Handle) -> thread::ThreadId {
        let task = handle.spawn(async { thread::current().id() });
        task.await.expect("it runs")
    }

    #[tokio::test]
    async fn turns_go_round_and_new_tasks_go_where_the_fewest_are() {
        let (workers, _guard) = Workers::start(3).expect("threads");
        let mut threads = HashSet::new();
        for _ in 0..3 {
            threads.insert(thread_of(workers.next()).await);
        }
        assert_eq!(threads.len(), 3);

        // Six tasks that stay are two per thread.
        let (stay, _) = tokio::sync::broadcast::channel::<()>(1);
        let mut busy = Vec::new();
        for _ in 0..6 {
            let mut end = stay.subscribe();
            let (tell, told) = oneshot::channel();
            workers.idlest().spawn(async move {
                let _ = tell.send(thread::current().id());
                let _ = end.recv().await;
            });
            busy.push(told.await.expect("it runs"));
        }
        for thread in threads {
            let here = busy.iter().filter(|busy| **busy == thread).count();
            assert_eq!(here, 2, "{busy:?}");
        }
    }

    #[tokio::test]
    async fn they_end_with_their_guard_and_take_their_tasks_along() {
        let (workers, guard) = Workers::start(0).expect("a thread");
        let (held, dropped) = oneshot::channel::<()>();
        workers.next().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(guard);
        let ended = timeout(Duration::from_secs(10), dropped).await;
        ended.expect("in time").expect_err("the task was dropped");
    }
}
