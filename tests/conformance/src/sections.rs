//! The rows, a file per section of the checklist.

mod affinity;
mod claiming;
mod deletion;
mod families;
mod finalizer;
mod input;
mod node_ports;
mod nodes;
mod observed;
mod policy;
mod protocols;
mod ranges;
mod restart;
mod status;
mod toy_asks;
mod toy_leader;
mod toy_life;
mod toy_nodes;
mod toy_races;
mod toy_status;
mod traffic;
mod updates;

use crate::row::Row;

/// All rows, in the order of their numbers.
pub(crate) fn all() -> Vec<&'static Row> {
    let mut all: Vec<&Row> = [
        claiming::ROWS,
        finalizer::ROWS,
        status::ROWS,
        updates::ROWS,
        ranges::ROWS,
        policy::ROWS,
        protocols::ROWS,
        node_ports::ROWS,
        nodes::ROWS,
        deletion::ROWS,
        restart::ROWS,
        input::ROWS,
        families::rows(),
        observed::ROWS,
        traffic::ROWS,
        toy_asks::ROWS,
        toy_leader::ROWS,
        toy_life::ROWS,
        toy_nodes::ROWS,
        toy_races::ROWS,
        toy_status::ROWS,
    ]
    .into_iter()
    .flatten()
    .collect();
    all.sort_by_key(|row| row.number);
    all
}
