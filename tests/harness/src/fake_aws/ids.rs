//! Ids and ARNs as AWS forms them, the same in every run. Decides.

use std::fmt;

use crate::cloud::drawn::Drawn;

/// Whose AWS, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) region: String,
    pub(super) account: String,
}

impl Place {
    /// Service authorization reference, "Resource types defined by Elastic Load Balancing V2":
    /// `arn:PARTITION:elasticloadbalancing:REGION:ACCOUNT:loadbalancer/net/NAME/ID` and so on.
    pub(super) fn elb_arn(&self, resource: impl fmt::Display) -> String {
        let Self { region, account } = self;
        format!("arn:aws:elasticloadbalancing:{region}:{account}:{resource}")
    }
}

/// Ids that look drawn.
#[derive(Debug, Default)]
pub(super) struct Ids(Drawn);

impl Ids {
    /// EC2 user guide, "Resource IDs": a prefix and 17 hexadecimal digits: `sg-0123456789abcdef0`.
    pub(super) fn ec2(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.0.next())
    }

    /// The last part of an ARN of ELB's: 16 hexadecimal digits.
    pub(super) fn elb(&mut self) -> String {
        format!("{:016x}", self.0.next())
    }
}

/// Whether an id of EC2's is one at all, with this prefix.
pub(super) fn is_ec2_id(id: &str, prefix: &str) -> bool {
    let digits = id
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| {
        [8, 17].contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit())
    })
}
