//! What is there of what the account may have so many of: by the last look at the region, and by our own writes since (Decides).

use std::{collections::BTreeMap, sync::Arc};

use super::{Index, State};
use crate::model::{Observed, Step, Used};

/// What a bulk look found in the region, whoever made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) load_balancers: usize,
    pub(crate) interfaces: usize,
    pub(crate) target_groups: usize,
}

impl Region {
    /// What is left of it without what is ours.
    pub(super) fn without(self, groups: &BTreeMap<Arc<str>, Observed>) -> Self {
        let mut ours = Self::default();
        for group in groups.values() {
            ours.load_balancers += group.load_balancers.len();
            ours.interfaces += interfaces(group);
            ours.target_groups += group.target_groups.len();
        }
        Self {
            load_balancers: self.load_balancers.saturating_sub(ours.load_balancers),
            interfaces: self.interfaces.saturating_sub(ours.interfaces),
            target_groups: self.target_groups.saturating_sub(ours.target_groups),
        }
    }
}

fn interfaces(group: &Observed) -> usize {
    let load_balancers = group.load_balancers.values();
    load_balancers.map(|lb| lb.subnets.len()).sum()
}

/// A group makes something, as long as this is kept.
pub(crate) struct Making<'a> {
    index: &'a Index,
    group: Arc<str>,
    what: Arc<str>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut state = self.index.state();
        if let Some(making) = state.making.get_mut(&self.group) {
            making.remove(&self.what);
            if making.is_empty() {
                state.making.remove(&self.group);
            }
        }
    }
}

impl Index {
    /// Notes that a group is about to make something of which there may be so many, until the guard is dropped.
    pub(crate) fn makes(&self, group: &str, step: &Step) -> Option<Making<'_>> {
        let (what, is_target_group) = match step {
            Step::CreateSecurityGroup { name, .. } => (name, false),
            Step::CreateTargetGroup(new) => (&new.name, true),
            Step::CreateLoadBalancer(new) => (&new.name, false),
            _ => return None,
        };
        let group: Arc<str> = group.into();
        let mut state = self.state();
        let making = state.making.entry(Arc::clone(&group)).or_default();
        making.insert(Arc::clone(what), is_target_group);
        Some(Making {
            index: self,
            group,
            what: Arc::clone(what),
        })
    }

    /// What the region has that is not ours; None where nobody has looked yet.
    pub(crate) fn others(&self) -> Option<Region> {
        self.state().others
    }

    /// Takes what was written down for what a look found.
    pub(crate) fn recall(&self, groups: BTreeMap<Arc<str>, Observed>, others: Option<Region>) {
        let mut state = self.state();
        state.groups = groups;
        state.others = others;
    }

    /// What all but this group have; None where nobody has looked yet.
    pub(crate) fn used(&self, identity: &str) -> Option<Used> {
        self.state().used(identity)
    }
}

impl State {
    fn used(&self, identity: &str) -> Option<Used> {
        let others = self.others?;
        let mut used = Used {
            load_balancers: others.load_balancers,
            interfaces: others.interfaces,
            target_groups: others.target_groups,
            ..Used::default()
        };
        for (_, group) in self
            .groups
            .iter()
            .filter(|(group, _)| ***group != *identity)
        {
            used.load_balancers += group.load_balancers.len();
            used.begun += usize::from(group.load_balancers.is_empty());
            used.interfaces += interfaces(group);
            used.target_groups += group.target_groups.len();
            used.security_groups += group.security_groups.len();
        }
        for (group, making) in self
            .making
            .iter()
            .filter(|(group, _)| ***group != *identity)
        {
            let known = self.groups.get(group);
            used.begun += usize::from(known.is_none());
            let new =
                |name: &Arc<str>| known.is_none_or(|known| !known.target_groups.contains_key(name));
            let groups = making
                .iter()
                .filter(|(_, is_target_group)| **is_target_group);
            used.target_groups += groups.filter(|(name, _)| new(name)).count();
        }
        Some(used)
    }
}
