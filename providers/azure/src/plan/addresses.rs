//! Public IP addresses and subnets: where each frontend gets its address (Decides).

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use evenkeel_core::{
    intent::Scheme,
    net::IpFamily,
    plan::{Action, Change, Disturbance, Plan, Reason, Until},
    problem::{Problem, reason},
};

use super::{SCHEMES, View};
use crate::{
    model::{Desired, Frontend, NewPublicIp, Phase, Place, SeenPublicIp, Source, Step},
    names,
};

/// How soon an address that is being made is looked at again.
const SOON: Duration = Duration::from_secs(1);

/// The frontends of a group, and on which load balancer.
pub(super) struct Placed {
    pub(super) scheme: Scheme,
    pub(super) frontends: BTreeMap<Arc<str>, Frontend>,
}

impl Placed {
    /// The frontend of a family.
    pub(super) fn of(&self, family: IpFamily) -> Option<(&Arc<str>, &Frontend)> {
        self.frontends
            .iter()
            .find(|(_, frontend)| frontend.family == family)
    }
}

/// The frontends as they are: of two load balancers those of the one that has rules.
pub(super) fn as_they_are(view: View<'_>) -> Option<Placed> {
    SCHEMES.into_iter().find_map(|scheme| {
        let part = view.seen.balancers.get(&scheme)?.part.as_claimed();
        (!part.frontends.is_empty()).then_some(Placed {
            scheme,
            frontends: part.frontends,
        })
    })
}

/// The addresses that would be given up.
pub(super) fn lost(view: View<'_>, desired: &Desired) -> Vec<Change> {
    let mut lost = Vec::new();
    for (scheme, seen) in &view.seen.balancers {
        for frontend in seen.part.frontends.values() {
            let wanted = desired
                .addresses
                .iter()
                .find(|(family, _)| *family == frontend.family);
            let is_wanted = *scheme == desired.scheme
                && wanted.is_some_and(|(_, source)| is_of(view, frontend, source));
            if is_wanted || desired.shared_unknown {
                continue;
            }
            let address = view.seen.address(&frontend.place, frontend.given);
            let from = address.map_or_else(|| frontend.to_string(), |ip| ip.to_string());
            let to = wanted.map_or_else(
                || "none".to_owned(),
                |(_, source)| told(desired.scheme, source),
            );
            lost.push(
                Change::new(
                    Action::Replace,
                    "load balancer",
                    names::part_id(*scheme),
                    format!("gives up {from}"),
                )
                .because(vec![Reason::new("address", &from, to)])
                .disturbing(Disturbance::Interrupts)
                .giving_up(from.clone()),
            );
        }
    }
    lost
}

fn told(scheme: Scheme, source: &Source) -> String {
    let last = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
    match source {
        Source::Managed(ip) => format!("public IP address {}", last(&ip.id)),
        Source::Named(id) => format!("public IP address {}", last(id)),
        Source::Address(ip) => ip.to_string(),
        Source::Subnet {
            name,
            address: None,
        } => format!("an address of subnet {name}"),
        Source::Subnet {
            address: Some(ip), ..
        } => match scheme {
            Scheme::Internal => ip.to_string(),
            Scheme::InternetFacing => format!("{ip} (internal)"),
        },
    }
}

/// Whether a frontend has the address that is asked for.
fn is_of(view: View<'_>, frontend: &Frontend, source: &Source) -> bool {
    match (&frontend.place, source) {
        (
            Place::PublicIp(id),
            Source::Managed(NewPublicIp { id: want, .. }) | Source::Named(want),
        ) => id.eq_ignore_ascii_case(want),
        (Place::PublicIp(_), Source::Address(ip)) => {
            view.seen.address(&frontend.place, None) == Some(*ip)
        }
        (Place::Subnet { id, .. }, Source::Subnet { name, address }) => {
            let subnet = view.seen.facts.subnets.get(name);
            // A subnet that is not there is refused elsewhere, and no reason to give anything up.
            subnet.is_none_or(|subnet| {
                subnet.id.eq_ignore_ascii_case(id)
                    && (address.is_none() || *address == frontend.given)
            })
        }
        _ => false,
    }
}

/// The frontends as they are wanted; None while an address is not there yet, or cannot be had.
pub(super) fn wanted(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired) -> Option<Placed> {
    let group = names::group(&view.context.cluster, view.key);
    let mut frontends = BTreeMap::new();
    let mut whole = true;
    for (family, source) in &desired.addresses {
        let place = match source {
            Source::Managed(new) => managed(plan, view, new),
            Source::Named(id) => given(plan, view, *family, Asked::Id(id)),
            Source::Address(ip) => given(plan, view, *family, Asked::Address(*ip)),
            Source::Subnet { name, address } => subnet(plan, view, desired.scheme, name, *address),
        };
        let Some(place) = place else {
            whole = false;
            continue;
        };
        let of_subnet = match &place {
            Place::Subnet { id, .. } => Some(&**id),
            Place::PublicIp(_) => None,
        };
        let name = names::frontend(&group, of_subnet, *family);
        let place = kept(view, desired.scheme, &name, place);
        frontends.insert(
            name,
            Frontend {
                family: *family,
                place,
                given: None,
            },
        );
    }
    whole.then_some(Placed {
        scheme: desired.scheme,
        frontends,
    })
}

/// An address that a frontend has is not asked for in other words: one that was chosen once, and may be any now, stays as it is.
fn kept(view: View<'_>, scheme: Scheme, name: &str, place: Place) -> Place {
    let there = view
        .seen
        .balancers
        .get(&scheme)
        .and_then(|seen| seen.part.frontends.get(name));
    match (
        there.map(|frontend| (&frontend.place, frontend.given)),
        &place,
    ) {
        (Some((Place::Subnet { address: now, .. }, given)), Place::Subnet { id, address })
            if address.is_none() || *address == given =>
        {
            Place::Subnet {
                id: Arc::clone(id),
                address: *now,
            }
        }
        _ => place,
    }
}

/// One of ours: made, mended or brought up to date.
fn managed(plan: &mut Plan<Step>, view: View<'_>, new: &NewPublicIp) -> Option<Place> {
    let id = names::public_ip_id(new.family);
    let name = new.id.rsplit('/').next().unwrap_or_default();
    let there = view.seen.public_ips.get(&new.id);
    let step = Step::PutPublicIp(new.clone());
    let Some(there) = there else {
        plan.step(
            step,
            Change::new(Action::Create, "public IP address", id, name),
        );
        return None;
    };
    if !there.is_of(&view.context.cluster.uid, &view.key.identity()) {
        let problem = Problem::new(
            "public IP address",
            name,
            "has our name and is not ours",
            "Delete it, or give it another name.",
        );
        plan.refuse(id, problem.with_reason(reason::OWNERSHIP_CONFLICT));
        return None;
    }
    match there.phase {
        Phase::Failed => {
            plan.step(
                step,
                Change::new(
                    Action::Change,
                    "public IP address",
                    id,
                    format!("{name} is mended"),
                ),
            );
            return None;
        }
        Phase::Updating => {
            plan.wait(id, format!("{name} to be made"), Until::After(SOON));
            return there.address.map(|_| Place::PublicIp(Arc::clone(&new.id)));
        }
        Phase::Deleting => {
            plan.wait(id, format!("{name} to be gone"), Until::After(SOON));
            return None;
        }
        Phase::Ready => {}
    }
    let reasons = differences(there, new);
    if !reasons.is_empty() {
        plan.step(
            step,
            Change::new(Action::Change, "public IP address", id, name).because(reasons),
        );
    }
    Some(Place::PublicIp(Arc::clone(&new.id)))
}

/// What shall change of one of ours: tags that somebody else set stay.
fn differences(there: &SeenPublicIp, new: &NewPublicIp) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if there.dns_label != new.dns_label {
        let text = |label: &Option<Arc<str>>| label.as_deref().unwrap_or("none").to_owned();
        reasons.push(Reason::new(
            "dnsSettings.domainNameLabel",
            text(&there.dns_label),
            text(&new.dns_label),
        ));
    }
    let once = there
        .tags
        .get(names::tag::TAGS)
        .cloned()
        .unwrap_or_default();
    let gone = once
        .split(' ')
        .filter(|name| !name.is_empty() && !new.tags.contains_key(*name));
    let gone = gone.filter(|name| there.tags.contains_key(*name)).count();
    let ours = there
        .tags
        .keys()
        .filter(|name| name.starts_with(names::tag::PREFIX));
    let ours_gone = ours.filter(|name| !new.tags.contains_key(*name)).count();
    let changed = new
        .tags
        .iter()
        .filter(|(name, value)| there.tags.get(*name) != Some(value))
        .count();
    if gone + ours_gone + changed > 0 {
        let text = |count: usize| format!("{count} of them");
        reasons.push(Reason::new("tags", text(gone + ours_gone), text(changed)));
    }
    reasons
}

enum Asked<'a> {
    Id(&'a Arc<str>),
    Address(IpAddr),
}

/// One that is there, which is somebody else's and stays so.
fn given(
    plan: &mut Plan<Step>,
    view: View<'_>,
    family: IpFamily,
    asked: Asked<'_>,
) -> Option<Place> {
    let id = names::public_ip_id(family);
    let mut all = view.seen.public_ips.iter();
    let (found, value) = match asked {
        Asked::Id(asked) => (
            all.find(|(id, _)| id.eq_ignore_ascii_case(asked)),
            asked.rsplit('/').next().unwrap_or_default().to_owned(),
        ),
        Asked::Address(ip) => (
            all.find(|(_, seen)| seen.address == Some(ip)),
            ip.to_string(),
        ),
    };
    let mut refuse = |message: String, advice: &str| {
        let problem = Problem::new("public IP address", value.clone(), message, advice);
        plan.refuse(
            id.clone(),
            problem.with_reason(reason::ADDRESS_NOT_AVAILABLE),
        );
    };
    let Some((found, there)) = found else {
        if view.fresh {
            refuse(
                "is not there, as far as evenkeel can see".to_owned(),
                "Make it, or name another; its resource group goes into azure-load-balancer-resource-group.",
            );
        } else {
            plan.wait(id, format!("a look for {value}"), Until::FreshRead);
        }
        return None;
    };
    if !there.standard {
        refuse(
            "is not of the SKU Standard".to_owned(),
            "Upgrade it, or name another.",
        );
        return None;
    }
    if there.family != family {
        refuse(
            format!("is {}, and {family} is asked for", there.family),
            "Name one of the family.",
        );
        return None;
    }
    let own = names::group(&view.context.cluster, view.key);
    let holder = there.attached.as_deref().filter(|holder| {
        let name = holder.rsplit('/').next().unwrap_or_default();
        !names::is_of(name, &own)
    });
    if let Some(holder) = holder {
        let holder = holder.rsplit('/').next().unwrap_or_default().to_owned();
        refuse(
            format!("is in use by {holder}"),
            "Services share an address when they name the same group in evenkeel.dev/group; else name another.",
        );
        return None;
    }
    Some(Place::PublicIp(Arc::clone(found)))
}

fn subnet(
    plan: &mut Plan<Step>,
    view: View<'_>,
    scheme: Scheme,
    name: &Arc<str>,
    address: Option<IpAddr>,
) -> Option<Place> {
    let id = names::part_id(scheme);
    let Some(subnet) = view.seen.facts.subnets.get(name) else {
        if view.fresh {
            let problem = Problem::new(
                "subnet",
                &**name,
                "is not there in the nodes' virtual network",
                "Name one that is.",
            );
            plan.refuse(id, problem);
        } else {
            plan.wait(id, format!("a look for subnet {name}"), Until::FreshRead);
        }
        return None;
    };
    if let Some(address) = address
        && !subnet
            .prefixes
            .iter()
            .any(|prefix| prefix.contains(address))
    {
        let prefixes: Vec<_> = subnet.prefixes.iter().map(ToString::to_string).collect();
        let problem = Problem::new(
            "address",
            address.to_string(),
            format!("is not in subnet {name}, which is {}", prefixes.join(", ")),
            "Write an address of it, or name another subnet in azure-load-balancer-internal-subnet.",
        );
        plan.refuse(id, problem.with_reason(reason::ADDRESS_NOT_AVAILABLE));
        return None;
    }
    Some(Place::Subnet {
        id: Arc::clone(&subnet.id),
        address,
    })
}
