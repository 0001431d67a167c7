//! Desired and observed in, the writes possible now out (Decides).

use evenkeel_core::{plan::Plan, provider::PlanInput};

use crate::{Aws, Context, model::Step};

/// Decides the writes possible now.
pub fn plan(_context: &Context, _input: PlanInput<'_, Aws>) -> Plan<Step> {
    Plan::empty()
}
