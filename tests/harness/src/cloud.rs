//! What the wire in front of emulators and our own clouds have in common, whichever cloud it is: calls that are written down and broken,
//! late reads, a history, a listener. What a call, a fault or a state is says each cloud.

pub mod calls;
pub(crate) mod drawn;
pub mod faults;
pub mod history;
pub(crate) mod listener;
pub(crate) mod replica;
mod settle;

pub use settle::Settle;
