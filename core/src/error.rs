//! Failures of cloud calls, typed by what to do next (Decides).
//!
//! Each provider maps its cloud's codes to a class in one table; everything above matches on the class.

#[cfg(test)]
mod tests;

use std::{error::Error, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::problem::reason;

/// What to do next about a failed cloud call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// The user must change something; wait for the Service to change.
    Rejected,
    /// A permission or credential is missing; name the action, tell the operator once.
    Denied,
    /// Over the account's rate; slow the shared limiter too.
    Throttled {
        /// What the cloud said about when to come back.
        after: Option<Duration>,
    },
    /// Over a limit that only the account's owner can raise; retry slowly.
    Quota,
    /// The world moved under us; observe again and plan anew.
    Conflict,
    /// The same step may succeed later; back off for this Service.
    Transient,
}

impl ErrorClass {
    /// Whether repeating the same write for the same desired state is pointless until something changes.
    pub fn is_hopeless(self) -> bool {
        matches!(self, Self::Rejected | Self::Denied | Self::Quota)
    }

    /// One word, for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Denied => "denied",
            Self::Throttled { .. } => "throttled",
            Self::Quota => "quota",
            Self::Conflict => "conflict",
            Self::Transient => "transient",
        }
    }
}

/// Why a provider as a whole cannot be asked: whatever the Service, its calls fail. One report says it for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProviderFault {
    /// The credentials have expired, or are none any more.
    CredentialsExpired,
    /// The credentials do not allow what every Service needs.
    PermissionDenied,
    /// Nobody answers where the cloud should.
    Unreachable,
    /// Another cluster with the same identity writes there.
    AnotherCluster,
}

impl ProviderFault {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::CredentialsExpired,
        Self::PermissionDenied,
        Self::Unreachable,
        Self::AnotherCluster,
    ];

    /// CamelCase and stable: the reason of condition and event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CredentialsExpired => "CredentialsExpired",
            Self::PermissionDenied => "PermissionDenied",
            Self::Unreachable => "Unreachable",
            Self::AnotherCluster => "AnotherCluster",
        }
    }
}

/// What a failure is reported as where its class does not say it well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FailureReason {
    /// What is in the way belongs to somebody else.
    OwnershipConflict,
    /// The asked address cannot be had.
    AddressNotAvailable,
}

impl FailureReason {
    /// CamelCase and stable: the reason of condition and event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OwnershipConflict => reason::OWNERSHIP_CONFLICT,
            Self::AddressNotAvailable => reason::ADDRESS_NOT_AVAILABLE,
        }
    }
}

/// A cloud call that failed. Displays its own part only; [`chain`] prints it with its sources.
#[derive(Debug)]
pub struct CloudError {
    /// What to do about it.
    pub class: ErrorClass,
    /// A better reason for condition and event than the class has.
    pub reason: Option<FailureReason>,
    /// Set where no Service is to blame, and none can be served: the fault is the provider's as a whole.
    pub of_provider: Option<ProviderFault>,
    /// The call, as the cloud names it: `CreateListener`, `PUT leases`.
    pub operation: &'static str,
    /// The cloud's code, where it gave one.
    pub code: Option<Box<str>>,
    /// For people: what happened, short, ending with what to do where the class does not say it. Free of secrets.
    pub message: String,
    /// The cloud's id of the request, for its support.
    pub request_id: Option<String>,
    /// What caused it.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl CloudError {
    /// An error without code and source.
    pub fn new(class: ErrorClass, operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            class,
            reason: None,
            of_provider: None,
            operation,
            code: None,
            message: message.into(),
            request_id: None,
            source: None,
        }
    }

    /// The same with a better reason for condition and event than the class has.
    #[must_use]
    pub fn because(mut self, reason: FailureReason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The same as a fault of the provider as a whole. The message names what to do.
    #[must_use]
    pub fn of_provider(mut self, fault: ProviderFault) -> Self {
        self.of_provider = Some(fault);
        self
    }

    /// The same with the cloud's code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Box<str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The same with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.message)?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        Ok(())
    }
}

impl Error for CloudError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An error with all its sources, each once: `outer: inner: innermost`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        // Some libraries repeat the source in their own text; saying it twice helps nobody.
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = error.source();
    }
    text
}
