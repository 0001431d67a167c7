//! The health probes. Reads the network.
//!
//! There is one probe per address, port and check, whoever asks for it: all backend sets that want it share the
//! same [`Probe`], and it ends when the last one lets go. A probe of new settings starts from what the old one
//! believed, so that changing a check does not make good targets look unknown.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use http_body_util::Empty;
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::health::Judge;
use crate::api::{Health, HealthCheck, HealthCheckKind, Target};

/// Most probes under way at one time; each holds one file descriptor.
const IN_FLIGHT: usize = 256;

/// What a probe looks at and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: IpAddr,
    port: u16,
    check: HealthCheck,
}

impl Key {
    fn of(target: &Target, check: &HealthCheck) -> Self {
        let port = check.port.unwrap_or(target.port);
        // Asking for a port by number or by being the target's own is the same probe.
        Self {
            address: target.address,
            port,
            check: HealthCheck {
                port: None,
                ..check.clone()
            },
        }
    }
}

/// All probes of the process.
#[derive(Clone, Debug)]
pub(crate) struct Probes {
    running: Arc<Mutex<HashMap<Key, Weak<Probe>>>>,
    in_flight: Arc<Semaphore>,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            running: Arc::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
        }
    }
}

impl Probes {
    /// The probe for a target, started when nobody has it yet. `believed` is the health that holds until its
    /// first result.
    pub(crate) fn want(
        &self,
        target: &Target,
        check: &HealthCheck,
        believed: Health,
    ) -> Arc<Probe> {
        let key = Key::of(target, check);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(probe) = running.get(&key).and_then(Weak::upgrade) {
            return probe;
        }
        let stop = CancellationToken::new();
        let verdict = Arc::new(Mutex::new(Verdict {
            health: believed,
            reason: None,
        }));
        let task = watch(
            key.clone(),
            Arc::clone(&verdict),
            Arc::clone(&self.in_flight),
            Judge::new(believed),
        );
        tokio::spawn(stop.clone().run_until_cancelled_owned(task));
        let probe = Arc::new(Probe {
            key: key.clone(),
            verdict,
            running: Arc::downgrade(&self.running),
            _stop: stop.drop_guard(),
        });
        running.insert(key, Arc::downgrade(&probe));
        probe
    }

    /// How many probes run.
    pub(crate) fn count(&self) -> usize {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

/// A running probe; it ends with its last owner.
#[derive(Debug)]
pub(crate) struct Probe {
    key: Key,
    verdict: Arc<Mutex<Verdict>>,
    running: Weak<Mutex<HashMap<Key, Weak<Probe>>>>,
    _stop: DropGuard,
}

#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    health: Health,
    reason: Option<String>,
}

impl Probe {
    pub(crate) fn health(&self) -> Health {
        self.verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .health
    }

    /// Why the latest probe failed, while the target counts as unhealthy.
    pub(crate) fn reason(&self) -> Option<String> {
        self.verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reason
            .clone()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let Some(running) = self.running.upgrade() else {
            return;
        };
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        // By now a successor may stand under the same key.
        if running
            .get(&self.key)
            .is_some_and(|probe| probe.strong_count() == 0)
        {
            running.remove(&self.key);
        }
    }
}

async fn watch(
    key: Key,
    verdict: Arc<Mutex<Verdict>>,
    in_flight: Arc<Semaphore>,
    mut judge: Judge,
) {
    let limit = Duration::from_millis(key.check.timeout_ms.into());
    loop {
        let permit = in_flight.acquire().await;
        let started = Instant::now();
        let result = timeout(limit, probe(&key))
            .await
            .unwrap_or_else(|_| Err("timeout".to_owned()));
        drop(permit);
        let health = judge.observe(result.is_ok(), &key.check);
        let reason = result.err().filter(|_| health == Health::Unhealthy);
        let before = {
            let mut verdict = verdict.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(
                &mut *verdict,
                Verdict {
                    health,
                    reason: reason.clone(),
                },
            )
        };
        if before.health != health {
            let reason = reason.unwrap_or_default();
            tracing::info!(target_address = %key.address, port = key.port, ?health, reason, "target health changed");
        }
        // Spread, so that probes that started together do not stay together.
        let spread = 0.9 + 0.2 * fastrand::f64();
        sleep_until(started + Duration::from_millis(key.check.interval_ms.into()).mul_f64(spread))
            .await;
    }
}

/// One probe; the error says in a few words why it failed.
async fn probe(key: &Key) -> Result<(), String> {
    let address = SocketAddr::new(key.address, key.port);
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| in_words(&error))?;
    match &key.check.kind {
        HealthCheckKind::Tcp => Ok(()),
        HealthCheckKind::Http { path } => {
            let request = Request::get(path)
                .header("host", address.to_string())
                .header("user-agent", "evenkeel-health-check")
                .header("connection", "close")
                .body(Empty::<Bytes>::new())
                .map_err(|_| "bad path".to_owned())?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|_| "no HTTP answer".to_owned())?;
            // The connection is driven only for as long as the answer's head is awaited; its body is not read.
            let answer = sender.send_request(request);
            tokio::pin!(answer);
            let answer = tokio::select! {
                answer = &mut answer => answer,
                // A server that closes right after its answer ends the connection before the answer is looked at.
                _ = connection => answer.await,
            };
            match answer {
                Ok(answer) if answer.status() == 200 => Ok(()),
                Ok(answer) => Err(format!("status {}", answer.status().as_u16())),
                Err(_) => Err("no HTTP answer".to_owned()),
            }
        }
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::TimedOut => "timeout".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "unreachable".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(port: Option<u16>, rise: u8) -> HealthCheck {
        HealthCheck {
            kind: HealthCheckKind::Tcp,
            port,
            interval_ms: 300_000,
            timeout_ms: 50,
            rise,
            fall: 1,
        }
    }

    #[tokio::test]
    async fn a_probe_is_shared_and_ends_with_its_last_owner() {
        let probes = Probes::default();
        let target = Target {
            node: "a".into(),
            address: "127.0.0.1".parse().expect("an address"),
            port: 1,
        };
        let renamed = Target {
            node: "b".into(),
            ..target.clone()
        };
        let first = probes.want(&target, &check(None, 1), Health::Initial);
        let second = probes.want(&renamed, &check(Some(1), 1), Health::Initial);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(probes.count(), 1);
        let other = probes.want(&target, &check(None, 2), Health::Healthy);
        assert_eq!((probes.count(), other.health()), (2, Health::Healthy));
        drop((first, other));
        assert_eq!(probes.count(), 1);
        drop(second);
        assert_eq!(probes.count(), 0);
    }
}
