//! Waiting for a condition with a deadline: the only way in which tests wait. Reads whatever the condition reads.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

/// Pause between two looks: short beside what is waited for, long beside one look.
const INTERVAL: Duration = Duration::from_millis(50);

/// Asks `condition` again and again until it is `Ok`, and returns that value.
///
/// `what` completes the sentence "waited for …". The condition is asked at least once.
///
/// # Errors
/// When `deadline` has passed: the last error of the condition, or that its last look never ended.
pub async fn eventually<T, F, Fut>(
    what: impl Display,
    deadline: Duration,
    mut condition: F,
) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let started = Instant::now();
    let end = started + deadline;
    let mut last = None;
    loop {
        match tokio::time::timeout_at(end, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {
                let last = last.unwrap_or_else(|| anyhow!("the first look at it did not end"));
                return Err(timed_out(&what, started.elapsed(), last));
            }
        }
        if Instant::now() + INTERVAL >= end {
            let last = last.unwrap_or_else(|| anyhow!("it was never looked at"));
            return Err(timed_out(&what, started.elapsed(), last));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn timed_out(what: &impl Display, waited: Duration, last: anyhow::Error) -> anyhow::Error {
    last.context(format!("waited {:.1} s for {what}", waited.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::{bail, ensure};

    use super::*;

    #[tokio::test]
    async fn returns_the_first_success() {
        let looks = Cell::new(0);
        let value = eventually("three looks", Duration::from_secs(10), || async {
            looks.set(looks.get() + 1);
            ensure!(looks.get() == 3, "look {}", looks.get());
            Ok(looks.get())
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn fails_with_the_last_error_after_the_deadline() {
        let looks = Cell::new(0);
        let error = eventually("a miracle", Duration::from_secs(1), || async {
            looks.set(looks.get() + 1);
            bail!("look {}", looks.get());
            #[expect(unreachable_code, reason = "gives the closure its type")]
            Ok(())
        })
        .await
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("for a miracle: look "), "{text}");
        assert!(looks.get() > 1, "{text}");
        assert!(text.ends_with(&looks.get().to_string()), "{text}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_outlive_the_deadline() {
        let error = eventually("silence", Duration::from_millis(400), || async {
            std::future::pending::<()>().await;
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "waited 0.4 s for silence: the first look at it did not end"
        );
    }
}
