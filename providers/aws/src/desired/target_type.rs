//! What the targets of a Service are: nodes or pods (Decides).

use evenkeel_core::{annotation::Asked, intent::Intent};

use crate::{
    annotations::{asked, key},
    model::TargetType,
};

/// What a Service asks for. `nlb-ip` of the older key says more than `instance` of the newer one, as it did before.
pub(super) fn read(asked: &mut Asked<'_>) -> TargetType {
    let newer = asked.word(key::NLB_TARGET_TYPE);
    let older = asked.word(key::TYPE);
    match (newer, older) {
        (Some("instance"), Some("nlb-ip")) => {
            asked.warn(
                key::NLB_TARGET_TYPE,
                format_args!(
                    "instance has no effect beside nlb-ip in {}. Remove one of the two.",
                    key::TYPE
                ),
            );
            TargetType::Ip
        }
        (Some("ip"), _) | (_, Some("nlb-ip")) => TargetType::Ip,
        _ => TargetType::Instance,
    }
}

/// The same of a Service whose mistakes are told elsewhere.
pub(super) fn of(intent: &Intent) -> TargetType {
    read(&mut asked(intent))
}
