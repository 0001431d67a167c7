//! What went over the wire: every call with its parameters and outcome, and how many reads and writes that makes. Decides.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// One request to AWS. A request that is tried again is another call: AWS counts it, so do we.
#[derive(Clone, Debug)]
pub struct Call {
    /// The service as botocore names it: `elbv2`, `ec2`, `sts`.
    pub service: String,
    /// The operation: `CreateLoadBalancer`.
    pub operation: String,
    /// The region that the request was signed for.
    pub region: String,
    /// The access key that it was signed with.
    pub access_key: String,
    /// The parameters as the SDKs show them: `{"Names": ["a"], "PageSize": 400}`.
    pub parameters: Value,
    /// The status of the reply as the caller saw it; none when the call is under way or the connection broke.
    pub status: Option<u16>,
    /// The error code of the reply.
    pub error: Option<String>,
    /// The fault that broke the call.
    pub fault: Option<String>,
}

impl Call {
    /// `elbv2:CreateLoadBalancer`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.service, self.operation)
    }

    /// Whether it changes nothing in AWS.
    #[must_use]
    pub fn is_read(&self) -> bool {
        // Of STS nothing lasts: it hands out credentials and names.
        self.service == "sts"
            || ["Describe", "Get", "List"]
                .iter()
                .any(|prefix| self.operation.starts_with(prefix))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.parameters)?;
        match (self.status, &self.error) {
            (Some(status), Some(error)) => write!(f, " -> {status} {error}")?,
            (Some(status), None) => write!(f, " -> {status}")?,
            (None, _) => write!(f, " -> no reply")?,
        }
        match &self.fault {
            Some(fault) => write!(f, " ({fault})"),
            None => Ok(()),
        }
    }
}

/// A moment in the log, to count one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

/// All calls in the order in which they arrived.
#[derive(Clone, Debug, Default)]
pub struct CallLog {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl CallLog {
    /// All calls so far.
    #[must_use]
    pub fn all(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// Now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.lock().len())
    }

    /// The calls that arrived after `mark`.
    #[must_use]
    pub fn since(&self, mark: Mark) -> Vec<Call> {
        self.lock()[mark.0..].to_vec()
    }

    /// How many of each arrived after `mark`.
    #[must_use]
    pub fn count_since(&self, mark: Mark) -> Counts {
        Counts::of(&self.lock()[mark.0..])
    }

    /// Adds a call that arrived; returns its place.
    pub(super) fn arrived(&self, call: Call) -> usize {
        let mut calls = self.lock();
        calls.push(call);
        calls.len() - 1
    }

    pub(super) fn get(&self, place: usize) -> Call {
        self.lock()[place].clone()
    }

    /// Says more of a call.
    pub(super) fn change(&self, place: usize, change: impl FnOnce(&mut Call)) {
        change(&mut self.lock()[place]);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for CallLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock()
            .iter()
            .try_for_each(|call| writeln!(f, "{call}"))
    }
}

/// How many calls, of which kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that change nothing.
    pub reads: usize,
    /// Calls that change something.
    pub writes: usize,
    /// By name: `elbv2:CreateLoadBalancer`.
    pub by_operation: BTreeMap<String, usize>,
}

impl Counts {
    /// Counts calls.
    #[must_use]
    pub fn of(calls: &[Call]) -> Self {
        let mut counts = Self::default();
        for call in calls {
            match call.is_read() {
                true => counts.reads += 1,
                false => counts.writes += 1,
            }
            *counts.by_operation.entry(call.name()).or_default() += 1;
        }
        counts
    }

    /// How often an operation was called: `count.of_operation("elbv2:RegisterTargets")`.
    #[must_use]
    pub fn of_operation(&self, name: &str) -> usize {
        self.by_operation.get(name).copied().unwrap_or_default()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reads, {} writes", self.reads, self.writes)?;
        for (index, (name, count)) in self.by_operation.iter().enumerate() {
            let separator = if index == 0 { ": " } else { ", " };
            write!(f, "{separator}{count} {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::aws) fn call(service: &str, operation: &str) -> Call {
        Call {
            service: service.to_owned(),
            operation: operation.to_owned(),
            region: "eu-west-1".to_owned(),
            access_key: "test".to_owned(),
            parameters: json!({}),
            status: Some(200),
            error: None,
            fault: None,
        }
    }

    #[test]
    fn reads_and_writes_are_counted_apart() {
        let log = CallLog::default();
        log.arrived(call("elbv2", "DescribeLoadBalancers"));
        let mark = log.mark();
        for (service, operation) in [
            ("elbv2", "CreateListener"),
            ("ec2", "DescribeSubnets"),
            ("elbv2", "CreateListener"),
            ("sts", "GetCallerIdentity"),
            ("sts", "DecodeAuthorizationMessage"),
            ("ec2", "AuthorizeSecurityGroupIngress"),
            ("resourcegroupstaggingapi", "GetResources"),
        ] {
            log.arrived(call(service, operation));
        }
        let counts = log.count_since(mark);
        assert_eq!((counts.reads, counts.writes), (4, 3), "{counts}");
        assert_eq!(counts.of_operation("elbv2:CreateListener"), 2);
        assert_eq!(counts.of_operation("elbv2:DescribeLoadBalancers"), 0);
        assert_eq!(log.since(log.mark()).len(), 0);
        assert_eq!(
            Counts::of(&log.all()[..2]).to_string(),
            "1 reads, 1 writes: 1 elbv2:CreateListener, 1 elbv2:DescribeLoadBalancers"
        );
    }
}
