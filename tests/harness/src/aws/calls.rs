//! What went over the wire: every call with its parameters and outcome. Decides.

use std::fmt;

use serde_json::Value;

use crate::cloud::calls::{Recorded, Sort, write_end};

/// All calls in the order in which they arrived.
pub type CallLog = crate::cloud::calls::CallLog<Call>;

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// The service as botocore names it: `elbv2`, `ec2`.
    pub service: String,
    /// The operation: `CreateLoadBalancer`.
    pub name: String,
}

impl Operation {
    pub(super) fn new(service: &str, name: &str) -> Self {
        Self {
            service: service.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.name)
    }
}

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
        write_end(f, self.status, self.error.as_deref(), self.fault.as_deref())
    }
}

impl Recorded for Call {
    type Operation = Operation;

    fn operation(&self) -> Operation {
        Operation::new(&self.service, &self.operation)
    }

    fn sort(&self) -> Sort {
        match self.is_read() {
            true => Sort::Read,
            false => Sort::Write,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::cloud::calls::Counts;

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
