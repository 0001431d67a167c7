//! The effect a step will have, the twin of `apply`; and `absorb`, the only change of what was observed (Decides).
//!
//! Generations, health, and addresses from a pool are known after apply. A listener is foretold as open.

use crate::{
    api::{LeaseStatus, ListenerPhase},
    model::{Effect, Kind, Observed, Seen, Step, Write},
};

#[cfg(test)]
mod tests;

/// Foretells what a step does.
pub fn predict(step: &Step, seen: &Observed) -> Effect {
    match step {
        Step::PutLease(write) => {
            let held = seen.leases.get(&write.name);
            let held = held.and_then(|lease| lease.status.clone());
            // Of which pool it will be is known after apply.
            let asked = write.put.spec.address;
            let asked = asked.map(|address| LeaseStatus {
                address,
                pool: None,
            });
            Effect::Lease(write.name.clone(), foretold(write, held.or(asked)))
        }
        Step::PutBackendSet(write) => Effect::BackendSet(write.name.clone(), foretold(write, None)),
        Step::PutListener(write) => {
            let phase: Option<ListenerPhase> = seen
                .listeners
                .get(&write.name)
                .and_then(|listener| listener.status.clone());
            Effect::Listener(write.name.clone(), foretold(write, phase))
        }
        Step::Delete { kind, name } => Effect::Gone(*kind, name.clone()),
    }
}

fn foretold<Spec: Clone, Status>(
    write: &Write<Spec>,
    status: Option<Status>,
) -> Seen<Spec, Status> {
    Seen {
        marks: write.put.marks.clone(),
        spec: write.put.spec.clone(),
        generation: None,
        status,
    }
}

/// Takes an effect into what was observed.
pub fn absorb(seen: &mut Observed, effect: Effect) {
    match effect {
        Effect::Lease(name, lease) => drop(seen.leases.insert(name, lease)),
        Effect::BackendSet(name, set) => drop(seen.backend_sets.insert(name, set)),
        Effect::Listener(name, listener) => drop(seen.listeners.insert(name, listener)),
        Effect::Gone(Kind::Lease, name) => drop(seen.leases.remove(&name)),
        Effect::Gone(Kind::BackendSet, name) => drop(seen.backend_sets.remove(&name)),
        Effect::Gone(Kind::Listener, name) => drop(seen.listeners.remove(&name)),
    }
}
