//! Who waits for something that another group has: an address, a port, a place in a pool (Decides).
//!
//! The data plane refuses and forgets; whoever was refused is woken when something is given back.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
};

use evenkeel_core::{error::CloudError, ids::GroupKey, provider::Wake};

use crate::{
    api::code,
    model::{Effect, Kind},
};

/// The groups that wait, and the means to wake them.
#[derive(Default)]
pub(crate) struct Waiting {
    groups: Mutex<BTreeMap<GroupKey, For>>,
    wake: OnceLock<Wake>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Address,
    Port,
}

impl Waiting {
    /// Takes the means to wake a group.
    pub(crate) fn attach(&self, wake: Wake) {
        // One engine has the provider, and attaches once.
        let _ = self.wake.set(wake);
    }

    /// Hears how a write ended.
    pub(crate) fn hear(&self, key: &GroupKey, result: &Result<Effect, CloudError>) {
        let woken = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Err(error) => {
                    if let Some(what) = waits_for(error) {
                        groups.insert(key.clone(), what);
                    }
                    return;
                }
                // With an address go all of its ports.
                Ok(Effect::Gone(Kind::Lease, _)) => std::mem::take(&mut *groups),
                Ok(Effect::Gone(Kind::Listener, _)) => groups
                    .extract_if(.., |_, what| *what == For::Port)
                    .collect(),
                Ok(_) => return,
            }
        };
        if let Some(wake) = self.wake.get() {
            woken.keys().for_each(|group| wake(group));
        }
    }
}

/// What ends a refusal when another group gives it back.
fn waits_for(error: &CloudError) -> Option<For> {
    match error.code.as_deref()? {
        code::ADDRESS_TAKEN | code::POOL_EXHAUSTED | code::NAMESPACE_LIMIT => Some(For::Address),
        code::PORT_TAKEN => Some(For::Port),
        _ => None,
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evenkeel_core::error::ErrorClass;

    use super::*;

    #[test]
    fn who_was_refused_is_woken_once_when_what_it_waits_for_is_given_back() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waiting = Waiting::default();
        waiting.attach({
            let woken = Arc::clone(&woken);
            Arc::new(move |key: &GroupKey| woken.lock().expect("no panic").push(key.clone()))
        });
        let key = |name: &str| GroupKey::shared(&format!("shop/{name}")).expect("a shared group");
        let refused = |name: &str, code: &str| {
            let error = CloudError::new(ErrorClass::Quota, "PUT leases", "no").with_code(code);
            waiting.hear(&key(name), &Err(error));
        };
        let gone = |kind| waiting.hear(&key("leaver"), &Ok(Effect::Gone(kind, "x".into())));
        let told = || std::mem::take(&mut *woken.lock().expect("no panic"));
        refused("pool", code::POOL_EXHAUSTED);
        refused("port", code::PORT_TAKEN);
        refused("elsewhere", code::ADDRESS_NOT_IN_POOL);
        for (kind, want) in [
            (Kind::BackendSet, vec![]),
            (Kind::Listener, vec![key("port")]),
            (Kind::Listener, vec![]),
            (Kind::Lease, vec![key("pool")]),
            (Kind::Lease, vec![]),
        ] {
            gone(kind);
            assert_eq!(told(), want, "{kind:?}");
        }
        refused("port", code::PORT_TAKEN);
        gone(Kind::Lease);
        assert_eq!(told(), [key("port")]);
    }
}
