//! Every object of the cluster, from bulk reads that all groups share (Reads).
//!
//! AWS lists load balancers and target groups of the whole region only, and tells tags apart from them. So one look serves
//! all groups: those who ask while one lasts take its result. Tags are read once per object and kept; what we write
//! ourselves is written through, so that a look is needed only for what others did and for writes whose fate is unknown.

mod look;
#[cfg(test)]
mod tests;
mod used;
mod young;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_core::error::CloudError;
use futures::future::try_join_all;

use crate::{
    Aws,
    client::ELB_ARNS,
    model::{CloudId, Effect, Facts, Marks, Object, Observed, Opening, Pairs, Step},
    observe::bulk,
    predict,
};

use look::Look;
pub(crate) use look::{SharedGroups, node_group, security_group};
pub(crate) use used::Region;
use young::Young;

/// How many looks there are to one that reads all tags anew: only people change them behind our back.
const LOOKS_PER_TAGS: u32 = 6;

/// How many reads of tags are under way at a time.
const TAG_READS: usize = 8;

/// What is known of all groups.
#[derive(Debug, Default)]
struct State {
    /// By [`evenkeel_core::ids::GroupKey::identity`]. Their listeners are kept for their tags, which no bulk look tells.
    groups: BTreeMap<Arc<str>, Observed>,
    /// Objects whose tags say that they are not ours.
    foreign: HashSet<CloudId>,
    /// When all tags were last read.
    tags_at: Option<Instant>,
    /// When the last look began.
    looked_at: Option<Instant>,
    /// Since when a write's fate is unknown.
    doubted_at: Option<Instant>,
    /// What the region has that is not ours, by the last look.
    others: Option<Region>,
    /// What groups make just now, by name, with whether it is a target group.
    making: BTreeMap<Arc<str>, BTreeMap<Arc<str>, bool>>,
    /// What was written since a look began that still lasts, and may not show it.
    since: Option<Vec<(Arc<str>, Effect)>>,
    /// What we made a moment ago.
    young: Young,
}

/// Every object of the cluster.
#[derive(Debug, Default)]
pub struct Index {
    state: Mutex<State>,
    looking: tokio::sync::Mutex<()>,
}

impl Index {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write's fate is unknown, or what was seen is not what there is: whoever asks next looks.
    pub fn doubt(&self) {
        self.state().doubted_at = Some(Instant::now());
    }

    /// What a write did.
    pub fn learn(&self, group: &str, effect: &Effect) {
        // Targets are many, and no bulk look has them; facts are kept apart.
        if matches!(
            effect.step,
            Step::Register { .. }
                | Step::Deregister { .. }
                | Step::AdmitNodes(_)
                | Step::OpenNodes { .. }
                | Step::CloseNodes(_)
                | Step::CreateBackendGroup
        ) {
            return;
        }
        let group: Arc<str> = group.into();
        let mut state = self.state();
        state.young.learn(&group, effect);
        state.absorb(&group, effect.clone());
        if let Some(since) = &mut state.since {
            since.push((group, effect.clone()));
        }
    }

    /// What one group has, as far as bulk looks and our own writes tell; looks when that is too old or in doubt.
    ///
    /// # Errors
    /// When AWS does not answer.
    pub async fn group(&self, aws: &Aws, identity: &str) -> Result<Observed, CloudError> {
        let needs_look = |state: &State| state.needs_look(aws.context.sweep);
        if needs_look(&self.state()) {
            self.look(aws, needs_look).await?;
        }
        let state = self.state();
        Ok(state.groups.get(identity).cloned().unwrap_or_default())
    }

    /// The openings that the target groups of one group list, as far as is known.
    pub fn openings(&self, identity: &str) -> BTreeSet<Opening> {
        let state = self.state();
        let group = state.groups.get(identity);
        group.map(Observed::openings).unwrap_or_default()
    }

    /// What a group has that was made a moment ago, whether a look shows it or not.
    pub fn just_made(&self, identity: &str) -> Observed {
        self.state().young.of(identity)
    }

    /// Whether that was made so short a time ago that a deletion may not find it.
    pub fn is_unproven(&self, identity: &str, object: &Object) -> bool {
        self.state().young.is_unproven(identity, object)
    }

    /// Nobody knows whether that is there.
    pub fn is_not_just_made(&self, identity: &str, object: &Object) {
        self.state().young.forget(identity, object);
    }

    /// What every group has, looked at now.
    ///
    /// # Errors
    /// When AWS does not answer.
    pub async fn all(&self, aws: &Aws) -> Result<BTreeMap<Arc<str>, Observed>, CloudError> {
        let asked = Instant::now();
        let needed = |state: &State| state.looked_at.is_none_or(|looked| looked < asked);
        self.look(aws, needed).await?;
        Ok(self.state().groups.clone())
    }

    /// A group was read by itself: this is what it has.
    pub(crate) fn saw(&self, identity: &str, change: impl FnOnce(&mut Observed)) {
        let mut state = self.state();
        let group = state.groups.entry(identity.into()).or_default();
        change(group);
        if group.is_empty() {
            state.groups.remove(identity);
        }
    }

    /// Looks, unless it is no longer needed once it would be one's turn: others have looked.
    async fn look(&self, aws: &Aws, needed: impl Fn(&State) -> bool) -> Result<(), CloudError> {
        let _looking = self.looking.lock().await;
        if !needed(&self.state()) {
            return Ok(());
        }
        let began = Instant::now();
        self.state().since = Some(Vec::new());
        let looked = self.read(aws, began).await;
        let mut state = self.state();
        let since = state.since.take().unwrap_or_default();
        let look = looked?;
        let shared = look.shared();
        state.install(look, began);
        for (group, effect) in since {
            state.absorb(&group, effect);
        }
        let groups = state.groups.iter();
        let openings = groups.map(|(identity, group)| (Arc::clone(identity), group.openings()));
        aws.facts.found_groups(shared, openings.collect());
        Ok(())
    }

    /// Reads all pages, and the tags that are not known.
    async fn read(&self, aws: &Aws, now: Instant) -> Result<Look, CloudError> {
        let mut look = Look::bulk(aws).await?;
        aws.holder.saw(aws, look.backend_group()).await?;
        let unknown = {
            let mut state = self.state();
            look.all_tags = state
                .tags_at
                .is_none_or(|at| now.duration_since(at) >= aws.context.sweep * LOOKS_PER_TAGS);
            if look.all_tags {
                state.foreign.clear();
            }
            let known = match look.all_tags {
                true => HashMap::new(),
                false => state.tags(),
            };
            let mut unknown =
                look.without_tags(|arn| known.contains_key(arn) || state.foreign.contains(arn));
            if look.all_tags {
                let listeners = state.groups.values().flat_map(|one| one.listeners.values());
                let arns: Vec<_> = listeners.map(|listener| listener.arn.clone()).collect();
                unknown.extend(arns.chunks(ELB_ARNS).map(<[_]>::to_vec));
            }
            unknown
        };
        // Some together: a start waits for all of them, and each takes memory while it waits for the limiter.
        for some in unknown.chunks(TAG_READS) {
            let read = some.iter().map(|arns| aws.client.tags(arns));
            look.tags
                .extend(try_join_all(read).await?.into_iter().flatten());
        }
        Ok(look)
    }
}

impl State {
    /// Whether what is known is in doubt, or older than this.
    fn needs_look(&self, oldest: Duration) -> bool {
        match (self.looked_at, self.doubted_at) {
            (None, _) => true,
            (Some(looked), Some(doubted)) if looked <= doubted => true,
            (Some(looked), _) => looked.elapsed() >= oldest,
        }
    }

    fn absorb(&mut self, group: &Arc<str>, effect: Effect) {
        let observed = self.groups.entry(Arc::clone(group)).or_default();
        predict::absorb(observed, effect);
        observed.facts = Arc::<Facts>::default();
        bulk(observed);
        if observed.is_empty() {
            self.groups.remove(group);
        }
    }

    /// The tags of load balancers and target groups that are known.
    fn tags(&self) -> HashMap<CloudId, Pairs> {
        let mut all = HashMap::new();
        for group in self.groups.values() {
            let load_balancers = group.load_balancers.values();
            all.extend(load_balancers.map(|one| (one.arn.clone(), one.tags.clone())));
            let target_groups = group.target_groups.values();
            all.extend(target_groups.map(|one| (one.arn.clone(), one.tags.clone())));
        }
        all
    }

    /// Whose the load balancers and target groups are that were known to be ours.
    fn marks(&self) -> HashMap<CloudId, Marks> {
        let mut all = HashMap::new();
        for group in self.groups.values() {
            let load_balancers = group.load_balancers.values();
            all.extend(load_balancers.map(|one| (one.arn.clone(), one.marks.clone())));
            let target_groups = group.target_groups.values();
            all.extend(target_groups.map(|one| (one.arn.clone(), one.marks.clone())));
        }
        all
    }

    fn install(&mut self, mut look: Look, began: Instant) {
        if look.all_tags {
            self.tags_at = Some(began);
        }
        for (arn, tags) in self.tags() {
            look.tags.entry(arn).or_insert(tags);
        }
        let (mut groups, foreign) = look.groups(&self.marks());
        self.others = Some(look.region.without(&groups));
        for (identity, old) in std::mem::take(&mut self.groups) {
            if let Some(group) = groups.get_mut(&identity) {
                group.listeners = old.listeners;
                for listener in group.listeners.values_mut() {
                    if let Some(now) = look.tags.get(&listener.arn) {
                        listener.tags = now.clone();
                    }
                }
                let there = &group.load_balancers;
                group
                    .listeners
                    .retain(|(name, _), _| there.contains_key(name));
            }
        }
        self.groups = groups;
        self.foreign.extend(foreign);
        self.looked_at = Some(began);
    }
}
