//! Real parts for tests and for the demo, on one machine, without a container engine and without a cluster.
//!
//! [`binaries`] finds or builds upstream's own etcd, kube-apiserver and friends; [`control_plane`] starts them;
//! [`nodes`] adds nodes and pods; [`aws`] is the cloud of the provider of that name, [`fake_aws`] one that is stricter;
//! [`fake_azure`] is that of the provider `azure`, and [`cloud`] what these have in common; [`evenkeel`] runs our own binary
//! against them, faster than time passes where [`pace`] says so, [`kubectl`] upstream's. Everything that is started goes
//! through [`supervise`], so that it ends and is cleaned up however the test process ends, and takes its ports from
//! [`ports`]. Tests wait with [`wait::eventually`], never for a time.
//!
//! Reads and Writes: processes, files in the temporary and the cache directory, 127.0.0.1. No crate of the
//! product uses this one.

pub mod aws;
pub mod binaries;
pub mod cloud;
pub mod control_plane;
pub mod evenkeel;
pub mod fake_aws;
pub mod fake_azure;
pub mod kubectl;
pub mod nodes;
pub mod pace;
pub mod ports;
pub mod progress;
mod random;
mod service;
pub mod supervise;
mod table;
mod venv;
pub mod wait;
mod wire;
