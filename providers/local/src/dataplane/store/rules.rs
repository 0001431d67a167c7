//! Rules that hold for every kind of object: who may touch it, what a change needs. Decides: no IO.

use std::{fmt, sync::Arc};

use super::{Edit, Expect, Kind, Stored, Table};
use crate::api::{ApiError, Marks, code};

pub(super) enum Verdict {
    /// What is asked is there already.
    Same,
    /// The object is to be created or changed.
    Write,
}

/// Decides whether a request may touch the object of that name.
pub(super) fn admit<T>(
    kind: Kind,
    name: &str,
    before: Option<&Arc<Stored<T>>>,
    cluster: &str,
    expect: Expect,
    same: impl FnOnce(&Stored<T>) -> bool,
) -> Result<Verdict, ApiError> {
    let changed = |now: String| {
        ApiError::new(
            code::CHANGED,
            format!("{kind} `{name}` {now}; read it again and decide anew"),
        )
    };
    let Some(before) = before else {
        return match expect.generation {
            Some(_) => Err(changed("is gone".into())),
            None => Ok(Verdict::Write),
        };
    };
    if before.marks.cluster != cluster {
        return Err(ApiError::new(
            code::FOREIGN,
            format!(
                "{kind} `{name}` belongs to cluster {} ({}); use another name, or delete it from there",
                before.marks.cluster, before.marks.service
            ),
        ));
    }
    if let Some(generation) = expect.generation
        && generation != before.generation
    {
        return Err(changed(format!(
            "has generation {} by now, not {generation}",
            before.generation
        )));
    }
    if same(before) {
        return Ok(Verdict::Same);
    }
    if expect.absent {
        return Err(ApiError::new(
            code::EXISTS,
            format!(
                "{kind} `{name}` of {} exists with another owner or spec; read it, then change it with If-Match: {}",
                before.marks.service, before.generation
            ),
        ));
    }
    Ok(Verdict::Write)
}

pub(super) fn write<T>(
    table: &mut Table<T>,
    next: &mut u64,
    name: String,
    marks: Marks,
    spec: T,
) -> Edit<T> {
    let after = Arc::new(Stored {
        name: name.clone(),
        marks,
        generation: *next,
        spec,
        text: Default::default(),
    });
    *next += 1;
    let before = table.insert(name.clone(), Arc::clone(&after));
    Edit {
        name,
        before,
        after: Some(after),
    }
}

pub(super) fn immutable<T: PartialEq + fmt::Debug>(
    field: &str,
    before: &T,
    after: &T,
) -> Result<(), ApiError> {
    if before == after {
        return Ok(());
    }
    Err(ApiError::new(
        code::IMMUTABLE,
        format!("{field} cannot change from {before:?} to {after:?}; delete the object and create another"),
    )
    .at(field))
}

pub(super) fn refer<T>(
    kind: Kind,
    field: &str,
    table: &Table<T>,
    name: &str,
    cluster: &str,
) -> Result<(), ApiError> {
    let problem = match table.get(name) {
        Some(found) if found.marks.cluster == cluster => return Ok(()),
        Some(_) => format!("{kind} `{name}` belongs to another cluster; name one of your own"),
        None => format!("there is no {kind} `{name}`; create it first"),
    };
    Err(ApiError::new(code::BAD_REFERENCE, problem).at(field))
}
