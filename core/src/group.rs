//! Groups: the Services that share one load balancer, nearly always one (Decides).

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use crate::{
    ids::{Cluster, GroupKey, ServiceRef},
    intent::{Intent, PortIntent},
    ports::PortKey,
    problem::{PortError, reason},
};

#[cfg(test)]
mod tests;

/// The input of a provider's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Which group.
    pub key: GroupKey,
    /// The cluster it belongs to.
    pub cluster: Cluster,
    /// The members whose intent is known, oldest first. Never empty.
    pub members: Vec<Intent>,
    /// Members that are there but could not be read: what is theirs stays as it is.
    pub unknown: Vec<ServiceRef>,
}

impl Group {
    /// The group of one Service.
    pub fn single(cluster: Cluster, intent: Intent) -> Self {
        Self {
            key: GroupKey::Service(intent.service.clone()),
            cluster,
            members: vec![intent],
            unknown: Vec::new(),
        }
    }

    /// The key of the group a Service belongs to.
    pub fn key_of(intent: &Intent) -> GroupKey {
        match &intent.options.group {
            None => GroupKey::Service(intent.service.clone()),
            Some(name) => GroupKey::Shared {
                namespace: intent.service.key.namespace.clone(),
                name: name.clone(),
            },
        }
    }

    /// The oldest member: it speaks for what the members share (address, scheme, families).
    ///
    /// # Panics
    /// Never for a group that was built from at least one intent.
    pub fn first(&self) -> &Intent {
        self.members.first().expect("a group has a member")
    }

    /// What the members approve, oldest first, with spaces between: each of them may speak for all.
    pub fn approvals(&self) -> Option<Arc<str>> {
        let members = self.members.iter();
        let approvals: Vec<&str> = members
            .filter_map(|member| member.options.approve.as_deref())
            .map(str::trim)
            .collect();
        (!approvals.is_empty()).then(|| approvals.join(" ").into())
    }

    /// Every port of every member, each with its member. Where two members ask for one port the older has it, and
    /// the younger gets an error for that port.
    pub fn ports(&self) -> (BTreeMap<PortKey, (&Intent, &PortIntent)>, Vec<PortError>) {
        let mut taken: BTreeMap<PortKey, (&Intent, &PortIntent)> = BTreeMap::new();
        let mut errors = Vec::new();
        for member in &self.members {
            for port in &member.ports {
                if let Some((holder, _)) = taken.get(&port.key) {
                    errors.push(PortError {
                        service: member.service.clone(),
                        port: port.key,
                        reason: reason::PORT_CONFLICT,
                        message: format!(
                            "{} of the same group has port {}. Use another port, or leave the group.",
                            holder.service, port.key
                        )
                        .into(),
                    });
                } else {
                    taken.insert(port.key, (member, port));
                }
            }
        }
        (taken, errors)
    }
}
