//! An Azure client that is not ours: PyPI's azure-mgmt-network in a process of its own (`azure/client.py`), asked over HTTP. Reads and Writes
//! what it is told to.

use std::fmt;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::service::Service;

const CLIENT: &str = include_str!("../../azure/client.py");

static SHARED: OnceCell<Service> = OnceCell::const_new();

async fn start() -> Result<Service> {
    Service::client(&super::PROGRAMS, "azure-client", CLIENT).await
}

/// azure-mgmt-network at one endpoint.
#[derive(Clone, Debug)]
pub struct Client {
    service: &'static Service,
    endpoint: String,
    subscription: String,
    token: String,
}

/// What Azure refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureError {
    /// The HTTP status, or 0 where the client refused by itself.
    pub status: u64,
    /// The error code, or the name of the client's exception.
    pub code: String,
    /// The text.
    pub message: String,
}

impl fmt::Display for AzureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)
    }
}

impl std::error::Error for AzureError {}

impl Client {
    pub(super) async fn new(endpoint: String, subscription: String, token: String) -> Result<Self> {
        Ok(Self {
            service: SHARED.get_or_try_init(start).await?,
            endpoint,
            subscription,
            token,
        })
    }

    /// Makes one call and waits for its operation: `call("load_balancers", "begin_create_or_update", json!(["rg1", "lb", {..}]), json!({}))`.
    /// Lists come whole; resources as Azure wrote them.
    ///
    /// # Errors
    /// An [`AzureError`] when Azure refuses.
    pub async fn call(
        &self,
        group: &str,
        method: &str,
        arguments: Value,
        headers: Value,
    ) -> Result<Value> {
        let body = json!({
            "endpoint": self.endpoint,
            "subscription": self.subscription,
            "token": self.token,
            "group": group,
            "method": method,
            "arguments": arguments,
            "headers": headers,
        });
        let answer = self.service.ask("/call", &body).await?;
        let answer = answer.map_err(|error| {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            AzureError {
                status: error["status"].as_u64().unwrap_or_default(),
                code: text("code"),
                message: text("message"),
            }
        });
        answer.with_context(|| format!("{group}.{method}"))
    }
}
