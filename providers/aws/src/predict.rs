//! The effect a step will have, the twin of `apply`; and `absorb`, the only change of what was observed (Decides).

use crate::model::{Effect, Observed, Step, Told};

/// Foretells what a step does.
pub fn predict(step: &Step, _seen: &Observed) -> Effect {
    Effect {
        step: step.clone(),
        told: Told::Nothing,
    }
}

/// Takes an effect into what was observed.
pub fn absorb(_seen: &mut Observed, _effect: Effect) {}
