//! The claim to hand in (Decides). Nothing is written here in any order: a claim says what shall be, and the writer puts it into the
//! one object. What still needs an order are replacements: the new front is live before the old one goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use evenkeel_core::{
    ids::{Cluster, NodeName},
    plan::{Action, Change, Disturbance, Plan, Reason, Until, approved},
    problem::{Problem, reason},
    provider::{PlanInput, Want},
    shared::{Claim, Standing},
};

use super::{
    Shared,
    annotations::Pool,
    model::{Desired, Front, Listener, Observed, Part, Step},
    names,
};

/// How soon a write in progress that nobody will tell of is looked at again.
const SOON: Duration = Duration::from_secs(1);

/// Decides the claim.
pub fn plan(cluster: &Cluster, input: PlanInput<'_, Shared>) -> Plan<Step> {
    let mut plan = Plan::empty();
    let seen = input.seen;
    let (claim, change) = match (input.want, &seen.part) {
        (Want::Exists(_), _) if seen.in_the_way => {
            let name = names::part(cluster, input.key);
            let problem = Problem::new(
                "part",
                name,
                "does not belong to this cluster",
                "Remove it or rename it.",
            );
            plan.refuse(
                names::part_id(),
                problem.with_reason(reason::OWNERSHIP_CONFLICT),
            );
            return plan;
        }
        (Want::Exists(desired), _) => match exists(cluster, input, desired, &mut plan) {
            Some(found) => found,
            None => return plan,
        },
        (Want::Frozen | Want::FrozenWithout(_), Some(part)) => {
            let mut wanted = Part {
                targets: next_targets(input, &part.targets),
                ..part.as_claimed()
            };
            if let Want::FrozenWithout(gone) = input.want {
                for front in wanted.fronts.values_mut() {
                    let stays = |listener: &Listener| !gone.contains(&listener.member.uid);
                    front.listeners.retain(stays);
                }
            }
            let change = changed(part, &wanted);
            (Claim::Want(wanted), change)
        }
        (Want::Nothing, Some(part)) => {
            let change = Change::new(Action::Destroy, "part", names::part_id(), part.to_string());
            (Claim::Gone, change.disturbing(Disturbance::Interrupts))
        }
        // A part that is still on its way is called back.
        (Want::Nothing, None) if !seen.in_the_way => {
            let detail = "what is claimed and not there yet";
            (
                Claim::Gone,
                Change::new(Action::Destroy, "part", names::part_id(), detail),
            )
        }
        (Want::Frozen | Want::FrozenWithout(_) | Want::Nothing, None) | (Want::Released, _) => {
            return plan;
        }
    };
    hand_in(claim, change, seen, &mut plan);
    plan
}

/// What a part shall be, in the next write.
fn exists(
    cluster: &Cluster,
    input: PlanInput<'_, Shared>,
    desired: &Desired,
    plan: &mut Plan<Step>,
) -> Option<(Claim<Part>, Change)> {
    let there = input.seen.part.as_ref();
    let none = BTreeMap::new();
    let fronts = there.map_or(&none, |part| &part.fronts);
    let lost: Vec<Change> = fronts
        .iter()
        .filter(|(pool, _)| **pool != desired.pool)
        .filter_map(|(pool, front)| Some(give_up(*pool, desired.pool, front.given?.id)))
        .collect();
    let (pools, lost): (BTreeSet<Pool>, Option<Change>) = match approved(&lost, input.approval) {
        Err(refusal) => {
            plan.refusals.push(*refusal);
            (fronts.keys().copied().collect(), None)
        }
        // The old one goes when the new one is there.
        Ok(()) if fronts.contains_key(&desired.pool) || fronts.is_empty() => {
            ([desired.pool].into(), lost.into_iter().next())
        }
        Ok(()) => (fronts.keys().copied().chain([desired.pool]).collect(), None),
    };
    let targets = match there {
        Some(part) => next_targets(input, &part.targets),
        None => input
            .nodes
            .eligible()
            .map(|node| node.name.clone())
            .collect(),
    };
    let wanted = Part {
        cluster: cluster.uid.clone(),
        group: input.key.identity(),
        service: format!("{}/{}", input.key.namespace(), input.key.name()),
        retain: desired.retain,
        fronts: pools
            .into_iter()
            .map(|pool| {
                let listeners = listeners(desired, fronts.get(&pool));
                let given = None;
                (pool, Front { given, listeners })
            })
            .collect(),
        targets,
    };
    let change = match (there, lost) {
        (None, _) => Change::new(Action::Create, "part", names::part_id(), wanted.to_string()),
        (Some(_), Some(lost)) => lost,
        (Some(part), None) => changed(part, &wanted),
    };
    Some((Claim::Want(wanted), change))
}

/// What is wanted, and what is there of those who cannot be read.
fn listeners(desired: &Desired, there: Option<&Front>) -> Vec<Listener> {
    let mut listeners = desired.listeners.clone();
    for listener in there.iter().flat_map(|front| &front.listeners) {
        let free = !listeners.iter().any(|other| other.port == listener.port);
        if free && desired.unknown.contains(&listener.member.uid) {
            listeners.push(listener.clone());
        }
    }
    listeners.sort_by_key(|listener| listener.port);
    listeners
}

/// Hands a claim in, unless the live object shows it and no other is on its way, or the writer has it.
fn hand_in(claim: Claim<Part>, change: Change, seen: &Observed, plan: &mut Plan<Step>) {
    let live = match &seen.part {
        Some(part) => Claim::Want(part.as_claimed()),
        None => Claim::Gone,
    };
    match &seen.claim {
        Some((queued, Standing::Queued)) if *queued == claim => {
            plan.wait(
                names::part_id(),
                "the next write of the balancer",
                Until::Told,
            );
        }
        Some((other, Standing::Queued)) if *other != claim => plan.step(Step { claim }, change),
        _ if live != claim => plan.step(Step { claim }, change),
        _ if seen.updating => plan.wait(
            names::part_id(),
            "a write of the balancer",
            Until::After(SOON),
        ),
        _ => {}
    }
}

/// The targets that follow the nodes, and never none where there were some.
fn next_targets(input: PlanInput<'_, Shared>, now: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
    let stay: BTreeSet<_> = input.nodes.kept().map(|node| node.name.clone()).collect();
    let mut next: BTreeSet<_> = now & &stay;
    next.extend(input.nodes.eligible().map(|node| node.name.clone()));
    if next.is_empty() { now.clone() } else { next }
}

fn changed(part: &Part, wanted: &Part) -> Change {
    Change::new(Action::Change, "part", names::part_id(), wanted.to_string())
        .because(vec![Reason::new("part", part, wanted)])
}

/// The loss of a front, by the number that the cloud gave it: no later front has the same.
fn give_up(pool: Pool, wanted: Pool, id: u64) -> Change {
    Change::new(
        Action::Replace,
        "part",
        names::part_id(),
        format!("front from pool {}", pool.as_str()),
    )
    .because(vec![Reason::new("pool", pool.as_str(), wanted.as_str())])
    .disturbing(Disturbance::Interrupts)
    .giving_up(format!("front {id}"))
}
