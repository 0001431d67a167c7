//! Deadlines that can be set, moved and lifted while somebody waits for them. Reads the clock.
//!
//! Every connection waits for some that hardly ever come, so waiting costs little memory and, with [`rarely`], no work
//! while the connection is busy with its bytes.

use std::{
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Waits until a deadline is set and has passed. One that is lifted in time never passes; when nobody can
/// change it any more, what was set last holds.
pub(crate) async fn passed(mut deadline: watch::Receiver<Option<Instant>>) {
    loop {
        let until = *deadline.borrow_and_update();
        let over = async {
            match until {
                // A timer is large, and needed by few.
                Some(until) => Box::pin(sleep_until(until)).await,
                None => pending().await,
            }
        };
        tokio::pin!(over);
        tokio::select! {
            () = &mut over => return,
            changed = deadline.changed() => if changed.is_err() {
                return over.await;
            },
        }
    }
}

/// Waits for what comes rarely, in a task that is often woken for other reasons: the future is polled only when it
/// was the one that woke the task.
pub(crate) fn rarely<F: Future>(future: F) -> Rarely<F> {
    Rarely {
        future: Box::pin(future),
        alarm: None,
    }
}

/// What [`rarely`] makes.
pub(crate) struct Rarely<F> {
    future: Pin<Box<F>>,
    alarm: Option<Arc<Alarm>>,
}

impl<F: Future> Future for Rarely<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, alarm } = self.get_mut();
        let alarm = match alarm {
            Some(alarm) if alarm.task.will_wake(cx.waker()) => alarm,
            _ => alarm.insert(Arc::new(Alarm {
                task: cx.waker().clone(),
                rang: AtomicBool::new(true),
            })),
        };
        if !alarm.rang.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        alarm.rang.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(alarm));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Wakes a task, and tells that it was this that did.
struct Alarm {
    task: Waker,
    rang: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_deadline_passes_once_it_is_set_and_not_lifted() {
        let far = Instant::now() + Duration::from_secs(3_600);
        let soon = Instant::now() + Duration::from_millis(50);
        let sender = watch::Sender::new(Some(far));
        let waiting = tokio::spawn(passed(sender.subscribe()));
        sender.send_replace(None);
        sender.send_replace(Some(soon));
        waiting.await.expect("it passes");
        assert!(Instant::now() >= soon);

        // Lifted before anybody looked, it does not pass; what is set last holds, also when nobody can change it.
        let lifted = passed(sender.subscribe());
        sender.send_replace(None);
        tokio::pin!(lifted);
        assert!(futures::poll!(&mut lifted).is_pending());
        let soon = Instant::now() + Duration::from_millis(50);
        sender.send_replace(Some(soon));
        drop(sender);
        lifted.await;
        assert!(Instant::now() >= soon);
    }

    #[tokio::test]
    async fn what_comes_rarely_is_polled_only_when_it_comes() {
        let sender = watch::Sender::new(None);
        let mut polls = 0;
        let mut passed = pin!(passed(sender.subscribe()));
        let mut rare = pin!(rarely(poll_fn(|cx| {
            polls += 1;
            passed.as_mut().poll(cx).map(|()| polls)
        })));
        // Each time the task is woken by something else.
        for _ in 0..100 {
            assert!(futures::poll!(&mut rare).is_pending());
            tokio::task::yield_now().await;
        }
        sender.send_replace(Some(Instant::now()));
        assert!(rare.await < 10);
    }

    #[tokio::test]
    async fn what_comes_rarely_is_awaited_wherever_its_future_is_moved() {
        let sender = watch::Sender::new(None);
        let mut rare = Box::pin(rarely(passed(sender.subscribe())));
        assert!(futures::poll!(&mut rare).is_pending());
        let moved = tokio::spawn(rare);
        tokio::task::yield_now().await;
        sender.send_replace(Some(Instant::now()));
        moved.await.expect("it passes");
    }
}
