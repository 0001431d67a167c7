//! The shared objects: how claims become the next body of a load balancer, and of a network security group (Decides).

pub mod json;
pub mod load_balancer;
pub mod security_group;
mod words;

pub use load_balancer::Balancer;
pub use security_group::SecurityGroup;

/// The properties of a resource of a type that are lists of children.
pub fn lists(kind: &str) -> &'static [&'static str] {
    match kind {
        "loadBalancers" => &words::list::ALL,
        "networkSecurityGroups" => &[words::list::SECURITY_RULES],
        _ => &[],
    }
}
