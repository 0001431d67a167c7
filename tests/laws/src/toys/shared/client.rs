//! The calls, and what their errors mean (Reads and Writes). The only file that calls the cloud.

use std::{collections::BTreeMap, fmt, sync::Arc};

use evenkeel_core::error::{CloudError, ErrorClass, ProviderFault};
use serde_json::Value;

use super::cloud::{ApiError, Body, Cloud};
use crate::tap::{Call, Fault, Kind, Tap};

/// What all calls are about.
const TARGET: &str = "balancer";

/// A client of one cloud.
#[derive(Clone, Debug)]
pub struct Client {
    cloud: Arc<Cloud>,
    tap: Tap,
}

impl Client {
    /// A client whose calls pass the tap.
    pub fn new(cloud: Arc<Cloud>, tap: Tap) -> Self {
        Self { cloud, tap }
    }

    /// Reads the object.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    pub async fn get(&self) -> Result<Body, CloudError> {
        let read = async { Ok::<_, ApiError>(self.cloud.get()) };
        self.tap
            .call(Call::read("Get", TARGET), read)
            .await
            .map_err(|error| classify("Get", Kind::Read, error))
    }

    /// Writes the object whole, over this version, and waits until the cloud is done with it.
    ///
    /// # Errors
    /// Conflict when it is another version or its fate is unknown; Rejected or Quota when a part is refused.
    pub async fn put(
        &self,
        version: u64,
        parts: BTreeMap<String, Value>,
    ) -> Result<Body, CloudError> {
        let accept = async { self.cloud.put(version, parts) };
        let accepted = self.tap.call(Call::write("Put", TARGET), accept).await;
        accepted.map_err(|error| classify("Put", Kind::Write, error))?;
        self.cloud.until_idle().await;
        // Whatever goes wrong from here on, the write is made.
        self.get().await.map_err(|error| CloudError {
            class: ErrorClass::Conflict,
            ..error
        })
    }
}

/// Which part an error names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    /// Its name.
    pub part: String,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {}", self.part)
    }
}

impl std::error::Error for Blame {}

/// What to do about an error.
fn classify(operation: &'static str, kind: Kind, error: ApiError) -> CloudError {
    let class = match (&error, kind) {
        (ApiError::Changed | ApiError::Busy, _) => ErrorClass::Conflict,
        (ApiError::Refused { .. }, _) => ErrorClass::Rejected,
        (ApiError::QuotaExceeded, _) => ErrorClass::Quota,
        (ApiError::Line(Fault::Throttled), _) => ErrorClass::Throttled { after: None },
        (ApiError::Line(Fault::Conflict), _) => ErrorClass::Conflict,
        (ApiError::Line(Fault::Rejected), _) => ErrorClass::Rejected,
        (ApiError::Line(Fault::Expired), _) => ErrorClass::Denied,
        // A write without an answer may have happened: only a fresh read knows.
        (ApiError::Line(Fault::LostAnswer), Kind::Write) => ErrorClass::Conflict,
        (ApiError::Line(_), _) => ErrorClass::Transient,
    };
    let message = CloudError::new(class, operation, error.to_string()).with_code(error.code());
    match error {
        ApiError::Refused {
            part: Some(part), ..
        } => message.with_source(Blame { part }),
        ApiError::Line(Fault::Expired) => message.of_provider(ProviderFault::CredentialsExpired),
        _ => message,
    }
}
