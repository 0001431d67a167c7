//! What AWS said it made a moment ago: a look may not show it yet, and a write may not find it (Decides).
//!
//! EC2 documents that (developer guide, "Eventual consistency in the Amazon EC2 API"), and ELB does it; neither says for how long. Who serves
//! a Service makes what is missing again, and is told of what is there. Who gives one up would forget it: so that is remembered here.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    model::{Effect, Object, Observed, Step, Told},
    predict,
};

/// For how long: AWS documents no bound.
const YOUNG: Duration = Duration::from_secs(60);

/// For how long a deletion that does not find it proves nothing: somebody may have deleted it by hand, and nobody shall wait long for that.
const UNPROVEN: Duration = Duration::from_secs(15);

/// By group, with the time of the last of it.
#[derive(Debug, Default)]
pub(super) struct Young(HashMap<Arc<str>, (Instant, Observed)>);

impl Young {
    /// What a write did.
    pub(super) fn learn(&mut self, group: &Arc<str>, effect: &Effect) {
        self.0.retain(|_, (at, _)| at.elapsed() < YOUNG);
        match &effect.step {
            Step::CreateSecurityGroup { .. }
            | Step::CreateTargetGroup(_)
            | Step::CreateLoadBalancer(_) => {
                let (at, made) = self
                    .0
                    .entry(Arc::clone(group))
                    .or_insert_with(|| (Instant::now(), Observed::default()));
                *at = Instant::now();
                predict::absorb(made, effect.clone());
            }
            Step::Delete(object) => self.forget(group, object),
            _ => {}
        }
    }

    /// What one group has of it.
    pub(super) fn of(&self, group: &str) -> Observed {
        let made = self.0.get(group);
        let made = made.filter(|(at, _)| at.elapsed() < YOUNG);
        made.map(|(_, made)| made.clone()).unwrap_or_default()
    }

    /// Whether it is so young that a deletion may not find it.
    pub(super) fn is_unproven(&self, group: &str, object: &Object) -> bool {
        let made = self.0.get(group);
        made.is_some_and(|(at, made)| at.elapsed() < UNPROVEN && made.has(object))
    }

    /// Nobody knows whether it is there.
    pub(super) fn forget(&mut self, group: &str, object: &Object) {
        if let Some((_, made)) = self.0.get_mut(group) {
            let step = Step::Delete(object.clone());
            let told = Told::Nothing;
            predict::absorb(made, Effect { step, told });
            if made.is_empty() {
                self.0.remove(group);
            }
        }
    }
}
