//! EC2, as far as load balancers and their clusters need it.

pub mod addresses;
pub(super) mod filters;
pub mod instances;
pub mod interfaces;
pub mod network;
pub(super) mod rules;
pub mod security_groups;
pub(super) mod tags;
pub(super) mod vpcs;
