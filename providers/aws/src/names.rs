//! Names and tags of our objects (Decides).
//!
//! A name is the same in every run, so that a create that may have happened is found again. It carries the Service's name for
//! people and, in its hash, the cluster, the group's identity and everything that is create-only: what differs in
//! one of these has another name, and can be made before its predecessor goes.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    digest::Digest,
    ids::{Cluster, GroupKey, ResourceId, ServiceRef},
    intent::Scheme,
    naming::{Charset, Naming},
    net::IpFamily,
};

use crate::model::{Marks, Pairs, TargetProtocol, TargetType};

/// Load balancers and target groups: 1 to 32 letters, digits and hyphens. Ten digits are 50 bits.
const NAMES: Naming = Naming::new(32, Charset::Mixed, 10);

/// Security groups: up to 255 characters, unique in a VPC whatever their case.
const GROUP_NAMES: Naming = Naming::new(128, Charset::Lower, 16);

/// Our tags.
pub mod tag {
    /// UID of the namespace `kube-system`: whose cluster's an object is. An object without it is never touched.
    pub const CLUSTER: &str = "evenkeel.dev/cluster";
    /// The cluster's name, for people.
    pub const CLUSTER_NAME: &str = "evenkeel.dev/cluster-name";
    /// The group's identity: UID of the Service, or `namespace/name` of a shared group.
    pub const GROUP: &str = "evenkeel.dev/group";
    /// `namespace/name` of the Service, for people.
    pub const SERVICE: &str = "evenkeel.dev/service";
    /// Of the backend group, and goes on with the installation of the controller: the mark of who wrote last (see `holder.rs`).
    pub const HOLDER: &str = "evenkeel.dev/holder";
    /// UID of the member that the object serves.
    pub const MEMBER: &str = "evenkeel.dev/member";
    /// The logical id: `lb`, `tg/TCP/80`.
    pub const RESOURCE: &str = "evenkeel.dev/resource";
    /// `Retain` where the object stays when its Services are deleted.
    pub const RECLAIM: &str = "evenkeel.dev/reclaim-policy";
    /// The attributes that we once set, as [`super::list`] writes them: what is no longer asked for is reset to AWS's default.
    pub const ATTRIBUTES: &str = "evenkeel.dev/attributes";
    /// The keys of tags that we once set for the user or the operator, as [`super::list`] writes them.
    pub const TAGS: &str = "evenkeel.dev/tags";
    /// Of a target group: the NodePort of all of its targets.
    pub const NODE_PORT: &str = "evenkeel.dev/node-port";
    /// Of a target group: the labels of the nodes that are its targets, where those are not all nodes, as [`super::list`] writes
    /// them. A Service that cannot be read any more follows its nodes by it.
    pub const NODE_LABELS: &str = "evenkeel.dev/node-labels";
    /// Of a target group whose targets move to another NodePort: that port, and since when those there are waited for, as RFC 3339.
    pub const MOVING: &str = "evenkeel.dev/moving";
    /// Of a target group: `tcp` where kube-proxy's health did not answer when it was made.
    pub const PROBE: &str = "evenkeel.dev/probe";
    /// Of a target group: its openings, as [`super::list`] writes them.
    pub const OPENINGS: &str = "evenkeel.dev/openings";
    /// Of a TLS listener: how many further certificates it has.
    pub const CERTIFICATES: &str = "evenkeel.dev/further-certificates";
    /// Of a load balancer whose successor serves: since when, as RFC 3339.
    pub const SUPERSEDED: &str = "evenkeel.dev/superseded";
    /// Of a load balancer that takes the place of another: the ARN of that one. While both are there and the other is not
    /// superseded, the other serves.
    pub const SUCCEEDS: &str = "evenkeel.dev/succeeds";
    /// Of a load balancer: the digest of what a bulk look does not show of it (see `plan/settled.rs`), when all of that was done.
    pub const SETTLED: &str = "evenkeel.dev/settled";
    /// Of a load balancer with addresses that somebody chose: the last approval that was seen when nothing was left to approve.
    pub const APPROVED: &str = "evenkeel.dev/approved";
    /// What all of our tags begin with.
    pub const PREFIX: &str = "evenkeel.dev/";
}

/// What the tag [`tag::ATTRIBUTES`] of a load balancer lists beside attributes: fields that were once asked for.
pub mod field {
    /// Whether rules hold for traffic through PrivateLink.
    pub const PRIVATE_LINK: &str = "private-link-rules";
    /// IPv6 addresses too.
    pub const ADDRESS_TYPE: &str = "ip-address-type";
    /// Whether sources are translated with an IPv6 prefix.
    pub const SOURCE_NAT: &str = "ipv6-source-nat";
    /// All of them; no attribute of AWS's has such a name.
    pub const ALL: [&str; 3] = [PRIVATE_LINK, ADDRESS_TYPE, SOURCE_NAT];
}

/// The logical id of the load balancer.
pub const LOAD_BALANCER: &str = "lb";

/// The logical id of the front-end security group.
pub const SECURITY_GROUP: &str = "sg";

/// The logical id of the cluster's backend group.
pub const BACKEND_GROUP: &str = "backend-sg";

/// The logical id of the admission of nodes.
pub const NODES: &str = "nodes";

/// The description of an opening's rule: nobody else's is ever removed.
pub fn opening(cluster: &str) -> String {
    format!("evenkeel.dev/opening of cluster {cluster}")
}

/// The logical id of a target group.
pub fn target_group_id(protocol: TargetProtocol, port: u16) -> ResourceId {
    ResourceId::new(format!("tg/{protocol}/{port}"))
}

/// The logical id of a listener.
pub fn listener_id(port: u16) -> ResourceId {
    ResourceId::new(format!("ls/{port}"))
}

/// The name of a load balancer where the user gave none; one without security groups has another.
pub fn load_balancer(cluster: &str, key: &GroupKey, scheme: Scheme, open: bool) -> Arc<str> {
    let scheme = match scheme {
        Scheme::Internal => "internal",
        Scheme::InternetFacing => "internet-facing",
    };
    let identity = key.identity();
    let mut parts = vec![cluster, &identity, LOAD_BALANCER, scheme];
    if open {
        parts.push("open");
    }
    NAMES
        .name(&["ek"], &[key.namespace(), key.name()], &parts)
        .into()
}

/// The name of a target group of the load balancer of this name: a successor of that has target groups of its own, because
/// AWS allows one load balancer per target group.
pub fn target_group(
    cluster: &str,
    key: &GroupKey,
    load_balancer: &str,
    id: &ResourceId,
    target_type: TargetType,
    family: IpFamily,
) -> Arc<str> {
    NAMES
        .name(
            &["ek"],
            &[key.namespace(), key.name()],
            &[
                cluster,
                &key.identity(),
                load_balancer,
                id.as_str(),
                target_type.as_str(),
                family.as_str(),
            ],
        )
        .into()
}

/// The name of the front-end security group.
pub fn security_group(cluster: &str, key: &GroupKey) -> Arc<str> {
    GROUP_NAMES
        .name(
            &["ek"],
            &[key.namespace(), key.name()],
            &[cluster, &key.identity(), SECURITY_GROUP],
        )
        .into()
}

/// The name of the cluster's backend group in a VPC.
pub fn backend_group(cluster: &Cluster, vpc: &str) -> Arc<str> {
    GROUP_NAMES
        .name(
            &["ek", "nodes"],
            &[&cluster.name],
            &[&cluster.uid, vpc, BACKEND_GROUP],
        )
        .into()
}

/// The tags of the cluster's backend group, beside the mark of the controller that wrote last.
pub fn backend_tags(cluster: &Cluster) -> Pairs {
    [
        (tag::CLUSTER, Arc::clone(&cluster.uid)),
        (tag::CLUSTER_NAME, Arc::clone(&cluster.name)),
        (tag::RESOURCE, BACKEND_GROUP.into()),
    ]
    .map(|(key, value)| (Arc::from(key), value))
    .into()
}

/// Marks of an object that serves the whole group.
pub fn group_marks(cluster: &Cluster, key: &GroupKey, retain: bool, id: ResourceId) -> Marks {
    let identity: Arc<str> = key.identity().into();
    Marks {
        cluster: Arc::clone(&cluster.uid),
        service: format!("{}/{}", key.namespace(), key.name()).into(),
        member: Arc::clone(&identity),
        group: identity,
        id,
        retain,
    }
}

/// Marks of an object that serves one member of the group.
pub fn member_marks(
    cluster: &Cluster,
    key: &GroupKey,
    member: &ServiceRef,
    retain: bool,
    id: ResourceId,
) -> Marks {
    Marks {
        service: member.to_string().into(),
        member: member.uid.as_str().into(),
        ..group_marks(cluster, key, retain, id)
    }
}

/// Marks as tags.
pub fn tags(cluster_name: &str, marks: &Marks) -> Pairs {
    let mut tags: Pairs = [
        (tag::CLUSTER, Arc::clone(&marks.cluster)),
        (tag::CLUSTER_NAME, cluster_name.into()),
        (tag::GROUP, Arc::clone(&marks.group)),
        (tag::SERVICE, Arc::clone(&marks.service)),
        (tag::MEMBER, Arc::clone(&marks.member)),
        (tag::RESOURCE, marks.id.as_str().into()),
    ]
    .into_iter()
    .map(|(key, value)| (Arc::from(key), value))
    .collect();
    if marks.retain {
        tags.insert(tag::RECLAIM.into(), "Retain".into());
    }
    tags
}

/// The marks that tags tell; None where one is missing, so that the object is not ours to touch.
pub fn marks(tags: &Pairs) -> Option<Marks> {
    let text = |key: &str| tags.get(key).cloned();
    Some(Marks {
        cluster: text(tag::CLUSTER)?,
        group: text(tag::GROUP)?,
        service: text(tag::SERVICE)?,
        member: text(tag::MEMBER)?,
        id: ResourceId::new(text(tag::RESOURCE)?),
        retain: text(tag::RECLAIM).is_some_and(|policy| &*policy == "Retain"),
    })
}

/// The tag of the backend group that says which cluster of one identity writes, of one installation of the controller.
pub(crate) fn holder(installation: &str) -> Arc<str> {
    format!("{}.{}", tag::HOLDER, Digest::of(installation).short()).into()
}

/// Whether tags lack some of these marks and contradict none. The cluster's has to be there: without it nothing is touched.
pub(crate) fn lack_only(found: &Pairs, marks: &Marks) -> bool {
    let wanted = [
        (tag::GROUP, &*marks.group),
        (tag::SERVICE, &*marks.service),
        (tag::MEMBER, &*marks.member),
        (tag::RESOURCE, marks.id.as_str()),
    ];
    let is = |key: &str| found.get(key).map(|value| &**value);
    let agrees = |(key, value): (&str, &str)| is(key).is_none_or(|is| is == value);
    is(tag::CLUSTER) == Some(&*marks.cluster) && wanted.into_iter().all(agrees)
}

/// The longest value of a tag.
pub(crate) const TAG_VALUE: usize = 256;

/// Names of fields as tags: `key`, then `key.2` and so on where one value has no room for all of them.
pub fn list<'a>(key: &str, fields: impl IntoIterator<Item = &'a str>) -> Pairs {
    let mut values: Vec<String> = Vec::new();
    for field in fields {
        // A tag's key may have spaces; no character is free to stand between two.
        let field = field.replace('@', "@@").replace(' ', "@_");
        match values.last_mut() {
            Some(value) if value.len() + 1 + field.len() <= TAG_VALUE => {
                value.push(' ');
                value.push_str(&field);
            }
            _ => values.push(field),
        }
    }
    let numbered = |(index, value): (usize, String)| (list_key(key, index), value.into());
    values.into_iter().enumerate().map(numbered).collect()
}

/// The names of fields that [`list`] wrote.
pub fn listed(tags: &Pairs, key: &str) -> BTreeSet<Arc<str>> {
    (0..)
        .map_while(|index| tags.get(&list_key(key, index)))
        .flat_map(|value| value.split(' '))
        .filter(|field| !field.is_empty())
        .map(unescape)
        .collect()
}

/// The attributes of AWS's that tags list, without the fields of [`field`].
pub fn listed_attributes(tags: &Pairs) -> BTreeSet<Arc<str>> {
    let mut listed = listed(tags, tag::ATTRIBUTES);
    listed.retain(|key| !field::ALL.contains(&&**key));
    listed
}

fn list_key(key: &str, index: usize) -> Arc<str> {
    if index == 0 {
        key.into()
    } else {
        format!("{key}.{}", index + 1).into()
    }
}

fn unescape(field: &str) -> Arc<str> {
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(char) = chars.next() {
        match (char, chars.clone().next()) {
            ('@', Some('_')) => text.push(' '),
            ('@', _) => text.push('@'),
            _ => {
                text.push(char);
                continue;
            }
        }
        chars.next();
    }
    text.into()
}

#[cfg(test)]
mod tests;
