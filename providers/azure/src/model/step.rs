//! The writes, and what they did (Decides).
//!
//! A step says all that `absorb` needs to know of its effect, except what only Azure can tell: that is [`Told`]. So the
//! effect of a write and its rehearsal are absorbed by the same code.

use std::{net::IpAddr, sync::Arc};

use evenkeel_core::{intent::Scheme, shared::Claim};
use serde::Serialize;

use super::{Access, Fragment, Members, NewPublicIp};

/// One write. A claim is none yet: its object's writer makes one write of all claims.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// `PUT publicIPAddresses`: makes it, changes tags and label, or mends one that failed.
    PutPublicIp(NewPublicIp),
    /// `DELETE publicIPAddresses`.
    DeletePublicIp(Arc<str>),
    /// Hands the writer of a load balancer what the group claims of it.
    Claim {
        /// Which load balancer.
        of: Scheme,
        /// The claim.
        claim: Claim<Fragment>,
    },
    /// Hands the writer of a load balancer the nodes, which are no group's own.
    SetMembers {
        /// Which load balancer.
        of: Scheme,
        /// The addresses of its pools.
        members: Members,
    },
    /// Hands the writer of the network security group what the group claims of it.
    ClaimAccess(Claim<Access>),
}

/// What a write did.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The write.
    pub step: Step,
    /// What only Azure could tell.
    pub told: Told,
}

/// What Azure, or the writer, told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing: what was asked for is so.
    Nothing,
    /// The writer has the claim, and wakes the group when it is live.
    Handed,
    /// The address, if there is one yet.
    Address(Option<IpAddr>),
}
