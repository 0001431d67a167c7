//! Targets in as few bytes as they need while nobody plans with them (Decides).
//!
//! A thousand target groups with a thousand targets each have a million of them, nearly all at the same instances. Folded, target groups
//! with the same instances share one list of these, and each keeps four bytes a target: its port and its state.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashSet},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Target, TargetState};

/// Targets of a target group, folded. Nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedTargets {
    ids: Arc<[Arc<str>]>,
    rest: Box<[(u16, TargetState)]>,
}

impl FoldedTargets {
    /// These, folded.
    pub fn of(targets: &BTreeMap<Target, TargetState>) -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let Shared { ids, lists } = shared.get_or_insert_default();
        let list: Vec<_> = targets.keys().map(|target| ids.one(&target.id)).collect();
        Self {
            ids: lists.one(&list.into()),
            rest: targets
                .iter()
                .map(|(target, state)| (target.port, *state))
                .collect(),
        }
    }

    /// What was folded.
    pub fn unfold(&self) -> BTreeMap<Target, TargetState> {
        let target = |(id, (port, state)): (&Arc<str>, &(u16, TargetState))| {
            let (id, port) = (Arc::clone(id), *port);
            (Target { id, port }, *state)
        };
        self.ids.iter().zip(&self.rest).map(target).collect()
    }
}

/// What folded targets share.
#[derive(Default)]
struct Shared {
    ids: Pool<str>,
    lists: Pool<[Arc<str>]>,
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

/// How many entries are let be without a look at whether anybody has them still.
const FEW: usize = 64;

/// One of each value, for as long as somebody has it.
struct Pool<T: ?Sized> {
    values: HashSet<Arc<T>>,
    /// How many there may be before it is looked who has them still.
    most: usize,
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self {
            values: HashSet::new(),
            most: FEW,
        }
    }
}

impl<T: ?Sized + Hash + Eq> Pool<T>
where
    Arc<T>: Borrow<T>,
{
    /// The one that equals this.
    fn one(&mut self, value: &Arc<T>) -> Arc<T> {
        if let Some(known) = self.values.get(&**value) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.most {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.values.shrink_to_fit();
            self.most = 2 * self.values.len() + FEW;
        }
        self.values.insert(Arc::clone(value));
        Arc::clone(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(ids: impl Iterator<Item = usize>, port: u16) -> BTreeMap<Target, TargetState> {
        let target = |id| Target {
            id: format!("i-{id:04}").into(),
            port,
        };
        ids.map(|id| (target(id), TargetState::Healthy)).collect()
    }

    #[test]
    fn what_is_folded_comes_back() {
        let mut mixed = targets(0..3, 30_080);
        mixed.extend(targets(1..4, 30_081));
        for state in mixed.values_mut().step_by(2) {
            *state = TargetState::Unhealthy;
        }
        for targets in [BTreeMap::new(), targets(0..1_000, 30_080), mixed] {
            assert_eq!(FoldedTargets::of(&targets).unfold(), targets);
        }
    }

    #[test]
    fn who_has_the_same_instances_shares_them() {
        let folded = |port| FoldedTargets::of(&targets(5_000..6_000, port));
        let (one, other) = (folded(1), folded(2));
        assert!(Arc::ptr_eq(&one.ids, &other.ids));
        let fewer = FoldedTargets::of(&targets(5_000..5_999, 1));
        assert!(Arc::ptr_eq(&one.ids[0], &fewer.ids[0]));
    }

    #[test]
    fn what_nobody_has_is_let_go() {
        let mut pool = Pool::<str>::default();
        let kept = pool.one(&"kept".into());
        for number in 0..10 * FEW {
            pool.one(&number.to_string().into());
        }
        assert!(pool.values.len() <= 2 * FEW + 1, "{}", pool.values.len());
        assert!(Arc::ptr_eq(&kept, &pool.one(&"kept".into())));
    }
}
