//! What Azure refuses, and how it says so. Decides.

use serde_json::{Value, json};

/// An error of Azure's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    /// Codes and texts of what lies behind it.
    pub(super) details: Vec<(String, String)>,
    /// In seconds.
    pub(super) retry_after: Option<u64>,
}

/// What an operation answers.
pub(super) type Answer<T> = Result<T, Refusal>;

/// An error with the status that most have.
pub(super) fn refuse(code: impl Into<String>, message: impl Into<String>) -> Refusal {
    Refusal {
        status: 400,
        code: code.into(),
        message: message.into(),
        details: Vec::new(),
        retry_after: None,
    }
}

/// An error with another status.
pub(super) fn refuse_with(
    status: u16,
    code: impl Into<String>,
    message: impl Into<String>,
) -> Refusal {
    Refusal {
        status,
        ..refuse(code, message)
    }
}

/// `InvalidRequestFormat`, as users report it: "Cannot parse the request.", with what is wrong in the details.
pub(super) fn malformed(code: impl Into<String>, message: impl Into<String>) -> Refusal {
    Refusal {
        details: vec![(code.into(), message.into())],
        ..refuse("InvalidRequestFormat", "Cannot parse the request.")
    }
}

/// What the API's description or the documentation forbids, and nobody has reported with which code: unverified.
pub(super) fn forbidden(rule: &'static str, message: impl Into<String>) -> Refusal {
    malformed(rule, message)
}

/// "Resource X referenced by resource Y was not found": the text of `InvalidResourceReference`.
pub(super) fn unresolved(referenced: &str, by: &str) -> Refusal {
    refuse(
        "InvalidResourceReference",
        format!(
            "Resource {referenced} referenced by resource {by} was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."
        ),
    )
}

impl Refusal {
    /// `{"error": {"code", "message", "details": [..]}}`
    pub(super) fn body(&self) -> Value {
        json!({"error": self.error()})
    }

    /// The same, as an operation that failed has it.
    pub(super) fn error(&self) -> Value {
        let details = self.details.iter();
        let details: Vec<_> = details
            .map(|(code, message)| json!({"code": code, "message": message}))
            .collect();
        json!({"code": self.code, "message": self.message, "details": details})
    }
}
