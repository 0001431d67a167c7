//! The laws that every provider obeys, held to this one against the real data plane.
//!
//! Each world is a data plane of its own in this process, with real listeners on loopback addresses, and a line between it and the
//! provider that counts the calls and breaks those it is told to break.

mod rig;

evenkeel_laws::all_laws!(rig::LocalRig, "proptest-regressions/laws.txt");
