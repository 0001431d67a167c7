//! What to do about an error of the data plane: one table from its codes to classes (Decides).

use std::{io, path::Path};

use evenkeel_core::error::{CloudError, ErrorClass, FailureReason, ProviderFault};
use http::StatusCode;

use crate::api::{ApiError, code};

#[cfg(test)]
mod tests;

/// Whether a call may have changed something when its answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It changes nothing.
    Read,
    /// It may have had its effect: only a fresh read knows.
    Write,
}

impl Access {
    /// The class of a call whose fate is unknown.
    pub fn lost(self) -> ErrorClass {
        match self {
            Self::Read => ErrorClass::Transient,
            Self::Write => ErrorClass::Conflict,
        }
    }
}

/// The class of an answer that is not 2xx.
pub fn class(status: StatusCode, code: &str, access: Access) -> ErrorClass {
    match code {
        // The address was asked for by the user, who has to ask for another.
        code::ADDRESS_TAKEN | code::ADDRESS_NOT_IN_POOL | code::NO_SUCH_POOL => {
            ErrorClass::Rejected
        }
        // Another namespace has a pool, or another pool has this one.
        code::NAMESPACE_NOT_SERVED => ErrorClass::Rejected,
        // The request as such: a value that passed our checks and not the data plane's.
        code::INVALID => ErrorClass::Rejected,
        // Somebody else has the port of that very address; the plan tells it of the port.
        code::PORT_TAKEN => ErrorClass::Rejected,
        // The name belongs to another cluster. Never ours to change.
        code::FOREIGN => ErrorClass::Rejected,
        // Whoever runs the data plane has to give it a larger pool.
        code::POOL_EXHAUSTED => ErrorClass::Quota,
        // The namespace has to give one back, or be allowed more.
        code::NAMESPACE_LIMIT => ErrorClass::Quota,
        // What we saw is not what there is: look again.
        code::CHANGED
        | code::EXISTS
        | code::IN_USE
        | code::BAD_REFERENCE
        | code::IMMUTABLE
        | code::NOT_FOUND => ErrorClass::Conflict,
        // Nothing was changed; the disk may have room again.
        code::STORAGE => ErrorClass::Transient,
        // Stopping, or too slow: a write may have been made all the same.
        code::BUSY => access.lost(),
        // Never said by this data plane; by whatever stands between.
        _ if status == StatusCode::TOO_MANY_REQUESTS => ErrorClass::Throttled { after: None },
        _ if status.is_server_error() => access.lost(),
        // A code of a newer data plane: slow retries, and the message for people.
        _ => ErrorClass::Transient,
    }
}

/// What a code is reported as, where its class does not say it well.
fn reason(code: &str) -> Option<FailureReason> {
    match code {
        code::ADDRESS_TAKEN
        | code::ADDRESS_NOT_IN_POOL
        | code::NO_SUCH_POOL
        | code::NAMESPACE_NOT_SERVED
        | code::NAMESPACE_LIMIT => Some(FailureReason::AddressNotAvailable),
        code::FOREIGN => Some(FailureReason::OwnershipConflict),
        _ => None,
    }
}

/// The error of an answer that is not 2xx.
pub fn from_answer(
    operation: &'static str,
    access: Access,
    status: StatusCode,
    body: &[u8],
) -> CloudError {
    match serde_json::from_slice::<ApiError>(body) {
        Ok(error) => {
            let class = class(status, &error.code, access);
            let reason = reason(&error.code);
            let told = CloudError::new(class, operation, error.message).with_code(error.code);
            match reason {
                Some(reason) => told.because(reason),
                None => told,
            }
        }
        Err(_) => {
            let message =
                format!("the data plane answered {status} without saying why; look at its log");
            CloudError::new(class(status, "", access), operation, message)
                .with_code(status.as_str())
        }
    }
}

/// The error of a connection that could not be made: nothing was sent, and nothing of anybody can be.
pub fn from_connect(operation: &'static str, socket: &Path, error: io::Error) -> CloudError {
    let socket = socket.display();
    let (class, fault, message) = match error.kind() {
        io::ErrorKind::PermissionDenied => (
            ErrorClass::Denied,
            ProviderFault::PermissionDenied,
            format!(
                "no permission to use {socket}; run evenkeel as the user that runs the data plane"
            ),
        ),
        _ => (
            ErrorClass::Transient,
            ProviderFault::Unreachable,
            format!(
                "the data plane does not answer on {socket}; start it with `evenkeel dataplane`, or let \
                 `evenkeel run --provider local` start one"
            ),
        ),
    };
    // Every Service needs this socket.
    CloudError::new(class, operation, message)
        .of_provider(fault)
        .with_source(error)
}

/// The error of an answer that did not come, or came in pieces.
pub fn from_exchange(
    operation: &'static str,
    access: Access,
    what: impl Into<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> CloudError {
    let error = CloudError::new(access.lost(), operation, what);
    match source {
        Some(source) => error.with_source(source),
        None => error,
    }
}
