//! The golden rows: what two former controllers do in 157 situations, and what we do.
//!
//! A row whose expectation holds here as it stands (that of the former controllers, or the better one that the table asks for) has one
//! test, `row_NNN_…`, in any file of `golden/` or, where it can be seen at the wire alone, of `wire/`. A row where we do something else on purpose stands in `golden/changed.md` with the
//! reason, and may have a test `changed_NNN_…` of what we do. Each number is in exactly one of the two. Everything runs under the profile `lbc` unless a test says otherwise.

mod golden {
    mod addresses;
    mod changes;
    mod claiming;
    mod groups;
    mod health;
    mod kinds;
    mod labels;
    mod life;
    mod listeners;
    mod naming;
    mod nodes;
    mod open;
    mod openings;
    mod pods;
    pub(crate) mod rig;
    mod room;
    mod scale;
    mod security;
    pub(crate) mod stage;
    mod subnets;
    mod targets;
    mod values;
    mod walks;
}

use evenkeel_laws::rows::Rows;

const ROWS: Rows = Rows {
    last: 157,
    tests: concat!(env!("CARGO_MANIFEST_DIR"), "/tests"),
    directories: &["golden", "wire"],
    tables: &["changed"],
};

#[test]
fn every_row_is_in_exactly_one_place() {
    ROWS.are_complete();
}

#[test]
fn a_test_of_what_a_table_tells_is_about_one_of_its_rows() {
    ROWS.agree_with_tables();
}
