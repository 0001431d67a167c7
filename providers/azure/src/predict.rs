//! The effect a step will have, the twin of applying it; and `absorb`, the only change of what was observed (Decides).
//!
//! Addresses are known after apply: until then they are unspecified ones. A claim is foretold as it will be when it is live.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use evenkeel_core::{
    intent::Scheme,
    net::IpFamily,
    shared::{Claim, Standing},
};

use crate::model::{
    Access, Effect, Fragment, NewPublicIp, Observed, Part, Phase, Place, SeenPublicIp, Step, Told,
};

/// Foretells what a step does.
pub fn predict(step: &Step, seen: &Observed) -> Effect {
    let told = match step {
        Step::PutPublicIp(new) => {
            let known = seen.public_ips.get(&new.id).and_then(|ip| ip.address);
            Told::Address(Some(known.unwrap_or(later(new.family))))
        }
        _ => Told::Nothing,
    };
    Effect {
        step: step.clone(),
        told,
    }
}

/// An address that is known after apply.
fn later(family: IpFamily) -> IpAddr {
    match family {
        IpFamily::V4 => Ipv4Addr::UNSPECIFIED.into(),
        IpFamily::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Takes an effect into what was observed.
pub fn absorb(seen: &mut Observed, effect: Effect) {
    let Effect { step, told } = effect;
    match step {
        Step::PutPublicIp(new) => public_ip(seen, new, &told),
        Step::DeletePublicIp(id) => drop(seen.public_ips.remove(&id)),
        Step::Claim { of, claim } if told == Told::Handed => {
            let side = seen.balancers.entry(of).or_default();
            side.claim = Some((claim, Standing::Queued));
        }
        Step::Claim { of, claim } => live(seen, of, claim),
        Step::SetMembers { of, members } => {
            let side = seen.balancers.entry(of).or_default();
            if told == Told::Handed {
                side.members_claim =
                    Some((Claim::Want(Fragment::Members(members)), Standing::Queued));
                return;
            }
            for (family, nodes) in &mut side.members.0 {
                *nodes = members.0.get(family).cloned().unwrap_or_default();
            }
        }
        Step::ClaimAccess(claim) => {
            let Some(side) = &mut seen.security else {
                return;
            };
            if told == Told::Handed {
                side.claim = Some((claim, Standing::Queued));
                return;
            }
            side.access = match &claim {
                Claim::Want(access) => access.clone(),
                Claim::Gone | Claim::Unknown => Access::default(),
            };
            side.claim = matches!(claim, Claim::Want(_)).then_some((claim, Standing::Done));
        }
    }
}

fn public_ip(seen: &mut Observed, new: NewPublicIp, told: &Told) {
    let there = seen.public_ips.remove(&new.id);
    let known = there.as_ref().and_then(|ip| ip.address);
    let address = match told {
        Told::Address(address) => address.or(known),
        Told::Nothing | Told::Handed => known,
    };
    let mut tags = there.as_ref().map(|ip| ip.tags.clone()).unwrap_or_default();
    let once = tags
        .get(crate::names::tag::TAGS)
        .cloned()
        .unwrap_or_default();
    tags.retain(|name, _| {
        !name.starts_with(crate::names::tag::PREFIX) && !once.split(' ').any(|once| *once == **name)
    });
    tags.extend(new.tags);
    let ip = SeenPublicIp {
        family: new.family,
        address,
        standard: true,
        phase: if address.is_some() {
            Phase::Ready
        } else {
            Phase::Updating
        },
        tags,
        dns_label: new.dns_label,
        attached: there.and_then(|ip| ip.attached),
    };
    seen.public_ips.insert(new.id, ip);
}

/// The claim is live.
fn live(seen: &mut Observed, of: Scheme, claim: Claim<Fragment>) {
    let side = seen.balancers.entry(of).or_default();
    let part = match &claim {
        Claim::Want(Fragment::Part(part)) => part.clone(),
        Claim::Want(Fragment::Members(_)) | Claim::Gone | Claim::Unknown => Part::default(),
    };
    let (old, mut part) = (std::mem::take(&mut side.part), part);
    side.rules = side.rules.saturating_sub(old.rules.len()) + part.rules.len();
    for rule in part.rules.values() {
        let seed = part.seed.0.get(&rule.family).cloned().unwrap_or_default();
        side.members.0.entry(rule.family).or_insert(seed);
    }
    for (name, frontend) in &mut part.frontends {
        let before = old.frontends.get(name).and_then(|frontend| frontend.given);
        frontend.given = match &frontend.place {
            Place::PublicIp(_) => None,
            Place::Subnet { address, .. } => address.or(before).or(Some(later(frontend.family))),
        };
    }
    part.seed = Default::default();
    let places = |part: &Part| -> Vec<(Arc<str>, Arc<str>)> {
        let frontends = part.frontends.iter();
        let places = frontends.filter_map(|(name, frontend)| match &frontend.place {
            Place::PublicIp(id) => Some((Arc::clone(id), Arc::clone(name))),
            Place::Subnet { .. } => None,
        });
        places.collect()
    };
    side.claim = matches!(claim, Claim::Want(_)).then_some((claim, Standing::Done));
    let (gone, come) = (places(&old), places(&part));
    side.part = part;
    if side.part.is_empty() && side.rules == 0 {
        side.members = Default::default();
    }
    for (id, _) in gone {
        if let Some(ip) = seen.public_ips.get_mut(&id) {
            ip.attached = None;
        }
    }
    for (id, name) in come {
        if let Some(ip) = seen.public_ips.get_mut(&id) {
            ip.attached = Some(name);
        }
    }
}
