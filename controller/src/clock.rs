//! The clock and the dice: the only place that reads them (Reads). Whatever decides takes time and chance as values.

use jiff::Timestamp;

/// The time.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge: everything else takes the time as a value"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A number from 0 to 1, so that what happens to many does not happen at once.
pub fn chance() -> f64 {
    fastrand::f64()
}
