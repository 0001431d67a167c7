//! Late writes: a write may not find what was made a moment ago. Decides.
//!
//! EC2 developer guide, "Eventual consistency in the Amazon EC2 API": "if you run a command to modify or describe the resource that you just
//! created, its ID might not have propagated throughout the system, and you will get an error responding that the resource does not
//! exist." ELB does not document it; its users see it (kubernetes-sigs/aws-load-balancer-controller#1433: ListenerNotFound right after
//! CreateListener). Names are not late: no second object of one name is made meanwhile.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::refusal::{Refusal, refuse};
use super::turn::Patience;
use crate::cloud::Settle;

/// What was made a moment ago.
#[derive(Debug, Default)]
pub(super) struct Young {
    made: BTreeMap<String, Timestamp>,
    patience: Patience,
}

impl Young {
    /// These were made now.
    pub(super) fn made(&mut self, ids: impl Iterator<Item = String>, now: Timestamp) {
        self.made.extend(ids.map(|id| (id, now)));
    }

    /// Refuses a write that names something which it does not find yet.
    pub(super) fn check(
        &mut self,
        (service, operation): (&str, &str),
        asked: &Value,
        lag: Settle,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.made.is_empty() {
            return Ok(());
        }
        let mut named = Vec::new();
        collect(asked, &mut named);
        let mut refusal = None;
        for id in named {
            let Some(since) = self.made.get(id) else {
                continue;
            };
            let Some(refused) = not_there(service, operation, id) else {
                continue;
            };
            match self.patience.is_over(id, *since, lag, now) {
                true => drop(self.made.remove(id)),
                false => refusal = refusal.or(Some(refused)),
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}

/// All texts but those of tags, which name nothing.
fn collect<'a>(asked: &'a Value, named: &mut Vec<&'a str>) {
    match asked {
        Value::String(text) => named.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, named)),
        Value::Object(members) => {
            let members = members
                .iter()
                .filter(|(key, _)| !matches!(&***key, "Tags" | "TagSpecifications"));
            members.for_each(|(_, value)| collect(value, named));
        }
        _ => {}
    }
}

/// How a write says that it does not find this; none where it does not say so.
fn not_there(service: &str, operation: &str, id: &str) -> Option<Refusal> {
    let code = match (service, operation, id) {
        // They succeed on what is not there: on what is young too, and nobody knows that they then do nothing.
        ("elbv2", "DeleteLoadBalancer" | "DeleteTargetGroup", _) => return None,
        ("elbv2", _, id) if id.contains(":loadbalancer/") => "LoadBalancerNotFound",
        ("elbv2", _, id) if id.contains(":targetgroup/") => "TargetGroupNotFound",
        ("elbv2", _, id) if id.contains(":listener/") => "ListenerNotFound",
        ("elbv2", _, id) if id.starts_with("sg-") => "InvalidSecurityGroup",
        ("ec2", "CreateTags" | "DeleteTags", id) if id.starts_with("sg-") => {
            "InvalidSecurityGroupID.NotFound"
        }
        ("ec2", _, id) if id.starts_with("sg-") => "InvalidGroup.NotFound",
        _ => return None,
    };
    Some(refuse(code, format!("'{id}' does not exist")))
}
