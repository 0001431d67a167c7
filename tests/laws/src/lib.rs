//! The laws every provider obeys, as one suite, and two opposite toy providers that prove the trait.
//!
//! A provider joins by a [`Rig`](rig::Rig) and one line:
//!
//! ```ignore
//! evenkeel_laws::all_laws!(MyRig::new(), "proptest-regressions/laws.txt");
//! ```
//!
//! which makes one test per law, so that a law that fails is named. A law is an `async fn(&rig) -> Result<(), String>`
//! in [`laws`]; it fails with words, so that the suite can be held against providers that are broken on purpose.
//!
//! [`operator`] is a controller in miniature that drives an engine through [`scene`]s; [`tap`] counts and breaks
//! the calls between provider and cloud; [`walk`] takes random ways; [`rows`] keeps account of golden rows, which
//! speak of Services as [`asking`] writes them. The toys are in [`toys`].

pub mod asking;
pub mod expect;
pub mod laws;
pub mod operator;
pub mod rig;
pub mod rows;
pub mod samples;
pub mod scene;
pub mod tap;
pub mod toys;
pub mod walk;
pub mod wrap;
