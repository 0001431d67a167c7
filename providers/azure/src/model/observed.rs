//! What a group has, where its claims stand, and what it rests on (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use evenkeel_core::{
    ids::{Cluster, GroupKey, ServiceRef},
    intent::Scheme,
    net::{Cidr, IpFamily},
    published::{Ingress, IpMode, Published, PublishedPort},
    shared::{Claim, Standing},
};

use super::{Access, Fragment, Members, Part, Place, SeenPublicIp};
use crate::names::{self, tag};

/// What a group has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What all groups rest on.
    pub facts: Arc<Facts>,
    /// By id: the public IP addresses of the group, and those that it asks for.
    pub public_ips: BTreeMap<Arc<str>, SeenPublicIp>,
    /// Its part of each load balancer that is there, or that it has a claim on.
    pub balancers: BTreeMap<Scheme, SeenBalancer>,
    /// Its part of the network security group; None where that is nobody's business of ours.
    pub security: Option<SeenSecurity>,
}

/// What all groups rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The subnets of the virtual network, by name.
    pub subnets: BTreeMap<Arc<str>, Subnet>,
    /// The load balancers of the resource group that are not ours to write, as far as they concern the nodes.
    pub others: Vec<OtherBalancer>,
}

/// A load balancer that is not ours to write, with machines behind it by their network interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherBalancer {
    /// Its name.
    pub name: Arc<str>,
    /// Where its frontends are.
    pub scheme: Scheme,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: Arc<str>,
    /// Its prefixes.
    pub prefixes: Vec<Cidr>,
    /// It has a way out of its own: a NAT gateway, or routes.
    pub way_out: bool,
}

/// A group's part of one load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenBalancer {
    /// What is live.
    pub part: Part,
    /// What the group claims, and where that stands: what is on the way is not live yet.
    pub claim: Option<(Claim<Fragment>, Standing)>,
    /// The pools that there are, with the nodes that are live in them.
    pub members: Members,
    /// The claim of the nodes, and where it stands.
    pub members_claim: Option<(Claim<Fragment>, Standing)>,
    /// All rules of the load balancer, of whomever.
    pub rules: usize,
    /// Outbound rules give the nodes their way out.
    pub outbound: bool,
    /// It is of the SKU Basic, whose pools are of network interfaces.
    pub basic: bool,
    /// The load balancer is not ours and would be left without a frontend: the group's last one stays.
    pub keeps_last: bool,
}

/// A group's part of the network security group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenSecurity {
    /// What is live.
    pub access: Access,
    /// What the group claims, and where that stands.
    pub claim: Option<(Claim<Access>, Standing)>,
}

/// Whether nothing is claimed, nor on its way: what is to be gone is so only when that is live.
fn is_over<F>(claim: Option<&(Claim<F>, Standing)>) -> bool {
    matches!(claim, None | Some((Claim::Gone, Standing::Done)))
}

impl SeenBalancer {
    /// Whether nothing of the group is live, nor on its way there or from there.
    pub fn is_free(&self) -> bool {
        self.part.is_empty() && is_over(self.claim.as_ref())
    }
}

impl SeenSecurity {
    /// Whether nothing of the group is live, nor on its way there or from there.
    pub fn is_free(&self) -> bool {
        self.access.rules.is_empty() && is_over(self.claim.as_ref())
    }
}

impl Observed {
    /// How many objects of the group there are: the parts of shared ones are one each.
    pub fn len(&self, cluster: &str, key: &GroupKey) -> usize {
        let identity = key.identity();
        let addresses = self.public_ips.values();
        let parts = self.balancers.values();
        addresses.filter(|ip| ip.is_of(cluster, &identity)).count()
            + parts.filter(|seen| !seen.part.is_empty()).count()
            + usize::from(
                self.security
                    .as_ref()
                    .is_some_and(|seen| !seen.access.rules.is_empty()),
            )
    }

    /// Whether the objects are stamped to stay when their Services are deleted.
    pub fn retained(&self) -> bool {
        let mut addresses = self.public_ips.values();
        addresses.any(|ip| {
            ip.tags
                .get(tag::RECLAIM)
                .is_some_and(|policy| **policy == *"Retain")
        })
    }

    /// The address of a frontend.
    pub fn address(&self, place: &Place, given: Option<IpAddr>) -> Option<IpAddr> {
        match place {
            Place::PublicIp(id) => self.public_ips.get(id)?.address,
            Place::Subnet { address, .. } => given.or(*address),
        }
    }

    /// What can be told to the world: every address that listens, and for which of these members a port is open. While one load balancer
    /// takes over from the other both serve.
    pub fn published(
        &self,
        cluster: &Cluster,
        key: &GroupKey,
        members: &[ServiceRef],
    ) -> Published {
        let mut ingress: Vec<(IpFamily, Ingress)> = Vec::new();
        let mut ports = BTreeSet::new();
        let mut further = Vec::new();
        for seen in self.balancers.values() {
            for (name, frontend) in &seen.part.frontends {
                let mut rules = seen.part.rules.iter();
                let listens = rules.any(|(_, rule)| rule.frontend.eq_ignore_ascii_case(name));
                let known = self.address(&frontend.place, frontend.given);
                // What is known after apply only is nothing to tell.
                let Some(ip) = known.filter(|ip| listens && !ip.is_unspecified()) else {
                    continue;
                };
                ingress.push((
                    frontend.family,
                    Ingress::Ip {
                        ip,
                        mode: IpMode::Vip,
                    },
                ));
                if let Place::PublicIp(id) = &frontend.place {
                    further.extend(
                        self.public_ips
                            .get(id)
                            .map(further_addresses)
                            .unwrap_or_default(),
                    );
                }
            }
            for service in members {
                let member = names::member(cluster, key, &service.uid);
                let served = seen
                    .part
                    .rules
                    .keys()
                    .filter_map(|name| names::port_of(name, &member));
                ports.extend(served.map(|port| PublishedPort {
                    service: service.clone(),
                    port,
                }));
            }
        }
        ingress.sort();
        let further = further.into_iter().map(|ip| Ingress::Ip {
            ip,
            mode: IpMode::Vip,
        });
        let mut told: Vec<Ingress> = ingress.into_iter().map(|(_, one)| one).collect();
        for one in further {
            if !told.contains(&one) {
                told.push(one);
            }
        }
        Published {
            ingress: told,
            ports: ports.into_iter().collect(),
            targets: None,
            pools: Vec::new(),
        }
    }
}

/// The addresses that are published beside that of a public IP address, as its tag lists them.
fn further_addresses(ip: &SeenPublicIp) -> Vec<IpAddr> {
    let listed = ip.tags.get(tag::FURTHER_ADDRESSES);
    let listed = listed.iter().flat_map(|text| text.split(' '));
    listed.filter_map(|text| text.parse().ok()).collect()
}
