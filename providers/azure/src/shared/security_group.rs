//! The nodes' network security group: groups' security rules in, the next body out (Decides).
//!
//! It is there before us and never made or deleted: a write of one that was not read would take every rule of others away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    shared::{Claim, SharedObject},
};

use serde_json::Value;

use super::{
    json::{Child, Document},
    words::{self, list::SECURITY_RULES},
};
use crate::{Context, errors::named, model::Access, names};

/// The network security group, as the object that groups share.
#[derive(Clone, Debug)]
pub struct SecurityGroup {
    context: Arc<Context>,
}

impl SecurityGroup {
    /// That of the nodes.
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Reads what Azure sent.
    ///
    /// # Errors
    /// When it is no network security group.
    pub fn read(text: &str) -> Result<Document, serde_json::Error> {
        Document::read(text, &[SECURITY_RULES])
    }

    /// What is live of a group.
    pub fn access(&self, live: &Document, key: &GroupKey) -> Access {
        let rules = self.of_group(live, key);
        let rules = rules
            .filter_map(|child| Some((Arc::clone(&child.name), words::read_security_rule(child)?)));
        Access {
            rules: rules.collect(),
        }
    }

    /// Rules in Azure's words. Their priorities are not known before they are merged.
    pub(crate) fn words_of(access: &Access) -> Vec<Value> {
        let rules = access.rules.iter();
        rules
            .filter_map(|(name, rule)| {
                let child = words::security_rule(name, rule, 0);
                let mut word: Value = serde_json::from_str(child.raw()).ok()?;
                word["properties"].as_object_mut()?.remove("priority");
                Some(word)
            })
            .collect()
    }

    /// The names of all that may be a group's.
    pub(crate) fn names(live: &Document) -> impl Iterator<Item = String> {
        let children = live.list(SECURITY_RULES).iter();
        children.map(|child| child.name.to_string())
    }

    fn of_group<'a>(&self, live: &'a Document, key: &GroupKey) -> impl Iterator<Item = &'a Child> {
        let group = names::group(&self.context.cluster, key);
        let children = live.list(SECURITY_RULES).iter();
        children.filter(move |child| names::is_of(&child.name, &group))
    }

    /// A priority that no rule of the direction has: the first for what lets in, the last for what keeps out.
    fn free(&self, body: &Document, allow: bool) -> Option<u64> {
        let taken: BTreeSet<u64> = body
            .list(SECURITY_RULES)
            .iter()
            .filter_map(priority)
            .collect();
        let mut window = self.context.priorities.clone().map(u64::from);
        if allow {
            window.find(|priority| !taken.contains(priority))
        } else {
            window.rev().find(|priority| !taken.contains(priority))
        }
    }

    fn growth(&self, live: &Document, key: &GroupKey, claim: &Claim<Access>) -> isize {
        let count = |count: usize| isize::try_from(count).unwrap_or(isize::MAX);
        let there = count(self.of_group(live, key).count());
        match claim {
            Claim::Want(access) => count(access.rules.len()) - there,
            Claim::Gone => -there,
            Claim::Unknown => 0,
        }
    }
}

/// The priority of an inbound rule.
fn priority(child: &Child) -> Option<u64> {
    let inbound = child.get("direction").as_str() != Some("Outbound");
    child.get("priority").as_u64().filter(|_| inbound)
}

impl SharedObject for SecurityGroup {
    type Live = Document;
    type Fragment = Access;

    fn merge(&self, live: &Document, claims: &BTreeMap<GroupKey, Claim<Access>>) -> Document {
        let mut body = live.clone();
        // What goes makes room first.
        for (key, claim) in claims {
            let keeps = |child: &Child| match claim {
                Claim::Want(access) => access
                    .rules
                    .keys()
                    .any(|name| name.eq_ignore_ascii_case(&child.name)),
                Claim::Gone => false,
                Claim::Unknown => true,
            };
            let group = names::group(&self.context.cluster, key);
            body.retain(SECURITY_RULES, |child| {
                !names::is_of(&child.name, &group) || keeps(child)
            });
        }
        for claim in claims.values() {
            let Claim::Want(access) = claim else {
                continue;
            };
            for (name, rule) in &access.rules {
                let there = body.child(SECURITY_RULES, name);
                if there.and_then(words::read_security_rule).as_ref() == Some(rule) {
                    continue;
                }
                let kept = there.and_then(priority);
                if let Some(priority) = kept.or_else(|| self.free(&body, rule.allow)) {
                    body.upsert(SECURITY_RULES, words::security_rule(name, rule, priority));
                }
            }
        }
        body
    }

    fn shows(&self, live: &Document, key: &GroupKey, claim: &Claim<Access>) -> bool {
        match claim {
            Claim::Unknown => true,
            Claim::Gone => self.of_group(live, key).next().is_none(),
            Claim::Want(access) => {
                let rules = self.of_group(live, key);
                rules.count() == access.rules.len()
                    && access.rules.iter().all(|(name, rule)| {
                        let there = live.child(SECURITY_RULES, name);
                        there.and_then(words::read_security_rule).as_ref() == Some(rule)
                    })
            }
        }
    }

    fn excess(
        &self,
        live: &Document,
        claims: &BTreeMap<GroupKey, Claim<Access>>,
    ) -> Vec<(GroupKey, CloudError)> {
        let window = self.context.priorities.clone();
        let taken = live
            .list(SECURITY_RULES)
            .iter()
            .filter_map(priority)
            .filter(|priority| window.clone().any(|one| u64::from(one) == *priority))
            .count();
        let limit = self.context.limits.security_rules;
        let left = limit
            .saturating_sub(live.list(SECURITY_RULES).len())
            .min(window.len().saturating_sub(taken));
        let leave: isize = claims
            .iter()
            .map(|(key, claim)| self.growth(live, key, claim).min(0))
            .sum();
        let mut room = isize::try_from(left).unwrap_or(isize::MAX) - leave;
        let mut refused = Vec::new();
        for (key, claim) in claims {
            let more = self.growth(live, key, claim);
            if more <= 0 {
                continue;
            }
            if more <= room {
                room -= more;
                continue;
            }
            let text = format!(
                "{more} more security rules would be above the {limit} that Azure allows in a network security group, or above the priorities \
                 from {} to {}; delete rules that are not needed, or widen the range of priorities",
                window.start(),
                window.end()
            );
            refused.push((
                key.clone(),
                CloudError::new(ErrorClass::Quota, "PUT networkSecurityGroups", text),
            ));
        }
        refused
    }

    fn blamed(
        &self,
        error: &CloudError,
        tried: &BTreeMap<GroupKey, Claim<Access>>,
    ) -> Option<GroupKey> {
        let names = tried
            .keys()
            .map(|key| (key, vec![names::group(&self.context.cluster, key)]));
        named(error, names).cloned()
    }
}
