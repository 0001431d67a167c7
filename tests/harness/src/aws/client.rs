//! An AWS client that is not ours: boto3 in a process of its own (`aws/client.py`), asked over HTTP. Reads and Writes what it is told to.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::iam::AccessKey;
use super::lease::Lease;
use super::state::State;
use crate::service::Service;

const CLIENT: &str = include_str!("../../aws/client.py");

/// The process, shared by all tests.
#[derive(Debug)]
pub(super) struct Boto3 {
    service: Service,
}

static SHARED: OnceCell<Boto3> = OnceCell::const_new();

impl Boto3 {
    pub(super) async fn shared() -> Result<&'static Self> {
        SHARED.get_or_try_init(Self::start).await
    }

    async fn start() -> Result<Self> {
        let service = Service::client(&super::PROGRAMS, "aws-client", CLIENT).await?;
        Ok(Self { service })
    }
}

/// boto3 in one region of one account.
#[derive(Clone, Debug)]
pub struct Client {
    boto3: &'static Boto3,
    endpoint: SocketAddr,
    region: &'static str,
    account: String,
    access_key: AccessKey,
}

/// What AWS, or boto3 in its place, refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    /// The error code, or the name of boto3's exception.
    pub code: String,
    /// The text.
    pub message: String,
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for AwsError {}

impl Client {
    pub(super) fn new(boto3: &'static Boto3, endpoint: SocketAddr, lease: &Lease) -> Self {
        Self {
            boto3,
            endpoint,
            region: lease.region,
            account: lease.account.clone(),
            access_key: lease.access_key(),
        }
    }

    /// The same client by way of another endpoint, with another key: to see from outside what a proxy or a policy does.
    #[must_use]
    pub fn by_way_of(&self, endpoint: SocketAddr, access_key: AccessKey) -> Self {
        Self {
            endpoint,
            access_key,
            ..self.clone()
        }
    }

    /// The same client in another account.
    #[must_use]
    pub fn in_account(&self, account: &str) -> Self {
        Self {
            account: account.to_owned(),
            ..self.clone()
        }
    }

    /// Makes one call, of all pages where there are pages: `call("ec2", "DescribeVpcs", json!({}))`.
    ///
    /// # Errors
    /// An [`AwsError`] when AWS refuses.
    pub async fn call(&self, service: &str, operation: &str, parameters: Value) -> Result<Value> {
        let body = json!({
            "where": self.place(),
            "service": service,
            "operation": operation,
            "parameters": parameters,
        });
        let name = || format!("{service}:{operation} through boto3");
        self.post("/call", &body).await.with_context(name)
    }

    /// Whether a call is refused, and with which code.
    ///
    /// # Errors
    /// When boto3 does not answer.
    pub async fn refusal(
        &self,
        service: &str,
        operation: &str,
        parameters: Value,
    ) -> Result<Option<String>> {
        match self.call(service, operation, parameters).await {
            Ok(_) => Ok(None),
            Err(error) => match error.downcast_ref::<AwsError>() {
                Some(refused) => Ok(Some(refused.code.clone())),
                None => Err(error),
            },
        }
    }

    /// Everything in the region that a test may ask for.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn dump(&self) -> Result<State> {
        let body = json!({"where": self.place()});
        let found = self.post("/dump", &body).await;
        Ok(State::new(found.context("reading a region through boto3")?))
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.boto3.service.ask(path, body).await?;
        answer.map_err(|error| {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            let refused = AwsError {
                code: text("code"),
                message: text("message"),
            };
            refused.into()
        })
    }

    fn place(&self) -> Value {
        json!({
            "endpoint": format!("http://{}", self.endpoint),
            "region": self.region,
            "account": self.account,
            "access_key": self.access_key.id,
            "secret_key": self.access_key.secret,
        })
    }
}
