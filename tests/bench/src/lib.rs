//! The data plane of `local`, measured beside HAProxy and nginx: `cargo bench --bench dataplane`.
//!
//! [`figure`] names what is measured, [`ratio`] compares, [`page`] writes docs/performance.md; these decide. [`run`] alternates between
//! the balancers that [`balancer`] starts, with clients from [`load`] on one side of them and [`target`] on the other, all on
//! loopback. [`packages`] finds the peers, [`system`] reads what a process costs.
#![cfg(target_os = "linux")]

pub mod args;
pub mod balancer;
pub mod bench;
pub mod figure;
pub mod load;
pub mod packages;
pub mod page;
mod poll;
pub mod ratio;
pub mod run;
pub mod system;
pub mod target;
