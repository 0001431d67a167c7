//! What a user can fix: problems, warnings and errors of single ports (Decides).
//!
//! Problems are collected, all of them, before anything is decided: a user who fixes one should not meet the next.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::Serialize;

use crate::{annotation::value::quote, ports::PortKey};

#[cfg(test)]
mod tests;

/// Something in a Service, or in the facts it rests on, that a person has to change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Problem {
    /// Where: `spec.ports[1].protocol`, `metadata.annotations[evenkeel.dev/scheme]`.
    pub field: String,
    /// The value found, as it was written.
    pub value: String,
    /// What is wrong and what is allowed, as a clause: `must be one of internal, internet-facing`.
    pub message: String,
    /// What to do next, as a sentence. Errors users see end with it.
    pub advice: String,
    /// CamelCase and stable: the reason of condition and event. See [`reason`].
    pub reason: &'static str,
}

impl Problem {
    /// A problem whose reason is [`reason::INVALID_CONFIGURATION`].
    pub fn new(
        field: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.into(),
            message: message.into(),
            advice: advice.into(),
            reason: reason::INVALID_CONFIGURATION,
        }
    }

    /// The same problem with another reason.
    #[must_use]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            value,
            message,
            advice,
            ..
        } = self;
        write!(f, "{field}: {value:?} {message}")?;
        if !advice.is_empty() {
            write!(f, ". {advice}")?;
        }
        Ok(())
    }
}

/// The reasons that conditions, events and port errors carry.
pub mod reason {
    /// A field or annotation has a value that cannot be used.
    pub const INVALID_CONFIGURATION: &str = "InvalidConfiguration";
    /// A key under a prefix of ours that nobody knows.
    pub const UNKNOWN_ANNOTATION: &str = "UnknownAnnotation";
    /// The provider cannot do what is asked.
    pub const UNSUPPORTED_FEATURE: &str = "UnsupportedFeature";
    /// The protocol of a port is not supported (prefixed by our domain in port errors).
    pub const PROTOCOL_NOT_SUPPORTED: &str = "ProtocolNotSupported";
    /// The protocols of two ports cannot share a load balancer: upstream's reason of `LoadBalancerPortsError`.
    pub const MIXED_PROTOCOLS: &str = "LoadBalancerMixedProtocolNotSupported";
    /// Node ports are needed and the Service has none.
    pub const NODE_PORT_REQUIRED: &str = "NodePortRequired";
    /// Source ranges are asked for and cannot be enforced.
    pub const SOURCE_RANGES_NOT_ENFORCED: &str = "SourceRangesNotEnforced";
    /// The asked address cannot be had.
    pub const ADDRESS_NOT_AVAILABLE: &str = "AddressNotAvailable";
    /// An account's or pool's limit is reached.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// A permission is missing.
    pub const PERMISSION_DENIED: &str = "PermissionDenied";
    /// Another controller's hand is on the Service.
    pub const OWNERSHIP_CONFLICT: &str = "OwnershipConflict";
    /// Another member of the shared group has the port.
    pub const PORT_CONFLICT: &str = "PortConflict";
    /// A change would replace the load balancer or give up its address, and nobody approved it.
    pub const APPROVAL_REQUIRED: &str = "ApprovalRequired";
    /// A listener's port cannot be opened.
    pub const PORT_NOT_OPENED: &str = "PortNotOpened";
    /// Targets are endpoints, and there is none that could be one.
    pub const NO_ENDPOINTS: &str = "NoEndpoints";
}

/// Every problem found, in a stable order and without duplicates. Never empty once it is returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// None yet.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds one, unless the same is there already.
    pub fn push(&mut self, problem: Problem) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Self) {
        for problem in other.0 {
            self.push(problem);
        }
    }

    /// Keeps the value of `Ok`, collects the problem of `Err`.
    pub fn take<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                self.push(problem);
                None
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// `Err(self)` when there are any.
    ///
    /// # Errors
    /// The problems themselves.
    pub fn check(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// These, or where there are none what keeps the ports from being served: a rejection has a problem.
    #[must_use]
    pub fn or_of_ports(mut self, errors: &[PortError]) -> Self {
        if self.is_empty() {
            for error in errors {
                let (field, value) = (
                    format!("spec.ports[{}]", error.port),
                    error.port.to_string(),
                );
                let problem = Problem::new(field, quote(&value), &*error.message, "");
                self.push(problem.with_reason(error.reason));
            }
        }
        self
    }

    /// The reason of the first problem, for the one condition that reports them all.
    pub fn reason(&self) -> &'static str {
        self.0
            .first()
            .map_or(reason::INVALID_CONFIGURATION, |first| first.reason)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        let mut all = Self::none();
        for problem in problems {
            all.push(problem);
        }
        all
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Something a user should know though everything was done: an unknown key, an option without effect here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Warning {
    /// CamelCase and stable: the event's reason.
    pub reason: &'static str,
    /// One or two sentences, ending with what to do.
    pub message: String,
}

impl Warning {
    /// A warning.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Leaves each once, in the order in which they came.
    pub fn once_each(all: &mut Vec<Self>) {
        let mut told = BTreeSet::new();
        all.retain(|warning| told.insert(warning.clone()));
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why one port is not served, while others are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PortError {
    /// The Service the port belongs to.
    pub service: crate::ids::ServiceRef,
    /// The port.
    pub port: PortKey,
    /// CamelCase and stable; published as `ports[].error` under our domain.
    pub reason: &'static str,
    /// What is wrong and what to do next.
    pub message: Arc<str>,
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}: {}", self.port, self.message)
    }
}
