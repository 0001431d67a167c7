//! One call: what was asked, of which state, and when. Decides.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::ids::{Ids, Place};
use super::settings::Settings;
use super::state::State;
use crate::cloud::Settle;

/// A call that changes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) state: &'a State,
    pub(super) asked: &'a Value,
    pub(super) now: Timestamp,
    pub(super) settings: &'a Settings,
    pub(super) place: &'a Place,
}

/// A call that may change something.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) state: &'a mut State,
    pub(super) asked: &'a Value,
    pub(super) now: Timestamp,
    /// By the clock on the wall, which whoever asks goes by: times in answers are told by that.
    pub(super) wall: Timestamp,
    pub(super) settings: &'a Settings,
    pub(super) place: &'a Place,
    pub(super) ids: &'a mut Ids,
    pub(super) patience: &'a mut Patience,
}

impl Turn<'_> {
    /// The same, looking only.
    pub(super) fn ask(&self) -> Ask<'_> {
        Ask {
            state: self.state,
            asked: self.asked,
            now: self.now,
            settings: self.settings,
            place: self.place,
        }
    }
}

/// How often a call was refused because something takes time, by what it was about: calls that are refused change nothing else.
#[derive(Debug, Default)]
pub(super) struct Patience(BTreeMap<String, u32>);

impl Patience {
    /// Whether what began at `since` is over: both the time has passed and enough calls were refused. Counts this one if not. What begins
    /// again needs another name in `what`.
    pub(super) fn is_over(
        &mut self,
        what: &str,
        since: Timestamp,
        settle: Settle,
        now: Timestamp,
    ) -> bool {
        let refused = self.0.entry(what.to_owned()).or_default();
        if *refused >= settle.calls && now >= since + settle.after {
            return true;
        }
        *refused = refused.saturating_add(1);
        false
    }
}
