//! What a group shall have, or why it cannot be served (Decides).

use evenkeel_core::{group::Group, provider::Verdict};

use crate::{Context, model::Desired};

/// Decides what a group shall have.
pub fn desired(_context: &Context, _group: &Group) -> Verdict<Desired> {
    Verdict::Rejected(evenkeel_core::problem::Problems::none())
}
