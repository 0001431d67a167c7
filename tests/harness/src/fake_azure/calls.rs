//! What went over the wire. Decides.

use std::fmt;

use serde_json::Value;

use crate::cloud::calls::{Recorded, Sort, write_end};

/// All calls in the order in which they arrived.
pub type CallLog = crate::cloud::calls::CallLog<Call>;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What it is: `PUT loadBalancers`, `LIST publicIPAddresses`, `GET loadBalancers/backendAddressPools`, `POLL`, `TOKEN`.
    pub kind: String,
    /// The path, as sent.
    pub path: String,
    /// The header `If-Match`.
    pub if_match: Option<String>,
    /// The header `x-ms-client-request-id`.
    pub request_id: Option<String>,
    /// The body, of a write.
    pub body: Option<Value>,
    /// The HTTP status; None: no reply.
    pub status: Option<u16>,
    /// The code of the error, the innermost of them.
    pub error: Option<String>,
    /// What broke it.
    pub fault: Option<String>,
    /// A write of the same load balancer or security group that had no reply, or whose operation was not over, when this write came.
    pub beside: Option<String>,
}

impl Call {
    /// Whether nothing lasts of it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        ["GET ", "LIST ", "POLL", "TOKEN"]
            .iter()
            .any(|verb| self.kind.starts_with(verb))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.path)?;
        if let Some(etag) = &self.if_match {
            write!(f, " if {etag}")?;
        }
        write_end(f, self.status, self.error.as_deref(), self.fault.as_deref())
    }
}

impl Recorded for Call {
    type Operation = String;

    fn operation(&self) -> String {
        self.kind.clone()
    }

    fn sort(&self) -> Sort {
        match self.is_read() {
            _ if self.kind == "TOKEN" => Sort::Neither,
            true => Sort::Read,
            false => Sort::Write,
        }
    }
}
