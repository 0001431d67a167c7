//! What is in a region, as boto3 read it in one go. Decides nothing; finds things by name.
//!
//! Items are AWS's own JSON (`DescribeLoadBalancers` and so on), with more inside: load balancers have `Attributes`, `Tags` and
//! `Listeners` (those `Attributes`, `Tags`, `AllCertificates`), target groups `Attributes`, `Tags` and `Targets` with their health.
//! `Tags` and `Attributes` are objects: `group["Tags"]["Name"]`.

use std::fmt;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A region at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct State(Value);

impl State {
    pub(super) fn new(value: Value) -> Self {
        Self(value)
    }

    /// All load balancers.
    #[must_use]
    pub fn load_balancers(&self) -> &[Value] {
        self.list("LoadBalancers")
    }

    /// All target groups.
    #[must_use]
    pub fn target_groups(&self) -> &[Value] {
        self.list("TargetGroups")
    }

    /// All security groups, those that each VPC has from the beginning too.
    #[must_use]
    pub fn security_groups(&self) -> &[Value] {
        self.list("SecurityGroups")
    }

    /// All rules of security groups.
    #[must_use]
    pub fn security_group_rules(&self) -> &[Value] {
        self.list("SecurityGroupRules")
    }

    /// All subnets.
    #[must_use]
    pub fn subnets(&self) -> &[Value] {
        self.list("Subnets")
    }

    /// All Elastic IPs.
    #[must_use]
    pub fn addresses(&self) -> &[Value] {
        self.list("Addresses")
    }

    /// The load balancer of this name.
    ///
    /// # Errors
    /// When there is none, or several: with all names.
    pub fn load_balancer(&self, name: &str) -> Result<&Value> {
        only(self.load_balancers(), "LoadBalancerName", name)
    }

    /// The target group of this name.
    ///
    /// # Errors
    /// As [`State::load_balancer`].
    pub fn target_group(&self, name: &str) -> Result<&Value> {
        only(self.target_groups(), "TargetGroupName", name)
    }

    /// The security group of this name.
    ///
    /// # Errors
    /// As [`State::load_balancer`].
    pub fn security_group(&self, name: &str) -> Result<&Value> {
        only(self.security_groups(), "GroupName", name)
    }

    /// The rules for what comes in of the group with this id.
    #[must_use]
    pub fn ingress_rules(&self, group_id: &str) -> Vec<&Value> {
        self.security_group_rules()
            .iter()
            .filter(|rule| rule["GroupId"] == group_id && rule["IsEgress"] == false)
            .collect()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.0[name]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

fn only<'a>(items: &'a [Value], key: &str, name: &str) -> Result<&'a Value> {
    let mut found = items.iter().filter(|item| item[key] == name);
    let there = || {
        let names: Vec<_> = items
            .iter()
            .map(|item| item[key].as_str().unwrap_or_default())
            .collect();
        format!("not exactly one {key} {name:?} among {names:?}")
    };
    let item = found.next().with_context(there)?;
    anyhow::ensure!(found.next().is_none(), "{}", there());
    Ok(item)
}
