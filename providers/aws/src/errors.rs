//! What to do about an error of AWS: one table from its codes to classes and texts (Decides).
//!
//! Codes are matched as they stand on the wire: many that AWS sends are in none of its models. A code that is not in the
//! table is retried slowly, and its message is shown as it came.

mod denied;
mod table;
#[cfg(test)]
mod tests;

use std::{error::Error, time::Duration};

use evenkeel_core::error::{CloudError, ErrorClass, FailureReason, ProviderFault};

use crate::call::{Access, Call};

pub use denied::{Decoded, Denial};
use table::Means;

/// An answer that is an error, as it stands on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// AWS's code; empty where there is none.
    pub code: String,
    /// AWS's message; empty where there is none.
    pub message: String,
    /// AWS's id of the request.
    pub request_id: Option<String>,
}

/// Codes that are more than an error to one who creates or deletes.
pub mod code {
    /// The load balancer is not there.
    pub const NO_LOAD_BALANCER: &str = "LoadBalancerNotFound";
    /// The target group is not there.
    pub const NO_TARGET_GROUP: &str = "TargetGroupNotFound";
    /// The listener is not there.
    pub const NO_LISTENER: &str = "ListenerNotFound";
    /// The security group is not there, by id.
    pub const NO_GROUP: &str = "InvalidGroup.NotFound";
    /// The same.
    pub const NO_GROUP_ID: &str = "InvalidSecurityGroupID.NotFound";
    /// A security group of the name is there.
    pub const GROUP_EXISTS: &str = "InvalidGroup.Duplicate";
    /// A load balancer of the name is there, with other settings.
    pub const LOAD_BALANCER_EXISTS: &str = "DuplicateLoadBalancerName";
    /// A target group of the name is there, with other settings.
    pub const TARGET_GROUP_EXISTS: &str = "DuplicateTargetGroupName";
    /// A listener of the port is there.
    pub const LISTENER_EXISTS: &str = "DuplicateListener";
    /// One of the rules is there, and so none was added.
    pub const RULE_EXISTS: &str = "InvalidPermission.Duplicate";
    /// One of the rules is not there, and so none was removed.
    pub const NO_RULE: &str = "InvalidPermission.NotFound";
    /// The same, in a default VPC.
    pub const UNKNOWN_RULE: &str = "UnknownIpPermissions";
    /// Some targets cannot be registered, and so none was.
    pub const INVALID_TARGET: &str = "InvalidTarget";
    /// Something that was asked is not as AWS wants it.
    pub const VALIDATION: &str = "ValidationError";
    /// What the message of that speaks of where a target needs a zone, or may have none.
    pub const ZONE: &str = "Availability Zone";
    /// Something still uses it.
    pub const IN_USE: &str = "ResourceInUse";
    /// Something still uses it.
    pub const DEPENDENCY: &str = "DependencyViolation";
    /// An instance is not there, and so none was described.
    pub const NO_INSTANCE: &str = "InvalidInstanceID.NotFound";
    /// What was asked for is no instance id.
    pub const NOT_AN_INSTANCE: &str = "InvalidInstanceID.Malformed";
    /// What belongs to somebody else; ours, not AWS's.
    pub const FOREIGN: &str = "Foreign";

    /// Whether one who deletes is content.
    pub fn is_gone(code: &str) -> bool {
        matches!(
            code,
            NO_LOAD_BALANCER | NO_TARGET_GROUP | NO_LISTENER | NO_GROUP | NO_GROUP_ID
        )
    }
}

/// The class of a call whose fate is unknown.
fn lost(access: Access) -> ErrorClass {
    match access {
        Access::Read => ErrorClass::Transient,
        Access::Write => ErrorClass::Conflict,
    }
}

/// The error of an answer.
pub fn from_answer(call: &Call, answer: Answer, decoded: Option<&Decoded>) -> CloudError {
    let row = table::row_of(&answer.code, call.operation);
    let means = match row {
        Some(row) => row.means,
        None => table::by_status(answer.status),
    };
    let said = said(&answer);
    let advice = row.map_or("", |row| row.advice);
    let told = |class, text: String| CloudError::new(class, call.operation, text);
    let advised = || match advice {
        "" => said.clone(),
        advice => format!("{said}; {advice}"),
    };
    let mut error = match means {
        Means::Rejected => told(ErrorClass::Rejected, advised()),
        Means::Taken => {
            told(ErrorClass::Rejected, advised()).because(FailureReason::OwnershipConflict)
        }
        Means::NoAddress => {
            told(ErrorClass::Rejected, advised()).because(FailureReason::AddressNotAvailable)
        }
        Means::Quota => told(ErrorClass::Quota, advised()),
        Means::Conflict => told(ErrorClass::Conflict, advised()),
        Means::Transient => told(ErrorClass::Transient, advised()),
        Means::Lost => told(lost(call.access()), advised()),
        Means::Throttled => told(ErrorClass::Throttled { after: None }, advised()),
        Means::Denied => denied(call, &answer, decoded),
        Means::Credentials => {
            told(ErrorClass::Denied, advised()).of_provider(ProviderFault::CredentialsExpired)
        }
        Means::Account => {
            told(ErrorClass::Denied, advised()).of_provider(ProviderFault::PermissionDenied)
        }
    };
    if !answer.code.is_empty() {
        error = error.with_code(answer.code);
    }
    error.request_id = answer.request_id;
    error
}

/// What AWS said, without the full stop that the advice would follow.
fn said(answer: &Answer) -> String {
    match answer.message.trim().trim_end_matches('.') {
        "" if answer.code.is_empty() => {
            format!("AWS answered {} without saying why", answer.status)
        }
        "" => format!("AWS answered {}", answer.code),
        message => message.to_owned(),
    }
}

/// Names action and resource. What every Service needs, and nobody may read, is the provider's fault and not the Service's.
fn denied(call: &Call, answer: &Answer, decoded: Option<&Decoded>) -> CloudError {
    let denial = Denial::read(&answer.message);
    let action = decoded
        .and_then(|decoded| decoded.action.clone())
        .or(denial.action)
        .unwrap_or_else(|| call.action());
    let resource = decoded
        .and_then(|decoded| decoded.resource.clone())
        .or(denial.resource);
    let who = decoded
        .and_then(|decoded| decoded.who.clone())
        .or(denial.who);
    let mut text = format!("not allowed: {action}");
    if let Some(resource) = resource {
        text.push_str(&format!(" on {resource}"));
    }
    if let Some(who) = who {
        text.push_str(&format!(" for {who}"));
    }
    let by = decoded.is_some_and(|decoded| decoded.explicit) || denial.explicit;
    text.push_str(if by {
        "; a policy denies it: take that statement away, or let it spare this role"
    } else {
        "; allow it in the policy of the role that evenkeel runs as"
    });
    if denial.encoded.is_some() && decoded.is_none() {
        text.push_str(
            " (AWS hides the details; allow sts:DecodeAuthorizationMessage to see them here)",
        );
    }
    let error = CloudError::new(ErrorClass::Denied, call.operation, text);
    match call.access() {
        Access::Read => error.of_provider(ProviderFault::PermissionDenied),
        Access::Write => error,
    }
}

/// The error of an answer that did not come in time.
pub fn from_silence(call: &Call, limit: Duration) -> CloudError {
    let what = format!("AWS did not answer within {limit:?}; it is asked again");
    CloudError::new(lost(call.access()), call.operation, what)
}

/// The error of a connection that could not be made: nothing was sent. Every Service needs it.
pub fn from_connect(call: &Call, source: Box<dyn Error + Send + Sync>) -> CloudError {
    let said = evenkeel_core::error::chain(&*source);
    let advice = if said.contains("certificate") {
        "name a file with the certificates of the authority that signs for the endpoint, or for the proxy before it, with --ca-file".to_owned()
    } else {
        let api = call.service.prefix();
        format!(
            "see that the controller may reach the endpoint of {api} in its region, directly or by HTTPS_PROXY"
        )
    };
    let what = format!("AWS cannot be reached: {said}; {advice}");
    CloudError::new(ErrorClass::Transient, call.operation, what)
        .of_provider(ProviderFault::Unreachable)
}

/// The error of a connection that broke before the whole answer was there.
pub fn from_break(call: &Call, source: Box<dyn Error + Send + Sync>) -> CloudError {
    let what = "the connection to AWS broke before the whole answer was there; it is asked again";
    CloudError::new(lost(call.access()), call.operation, what).with_source(source)
}

/// There are no credentials, or none that can be had now.
pub fn from_credentials(
    operation: &'static str,
    source: Box<dyn Error + Send + Sync>,
) -> CloudError {
    let what = format!(
        "no credentials: {}; give the controller a role (EKS Pod Identity, IAM roles for service accounts), or a profile",
        evenkeel_core::error::chain(&*source),
    );
    CloudError::new(ErrorClass::Denied, operation, what)
        .of_provider(ProviderFault::CredentialsExpired)
}

/// An answer that is not what AWS documents.
pub fn not_understood(call: &Call, source: Box<dyn Error + Send + Sync>) -> CloudError {
    let what = "AWS answered something that is not understood; look whether a proxy stands between";
    CloudError::new(lost(call.access()), call.operation, what).with_source(source)
}

/// What the operator has to configure before anything can be asked.
pub fn not_configured(operation: &'static str, what: impl Into<String>) -> CloudError {
    CloudError::new(ErrorClass::Denied, operation, what).of_provider(ProviderFault::Unreachable)
}

/// What is in the way and not ours.
pub fn foreign(operation: &'static str, what: impl Into<String>) -> CloudError {
    CloudError::new(ErrorClass::Rejected, operation, what)
        .with_code(code::FOREIGN)
        .because(FailureReason::OwnershipConflict)
}

/// What is used goes later.
pub fn in_use(operation: &'static str, what: impl Into<String>) -> CloudError {
    CloudError::new(ErrorClass::Transient, operation, what).with_code(code::DEPENDENCY)
}

/// What was seen is not what there is.
pub fn stale(operation: &'static str, what: impl Into<String>) -> CloudError {
    CloudError::new(ErrorClass::Conflict, operation, what)
}
