//! What can be asked of each moment that ever was. Decides.
//!
//! A moment begins with each call that changed something, and whenever time changed something by itself: a target became healthy, a load
//! balancer active.

use super::elb::health::{self, Health};
use super::elb::target_groups::TargetGroup;
use super::elb::targets::Key;
use super::settings::Settings;
use super::state::State;
use crate::cloud::history;

/// All moments so far; each told by how AWS behaved then.
pub type History = history::History<State, Settings>;

/// Everything at one time.
pub type Moment<'a> = history::Moment<'a, State, Settings>;

impl Moment<'_> {
    /// The health of all targets of a target group, as AWS would show it.
    #[must_use]
    pub fn health<'g>(&self, group: &'g TargetGroup) -> Vec<(&'g Key, Health)> {
        let balancers = group.load_balancers.iter();
        let balancers: Vec<_> = balancers
            .filter_map(|arn| self.state.load_balancers.get(arn))
            .collect();
        let of = |key| health::of(self.state, self.behaviour, self.at, group, &balancers, key);
        group.targets.keys().map(|key| (key, of(key))).collect()
    }

    /// How many targets of a target group are healthy.
    #[must_use]
    pub fn healthy(&self, group: &TargetGroup) -> usize {
        let all = self.health(group).into_iter();
        all.filter(|(_, health)| health.state == "healthy").count()
    }

    /// The target group of this name.
    #[must_use]
    pub fn target_group(&self, name: &str) -> Option<&TargetGroup> {
        let mut groups = self.state.target_groups.values();
        groups.find(|group| group.name == name)
    }
}
