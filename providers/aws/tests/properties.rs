//! What holds whatever a Service says: its annotations are anybody's text.

mod generated;

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_aws::{
    Context,
    desired::desired,
    model::{Desired, Security, TargetType},
};
use evenkeel_core::{annotation, group::Group, provider::Verdict};
use proptest::prelude::*;
use serde_json::Value;

use generated::{any_annotations, any_profile, any_spec, cluster, read};

/// What AWS would refuse, and what would be found nowhere again.
fn consistent(group: &Group, desired: &Desired) -> Result<BTreeSet<String>, TestCaseError> {
    prop_assert!(!desired.listeners.is_empty(), "nothing is served");
    prop_assert!(desired.listeners.len() <= 50);
    prop_assert_eq!(desired.listeners.len(), desired.target_groups.len());
    let mut numbers = BTreeSet::new();
    let mut served = BTreeSet::new();
    for (listener, target_group) in desired.listeners.iter().zip(&desired.target_groups) {
        prop_assert!(numbers.insert(listener.port), "two listeners on one number");
        prop_assert_eq!(&listener.target_group, &target_group.id);
        prop_assert_eq!(&listener.marks.member, &target_group.marks.member);
        let check = &target_group.health_check;
        prop_assert!((5..=300).contains(&check.interval), "{}", check);
        prop_assert!(
            (2..=120).contains(&check.timeout) && check.timeout <= check.interval,
            "{}",
            check
        );
        prop_assert!(
            (2..=10).contains(&check.healthy) && (2..=10).contains(&check.unhealthy),
            "{}",
            check
        );
        for port in &listener.serves {
            let holder = group
                .members
                .iter()
                .find(|member| member.service.uid == listener.marks.member());
            let asked = holder.and_then(|member| member.port(*port));
            prop_assert!(asked.is_some(), "nobody asks for {port}");
            let reached = asked.and_then(|asked| match target_group.target_type {
                TargetType::Instance => asked.node_port,
                TargetType::Ip => asked.target_port.number().or(Some(listener.port)),
            });
            prop_assert_eq!(reached, Some(target_group.node_port));
            served.insert(format!("{} {port}", listener.marks.member));
        }
    }
    if let Security::Managed(rules) = &desired.load_balancer.security {
        prop_assert!(rules.len() <= 60);
    }
    Ok(served)
}

fn judged(group: &Group) -> Result<(), TestCaseError> {
    match desired(&Context::new(cluster()), group) {
        Verdict::Rejected(problems) => {
            prop_assert!(!problems.is_empty(), "rejected for no reason");
            for problem in problems.iter() {
                prop_assert!(!problem.field.is_empty() && !problem.message.is_empty());
                let advice = &problem.advice;
                let ends = advice.ends_with(['.', '?', ')']) || problem.message.ends_with('.');
                prop_assert!(ends, "{problem:?} says not what to do");
            }
        }
        Verdict::Accepted {
            desired,
            warnings,
            port_errors,
        } => {
            let served = consistent(group, &desired)?;
            for member in &group.members {
                for port in &member.ports {
                    let known = served.contains(&format!("{} {}", member.service.uid, port.key));
                    let told = port_errors
                        .iter()
                        .any(|error| error.service == member.service && error.port == port.key);
                    prop_assert!(
                        known != told,
                        "{} is served {known} and told {told}",
                        port.key
                    );
                }
            }
            let told: BTreeSet<_> = warnings.iter().collect();
            prop_assert_eq!(told.len(), warnings.len(), "a warning stands twice");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_a_service_says_is_served_or_told(
        annotations in any_annotations(), spec in any_spec(), profile in any_profile(),
    ) {
        if let Some(intent) = read("checkout", &annotations, &spec, profile) {
            judged(&Group::single(cluster(), intent))?;
        }
    }

    #[test]
    fn whatever_two_services_of_a_group_say_is_served_or_told(
        first in any_annotations(), second in any_annotations(), specs in (any_spec(), any_spec()), profile in any_profile(),
    ) {
        let member = |name, annotations: &BTreeMap<String, String>, spec| {
            let mut annotations = annotations.clone();
            annotations.insert(annotation::key::GROUP.to_owned(), "edge".to_owned());
            read(name, &annotations, spec, profile)
        };
        let members = [member("checkout", &first, &specs.0), member("search", &second, &specs.1)];
        let members: Vec<_> = members.into_iter().flatten().collect();
        if let Some(oldest) = members.first() {
            let key = Group::key_of(oldest);
            judged(&Group { key, cluster: cluster(), members, unknown: Vec::new() })?;
        }
    }

    #[test]
    fn the_order_of_ports_and_ranges_changes_nothing(
        annotations in any_annotations(), spec in any_spec(), profile in any_profile(),
    ) {
        let mut turned = spec.clone();
        for list in ["ports", "loadBalancerSourceRanges"] {
            turned[list].as_array_mut().expect("a list").reverse();
        }
        let verdict = |spec: &Value| {
            let intent = read("checkout", &annotations, spec, profile)?;
            Some(desired(&Context::new(cluster()), &Group::single(cluster(), intent)))
        };
        prop_assert_eq!(verdict(&spec), verdict(&turned));
    }
}
