//! Deadlines that can be set, moved and lifted while somebody waits for them. Reads the clock.

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
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
