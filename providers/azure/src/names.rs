//! Names and tags of our objects (Decides).
//!
//! What is inside a load balancer or a security group has no tags: its name says whose it is. Every name begins with `ek-`, a hash
//! of the cluster's UID, and the Service's UID (of a shared group a hash of its name), each as long as every other of its kind, so
//! that no group's name begins another's. `ek-k2m7qd3a-0f6c1b527a0e4c559a7b2d8f5b1d9e01-TCP-80-v4` is a rule.
//!
//! | object | name | at most |
//! | --- | --- | --- |
//! | frontend | `<group>-v4`, in a subnet `<group>-<hash of its id>-v4` | 54 |
//! | rule | `<member>-TCP-80-v4` | 65 |
//! | probe | `<member>-TCP-80`, with policy Local `<member>-local`; of kube-proxy's health `ek-<cluster>-kube-proxy` | 62 |
//! | pool | `ek-<cluster>-nodes-v4` | 20 |
//! | security rule | `<member>-allow-tcp-v4-<hash of its sources>` | 71 |
//! | public IP address | `<group>-v4`, and a hash of what cannot be changed | 54 |
//!
//! `<member>` is the group, and in a shared group a hash of the member's UID after it. Azure allows 80 characters.

pub mod peer;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use evenkeel_core::{
    ids::{Cluster, GroupKey, ResourceId, ServiceUid},
    intent::Scheme,
    naming,
    net::IpFamily,
    ports::{PortKey, Protocol},
};

use crate::model::{Pairs, Transport};

/// Our tags. Azure takes no `/` in a tag's name.
pub mod tag {
    /// UID of the namespace `kube-system`: whose cluster's an object is. An object without it is never touched.
    pub const CLUSTER: &str = "evenkeel-cluster";
    /// The cluster's name, for people.
    pub const CLUSTER_NAME: &str = "evenkeel-cluster-name";
    /// The group's identity: UID of the Service, or `namespace/name` of a shared group.
    pub const GROUP: &str = "evenkeel-group";
    /// `namespace/name` of the Service, for people.
    pub const SERVICE: &str = "evenkeel-service";
    /// `Retain` where the object stays when its Services are deleted.
    pub const RECLAIM: &str = "evenkeel-reclaim-policy";
    /// Addresses that are published beside this one, separated by spaces.
    pub const FURTHER_ADDRESSES: &str = "evenkeel-further-addresses";
    /// The keys of tags that we once set for the user or the operator, separated by spaces: what is no longer asked for goes.
    pub const TAGS: &str = "evenkeel-tags";
    /// What all of our tags begin with.
    pub const PREFIX: &str = "evenkeel-";
}

/// What all of our names begin with.
const PREFIX: &str = "ek-";
/// Base32 digits of a cluster: 40 bits.
const CLUSTER: usize = 8;
/// Base32 digits of a group that has no UID in the usual form.
const GROUP: usize = 32;
/// Base32 digits where a few objects of one group are told apart.
const FEW: usize = 6;

/// What the names of all objects of a cluster begin with.
pub fn cluster(cluster: &Cluster) -> String {
    format!("{PREFIX}{}", naming::hash(&[&[&cluster.uid]], CLUSTER))
}

/// What the names of all objects of a group begin with, before a hyphen.
pub fn group(of: &Cluster, key: &GroupKey) -> String {
    let id = match key {
        GroupKey::Service(service) => plain(&service.uid),
        GroupKey::Shared { .. } => None,
    };
    let id = id.unwrap_or_else(|| naming::hash(&[&["group", &key.identity()]], GROUP));
    format!("{}-{id}", cluster(of))
}

/// The 32 digits of a UID in the usual form.
fn plain(uid: &ServiceUid) -> Option<String> {
    let parts: Vec<_> = uid.as_str().split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    let digits = parts.concat();
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (lengths == [8, 4, 4, 4, 12] && digits.bytes().all(lower)).then_some(digits)
}

/// The UID that stands in a name of ours: of an object of one Service's.
pub(crate) fn uid_of(of: &Cluster, name: &str) -> Option<ServiceUid> {
    let cluster = cluster(of);
    if !is_of(name, &cluster) {
        return None;
    }
    let digits = name[cluster.len() + 1..].get(..GROUP)?.to_ascii_lowercase();
    let mut uid = String::new();
    let mut rest = digits.as_str();
    for length in [8, 4, 4, 4, 12] {
        let (part, after) = rest.split_at_checked(length)?;
        if !uid.is_empty() {
            uid.push('-');
        }
        uid.push_str(part);
        rest = after;
    }
    let uid = ServiceUid::new(uid);
    (plain(&uid).as_ref() == Some(&digits)).then_some(uid)
}

/// What the names of rules and probes of a member begin with, before a hyphen.
pub fn member(of: &Cluster, key: &GroupKey, uid: &ServiceUid) -> String {
    let group = group(of, key);
    match key {
        GroupKey::Service(_) => group,
        GroupKey::Shared { .. } => {
            format!("{group}-{}", naming::hash(&[&[uid.as_str()]], FEW))
        }
    }
}

/// Whether an object is of the group, or member, whose names begin so. Azure's names know no case.
pub fn is_of(name: &str, group: &str) -> bool {
    let rest = name
        .get(..group.len())
        .filter(|start| start.eq_ignore_ascii_case(group));
    rest.is_some() && name[group.len()..].starts_with('-')
}

fn suffix(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "v4",
        IpFamily::V6 => "v6",
    }
}

/// A frontend; one in a subnet has its id in the name, because it cannot move to another.
pub fn frontend(group: &str, subnet: Option<&str>, family: IpFamily) -> Arc<str> {
    let family = suffix(family);
    match subnet {
        None => format!("{group}-{family}").into(),
        Some(id) => {
            let id = id.to_ascii_lowercase();
            format!("{group}-{}-{family}", naming::hash(&[&[&id]], FEW)).into()
        }
    }
}

/// A rule.
pub fn rule(member: &str, port: PortKey, family: IpFamily) -> Arc<str> {
    format!(
        "{member}-{}-{}-{}",
        port.protocol,
        port.port,
        suffix(family)
    )
    .into()
}

/// The port of a rule of this member.
pub fn port_of(name: &str, member: &str) -> Option<PortKey> {
    if !is_of(name, member) {
        return None;
    }
    let mut parts = name[member.len() + 1..].split('-');
    let protocol = match parts.next()? {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return None,
    };
    let port = parts.next()?.parse().ok()?;
    Some(PortKey { port, protocol })
}

/// The probe of one port.
pub fn probe(member: &str, port: PortKey) -> Arc<str> {
    format!("{member}-{}-{}", port.protocol, port.port).into()
}

/// The probe of a Service with policy Local.
pub fn local_probe(member: &str) -> Arc<str> {
    format!("{member}-local").into()
}

/// The cluster's probe of kube-proxy's health.
pub fn proxy_probe(of: &Cluster) -> Arc<str> {
    format!("{}-kube-proxy", cluster(of)).into()
}

/// The pool of a family.
pub fn pool(of: &Cluster, family: IpFamily) -> Arc<str> {
    format!("{}-nodes-{}", cluster(of), suffix(family)).into()
}

/// A security rule.
pub fn security_rule(
    member: &str,
    allow: bool,
    transport: Option<Transport>,
    family: IpFamily,
    sources: &str,
) -> Arc<str> {
    let action = if allow { "allow" } else { "deny" };
    let what = transport.map_or("any", |transport| match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    });
    let sources = naming::hash(&[&[sources]], FEW);
    format!("{member}-{action}-{what}-{}-{sources}", suffix(family)).into()
}

/// A public IP address.
pub fn public_ip(group: &str, family: IpFamily, prefix: Option<&str>, ip_tags: &Pairs) -> String {
    let family = suffix(family);
    if prefix.is_none() && ip_tags.is_empty() {
        return format!("{group}-{family}");
    }
    let prefix = prefix.unwrap_or_default().to_ascii_lowercase();
    let tags: Vec<&str> = ip_tags
        .iter()
        .flat_map(|(key, value)| [&**key, &**value])
        .collect();
    format!(
        "{group}-{family}-{}",
        naming::hash(&[&[&prefix], &tags], FEW)
    )
}

/// The key under which the nodes of a load balancer are claimed: no group of Services has it, because a namespace has a name.
pub fn nodes_key() -> GroupKey {
    GroupKey::Shared {
        namespace: "".into(),
        name: "nodes".into(),
    }
}

/// The logical id of a public IP address.
pub fn public_ip_id(family: IpFamily) -> ResourceId {
    ResourceId::new(format!("ip/{family}"))
}

/// The logical id of a group's part of a load balancer.
pub fn part_id(of: Scheme) -> ResourceId {
    ResourceId::from(match of {
        Scheme::InternetFacing => "lb/public",
        Scheme::Internal => "lb/internal",
    })
}

/// The logical id of the nodes of a load balancer.
pub fn members_id(of: Scheme) -> ResourceId {
    ResourceId::new(format!("{}/nodes", part_id(of)))
}

/// The logical id of a group's part of the network security group.
pub const ACCESS: &str = "nsg";
