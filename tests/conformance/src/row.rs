//! A row of the checklist, and what came of it. Plain data.

use std::pin::Pin;

use anyhow::Result;

use crate::stage::Stage;
use crate::toy_stage::ToyStage;

/// What a check does, in a namespace of its own.
pub(crate) type Check = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// The same with a provider whose calls can be failed, held back and counted.
pub(crate) type ToyCheck =
    for<'a> fn(&'a mut ToyStage) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

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
    /// By doing it with the provider asked for.
    Check(Check),
    /// By doing it with a toy: no real provider can be made to do what the row is about.
    Toy(ToyCheck),
    /// By doing it with the provider asked for, and another part of it with a toy.
    Both(Check, ToyCheck),
    /// Not with the local provider, and why; with others, if they can.
    NotWithLocal(&'static str, Option<Check>),
}

/// What came of a row.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// All of it held.
    Passed,
    /// All of it held, some or all of it with a toy.
    PassedToy,
    /// All of it held that a cloud shows that forwards no traffic.
    PassedWithoutTraffic,
    /// Something did not.
    Failed(anyhow::Error),
    /// It says nothing about this provider; why.
    NotApplicable(&'static str),
}

impl Verdict {
    /// In a word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::PassedToy => "passed (toy)",
            Self::PassedWithoutTraffic => "passed (no traffic)",
            Self::Failed(_) => "failed",
            Self::NotApplicable(_) => "not applicable",
        }
    }
}

/// A row that is checked by an `async fn(&mut Stage) -> Result<()>`, by one over a [`ToyStage`], or by one of each.
macro_rules! row {
    ($number:literal, $title:literal, toy: $check:path) => {
        $crate::row::Row {
            number: $number,
            title: $title,
            run: $crate::row::Run::Toy(|stage| Box::pin($check(stage))),
        }
    };
    ($number:literal, $title:literal, $check:path) => {
        $crate::row::Row {
            number: $number,
            title: $title,
            run: $crate::row::Run::Check(|stage| Box::pin($check(stage))),
        }
    };
    ($number:literal, $title:literal, $check:path, toy: $toy:path) => {
        $crate::row::Row {
            number: $number,
            title: $title,
            run: $crate::row::Run::Both(
                |stage| Box::pin($check(stage)),
                |stage| Box::pin($toy(stage)),
            ),
        }
    };
    ($number:literal, $title:literal, not with local: $reason:literal) => {
        $crate::row::Row {
            number: $number,
            title: $title,
            run: $crate::row::Run::NotWithLocal($reason, None),
        }
    };
    ($number:literal, $title:literal, $check:path, not with local: $reason:literal) => {
        $crate::row::Row {
            number: $number,
            title: $title,
            run: $crate::row::Run::NotWithLocal($reason, Some(|stage| Box::pin($check(stage)))),
        }
    };
}
pub(crate) use row;
