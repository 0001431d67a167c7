//! microburst between our proxy and moto: faults whose replies are made from AWS's own models. Writes: a process, its rules.
//!
//! Our proxy knows which call is meant and marks it with a header; microburst's rule matches that header alone, so tests that share the
//! process do not meet each other's faults.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::emulator::{Emulator, Kind, warm};
use super::faults::{At, Fault};
use crate::random;
use crate::service::Service;
use crate::supervise::Supervised;
use crate::wire;

/// The mark that says which rule is meant.
pub(super) const LABEL_HEADER: &str = "x-evenkeel-fault";

/// A running microburst in front of the shared moto.
#[derive(Debug)]
pub struct Microburst {
    service: Service,
}

static SHARED: OnceCell<Microburst> = OnceCell::const_new();

impl Microburst {
    /// The one that all tests of this process share.
    ///
    /// # Errors
    /// When it cannot be installed or started, or is not ready in time: with the end of its log.
    pub async fn shared() -> Result<&'static Self> {
        SHARED.get_or_try_init(Self::start).await
    }

    async fn start() -> Result<Self> {
        let upstream = format!("http://{}", Emulator::shared(Kind::Moto).await?.address());
        let service = Service::start(
            &super::PROGRAMS,
            "microburst",
            "/_microburst/health",
            |venv, port, _| {
                Ok(Supervised::builder(venv.program("microburst"))
                    .args(["--upstream", &upstream, "--host", "127.0.0.1"])
                    .args(["--port", &port.to_string()]))
            },
        )
        .await?;
        // It loads AWS's models at the first request: three seconds.
        warm(service.address, "ec2", "2016-11-15", "DescribeRegions").await?;
        Ok(Self { service })
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// Adds a rule for marked requests; returns the mark.
    pub(super) async fn add_rule(&self, at: &At, fault: &Fault) -> Result<String> {
        let label = random::hex(8);
        let rules = json!([rule(at, fault, &label)?]);
        wire::json(self.address(), "PATCH", "/_microburst/rules", Some(&rules)).await?;
        Ok(label)
    }

    /// What microburst says it did to requests with this mark.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn fired(&self, label: &str) -> Result<Vec<Value>> {
        let rules = wire::json(self.address(), "GET", "/_microburst/rules", None).await?;
        let rule = rules
            .as_array()
            .into_iter()
            .flatten()
            .find(|rule| rule["headers"][LABEL_HEADER] == *label)
            .context("microburst lost its rule")?;
        let path = format!("/_microburst/fired?limit=10000&rule_id={}", rule["id"]);
        match wire::json(self.address(), "GET", &path, None).await? {
            Value::Array(events) => Ok(events),
            other => bail!("microburst does not list what it did: {other}"),
        }
    }
}

/// microburst's name for a fault; the service is botocore's, the name in a signature matches nothing.
fn rule(at: &At, fault: &Fault, label: &str) -> Result<Value> {
    let throttled = match at.operation.service.as_str() {
        "ec2" => "RequestLimitExceeded",
        _ => "Throttling",
    };
    let effect = match fault {
        Fault::Reset => json!({"reset": true}),
        Fault::ErrorBefore => json!({"error": {"code": "InternalFailure", "status": 500}}),
        Fault::ReplyLost => json!({"response": {"abort_bytes": 0}}),
        Fault::Slow(duration) => json!({"latency": duration.as_millis() as u64}),
        Fault::Throttled => json!({"error": {"code": throttled}}),
        Fault::Answer {
            status,
            code,
            message,
        } => json!({"error": {"code": code, "status": status, "message": message}}),
        Fault::Refused(_) | Fault::ErrorAfter | Fault::HoldBefore | Fault::HoldAfter => {
            bail!("microburst has no fault {fault:?}: use Aws::inject")
        }
    };
    let mut rule = json!({
        "service": at.operation.service,
        "operation": at.operation.name,
        "headers": {LABEL_HEADER: label},
        "times": at.times,
    });
    if let (Value::Object(rule), Value::Object(effect)) = (&mut rule, effect) {
        rule.extend(effect);
    }
    Ok(rule)
}
