//! Elastic Load Balancing, version 2: Network Load Balancers, as far as Services need them.

pub(super) mod attributes;
pub(super) mod certificates;
pub mod health;
pub mod listeners;
pub mod load_balancers;
pub mod mappings;
pub(super) mod moments;
pub(super) mod tags;
pub mod target_groups;
pub mod targets;
