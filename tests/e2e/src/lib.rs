//! A world to test in: control plane, nodes, data plane and controller, each of them the real program.
//!
//! [`World`] starts and stops them; [`look`] reads what is there. The end-to-end tests, the demo and the benches share it.

pub mod look;
mod make;
mod world;

pub use world::{World, WorldOptions, own_pool};
