//! Which program this is (Decides).

/// The version, with the commit it was built from.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("EVENKEEL_BUILT_FROM"),
    ")"
);
