//! Where every Service stands, counted when somebody asks (Decides).

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use evenkeel_core::{
    ids::{GroupKey, ProviderName, ServiceUid},
    published::TargetHealth,
};
use jiff::Timestamp;

use crate::{
    metrics::{Metrics, State},
    view::standing::Trouble,
};

/// How often clouds are asked for the health of targets, whoever asks us how often.
const LOOK: Duration = Duration::from_secs(1);

/// Where every Service stands.
#[derive(Debug, Default)]
pub(super) struct Census {
    services: HashMap<ServiceUid, (ProviderName, State, Option<Timestamp>)>,
    targets: HashMap<(ProviderName, GroupKey), TargetHealth>,
    /// The pools of their addresses, of those that have some.
    pools: HashMap<(ProviderName, GroupKey), Vec<String>>,
    /// What stands in the way of those that are not simply well.
    troubles: HashMap<ServiceUid, Box<Trouble>>,
    /// When the health of targets was last asked for because somebody wanted to know.
    looked: Option<Instant>,
}

impl Census {
    /// A Service stands there; `pending` is since when it is not as asked.
    pub(super) fn service(
        &mut self,
        service: &ServiceUid,
        provider: &ProviderName,
        state: State,
        pending: Option<Timestamp>,
    ) {
        self.services
            .insert(service.clone(), (provider.clone(), state, pending));
    }

    /// A Service is no business of ours any more.
    pub(super) fn gone(&mut self, service: &ServiceUid) {
        self.services.remove(service);
        self.troubles.remove(service);
    }

    /// What stands in the way of a Service.
    pub(super) fn troubled(&mut self, service: &ServiceUid, trouble: Trouble) {
        if trouble.is_none() {
            self.troubles.remove(service);
        } else {
            self.troubles.insert(service.clone(), Box::new(trouble));
        }
    }

    /// Who serves a Service, where it stands, and since when it is not as asked.
    pub(super) fn standing(
        &self,
        service: &ServiceUid,
    ) -> Option<&(ProviderName, State, Option<Timestamp>)> {
        self.services.get(service)
    }

    /// What stands in the way of a Service.
    pub(super) fn trouble(&self, service: &ServiceUid) -> Trouble {
        let trouble = self.troubles.get(service);
        trouble
            .map(|trouble| (**trouble).clone())
            .unwrap_or_default()
    }

    /// The targets of a group.
    pub(super) fn targets_of(
        &self,
        provider: &ProviderName,
        group: &GroupKey,
    ) -> Option<TargetHealth> {
        self.targets
            .get(&(provider.clone(), group.clone()))
            .copied()
    }

    /// The pools that a group's addresses are of.
    pub(super) fn pools_of(&self, provider: &ProviderName, group: &GroupKey) -> Vec<String> {
        let pools = self.pools.get(&(provider.clone(), group.clone()));
        pools.cloned().unwrap_or_default()
    }

    /// Whether clouds may be asked for the health of targets now. If so, not again at once.
    pub(super) fn may_look(&mut self, now: Instant) -> bool {
        let soon = self
            .looked
            .is_some_and(|looked| now.saturating_duration_since(looked) < LOOK);
        if !soon {
            self.looked = Some(now);
        }
        !soon
    }

    /// The targets of a group; None where the provider does not know, or the group is gone.
    pub(super) fn targets(
        &mut self,
        provider: &ProviderName,
        group: &GroupKey,
        targets: Option<TargetHealth>,
    ) {
        let key = (provider.clone(), group.clone());
        match targets {
            Some(targets) => self.targets.insert(key, targets),
            None => self.targets.remove(&key),
        };
    }

    /// The pools that a group's addresses are of.
    pub(super) fn pools(&mut self, provider: &ProviderName, group: &GroupKey, pools: &[String]) {
        let key = (provider.clone(), group.clone());
        if pools.is_empty() {
            self.pools.remove(&key);
        } else {
            self.pools.insert(key, pools.to_vec());
        }
    }

    /// Sets the gauges.
    pub(super) fn tell<'a>(
        &self,
        providers: impl IntoIterator<Item = &'a ProviderName>,
        metrics: &Metrics,
        now: Timestamp,
    ) {
        for provider in providers {
            let name = provider.as_str();
            let mut counts: BTreeMap<State, usize> =
                State::ALL.into_iter().map(|state| (state, 0)).collect();
            let mut oldest = now;
            for (_, state, pending) in self.services.values().filter(|(of, ..)| of == provider) {
                *counts.entry(*state).or_default() += 1;
                oldest = oldest.min(pending.unwrap_or(now));
            }
            for (state, count) in counts {
                metrics.set_services(name, state, count);
            }
            metrics.set_oldest_pending(name, now.duration_since(oldest).unsigned_abs());
            let targets = self
                .targets
                .iter()
                .filter(|((of, _), _)| of == provider)
                .map(|(_, targets)| targets);
            let (healthy, total) = targets.fold((0, 0), |(healthy, total), targets| {
                (
                    healthy + u64::from(targets.healthy),
                    total + u64::from(targets.total),
                )
            });
            metrics.set_targets(name, healthy, total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_often_is_told_what_is_known() {
        let mut census = Census::default();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let asked = [0, 1, 999, 1000, 1001, 2500].map(|ms| census.may_look(at(ms)));
        assert_eq!(asked, [true, false, false, true, false, true]);
    }

    #[test]
    fn trouble_goes_with_its_end_and_with_its_service() {
        let (mut census, uid) = (Census::default(), ServiceUid::new("a"));
        let waits = Trouble {
            waits: vec!["w".into()],
            ..Trouble::default()
        };
        census.troubled(&uid, waits.clone());
        assert_eq!(census.trouble(&uid), waits);
        census.troubled(&uid, Trouble::default());
        assert!(census.troubles.is_empty());
        census.troubled(&uid, waits);
        census.gone(&uid);
        assert!(census.trouble(&uid).is_none());
    }

    #[test]
    fn the_states_add_up_to_the_services() {
        let local = ProviderName::from("local");
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).expect("a time");
        let mut census = Census::default();
        for (uid, state, pending) in [
            ("a", State::Active, None),
            ("b", State::Claimed, Some(at(10))),
            ("c", State::Claimed, Some(at(40))),
        ] {
            census.service(&ServiceUid::new(uid), &local, state, pending);
        }
        census.service(&ServiceUid::new("c"), &local, State::Active, None);
        let metrics = Metrics::new();
        census.tell([&local], &metrics, at(60));
        let text = metrics.encode().expect("encodes");
        for want in [
            "evenkeel_services{provider=\"local\",state=\"active\"} 2",
            "evenkeel_services{provider=\"local\",state=\"claimed\"} 1",
            "evenkeel_services{provider=\"local\",state=\"rejected\"} 0",
            "evenkeel_service_oldest_pending_seconds{provider=\"local\"} 50",
        ] {
            assert!(text.contains(want), "{want} is not in\n{text}");
        }
    }
}
