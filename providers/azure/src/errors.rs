//! What to do about an error of Azure: one table from its codes to classes and texts (Decides).
//!
//! Azure wraps errors: the innermost code says most, then the outer ones, then the HTTP status. A code that is not in the table is
//! retried slowly, and its message is shown as it came.

mod table;
#[cfg(test)]
mod tests;

use std::{error::Error, fmt, time::Duration};

use evenkeel_core::error::{CloudError, ErrorClass, FailureReason, ProviderFault};
use serde_json::Value;

use crate::{
    call::{Call, Verb},
    client::ResourcePath,
};
use table::Means;

/// Whether a call changes anything: of a write that got no answer only a read knows the fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It does not.
    Read,
    /// It does.
    Write,
}

/// An answer that is an error, or a long-running operation that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; of an operation that failed later that of its report.
    pub status: u16,
    /// Codes, the innermost first; none where there is no body.
    pub codes: Vec<String>,
    /// Messages, in the same order.
    pub messages: Vec<String>,
    /// `Retry-After`.
    pub after: Option<Duration>,
    /// `x-ms-request-id`.
    pub request_id: Option<String>,
}

/// Codes that are more than an error to one who reads or deletes.
pub mod code {
    /// Whether what was asked for is not there: success to one who deletes, nothing to one who reads.
    pub fn is_gone(code: &str) -> bool {
        matches!(
            code,
            "ResourceNotFound" | "NotFound" | "ParentResourceNotFound" | "ResourceGroupNotFound"
        )
    }
}

/// What Azure said, whole: it may name what it refuses.
#[derive(Debug)]
struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Said {}

impl Answer {
    /// Reads a body: `{"error": {"code", "message", "details": […]}}`, of an operation with `status` beside `error`. One that
    /// is none of these has no codes.
    pub fn read(status: u16, body: &str) -> Self {
        let mut answer = Self {
            status,
            ..Self::default()
        };
        if let Ok(body) = serde_json::from_str::<Value>(body) {
            answer.add(&body["error"], 0);
        }
        answer
    }

    /// The details come before what they are details of.
    fn add(&mut self, error: &Value, depth: usize) {
        // More than Azure ever nests.
        if depth > 8 {
            return;
        }
        for detail in error["details"].as_array().into_iter().flatten() {
            self.add(detail, depth + 1);
        }
        self.add_inner(&error["innererror"], depth);
        if let Some(code) = error["code"].as_str() {
            self.codes.push(code.to_owned());
            self.messages
                .push(error["message"].as_str().unwrap_or_default().to_owned());
        }
    }

    fn add_inner(&mut self, error: &Value, depth: usize) {
        if error.is_object() {
            self.add(error, depth + 1);
        }
    }

    /// Whether what was asked for is not there.
    pub fn is_gone(&self) -> bool {
        match self.codes.is_empty() {
            true => self.status == 404,
            false => self.codes.iter().any(|code| code::is_gone(code)),
        }
    }

    /// What Azure said, without the full stop that the advice would follow.
    fn said(&self) -> String {
        let mut messages = self
            .messages
            .iter()
            .map(|message| message.trim().trim_end_matches('.'));
        match (
            messages.find(|message| !message.is_empty()),
            self.codes.first(),
        ) {
            (Some(message), _) => message.to_owned(),
            (None, Some(code)) => format!("Azure answered {code}"),
            (None, None) => format!("Azure answered {} without saying why", self.status),
        }
    }
}

/// The class of a call whose fate is unknown.
fn lost(access: Access) -> ErrorClass {
    match access {
        Access::Read => ErrorClass::Transient,
        Access::Write => ErrorClass::Conflict,
    }
}

/// The error of an answer to a call, `PUT loadBalancers`.
pub fn from_answer(operation: &'static str, access: Access, answer: Answer) -> CloudError {
    let known = answer
        .codes
        .iter()
        .find_map(|code| Some((code, table::row_of(code)?)));
    let (means, advice) = match known {
        // A quota is told in the same words as an operation that is not allowed just now.
        Some((_, row)) if row.means == Means::QuotaUnlessTold && answer.after.is_some() => {
            (Means::Throttled, "")
        }
        Some((_, row)) => (row.means, row.advice),
        None => (table::by_status(answer.status), ""),
    };
    let said = answer.said();
    let text = match (means, advice) {
        (Means::Denied, _) => denied(&said),
        (_, "") => said,
        (_, advice) => format!("{said}; {advice}"),
    };
    let class = match means {
        Means::Rejected | Means::Taken | Means::NoAddress => ErrorClass::Rejected,
        Means::Quota | Means::QuotaUnlessTold => ErrorClass::Quota,
        Means::Conflict => ErrorClass::Conflict,
        Means::Transient => ErrorClass::Transient,
        Means::Lost => lost(access),
        Means::Throttled => ErrorClass::Throttled {
            after: answer.after,
        },
        Means::Denied | Means::Policy | Means::Credentials | Means::Account => ErrorClass::Denied,
    };
    let error = CloudError::new(class, operation, text);
    let mut error = match means {
        Means::Taken => error.because(FailureReason::OwnershipConflict),
        Means::NoAddress => error.because(FailureReason::AddressNotAvailable),
        Means::Credentials => error.of_provider(ProviderFault::CredentialsExpired),
        Means::Account => error.of_provider(ProviderFault::PermissionDenied),
        // What every Service needs, and nobody may read, is no Service's fault.
        Means::Denied if access == Access::Read => {
            error.of_provider(ProviderFault::PermissionDenied)
        }
        _ => error,
    };
    let code = known.map(|(code, _)| code).or(answer.codes.first());
    if let Some(code) = code {
        error = error.with_code(code.as_str());
    }
    error.request_id = answer.request_id;
    error.with_source(Said(answer.messages.join(" ")))
}

/// Node resource groups of managed clusters are named so where nobody chose another name.
const NODE_GROUP: &str = "/resourcegroups/mc_";

/// Names the action that Azure names, where it is missing, and what denies it. Azure says one of
/// - `… does not have authorization to perform action 'A' over scope 'S' …`
/// - `… has permission to perform action 'A' on scope 'S'; however, the access is denied because of the deny assignment with name 'D' …`
/// - `… has permission …; however, it does not have permission to perform action(s) 'A' on the linked scope(s) 'S' …`
fn denied(said: &str) -> String {
    let missing = said
        .split_once("; however, ")
        .map_or(said, |(_, missing)| missing);
    let quoted = |text: &str, before: &[&str]| {
        let rest = before
            .iter()
            .find_map(|before| Some(text.split_once(before)?.1))?;
        rest.split_once('\'').map(|(text, _)| text.to_owned())
    };
    let action = |text| quoted(text, &["perform action '", "perform action(s) '"]);
    let scope = |text| quoted(text, &["over scope '", "linked scope(s) '", "on scope '"]);
    let role = "give the controller's identity a role with that action there";
    if let Some(assignment) = quoted(missing, &["deny assignment with name '"])
        && let (Some(action), Some(scope)) = (action(said), scope(said))
    {
        return format!(
            "not allowed: {action} on {scope}: the deny assignment {assignment} forbids it, whatever role one has, as in the locked \
             node resource group of AKS Automatic; have load balancers and addresses in another resource group"
        );
    }
    match (action(missing), scope(missing)) {
        (Some(action), Some(scope)) if scope.to_ascii_lowercase().contains(NODE_GROUP) => format!(
            "not allowed: {action} on {scope}; {role}. In the node resource group of a locked cluster nobody may write: name \
             another resource group"
        ),
        (Some(action), Some(scope)) => format!("not allowed: {action} on {scope}; {role}"),
        (Some(action), None) => {
            format!("not allowed: {action}; give the controller's identity a role with that action")
        }
        (None, _) => format!("{said}; give the controller's identity a role that allows it"),
    }
}

/// The error of an answer that did not come in time, or of a connection that broke before the whole answer was there.
pub fn from_silence(operation: &'static str, access: Access) -> CloudError {
    CloudError::new(
        lost(access),
        operation,
        "Azure did not answer in time; it is asked again",
    )
}

/// The error of a connection that could not be made: nothing was sent. Every Service needs it.
pub fn from_connect(call: &Call, source: Box<dyn Error + Send + Sync>) -> CloudError {
    let said = evenkeel_core::error::chain(&*source);
    let advice = if said.contains("certificate") {
        "name a file with the certificates of the authority that signs for the endpoint, or for the proxy before it, with --ca-file"
    } else {
        "see that the controller may reach Azure Resource Manager, directly or by HTTPS_PROXY"
    };
    let what = format!("Azure cannot be reached: {said}; {advice}");
    CloudError::new(ErrorClass::Transient, call.operation, what)
        .of_provider(ProviderFault::Unreachable)
}

/// The error of a connection that broke before the whole answer was there.
pub fn from_break(call: &Call, source: Box<dyn Error + Send + Sync>) -> CloudError {
    let what = "the connection to Azure broke before the whole answer was there; it is asked again";
    CloudError::new(lost(call.access()), call.operation, what).with_source(source)
}

/// An answer that is not what Azure documents.
pub fn not_understood(call: &Call, source: Box<dyn Error + Send + Sync>) -> CloudError {
    let what =
        "Azure answered something that is not understood; look whether a proxy stands between";
    CloudError::new(lost(call.access()), call.operation, what).with_source(source)
}

/// What the operator has to configure before anything can be asked.
pub fn not_configured(operation: &'static str, what: impl Into<String>) -> CloudError {
    CloudError::new(ErrorClass::Denied, operation, what).of_provider(ProviderFault::Unreachable)
}

/// A call that is none of ours.
pub(crate) fn unknown_call(verb: Verb, path: &ResourcePath) -> CloudError {
    let what = format!("{verb:?} of {path} is no call of ours; please report this with the log");
    CloudError::new(ErrorClass::Rejected, "call", what)
}

/// A write was accepted, and what it was about is not there.
pub(crate) fn gone(call: &Call, id: &ResourcePath) -> CloudError {
    let what = format!("{id} is gone again; it is looked at anew");
    CloudError::new(ErrorClass::Conflict, call.operation, what)
}

/// A write was accepted, and nobody knows how it ended.
pub(crate) fn unknown_fate(call: &Call, id: &ResourcePath) -> CloudError {
    let what = format!("it is not known what became of {id}; it is looked at anew");
    CloudError::new(ErrorClass::Conflict, call.operation, what)
}

/// A write was accepted, and has not ended in the longest time that it may take.
pub(crate) fn unfinished(call: &Call, id: &ResourcePath) -> CloudError {
    let what = format!("Azure still changes {id}; it is looked at anew");
    CloudError::new(ErrorClass::Conflict, call.operation, what)
}

/// Of these, whose names are given, the one that an error names last: of two rules that exclude each other the newer is named last.
pub(crate) fn named<'k, K>(
    error: &CloudError,
    candidates: impl IntoIterator<Item = (&'k K, Vec<String>)>,
) -> Option<&'k K> {
    let said = error
        .source
        .as_ref()
        .and_then(|source| source.downcast_ref::<Said>());
    let said = said
        .map_or(&error.message, |said| &said.0)
        .to_ascii_lowercase();
    candidates
        .into_iter()
        .filter_map(|(key, names)| {
            let last = |name: &String| mentioned(&said, &name.to_ascii_lowercase());
            Some((names.iter().filter_map(last).max()?, key))
        })
        .max_by_key(|(place, _)| *place)
        .map(|(_, key)| key)
}

/// Where a name is mentioned last, not as the beginning of another.
fn mentioned(said: &str, name: &str) -> Option<usize> {
    let whole = |(place, _): &(usize, &str)| {
        let after = said[place + name.len()..].chars().next();
        // A group's name ends before a hyphen, an id does not.
        let goes_on =
            |char: char| char.is_ascii_alphanumeric() || char == '-' && name.contains('/');
        !after.is_some_and(goes_on)
    };
    said.match_indices(name)
        .filter(whole)
        .map(|(place, _)| place)
        .last()
}
