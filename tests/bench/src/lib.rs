//! Three benches, each with a part of docs/performance.md of its own ([`performance`]).
//!
//! `cargo bench --bench dataplane`: the data plane of `local`, measured beside HAProxy and nginx.
//! [`figure`] names what is measured, [`ratio`] compares, [`page`] writes the part; these decide. [`run`] alternates between
//! the balancers that [`balancer`] starts, with clients from [`load`] on one side of them and [`target`] on the other, all on
//! loopback. [`packages`] finds the peers, [`system`] reads what a process costs.
//!
//! `cargo bench --bench calls -- aws`: [`calls`], what a provider asks of its cloud.
//!
//! `cargo bench --bench scale -- aws`: [`scale`], what becomes of that with a thousand Services on a thousand nodes, and how long it takes
//! where the cloud limits the calls of an account.
#![cfg(target_os = "linux")]

pub mod args;
pub mod balancer;
pub mod bench;
pub mod calls;
pub mod figure;
pub mod load;
pub mod packages;
pub mod page;
pub mod performance;
mod poll;
pub mod ratio;
pub mod run;
pub mod scale;
pub mod system;
pub mod target;
