//! What AWS refuses, and how it says so. Decides.

use serde_json::Value;

/// An error of AWS's: its code, its text, and the HTTP status that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// What an operation answers.
pub(super) type Answer = Result<Value, Refusal>;

/// An error with the status that most have.
pub(super) fn refuse(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        status: 400,
        code,
        message: message.into(),
    }
}

/// `ValidationError`, common errors of the ELB API reference: "The input fails to satisfy the constraints specified by an AWS service."
pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    refuse("ValidationError", message)
}

/// `InvalidConfigurationRequest`, errors of the ELB API reference: "The requested configuration is not valid."
pub(super) fn misconfigured(message: impl Into<String>) -> Refusal {
    refuse("InvalidConfigurationRequest", message)
}

/// `InvalidParameterValue`, client error codes of the EC2 API reference: "A value specified in a parameter is not valid, is unsupported,
/// or cannot be used."
pub(super) fn bad_value(message: impl Into<String>) -> Refusal {
    refuse("InvalidParameterValue", message)
}
