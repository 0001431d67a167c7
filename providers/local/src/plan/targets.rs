//! Which nodes are the targets of a backend set (Decides).
//!
//! A set that has targets is never emptied: with no node left that can be one, the last ones stay, because a wrong look
//! at the nodes must not be an outage, and a right one changes nothing for the clients. That there is no node is told by whoever
//! made the node set.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    net::IpFamily,
    nodes::{Node, NodeSet, Placement},
};

use crate::model::Member;

#[cfg(test)]
mod tests;

/// The targets of a set behind an address of this family, given those it has now.
pub(super) fn members(nodes: &NodeSet, family: IpFamily, present: &Arc<[Member]>) -> Arc<[Member]> {
    let is_present = |node: &Node| present.iter().any(|member| member.node == node.name);
    let mut taken = BTreeSet::new();
    let members: Vec<Member> = nodes
        .nodes()
        .iter()
        .filter(|node| match node.placement {
            Placement::Add => true,
            Placement::KeepIfPresent(_) => is_present(node),
            Placement::Remove(_) => false,
        })
        .filter_map(|node| {
            // The data plane opens a connection of its own to the target, so it can cross families.
            let address = node
                .address(family)
                .or_else(|| node.addresses.first().copied())?;
            Some(Member {
                node: node.name.clone(),
                address,
            })
        })
        // Two nodes with one address would be the same target twice, which the data plane refuses.
        .filter(|member| taken.insert(member.address))
        .collect();
    if members.is_empty() || members[..] == present[..] {
        return Arc::clone(present);
    }
    members.into()
}
