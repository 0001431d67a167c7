//! What goes, and in which order: who listens first, what it used after that (Decides).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use evenkeel_core::{
    ids::ServiceUid,
    intent::Scheme,
    plan::{Action, Change, Disturbance, Plan, Reason, Until},
    problem::{Problem, reason},
    shared::Claim,
};

use super::{View, access, addresses::Placed, claims::hand_in};
use crate::{
    model::{Access, Desired, Fragment, Phase, SeenBalancer, Source, Step},
    names,
};

/// How soon an address that something still has is looked at again.
const SOON: Duration = Duration::from_secs(5);

/// Everything of the group.
pub(super) fn everything(plan: &mut Plan<Step>, view: View<'_>) {
    let mut listens = false;
    for (scheme, seen) in &view.seen.balancers {
        listens |= !leave(plan, *scheme, seen, None);
    }
    if listens {
        return;
    }
    access::hand_in_access(plan, view, Access::default());
    let ours: Vec<_> = ours(view).collect();
    for id in ours {
        delete_address(plan, view, &id);
    }
}

/// Takes the group's part out of a load balancer, and with it what was given up. Whether nothing is left of it.
fn leave(
    plan: &mut Plan<Step>,
    scheme: Scheme,
    seen: &SeenBalancer,
    lost: Option<&Change>,
) -> bool {
    if seen.is_free() {
        return true;
    }
    let id = names::part_id(scheme);
    if seen.keeps_last
        && seen.part.rules.is_empty()
        && !matches!(seen.claim, Some((Claim::Want(_), _)))
    {
        let problem = Problem::new(
            "load balancer",
            seen.part
                .frontends
                .keys()
                .map(|name| &**name)
                .collect::<Vec<_>>()
                .join(", "),
            "is the last frontend of a load balancer that is not ours, and Azure takes none without",
            "Give that load balancer another frontend, or delete it.",
        );
        plan.refuse(id, problem.with_reason(reason::OWNERSHIP_CONFLICT));
        return false;
    }
    let detail = match seen.part.is_empty() {
        true => "what is claimed and not there yet".to_owned(),
        false => seen.part.to_string(),
    };
    let change = match lost {
        Some(lost) => Change {
            action: Action::Destroy,
            ..lost.clone()
        },
        None => Change::new(Action::Destroy, "load balancer", id, detail)
            .disturbing(Disturbance::Interrupts),
    };
    let claim: Claim<Fragment> = Claim::Gone;
    let step = Step::Claim {
        of: scheme,
        claim: claim.clone(),
    };
    hand_in(plan, (&claim, false), seen.claim.as_ref(), step, change);
    false
}

/// The group's own public IP addresses.
fn ours<'a>(view: View<'a>) -> impl Iterator<Item = Arc<str>> + use<'a> {
    let identity = view.key.identity();
    view.seen
        .public_ips
        .iter()
        .filter(move |(_, ip)| ip.is_of(&view.context.cluster.uid, &identity))
        .map(|(id, _)| Arc::clone(id))
}

fn delete_address(plan: &mut Plan<Step>, view: View<'_>, id: &Arc<str>) {
    let Some(seen) = view.seen.public_ips.get(id) else {
        return;
    };
    let name = id.rsplit('/').next().unwrap_or_default();
    let logical = names::public_ip_id(seen.family);
    if seen.phase == Phase::Deleting {
        plan.wait(logical, format!("{name} to be gone"), Until::After(SOON));
    } else if let Some(holder) = &seen.attached {
        let holder = holder.rsplit('/').next().unwrap_or_default();
        let until = if view.fresh {
            Until::After(SOON)
        } else {
            Until::FreshRead
        };
        plan.wait(logical, format!("{holder} to let go of {name}"), until);
    } else {
        plan.step(
            Step::DeletePublicIp(Arc::clone(id)),
            Change::new(Action::Destroy, "public IP address", logical, name),
        );
    }
}

/// What is not wanted any more, once everything that is wanted is there.
pub(super) fn surplus(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    placed: &Placed,
    lost: &[Change],
) {
    let mut listens = false;
    for (scheme, seen) in &view.seen.balancers {
        if *scheme != placed.scheme {
            let id = names::part_id(*scheme);
            let lost = lost.iter().find(|change| change.id == id);
            listens |= !leave(plan, *scheme, seen, lost);
        }
    }
    if listens {
        return;
    }
    let wanted: BTreeSet<&str> = desired
        .addresses
        .iter()
        .filter_map(|(_, source)| match source {
            Source::Managed(new) => Some(&*new.id),
            _ => None,
        })
        .collect();
    for id in ours(view)
        .filter(|id| !wanted.contains(&**id))
        .collect::<Vec<_>>()
    {
        delete_address(plan, view, &id);
    }
}

/// What serves these members, who have left a group that is rejected.
pub(super) fn members(plan: &mut Plan<Step>, view: View<'_>, gone: &BTreeSet<ServiceUid>) {
    let theirs: Vec<String> = gone
        .iter()
        .map(|uid| names::member(&view.context.cluster, view.key, uid))
        .collect();
    let is_theirs = |name: &str| theirs.iter().any(|member| names::is_of(name, member));
    for (scheme, seen) in &view.seen.balancers {
        let mut part = seen.part.as_claimed();
        part.rules.retain(|name, _| !is_theirs(name));
        let used: BTreeSet<_> = part
            .rules
            .values()
            .filter_map(|rule| rule.probe.clone())
            .collect();
        part.probes.retain(|name, _| used.contains(name));
        if part.rules == seen.part.rules {
            continue;
        }
        let change = Change::new(
            Action::Change,
            "load balancer",
            names::part_id(*scheme),
            part.to_string(),
        )
        .because(vec![Reason::new("part", &seen.part, &part)])
        .disturbing(Disturbance::Interrupts);
        let claim = Claim::Want(Fragment::Part(part));
        let step = Step::Claim {
            of: *scheme,
            claim: claim.clone(),
        };
        hand_in(plan, (&claim, false), seen.claim.as_ref(), step, change);
    }
    if let Some(seen) = &view.seen.security {
        let mut rules = seen.access.clone();
        rules.rules.retain(|name, _| !is_theirs(name));
        if rules != seen.access {
            access::hand_in_access(plan, view, rules);
        }
    }
}
