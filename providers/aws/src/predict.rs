//! The effect a step will have, the twin of `apply`; and `absorb`, the only change of what was observed (Decides).
//!
//! Ids and DNS names are known after apply. What takes time is foretold as it will be when it is ready: a load balancer
//! active, a target healthy.

use std::sync::Arc;

use crate::{
    model::{
        AddressType, CloudId, Effect, Facts, NewListener, NewLoadBalancer, NewTargetGroup, Object,
        Observed, Pairs, Phase, SeenListener, SeenLoadBalancer, SeenSecurityGroup, SeenTargetGroup,
        Step, Target, TargetState, Told, facts::Instance,
    },
    names,
};

/// Foretells what a step does.
pub fn predict(step: &Step) -> Effect {
    let created = |name: &str| Told::Created {
        id: CloudId::foretold(name),
        dns_name: None,
    };
    let told = match step {
        // Steps of one wave change one value: each of them changes what the others have left (`absorb`).
        Step::CreateBackendGroup
        | Step::AdmitNodes(_)
        | Step::OpenNodes { .. }
        | Step::CloseNodes(_) => Told::Ready,
        Step::CreateSecurityGroup { name, .. } => created(name),
        Step::CreateLoadBalancer(new) => created(&new.name),
        Step::CreateTargetGroup(new) => created(&new.name),
        Step::CreateListener(new) => created(&format!("{}:{}", new.load_balancer, new.port)),
        Step::Register { .. } => Told::Ready,
        _ => Told::Nothing,
    };
    Effect {
        step: step.clone(),
        told,
    }
}

/// Foretells what a step makes of the facts.
pub fn foretell(step: &Step, facts: &mut Facts) {
    match step {
        Step::CreateBackendGroup => {
            facts.backend_group = Some(CloudId::foretold(names::BACKEND_GROUP));
        }
        Step::AdmitNodes(instances) => {
            let usual = usual_group(facts).unwrap_or_else(|| CloudId::foretold("node group"));
            for id in instances {
                let group = match facts.instances.get(id) {
                    Some(Instance::Group { group, .. }) => group.clone(),
                    _ => usual.clone(),
                };
                facts.admitted.insert(group.clone());
                facts.node_groups.entry(group.clone()).or_default();
                let known = Instance::Group { group, note: None };
                facts.instances.insert(Arc::clone(id), known);
            }
        }
        Step::OpenNodes { groups, rules, .. } => {
            for group in groups {
                let group = facts.node_groups.entry(group.clone()).or_default();
                group.open(rules);
            }
        }
        Step::CloseNodes(rules) => {
            for group in facts.node_groups.values_mut() {
                group.close(rules);
            }
        }
        _ => {}
    }
}

/// The security group of the nodes, where all that are known have the same: others most likely have it too.
fn usual_group(facts: &Facts) -> Option<CloudId> {
    let mut groups = facts.instances.values().filter_map(|known| match known {
        Instance::Group { group, .. } => Some(group),
        Instance::Unknown | Instance::Ambiguous => None,
    });
    let first = groups.next()?;
    groups.all(|group| group == first).then(|| first.clone())
}

/// Takes an effect into what was observed.
pub fn absorb(seen: &mut Observed, effect: Effect) {
    let Effect { step, told } = effect;
    match step {
        Step::CreateBackendGroup
        | Step::AdmitNodes(_)
        | Step::OpenNodes { .. }
        | Step::CloseNodes(_) => match told {
            Told::Facts(facts) => seen.facts = facts,
            Told::Ready => foretell(&step, Arc::make_mut(&mut seen.facts)),
            _ => {}
        },
        Step::CreateSecurityGroup { name, marks, tags } => {
            if let Told::Created { id, .. } = told {
                let group = SeenSecurityGroup {
                    id,
                    rules: Default::default(),
                    marks,
                    tags,
                };
                seen.security_groups.insert(name, group);
            }
        }
        Step::Authorize { group, rules } => {
            if let Some(group) = seen.security_groups.get_mut(&group) {
                group.rules.extend(rules);
            }
        }
        Step::Revoke { group, rules } => {
            if let Some(group) = seen.security_groups.get_mut(&group) {
                group.rules.retain(|rule| !rules.contains(rule));
            }
        }
        Step::CreateLoadBalancer(new) => load_balancer(seen, *new, told),
        Step::SetSubnets {
            load_balancer,
            subnets,
            source_nat,
        } => {
            if let Some(lb) = seen.load_balancers.get_mut(&load_balancer) {
                lb.subnets = subnets;
                lb.source_nat = source_nat.unwrap_or(lb.source_nat);
            }
        }
        Step::SetSecurityGroups {
            load_balancer,
            groups,
            private_link_rules,
        } => {
            if let Some(lb) = seen.load_balancers.get_mut(&load_balancer) {
                lb.security_groups = groups;
                lb.private_link_rules = private_link_rules.or(lb.private_link_rules);
            }
        }
        Step::SetAddressType {
            load_balancer,
            address_type,
        } => {
            if let Some(lb) = seen.load_balancers.get_mut(&load_balancer) {
                lb.address_type = address_type;
                if address_type == AddressType::Ipv4 {
                    for place in &mut lb.subnets {
                        place.ipv6 = None;
                    }
                }
            }
        }
        Step::CreateTargetGroup(new) => target_group(seen, *new, told),
        Step::SetHealthCheck {
            target_group,
            health_check,
        } => {
            if let Some(group) = seen.target_groups.get_mut(&target_group) {
                group.health_check = health_check;
            }
        }
        Step::Register {
            target_group,
            targets,
        } => {
            if let Some(group) = seen.target_groups.get_mut(&target_group) {
                for target in targets {
                    register(group, target, &told);
                }
            }
        }
        Step::Deregister {
            target_group,
            targets,
        } => {
            if let Some(group) = seen.target_groups.get_mut(&target_group) {
                for target in targets {
                    group.since.remove(&target);
                    if let Some(known) = &mut group.targets {
                        known.remove(&target);
                    }
                }
            }
        }
        Step::CreateListener(new) => {
            if let Told::Created { id, .. } = told {
                listener(seen, *new, id);
            }
        }
        Step::SetListener(new) => change_listener(seen, *new),
        Step::SetCertificates {
            load_balancer,
            port,
            add,
            remove,
        } => {
            let listener = seen.listeners.get_mut(&(load_balancer, port));
            if let Some(tls) = listener.and_then(|listener| listener.tls.as_mut()) {
                tls.further.retain(|arn| !remove.contains(arn));
                tls.further.extend(add);
                tls.further.sort();
                tls.further.dedup();
            }
        }
        Step::SetAttributes { object, attributes } => {
            if let Some((_, known)) = described(seen, &object) {
                known.get_or_insert_default().extend(attributes);
            }
        }
        Step::Tag {
            object,
            set,
            remove,
        } => retag(seen, &object, |tags| {
            tags.retain(|key, _| !remove.contains(key));
            tags.extend(set);
        }),
        Step::Delete(object) => delete(seen, &object),
    }
}

fn load_balancer(seen: &mut Observed, new: NewLoadBalancer, told: Told) {
    let Told::Created { id, dns_name } = told else {
        return;
    };
    let phase = if id.is_foretold() {
        Phase::Active
    } else {
        Phase::Provisioning
    };
    let lb = SeenLoadBalancer {
        arn: id,
        phase,
        phase_reason: None,
        dns_name,
        scheme: new.scheme,
        address_type: new.address_type,
        vpc: seen.facts.vpc.clone(),
        subnets: new.subnets,
        security_groups: new.security_groups,
        private_link_rules: None,
        source_nat: new.source_nat.unwrap_or(false),
        created_at: None,
        attributes: Some(Pairs::new()),
        listeners_known: true,
        marks: new.marks,
        tags: new.tags,
    };
    seen.load_balancers.insert(new.name, lb);
}

fn target_group(seen: &mut Observed, new: NewTargetGroup, told: Told) {
    let Told::Created { id, .. } = told else {
        return;
    };
    let group = SeenTargetGroup {
        arn: id,
        protocol: new.protocol,
        port: new.port,
        target_type: new.target_type,
        family: new.family,
        health_check: new.health_check,
        load_balancers: Vec::new(),
        attributes: Some(Pairs::new()),
        targets: Some(Default::default()),
        since: Default::default(),
        not_taken: Default::default(),
        marks: new.marks,
        tags: new.tags,
    };
    seen.target_groups.insert(new.name, group);
}

fn register(group: &mut SeenTargetGroup, target: Target, told: &Told) {
    if let Told::NotTaken(refused) = told
        && let Some(why) = refused.get(&target)
    {
        group.not_taken.insert(target, Arc::clone(why));
        return;
    }
    group.not_taken.remove(&target);
    let Some(known) = &mut group.targets else {
        group.since.insert(target);
        return;
    };
    let before = known.get(&target).copied();
    let state = match before {
        _ if *told == Told::Ready => TargetState::Healthy,
        Some(state) if state.is_registered() => state,
        _ => TargetState::Initial,
    };
    known.insert(target, state);
}

fn listener(seen: &mut Observed, new: NewListener, arn: CloudId) {
    let key = (Arc::clone(&new.load_balancer), new.port);
    let listener = SeenListener {
        arn,
        protocol: new.protocol,
        target_group: Some(Arc::clone(&new.target_group)),
        tls: new.tls,
        attributes: Some(Pairs::new()),
        marks: Some(new.marks),
        tags: new.tags,
    };
    seen.listeners.insert(key, listener);
    references(seen, &new.load_balancer, &[new.target_group]);
}

fn change_listener(seen: &mut Observed, new: NewListener) {
    let key = (Arc::clone(&new.load_balancer), new.port);
    let Some(listener) = seen.listeners.get_mut(&key) else {
        return;
    };
    listener.protocol = new.protocol;
    // Further certificates stay as they are: ModifyListener knows the default one only.
    let further = listener.tls.take().map(|tls| tls.further);
    listener.tls = new.tls.map(|mut tls| {
        tls.further = further.unwrap_or_default();
        tls
    });
    let old = listener.target_group.replace(Arc::clone(&new.target_group));
    let touched: Vec<Arc<str>> = old.into_iter().chain([new.target_group]).collect();
    references(seen, &new.load_balancer, &touched);
}

/// Brings up to date whether these target groups are forwarded to by the load balancer.
fn references(seen: &mut Observed, load_balancer: &Arc<str>, groups: &[Arc<str>]) {
    let Some(arn) = seen
        .load_balancers
        .get(load_balancer)
        .map(|lb| lb.arn.clone())
    else {
        return;
    };
    for name in groups {
        let used = seen
            .listeners_of(load_balancer)
            .any(|(_, listener)| listener.target_group.as_ref() == Some(name));
        if let Some(group) = seen.target_groups.get_mut(name) {
            group.load_balancers.retain(|other| *other != arn);
            if used {
                group.load_balancers.push(arn.clone());
            }
        }
    }
}

fn delete(seen: &mut Observed, object: &Object) {
    match object {
        Object::LoadBalancer(name) => {
            seen.listeners.retain(|(lb, _), _| lb != name);
            if let Some(lb) = seen.load_balancers.remove(name) {
                for group in seen.target_groups.values_mut() {
                    group.load_balancers.retain(|arn| *arn != lb.arn);
                }
            }
        }
        Object::SecurityGroup(name) => drop(seen.security_groups.remove(name)),
        Object::TargetGroup(name) => drop(seen.target_groups.remove(name)),
        Object::Listener(lb, port) => {
            let gone = seen.listeners.remove(&(Arc::clone(lb), *port));
            if let Some(group) = gone.and_then(|listener| listener.target_group) {
                references(seen, lb, &[group]);
            }
        }
    }
}

/// Tags and attributes of an object that has attributes.
fn described<'a>(
    seen: &'a mut Observed,
    object: &Object,
) -> Option<(&'a mut Pairs, &'a mut Option<Pairs>)> {
    match object {
        Object::LoadBalancer(name) => {
            let lb = seen.load_balancers.get_mut(name)?;
            Some((&mut lb.tags, &mut lb.attributes))
        }
        Object::TargetGroup(name) => {
            let group = seen.target_groups.get_mut(name)?;
            Some((&mut group.tags, &mut group.attributes))
        }
        Object::Listener(lb, port) => {
            let listener = seen.listeners.get_mut(&(Arc::clone(lb), *port))?;
            Some((&mut listener.tags, &mut listener.attributes))
        }
        Object::SecurityGroup(_) => None,
    }
}

fn retag(seen: &mut Observed, object: &Object, change: impl FnOnce(&mut Pairs)) {
    if let Object::SecurityGroup(name) = object {
        if let Some(group) = seen.security_groups.get_mut(name) {
            change(&mut group.tags);
            if let Some(marks) = names::marks(&group.tags) {
                group.marks = marks;
            }
        }
        return;
    }
    let Some((tags, attributes)) = described(seen, object) else {
        return;
    };
    let none_before = names::listed_attributes(tags).is_empty();
    change(tags);
    // None before means that none was set, so now all are known: there are none yet.
    if none_before && !names::listed_attributes(tags).is_empty() {
        attributes.get_or_insert_default();
    }
    let Some(marks) = names::marks(tags) else {
        return;
    };
    match object {
        Object::LoadBalancer(name) => {
            if let Some(lb) = seen.load_balancers.get_mut(name) {
                lb.marks = marks;
            }
        }
        Object::TargetGroup(name) => {
            if let Some(group) = seen.target_groups.get_mut(name) {
                group.marks = marks;
            }
        }
        Object::Listener(lb, port) => {
            if let Some(listener) = seen.listeners.get_mut(&(Arc::clone(lb), *port)) {
                listener.marks = Some(marks);
            }
        }
        Object::SecurityGroup(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use evenkeel_core::ports::Protocol;

    use super::*;
    use crate::model::Opening;

    #[test]
    fn steps_of_one_wave_leave_each_others_facts() {
        let mut seen = Observed::default();
        let backend = CloudId::from("sg-backend");
        let facts = Arc::make_mut(&mut seen.facts);
        facts.backend_group = Some(backend);
        let known = Instance::Group {
            group: "sg-nodes".into(),
            note: None,
        };
        facts.instances.insert("i-a".into(), known);
        let opening = Opening::port(Protocol::Tcp, 8081);
        let rules = opening.rules(facts).expect("there is a backend group");
        let wave = [
            Step::AdmitNodes(["i-a".into(), "i-b".into()].into()),
            Step::OpenNodes {
                openings: [opening].into(),
                groups: ["sg-nodes".into()].into(),
                rules: rules.clone(),
            },
        ];
        let effects = wave.each_ref().map(predict);
        for effect in effects {
            absorb(&mut seen, effect);
        }
        let facts = &seen.facts;
        let nodes: BTreeSet<CloudId> = ["sg-nodes".into()].into();
        // What is not known of the second instance is as of the first.
        assert_eq!(facts.admitted, nodes);
        assert_eq!(
            facts.node_groups[&CloudId::from("sg-nodes")].openings,
            rules
        );
        assert!(facts.instances.contains_key("i-b"));
    }
}
