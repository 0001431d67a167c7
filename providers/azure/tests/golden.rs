//! The golden rows: what the cloud provider of Azure does in 120 situations, and what we do.
//!
//! A row whose expectation holds here as it stands (that of the cloud provider, or the better one that the table asks for) has one test,
//! `row_NNN_…`, in any file of `golden/`. A row where we do something else on purpose stands in `golden/changed.md` with the reason, and
//! may have a test `changed_NNN_…` of what we do. A row of which decisions alone show only a part stands in `golden/open.md` with what is
//! missing, and may have a test `open_NNN_…` of that part. Each number is in exactly one of the three. Everything runs under the profile
//! `azure` unless a test says otherwise; names are ours throughout (see the crate's `names`).

mod golden {
    mod access;
    mod addresses;
    mod basics;
    mod life;
    mod nodes;
    mod probes;
    mod rig;
    mod rules;
    mod stage;
    mod writes;
}

use evenkeel_laws::rows::Rows;

const ROWS: Rows = Rows {
    last: 120,
    tests: concat!(env!("CARGO_MANIFEST_DIR"), "/tests"),
    directories: &["golden"],
    tables: &["changed", "open"],
};

#[test]
fn every_row_is_in_exactly_one_place() {
    ROWS.are_complete();
}

#[test]
fn a_test_of_what_a_table_tells_is_about_one_of_its_rows() {
    ROWS.agree_with_tables();
}
