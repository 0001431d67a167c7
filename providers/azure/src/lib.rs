//! Standard Load Balancers on Azure: the decisions. What reads and writes Azure is not here yet.
//!
//! ```text
//! desired     annotations, names   -> model::Desired     what a group shall have
//! plan        plan/*               -> model::Step        the writes possible now
//! predict                          -> model::Effect      what a write will do; absorbing it
//! shared                           -> core's SharedObject: claims become the next body of a load balancer, of a security group
//! errors                           -> core's CloudError: what to do about an answer of Azure's
//! ```
//!
//! # A group
//! Is one Service, or the Services of a namespace that share an address because they name one `evenkeel.dev/group`. Objects of its
//! own are public IP addresses, marked with tags. Everything else of it is a claim on objects that the whole cluster shares:
//!
//! | object | what a group claims ([`model::Fragment`], [`model::Access`]) |
//! | --- | --- |
//! | the public, the internal load balancer | frontend IP configurations, load balancing rules, probes |
//! | its backend pools, one per family | nothing: the nodes are a claim of their own, under [`names::nodes_key`] |
//! | the network security group | security rules of its own |
//!
//! # A merge
//! Both objects are carried as the raw JSON that Azure sent ([`shared::json`]): a child that no claim is about is the same bytes in the
//! next body, a child that already is what is claimed too. Whose a child is stands in its name: `ek-<cluster>-<group>-…`, see
//! [`names`]. What several groups use, probes of kube-proxy's health and pools, stays while a rule refers to it. Removals ride in the
//! same PUT as what is added. A load balancer that is ours goes with its last frontend; one that somebody else made never loses its
//! last frontend. Limits are counted before the write ([`SharedObject::excess`]); a refused fragment is found by the names in
//! Azure's answer ([`SharedObject::blamed`]). The entity tag of what was read is the `If-Match` of the write
//! ([`shared::json::Document::etag`]), and what only Azure writes is left out of it ([`shared::json::Document::put`]).
//!
//! # On the way
//! A claim that was handed in is not in the live object yet. So what is observed carries where each claim stands, and a plan waits
//! for it: nothing is said to be gone while a claim for it is on the way, and one that came too late is called back.
//!
//! [`SharedObject::excess`]: evenkeel_core::shared::SharedObject::excess
//! [`SharedObject::blamed`]: evenkeel_core::shared::SharedObject::blamed

pub mod annotations;
mod context;
pub mod desired;
pub mod errors;
pub mod model;
pub mod names;
pub mod plan;
pub mod predict;
pub mod shared;

use evenkeel_core::nodes::NodeRules;

pub use context::{Context, Limits};

/// The provider's name, as in class names and finalizers.
pub const NAME: &str = "azure";

/// What this provider needs of a node: `azure:///subscriptions/…/virtualMachines/…`, and an address, because the pools are of addresses.
pub const NODE_RULES: NodeRules = NodeRules {
    provider_id_scheme: Some("azure"),
    needs_address: true,
    drains: false,
};
