//! A world to test in: control plane, nodes, data plane and controller, each of them the real program.
//!
//! [`World`] starts and stops them; [`look`] reads what is there, [`load`] sends requests, [`alone`] is for tests of
//! `evenkeel run` by itself, [`aws`] and [`azure`] put the cluster on a cloud, [`facts`] is about plans without either,
//! [`rolling`] replaces nodes and pods under them. The end-to-end tests, the demo and the benches share it.

pub mod alone;
pub mod aws;
pub mod azure;
pub mod facts;
pub mod load;
pub mod look;
mod make;
pub mod nodes;
pub mod rolling;
pub mod user;
mod world;

pub use make::load_balancer;
pub use world::{Cloud, World, WorldOptions, own_pool};
