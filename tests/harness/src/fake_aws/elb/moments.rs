//! When something next changes by itself. Decides.

use jiff::Timestamp;

use super::super::settings::Settings;
use super::super::state::State;
use super::health;

/// The next such time after `now`.
pub(in super::super) fn next(
    state: &State,
    settings: &Settings,
    now: Timestamp,
) -> Option<Timestamp> {
    let active = state.load_balancers.values().map(|one| one.active_at);
    let released = state.interfaces.values().filter_map(|one| one.released_at);
    let released = released.map(|since| since + settings.times.interface_release.after);
    let targets = state.target_groups.values().flat_map(|group| {
        let balancers: Vec<_> = group
            .load_balancers
            .iter()
            .filter_map(|arn| state.load_balancers.get(arn))
            .collect();
        let turns =
            move |(key, target)| health::turns(state, settings, group, &balancers, key, target);
        group.targets.iter().flat_map(turns)
    });
    active
        .chain(released)
        .chain(targets)
        .filter(|at| *at > now)
        .min()
}
