//! The rows, a file per section of the checklist.

mod claiming;
mod deletion;
mod finalizer;
mod input;
mod node_ports;
mod nodes;
mod policy;
mod ranges;
mod restart;
mod status;
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
        node_ports::ROWS,
        nodes::ROWS,
        deletion::ROWS,
        restart::ROWS,
        input::ROWS,
    ]
    .into_iter()
    .flatten()
    .collect();
    all.sort_by_key(|row| row.number);
    all
}
