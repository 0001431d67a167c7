//! Requests at a steady rate while something happens, and what became of them. Writes: connections.
//!
//! Open loop: a request is sent when its time has come, whatever became of the others, so that a pause is not hidden by clients that
//! wait for its end. Each request is a connection of its own; a stream is one that stays. What happens meanwhile is told to the
//! load as events, and a failure is printed with the time since the last of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_harness::nodes::{PodAnswer, http_get};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a request may take, and a stream be silent. Clients of a busy machine are not in a hurry.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer that took longer is told, too: something was tried in vain before it.
const SLOW: Duration = Duration::from_millis(900);

/// Failures, and slow answers, that are printed one by one.
const SHOWN: usize = 40;

/// Somebody who is asked, and what became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Requests sent, or streams opened.
    pub sent: u64,
    /// The longest time from a request's own time to its whole answer.
    pub slowest: Duration,
}

/// A request that was not answered, or a stream that ended.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Who was asked.
    pub name: String,
    /// When it was sent, from the start.
    pub sent: Duration,
    /// When it failed, from the start.
    pub failed: Duration,
    /// What was seen.
    pub kind: String,
}

/// What became of everything.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By name.
    pub tallies: BTreeMap<String, Tally>,
    /// In the order in which they were seen.
    pub failures: Vec<Failure>,
    /// Requests that were answered, but late: no failures.
    pub slow: Vec<Failure>,
    /// What happened, from the start.
    pub events: Vec<(Duration, String)>,
    /// How long it lasted.
    pub lasted: Duration,
}

struct Shared {
    started: Instant,
    report: Mutex<Report>,
    stop: CancellationToken,
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, name: &str) {
        self.report()
            .tallies
            .entry(name.to_owned())
            .or_default()
            .sent += 1;
    }

    fn ended(&self, name: &str, due: Instant, result: Result<(), String>) {
        let now = Instant::now();
        let mut report = self.report();
        let entry = |kind| Failure {
            name: name.to_owned(),
            sent: due - self.started,
            failed: now - self.started,
            kind,
        };
        match result {
            Ok(()) => {
                let tally = report.tallies.entry(name.to_owned()).or_default();
                tally.slowest = tally.slowest.max(now - due);
                if now - due >= SLOW {
                    report.slow.push(entry("answered late".to_owned()));
                }
            }
            Err(kind) => report.failures.push(entry(kind)),
        }
    }
}

/// Requests that are being sent. Dropping it leaves them to end by themselves.
pub struct Load {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl Default for Load {
    fn default() -> Self {
        let shared = Shared {
            started: Instant::now(),
            report: Mutex::default(),
            stop: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
            tasks: TaskTracker::new(),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Load {
    /// Asks an address this many times a second from now on, each time on a new connection.
    pub fn requests(&self, name: &str, to: SocketAddr, per_second: u32) {
        let (shared, tasks, name) = (self.shared.clone(), self.tasks.clone(), name.to_owned());
        let stop = self.shared.stop.clone();
        let send = async move {
            let mut beat = interval(Duration::from_secs(1) / per_second);
            // What is late is sent all the same, and at once.
            beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                let due = beat.tick().await.into_std();
                shared.sent(&name);
                let (shared, name) = (shared.clone(), name.clone());
                tasks.spawn(async move {
                    let result = request(to).await;
                    shared.ended(&name, due, result);
                });
            }
        };
        self.tasks.spawn(stop.run_until_cancelled_owned(send));
    }

    /// Holds this many streams to an address. One that ends is a failure, and is opened again.
    pub fn streams(&self, name: &str, to: SocketAddr, count: usize) {
        for _ in 0..count {
            let (shared, name) = (self.shared.clone(), name.to_owned());
            let stop = self.shared.stop.clone();
            let hold = async move {
                loop {
                    shared.sent(&name);
                    let due = Instant::now();
                    let kind = stream(to).await;
                    shared.ended(&name, due, Err(kind));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            self.tasks.spawn(stop.run_until_cancelled_owned(hold));
        }
    }

    /// Notes that something happens now.
    pub fn event(&self, what: impl Into<String>) {
        let now = self.shared.started.elapsed();
        self.shared.report().events.push((now, what.into()));
    }

    /// Stops sending, waits for the answers under way, and tells what became of everything.
    pub async fn stop(self) -> Report {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let mut report = self.shared.report().clone();
        report.lasted = self.shared.started.elapsed();
        report
    }
}

/// One request on a connection of its own.
async fn request(to: SocketAddr) -> Result<(), String> {
    let began = Instant::now();
    let connecting = timeout(PATIENCE, TcpStream::connect(to)).await;
    let stream = connecting
        .map_err(|_| "connecting: no answer".to_owned())?
        .map_err(|error| format!("connecting: {error}"))?;
    let connected = began.elapsed();
    let answer = timeout(PATIENCE, http_get(stream, "web", "/")).await;
    let answer = answer
        .map_err(|_| "no answer".to_owned())?
        .map_err(|error| format!("after {connected:.1?} of connecting: {error}"))?;
    match PodAnswer::parse(&answer.body) {
        Some(_) if answer.status == 200 => Ok(()),
        _ => Err(format!("another answer: {answer:?}")),
    }
}

/// Holds a stream until it ends; says how it ended.
async fn stream(to: SocketAddr) -> String {
    let mut stream = match timeout(PATIENCE, TcpStream::connect(to)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return format!("connecting: {error}"),
        Err(_) => return "connecting: no answer".to_owned(),
    };
    if let Err(error) = stream
        .write_all(b"GET /stream HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
    {
        return format!("asking: {error}");
    }
    let mut bytes = [0; 1024];
    loop {
        match timeout(PATIENCE, stream.read(&mut bytes)).await {
            Ok(Ok(0)) => return "closed".to_owned(),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "silent".to_owned(),
        }
    }
}

impl Report {
    /// The failures of one name.
    pub fn failures_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Failure> {
        self.failures
            .iter()
            .filter(move |failure| failure.name == name)
    }

    fn list(&self, entries: &[Failure], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in entries.iter().take(SHOWN) {
            let (sent, failed) = (entry.sent.as_secs_f64(), entry.failed.as_secs_f64());
            let Failure { name, kind, .. } = entry;
            write!(f, "  {sent:8.3} s to {failed:8.3} s {name}: {kind}")?;
            if let Some((time, what)) = self.last_event(entry.sent) {
                let since = (entry.sent - *time).as_secs_f64();
                write!(f, " (sent {since:.3} s after: {what})")?;
            }
            writeln!(f)?;
        }
        match entries.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }

    fn last_event(&self, at: Duration) -> Option<&(Duration, String)> {
        self.events.iter().rev().find(|(time, _)| *time <= at)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasted = self.lasted.as_secs_f64();
        for (name, tally) in &self.tallies {
            let failed = self.failures_of(name).count();
            writeln!(
                f,
                "{name}: {} sent in {lasted:.0} s, {failed} failed, slowest {:.0?}",
                tally.sent, tally.slowest
            )?;
        }
        self.list(&self.failures, f)?;
        self.list(&self.slow, f)
    }
}
