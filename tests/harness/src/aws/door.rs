//! TLS in front of a corner of AWS, and a proxy for HTTPS (`aws/door.py`): which hosts are asked for, and which authority is trusted, without
//! a host of AWS's ever being dialled. Writes: a process, a temporary directory.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Aws;
use crate::service::Service;
use crate::supervise::Supervised;
use crate::wire;

const DOOR: &str = include_str!("../../aws/door.py");

/// The process. Dropping it ends it.
#[derive(Debug)]
pub struct Door {
    service: Service,
    authority: PathBuf,
}

/// A connection with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What a proxy was asked to connect to: `ec2.eu-west-1.amazonaws.com:443`. None where the connection came by itself.
    pub connect: Option<String>,
    /// The name that the certificate was asked to have.
    pub name: Option<String>,
    /// Why there was no connection after all.
    pub error: Option<String>,
}

impl Door {
    /// In front of this corner, whatever host is asked for.
    ///
    /// # Errors
    /// When Python cannot be installed or the process does not start: with the end of its log.
    pub async fn start(aws: &Aws) -> Result<Self> {
        Self::before(&aws.endpoint()).await
    }

    /// In front of anybody on 127.0.0.1: `http://127.0.0.1:PORT`.
    ///
    /// # Errors
    /// As [`Door::start`].
    pub async fn before(endpoint: &str) -> Result<Self> {
        let upstream = endpoint.rsplit(':').next().context("a port")?;
        let place = Mutex::new(PathBuf::new());
        let service = Service::start(
            &super::PROGRAMS,
            "aws-door",
            "/seen",
            |venv, port, directory| {
                let script = directory.join("door.py");
                std::fs::write(&script, DOOR)?;
                if let Ok(mut place) = place.lock() {
                    *place = directory.join("authority.pem");
                }
                Ok(Supervised::builder(venv.python())
                    .arg(script)
                    .args([&port.to_string(), upstream])
                    .arg(directory))
            },
        )
        .await?;
        let authority = place.into_inner().ok().context("a place")?;
        Ok(Self { service, authority })
    }

    /// As a proxy: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn proxy(&self) -> String {
        format!("http://{}", self.service.address)
    }

    /// As an endpoint: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.service.address)
    }

    /// The certificate, in PEM, of the authority that signs here.
    #[must_use]
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// The connections so far.
    ///
    /// # Errors
    /// When the process has ended.
    pub async fn seen(&self) -> Result<Vec<Seen>> {
        self.service.check()?;
        let seen = wire::json(self.service.address, "GET", "/seen", None).await?;
        let text = |one: &Value, part: &str| one[part].as_str().map(str::to_owned);
        let all = seen.as_array().into_iter().flatten();
        Ok(all
            .map(|one| Seen {
                connect: text(one, "connect"),
                name: text(one, "name"),
                error: text(one, "error"),
            })
            .collect())
    }
}
