//! The load balancer itself: made, or brought up to date in place (Decides).

use std::{borrow::Cow, sync::Arc};

use evenkeel_core::{
    annotation::field,
    plan::{Action, Change, Plan},
    problem::{Problem, Warning, reason},
};

use super::{
    View, attributes, load_balancer_id, openings, quota,
    replace::{Kind, Stacks, replacement, scheme_word},
    room,
    security::{self, Groups},
    settled, subnets, tags, targets,
};
use crate::{
    annotations::key,
    desired::attributes::CROSS_ZONE,
    model::{
        Desired, NewLoadBalancer, Object, Pairs, Phase, SeenLoadBalancer, Step, SubnetMapping,
        Target, TargetType,
    },
    names::tag,
};

/// Whether there is a load balancer, or one can be made; else that is told.
pub(super) fn can_be_made(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    stacks: &Stacks<'_>,
) -> bool {
    if stacks.main.live.is_some() {
        return true;
    }
    if desired.shared_unknown {
        plan.refuse(
            load_balancer_id(),
            Problem::new(
                "the load balancer of the group",
                "",
                "cannot be made while a member cannot be read, because the oldest member decides what all share",
                "Mend that member first: its own event says what is wrong.",
            ),
        );
        return false;
    }
    // What else there is to tell is told when it is made.
    let mut unsaid = Plan::empty();
    let placed = subnets::place(&mut unsaid, view, desired, stacks.scheme);
    let zones = placed.as_ref().map_or(0, Vec::len);
    let groups = security::groups(view, desired).err();
    let mut full = room::for_all(view, desired, &stacks.main, zones);
    full.extend(openings::no_room(view, desired, stacks));
    let can_be_made = placed.is_ok() && groups.is_none() && full.is_empty();
    for stop in placed.err().into_iter().chain(groups) {
        stop.tell(plan, &load_balancer_id());
    }
    room::refuse(plan, full);
    can_be_made
}

/// Plans the load balancer and its security group.
pub(super) fn plan(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired, stacks: &Stacks<'_>) {
    match stacks.main.live {
        Some(_) if desired.shared_unknown || !stacks.as_asked => {
            security::open(plan, view, desired);
        }
        Some(live) => {
            security::own(plan, view, desired);
            change(plan, view, desired, &stacks.main.name, live);
        }
        None => create(plan, view, desired, stacks),
    }
}

fn create(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired, stacks: &Stacks<'_>) {
    let want = &desired.load_balancer;
    let placed = subnets::place(plan, view, desired, stacks.scheme);
    let (Ok(subnets), Ok(groups)) = (placed, security::groups(view, desired)) else {
        return;
    };
    security::own(plan, view, desired);
    // The group's own security group, or the cluster's, is made first.
    let Groups::Ready(security_groups) = groups else {
        return;
    };
    stranded(plan, view, desired, &subnets);
    let address_type = want.address_type.unwrap_or_default();
    let predecessor = stacks.before.as_ref().and_then(|before| before.live);
    let succeeds = predecessor.map(|lb| (tag::SUCCEEDS, Arc::from(lb.arn.as_str())));
    let detail = format!(
        "{} {address_type} in {}",
        scheme_word(stacks.scheme),
        list(&subnets)
    );
    let change = match predecessor {
        Some(old) => {
            let kind = Kind {
                scheme: stacks.scheme,
                open: stacks.main.is_open(desired),
            };
            let mut change = replacement(old, kind);
            change.detail = detail;
            change
        }
        None => Change::new(Action::Create, "load balancer", load_balancer_id(), detail),
    };
    plan.step(
        Step::CreateLoadBalancer(Box::new(NewLoadBalancer {
            name: Arc::clone(&stacks.main.name),
            scheme: stacks.scheme,
            address_type,
            subnets,
            security_groups,
            source_nat: want.source_nat,
            marks: want.marks.clone(),
            tags: tags::all(
                view,
                desired,
                &want.marks,
                &attributes::kept(&want.attributes)
                    .into_iter()
                    .chain(attributes::also_kept(want, None))
                    .collect(),
                succeeds.into_iter().chain(settled::at_creation(desired)),
            ),
        })),
        change,
    );
}

fn change(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    name: &Arc<str>,
    live: &SeenLoadBalancer,
) {
    let want = &desired.load_balancer;
    if live.phase == Phase::Failed {
        let why = live
            .phase_reason
            .as_deref()
            .unwrap_or("AWS does not say why");
        plan.refuse(
            load_balancer_id(),
            Problem::new(
                "load balancer",
                &**name,
                format!("could not be set up by AWS: {why}"),
                "Mend the cause, then delete the load balancer in AWS: it is made again.",
            ),
        );
    }
    if let Some(asked) = want.name.as_ref().filter(|asked| *asked != name) {
        plan.warnings.push(Warning::new(
            reason::INVALID_CONFIGURATION,
            format!(
                "{}: {asked:?} has no effect on a load balancer that is there already; it keeps its name {name}.",
                field(key::NAME)
            ),
        ));
    }
    subnets::follow(plan, view, desired, name, live);
    security::attach(plan, view, desired, name, live);
    let object = || Object::LoadBalancer(Arc::clone(name));
    let id = load_balancer_id();
    let attributes = when_there_is_room(view, live, &want.attributes);
    let kept = attributes::follow(
        plan,
        object(),
        &id,
        attributes::Of::LoadBalancer(live.scheme),
        (live.attributes.as_ref(), &live.tags),
        &attributes,
    );
    let kept = kept
        .into_iter()
        .chain(attributes::also_kept(want, Some(live)))
        .collect();
    let all = tags::all(view, desired, &want.marks, &kept, []);
    tags::follow(plan, object(), &id, &live.tags, &all);
    stranded(plan, view, desired, &live.subnets);
}

/// The attributes that can be had now: AWS refuses cross-zone load balancing while there are more targets than it takes then.
fn when_there_is_room<'a>(
    view: View<'_>,
    live: &SeenLoadBalancer,
    wanted: &'a Pairs,
) -> Cow<'a, Pairs> {
    let on = wanted
        .get(CROSS_ZONE)
        .is_some_and(|value| &**value == "true");
    let zone = |target: &Target| targets::zone(view, target);
    if !on || quota::has_room(&view.context.quotas, view.seen, live, None, true, zone) {
        return Cow::Borrowed(wanted);
    }
    let mut attributes = wanted.clone();
    attributes.insert(CROSS_ZONE.into(), "false".into());
    Cow::Owned(attributes)
}

/// Says that nodes stand in zones where the load balancer does not, if they get no traffic then.
fn stranded(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired, subnets: &[SubnetMapping]) {
    let mut groups = desired.target_groups.iter();
    let crosses = groups
        .all(|group| group.target_type == TargetType::Ip || quota::shall_cross(desired, group));
    if crosses {
        return;
    }
    let known = &view.seen.facts.subnets;
    let zones = subnets
        .iter()
        .filter_map(|place| Some(&*known.get(&place.subnet)?.zone))
        .collect();
    targets::tell_stranded(plan, view, desired, &zones);
}

fn list(subnets: &[SubnetMapping]) -> String {
    let subnets: Vec<&str> = subnets.iter().map(|place| &*place.subnet).collect();
    subnets.join(", ")
}
