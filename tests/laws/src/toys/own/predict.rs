//! The effect that a step will have, and the only change of what was observed (Decides).

use super::{
    cloud::Object,
    model::{Effect, Observed, Step},
};

/// Foretells: ready, with placeholders where only the cloud knows.
pub fn predict(step: &Step, seen: &Observed) -> Effect {
    match step {
        Step::Create { marks, spec } => Effect::Is(
            marks.id.clone(),
            Box::new(Object {
                name: format!("known after apply: {}", marks.id),
                id: 0,
                version: 0,
                marks: Some(marks.clone()),
                spec: spec.clone(),
                ip: None,
                ready_in: 0,
                leaving: None,
            }),
        ),
        Step::Change { marks, spec } => {
            let object = seen
                .objects
                .get(&marks.id)
                .cloned()
                .expect("a step changes what was seen");
            Effect::Is(
                marks.id.clone(),
                Box::new(Object {
                    marks: Some(marks.clone()),
                    spec: spec.clone(),
                    ..object
                }),
            )
        }
        Step::Destroy { id } => Effect::Gone(id.clone()),
    }
}

/// Takes an effect in.
pub fn absorb(seen: &mut Observed, effect: Effect) {
    match effect {
        Effect::Is(id, object) => drop(seen.objects.insert(id, *object)),
        Effect::Gone(id) => drop(seen.objects.remove(&id)),
    }
}
