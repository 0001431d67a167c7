//! The effect that a claim will have, and the only change of what was observed (Decides).

use std::net::{IpAddr, Ipv4Addr};

use evenkeel_core::shared::{Claim, Standing};

use super::model::{Effect, Given, Observed, Part, Step};

/// Known after apply.
const PLACEHOLDER: Given = Given {
    id: u64::MAX,
    address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
};

/// Foretells: live, with placeholders where only the cloud knows.
pub fn predict(step: &Step, seen: &Observed) -> Effect {
    match &step.claim {
        Claim::Want(part) => Effect::Live(Some(with_given(
            part,
            seen.part.as_ref(),
            Some(PLACEHOLDER),
        ))),
        Claim::Gone => Effect::Live(None),
        Claim::Unknown => Effect::Live(seen.part.clone()),
    }
}

/// Takes an effect in.
pub fn absorb(seen: &mut Observed, effect: Effect) {
    match effect {
        Effect::Handed(claim) => seen.claim = Some((claim, Standing::Queued)),
        Effect::Live(part) => {
            seen.part = part;
            seen.updating = false;
            seen.claim = None;
        }
    }
}

/// A claimed part with what the cloud chose for the fronts that are there, and this for those that are new.
pub fn with_given(claimed: &Part, there: Option<&Part>, new: Option<Given>) -> Part {
    let mut part = claimed.clone();
    for (pool, front) in &mut part.fronts {
        let old = there.and_then(|part| part.fronts.get(pool));
        front.given = old.map_or(new, |front| front.given);
    }
    part
}
