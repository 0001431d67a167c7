//! The pure heart of evenkeel: what a Kubernetes Service asks, what that means on a cloud, and the loop that
//! makes it so. No IO, no clock, no randomness, no Kubernetes client, no cloud SDK.
//!
//! ```text
//! Service, Nodes, EndpointSlices
//!    -> Intent      intent    what a Service asks, cloud-neutral and typed, or every Problem at once
//!    -> Group       group     the Services that share one load balancer (nearly always one)
//!    -> Desired     provider  the provider's typed objects, warnings, errors per port
//!    -> Observed    provider  what is there (the only reads)
//!    -> Plan        plan      steps possible now, what we wait for, what is refused and why
//!    -> Effect      provider  what a step did (the only writes), absorbed into Observed; repeat until no steps
//!    -> Published   published addresses, ip mode, ports: all that a Service's status needs
//! ```
//!
//! [`converge`] runs the loop against a cloud; [`converge::rehearse`] runs the same loop with predicted effects,
//! so that a plan can be shown before anything is written. [`engine`] remembers what each group last settled on,
//! so that an event that changes nothing makes no cloud call.

pub mod annotation;
pub mod backoff;
pub mod claim;
pub mod condition;
pub mod converge;
pub mod diff;
pub mod digest;
pub mod endpoints;
pub mod engine;
pub mod error;
pub mod failure;
pub mod group;
pub mod holder;
pub mod ids;
pub mod intent;
pub mod limiter;
pub mod naming;
pub mod net;
pub mod nodes;
pub mod plan;
pub mod ports;
pub mod problem;
pub mod provider;
pub mod published;
pub mod record;
#[cfg(test)]
mod scripted;
pub mod shared;
pub mod ticket;

pub use jiff::Timestamp;
