//! A row of the checklist, and what came of it. Plain data.

use std::pin::Pin;

use anyhow::Result;

use crate::stage::Stage;

/// What a check does, in a namespace of its own.
pub(crate) type Check = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A row.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its number in the checklist, for ever.
    pub(crate) number: u16,
    /// Given or action, and what must hold.
    pub(crate) title: &'static str,
    /// How it is checked.
    pub(crate) run: Run,
}

/// How a row is checked.
#[derive(Debug)]
pub(crate) enum Run {
    /// By doing it.
    Check(Check),
    /// Not with the local provider; why.
    NotWithLocal(&'static str),
}

/// What came of a row.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// All of it held.
    Passed,
    /// Something did not.
    Failed(anyhow::Error),
    /// It says nothing about this provider; why.
    NotApplicable(&'static str),
}

/// A row that is checked by an `async fn(&mut Stage) -> Result<()>`.
macro_rules! row {
    ($number:literal, $title:literal, $check:path) => {
        $crate::row::Row {
            number: $number,
            title: $title,
            run: $crate::row::Run::Check(|stage| Box::pin($check(stage))),
        }
    };
    ($number:literal, $title:literal, not with local: $reason:literal) => {
        $crate::row::Row {
            number: $number,
            title: $title,
            run: $crate::row::Run::NotWithLocal($reason),
        }
    };
}
pub(crate) use row;
