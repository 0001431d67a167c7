//! Ports that somebody else has (Decides).
//!
//! Of an address that several Services share a port is free or taken, and who has it is known to the data plane alone. Its
//! refusal is told of the port, and the other ports are served.

use evenkeel_core::{
    failure::Failures,
    ids::ServiceUid,
    plan::Plan,
    problem::{Problem, reason},
};

use crate::{
    api::code,
    model::{Listener, Step},
};

/// Why a step cannot be done, where that is because its ports are taken.
pub(super) fn taken<'a>(failures: &'a Failures, step: &Step) -> Option<&'a str> {
    let failure = failures.holds(step)?;
    (failure.code.as_deref() == Some(code::PORT_TAKEN)).then_some(failure.message.as_str())
}

/// Says so of a port.
pub(super) fn refuse(plan: &mut Plan<Step>, want: &Listener, why: &str) {
    plan.refuse_port(
        want.id.clone(),
        ServiceUid::new(want.marks.member.as_str()),
        want.port,
        Problem::new(
            format!("spec.ports[{}]", want.port),
            want.port.port.to_string(),
            format!("cannot be served: {why}"),
            "It is tried again when the other gives it back.",
        )
        .with_reason(reason::PORT_CONFLICT),
    );
}
