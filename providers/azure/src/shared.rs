//! The shared objects: how claims become the next body of a load balancer, and of a network security group (Decides).

pub mod json;
pub mod load_balancer;
pub mod security_group;
mod words;

pub use load_balancer::Balancer;
pub use security_group::SecurityGroup;
