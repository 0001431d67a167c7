//! The writes possible now (Decides). Order and safety live here and nowhere else.
//!
//! Up: address and target sets, then the listeners that need both. Down: listeners, then what they used. What is new is in
//! place before what is old goes, and what nobody seems to use any more goes only after a fresh read.

use std::{collections::BTreeSet, time::Duration};

use evenkeel_core::{
    ids::{Cluster, NodeName, ResourceId, ServiceRef, ServiceUid},
    plan::{Action, Change, Disturbance, Plan, Reason, Until, approved},
    ports::PortKey,
    provider::{PlanInput, Want},
};

use super::{
    Own,
    annotations::Pool,
    cloud::{Marks, Object, Spec},
    model::{Desired, ListenerWant, Step},
    names,
    ways::Ways,
};

/// Decides the writes.
pub fn plan(cluster: &Cluster, ways: &Ways, input: PlanInput<'_, Own>) -> Plan<Step> {
    let mut planner = Planner {
        cluster,
        soon: ways.soon,
        input,
        plan: Plan::empty(),
    };
    match input.want {
        // What no port can be served for is not begun, and not torn down.
        Want::Exists(desired) if desired.listeners.is_empty() => planner.frozen(),
        Want::Exists(desired) => planner.exists(desired),
        Want::Frozen => planner.frozen(),
        Want::FrozenWithout(gone) => {
            planner.follow_nodes(|member| !gone.contains(&member.uid));
            planner.without(gone);
        }
        Want::Nothing => planner.nothing(),
        Want::Released => {}
    }
    planner.plan
}

struct Planner<'a> {
    cluster: &'a Cluster,
    soon: Duration,
    input: PlanInput<'a, Own>,
    plan: Plan<Step>,
}

impl Planner<'_> {
    fn exists(&mut self, desired: &Desired) {
        let pools = self.pools(desired);
        let mut settled = true;
        for pool in &pools {
            settled &= self.address(*pool, desired.retain);
        }
        for want in desired.listeners.values() {
            settled &= self.set(want);
        }
        for pool in &pools {
            for (port, want) in &desired.listeners {
                settled &= self.listener(*pool, *port, want);
            }
        }
        self.follow_nodes(|member| desired.unknown.contains(&member.uid));
        self.surplus(desired, &pools, settled);
    }

    /// Where it shall be served: from the wanted pool; while the approval to give up another is missing, from what there is.
    fn pools(&mut self, desired: &Desired) -> BTreeSet<Pool> {
        let lost: Vec<Change> = self
            .input
            .seen
            .addresses()
            .filter(|(_, pool, _)| *pool != desired.pool)
            .map(|(id, pool, address)| give_up(id, pool, desired.pool, address))
            .collect();
        match approved(&lost, self.input.approval) {
            Ok(()) => [desired.pool].into(),
            Err(refusal) => {
                self.plan.refusals.push(*refusal);
                self.input
                    .seen
                    .addresses()
                    .map(|(_, pool, _)| pool)
                    .collect()
            }
        }
    }

    /// True when the address is there and as it shall be.
    fn address(&mut self, pool: Pool, retain: bool) -> bool {
        let marks = Marks {
            retain,
            ..self.marks(names::address(pool), None)
        };
        self.object(
            "address",
            marks,
            Spec::Address { pool },
            format!("from pool {}", pool.as_str()),
        )
    }

    /// True when the target set is there and has its targets.
    fn set(&mut self, want: &ListenerWant) -> bool {
        let id = names::set(want.node_port);
        let targets = match self.input.seen.objects.get(&id).map(|set| &set.spec) {
            Some(Spec::TargetSet { targets, .. }) => self.next_targets(targets),
            _ => self
                .input
                .nodes
                .eligible()
                .map(|node| node.name.clone())
                .collect(),
        };
        let marks = self.marks(id, Some(want.member.clone()));
        let detail = format!("{} targets :{}", targets.len(), want.node_port);
        self.object(
            "target set",
            marks,
            Spec::TargetSet {
                node_port: want.node_port,
                targets,
            },
            detail,
        )
    }

    /// True when the listener is there and as it shall be.
    fn listener(&mut self, pool: Pool, port: PortKey, want: &ListenerWant) -> bool {
        let (address, set) = (names::address(pool), names::set(want.node_port));
        // A listener that sends connections to nobody, while there are nodes, would be worse than the one there is.
        let usable = |set: &Object| {
            set.is_ready()
                && !(set.spec.is_empty_set() && self.input.nodes.eligible().next().is_some())
        };
        let there = &self.input.seen.objects;
        if !there.get(&address).is_some_and(Object::is_ready)
            || !there.get(&set).is_some_and(usable)
        {
            return false;
        }
        let spec = Spec::Listener {
            address: self.name(&address),
            port,
            set: self.name(&set),
            idle_seconds: want.idle_seconds,
            tier: want.tier.clone(),
        };
        let marks = self.marks(names::listener(pool, port), Some(want.member.clone()));
        self.object("listener", marks, spec, format!("{port} -> {set}"))
    }

    /// What is there and not wanted any more.
    fn surplus(&mut self, desired: &Desired, pools: &BTreeSet<Pool>, settled: bool) {
        let seen = self.input.seen;
        for (id, pool, address) in seen.addresses() {
            for (listener, port, object) in seen.listeners(&address.name) {
                let member = object
                    .marks
                    .as_ref()
                    .and_then(|marks| marks.member.as_ref());
                if member.is_some_and(|member| desired.unknown.contains(&member.uid)) {
                    continue;
                }
                let leaves = if pools.contains(&pool) {
                    !desired.listeners.contains_key(&port)
                } else {
                    settled
                };
                if leaves {
                    self.destroy(listener, object, "no port asks for it");
                }
            }
            if !pools.contains(&pool) && settled && !seen.in_use(&address.name) && self.proved(id) {
                self.plan.step(
                    Step::Destroy { id: id.clone() },
                    give_up(id, pool, desired.pool, address),
                );
            }
        }
        let wanted: BTreeSet<_> = desired
            .listeners
            .values()
            .map(|want| names::set(want.node_port))
            .collect();
        for (id, object) in &seen.objects {
            let unused = matches!(object.spec, Spec::TargetSet { .. })
                && !wanted.contains(id)
                && !seen.in_use(&object.name);
            if unused && self.proved(id) {
                self.destroy(id, object, "no listener uses it");
            }
        }
    }

    /// Whether what is seen was read just now; if not, that is what is waited for.
    fn proved(&mut self, id: &ResourceId) -> bool {
        if !self.input.fresh {
            self.plan
                .wait(id.clone(), "a fresh look before it goes", Until::FreshRead);
        }
        self.input.fresh
    }

    fn frozen(&mut self) {
        self.follow_nodes(|_| true);
    }

    /// The targets of these members' sets follow the nodes.
    fn follow_nodes(&mut self, whose: impl Fn(&ServiceRef) -> bool) {
        for object in self.input.seen.objects.values() {
            if let (Spec::TargetSet { node_port, targets }, Some(marks)) =
                (&object.spec, &object.marks)
                && marks.member.as_ref().is_some_and(&whose)
            {
                let targets = self.next_targets(targets);
                let detail = format!("{} targets :{node_port}", targets.len());
                self.object(
                    "target set",
                    marks.clone(),
                    Spec::TargetSet {
                        node_port: *node_port,
                        targets,
                    },
                    detail,
                );
            }
        }
    }

    /// What serves these members goes: who listens first, and what that used after a fresh look.
    fn without(&mut self, gone: &BTreeSet<ServiceUid>) {
        let seen = self.input.seen;
        for (id, object) in &seen.objects {
            let member = object
                .marks
                .as_ref()
                .and_then(|marks| marks.member.as_ref());
            let theirs = member.is_some_and(|member| gone.contains(&member.uid));
            if theirs && !seen.in_use(&object.name) && self.proved(id) {
                self.destroy(id, object, "its Service left the group");
            }
        }
    }

    fn nothing(&mut self) {
        for (id, object) in &self.input.seen.objects {
            if !self.input.seen.in_use(&object.name) {
                self.destroy(id, object, "its Service is gone");
            }
        }
    }

    /// The targets one write nearer to the nodes: first those that come, then those that leave, and never none.
    fn next_targets(&self, now: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
        let come: BTreeSet<_> = self
            .input
            .nodes
            .eligible()
            .map(|node| node.name.clone())
            .collect();
        if !come.is_subset(now) {
            return now | &come;
        }
        let stay: BTreeSet<_> = self
            .input
            .nodes
            .kept()
            .map(|node| node.name.clone())
            .collect();
        let left = now & &stay;
        if left.is_empty() { now.clone() } else { left }
    }

    /// Makes an object what it shall be. True when it is.
    fn object(&mut self, kind: &'static str, marks: Marks, spec: Spec, detail: String) -> bool {
        let id = marks.id.clone();
        match self.input.seen.objects.get(&id) {
            None => {
                let change = Change::new(Action::Create, kind, id, detail);
                self.plan.step(Step::Create { marks, spec }, change);
                false
            }
            Some(object) if object.leaving.is_some() => {
                self.leaves(&id, object);
                false
            }
            Some(object) if !object.is_ready() => {
                self.plan
                    .wait(id, format!("{kind} is being made"), Until::After(self.soon));
                false
            }
            Some(object) if object.spec != spec || object.marks.as_ref() != Some(&marks) => {
                let mut reasons = Vec::new();
                if object.spec != spec {
                    reasons.push(Reason::new("spec", &object.spec, &spec));
                }
                if object.marks.as_ref() != Some(&marks) {
                    reasons.push(Reason::new(
                        "marks",
                        object
                            .marks
                            .as_ref()
                            .map_or(String::new(), ToString::to_string),
                        &marks,
                    ));
                }
                let change = Change::new(Action::Change, kind, id, detail).because(reasons);
                self.plan.step(Step::Change { marks, spec }, change);
                false
            }
            Some(_) => true,
        }
    }

    /// Waits for an object that goes. Whether it goes already.
    fn leaves(&mut self, id: &ResourceId, object: &Object) -> bool {
        if let Some(time) = object.leaving {
            let what = format!("{} is being deleted", object.spec.kind());
            self.plan.wait(id.clone(), what, Until::After(time));
        }
        object.leaving.is_some()
    }

    fn destroy(&mut self, id: &ResourceId, object: &Object, why: &str) {
        if self.leaves(id, object) {
            return;
        }
        let change = Change::new(Action::Destroy, object.spec.kind(), id.clone(), why)
            .disturbing(Disturbance::Drains);
        self.plan.step(Step::Destroy { id: id.clone() }, change);
    }

    fn marks(&self, id: ResourceId, member: Option<ServiceRef>) -> Marks {
        Marks {
            cluster: self.cluster.uid.clone(),
            group: self.input.key.identity(),
            service: format!("{}/{}", self.input.key.namespace(), self.input.key.name()),
            id,
            member,
            retain: false,
        }
    }

    fn name(&self, id: &ResourceId) -> String {
        names::object(self.cluster, self.input.key, id)
    }
}

/// The loss of an address, by the number that the cloud gave it: no later address has the same.
fn give_up(id: &ResourceId, pool: Pool, wanted: Pool, address: &Object) -> Change {
    Change::new(
        Action::Destroy,
        "address",
        id.clone(),
        format!("from pool {}", pool.as_str()),
    )
    .because(vec![Reason::new("pool", pool.as_str(), wanted.as_str())])
    .disturbing(Disturbance::Interrupts)
    .giving_up(format!("address {}", address.id))
}
