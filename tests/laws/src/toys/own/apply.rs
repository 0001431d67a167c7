//! One write per step (Writes). No opinions: what may be done was decided by the plan.

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::{Cluster, GroupKey},
};

use super::{
    client::Client,
    model::{Effect, Observed, Step},
    names,
};

/// Does it.
///
/// # Errors
/// When the write failed or may have failed.
pub async fn apply(
    client: &Client,
    cluster: &Cluster,
    key: &GroupKey,
    step: &Step,
    seen: &Observed,
) -> Result<Effect, CloudError> {
    match step {
        Step::Create { marks, spec } => {
            let name = names::object(cluster, key, &marks.id);
            let made = client.create(&name, marks, spec).await?;
            Ok(Effect::Is(marks.id.clone(), Box::new(made)))
        }
        Step::Change { marks, spec } => {
            let Some(object) = seen.objects.get(&marks.id) else {
                return Err(CloudError::new(
                    ErrorClass::Conflict,
                    "Change",
                    format!("{} is gone", marks.id),
                ));
            };
            let changed = client.change(object, marks, spec).await?;
            Ok(Effect::Is(marks.id.clone(), Box::new(changed)))
        }
        Step::Destroy { id } => {
            if let Some(object) = seen.objects.get(id)
                && let Some(leaving) = client.delete(object).await?
            {
                return Ok(Effect::Is(id.clone(), Box::new(leaving)));
            }
            Ok(Effect::Gone(id.clone()))
        }
    }
}
