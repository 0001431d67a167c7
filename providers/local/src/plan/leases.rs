//! Which lease serves each family, and when an address may be given up for another (Decides).

use std::{collections::BTreeMap, net::IpAddr};

use evenkeel_core::{
    annotation::{field, key},
    net::IpFamily,
    plan::{Change, Plan, approved},
    problem::{Warning, reason},
    provider::PlanInput,
};

use super::{changes, differs, ports};
use crate::{
    Local,
    annotations::ADDRESS_POOL,
    api::{LeaseSpec, LeaseStatus, Marks},
    model::{self, Desired, Lease, Observed, SeenLease, Step, Write},
    names::{self, label},
};

/// The lease that is what is wanted, apart from marks.
pub(super) fn matching<'a>(seen: &'a Observed, want: &Lease) -> Option<SeenLease<'a>> {
    match want.address {
        // Sticky: whatever is held stays.
        None => seen.current_lease(want.family),
        Some(address) => seen
            .leases_of(want.family)
            .into_iter()
            .rev()
            .find(|(_, lease)| holds(lease, address)),
    }
}

fn holds(lease: &model::Seen<LeaseSpec, LeaseStatus>, address: IpAddr) -> bool {
    lease.held().or(lease.spec.address) == Some(address)
}

/// Plans the leases, and returns by family the name of the one that listeners go on. A family whose lease is only being
/// made has none yet.
pub(super) fn plan(
    plan: &mut Plan<Step>,
    input: PlanInput<'_, Local>,
    desired: &Desired,
) -> BTreeMap<IpFamily, String> {
    let seen = input.seen;
    let mut serving = BTreeMap::new();
    let mut replacements = Vec::new();
    for want in &desired.leases {
        if let Some((name, lease)) = matching(seen, want) {
            serving.insert(want.family, name.to_owned());
            let write = write(name.to_owned(), want, model::turn(lease), Some(lease));
            stays(plan, want, lease);
            if differs(Some(lease), &write) {
                let change = changes::lease(&want.id, Some(lease), &write);
                plan.step(Step::PutLease(write), change);
            }
        } else if let Some((current, _)) = seen.current_lease(want.family) {
            // Until the successor is there the old address serves on, with everything else that is wanted.
            serving.insert(want.family, current.to_owned());
            let turn = seen
                .leases_of(want.family)
                .iter()
                .map(|(_, lease)| model::turn(lease))
                .max()
                .unwrap_or(0);
            replacements.push((want, create(input, want, turn.saturating_add(1))));
        } else {
            let Draft { step, change } = create(input, want, 0);
            match ports::taken(input.failures, &step) {
                Some(why) => {
                    let listeners = desired.listeners.iter();
                    for port in listeners.filter(|port| port.family == want.family) {
                        ports::refuse(plan, port, why);
                    }
                }
                None => plan.step(step, change),
            }
        }
    }
    if replacements.is_empty() {
        return serving;
    }
    if let Err(refusal) = approved(&given_up(seen, desired), input.approval) {
        plan.refusals.push(*refusal);
        return serving;
    }
    for (want, Draft { step, change }) in replacements {
        // One that failed is only planned to be told again: the old address serves on.
        if input.failures.holds(&step).is_none() {
            serving.remove(&want.family);
        }
        plan.step(step, change);
    }
    serving
}

/// Says that another pool does not move an address.
fn stays(plan: &mut Plan<Step>, want: &Lease, lease: &model::Seen<LeaseSpec, LeaseStatus>) {
    let (Some(pool), Some(held)) = (&want.pool, lease.held()) else {
        return;
    };
    if want.address.is_none() && lease.spec.pool.as_deref() != Some(&**pool) {
        plan.warnings.push(Warning::new(
            reason::INVALID_CONFIGURATION,
            format!(
                "{}: {pool} has no effect on {held}, which was given before and stays. To move, ask for an address of that pool \
                 with {} and approve it, or remove the annotation.",
                field(ADDRESS_POOL),
                key::STATIC_ADDRESS,
            ),
        ));
    }
}

/// A new lease; where there is one of the family already, the change says that its address is given up.
fn create(input: PlanInput<'_, Local>, want: &Lease, turn: u32) -> Draft {
    let name = names::name(&want.marks.cluster, input.key, &want.id, turn);
    let write = write(name, want, turn, None);
    let change = match (input.seen.current_lease(want.family), want.address) {
        (Some((name, lease)), Some(address)) => {
            changes::replaced_lease(&want.id, name, lease, address)
        }
        _ => changes::lease(&want.id, None, &write),
    };
    Draft {
        step: Step::PutLease(write),
        change,
    }
}

/// A lease as it is wanted. The pool only counts in the choice of an address and stays what it was.
fn write(
    name: String,
    want: &Lease,
    turn: u32,
    found: Option<&model::Seen<LeaseSpec, LeaseStatus>>,
) -> Write<LeaseSpec> {
    let pool = match found {
        Some(found) => found.spec.pool.clone(),
        None => want.pool.as_deref().map(str::to_owned),
    };
    let mut labels = want.marks.labels.clone();
    labels.insert(label::TURN.to_owned(), turn.to_string());
    let marks = Marks {
        labels,
        ..want.marks.clone()
    };
    Write::new(
        name,
        marks,
        LeaseSpec {
            family: want.family.into(),
            address: want.address,
            pool,
            ports: want.ports.clone(),
        },
    )
}

/// Every address that is being given up: those whose successor is still to be made first, then those whose successor is there
/// already. Together they stay the same from the first step of a replacement until its last.
fn given_up(seen: &Observed, desired: &Desired) -> Vec<Change> {
    let mut pending = Vec::new();
    let mut begun = Vec::new();
    for want in &desired.leases {
        let Some(address) = want.address else {
            continue;
        };
        let old: Vec<Change> = seen
            .leases_of(want.family)
            .into_iter()
            .filter(|(_, lease)| !holds(lease, address))
            .map(|(name, lease)| changes::replaced_lease(&want.id, name, lease, address))
            .collect();
        let list = if matching(seen, want).is_some() {
            &mut begun
        } else {
            &mut pending
        };
        list.extend(old);
    }
    pending.append(&mut begun);
    pending
}

/// A step with its change, before it is known whether it will be planned.
struct Draft {
    step: Step,
    change: Change,
}
