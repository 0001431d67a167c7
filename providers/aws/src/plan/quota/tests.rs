//! Which nodes are targets: as many as fit, balanced, and the same as before as far as it goes.

use proptest::prelude::*;

use super::*;

fn member(number: usize, zone: usize) -> Member {
    Member::pod(
        format!("i-{number:04}").into(),
        Some(format!("az{zone}").into()),
    )
}

/// Nodes of two to four zones, some of which may be small.
fn cluster() -> impl Strategy<Value = Vec<Member>> {
    prop::collection::vec(0_usize..40, 2..5).prop_map(|zones| {
        let zones = zones.into_iter().enumerate();
        let nodes = zones.flat_map(|(zone, count)| (0..count).map(move |n| (n, zone)));
        nodes.map(|(n, zone)| member(n * 10 + zone, zone)).collect()
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    (1_usize..60, 1_usize..40, 1_usize..4, any::<bool>()).prop_map(
        |(all, zone, ports, crossing)| {
            let quotas = Quotas::default()
                .with(Quota::Targets, all)
                .with(Quota::TargetsPerZone, zone);
            Limits::new(quotas, ports, crossing)
        },
    )
}

fn ids(chosen: &[&Member]) -> BTreeSet<Arc<str>> {
    chosen.iter().map(|member| Arc::clone(&member.id)).collect()
}

/// Chosen while these are registered.
fn chosen<'a>(
    limits: &Limits,
    nodes: &'a [Member],
    registered: &BTreeSet<Arc<str>>,
) -> Vec<&'a Member> {
    let mut sorted: Vec<&Member> = nodes.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    limits.choose(sorted, |member| match registered.contains(&member.id) {
        true => Standing::Registered,
        false => Standing::New,
    })
}

fn per_zone(chosen: &[&Member]) -> BTreeMap<Option<Arc<str>>, usize> {
    let mut zones = BTreeMap::new();
    for member in chosen {
        *zones.entry(member.zone.clone()).or_default() += 1;
    }
    zones
}

proptest! {
    #[test]
    fn as_many_as_fit_and_each_zone_as_many_as_another(limits in limits(), nodes in cluster()) {
        let chosen = chosen(&limits, &nodes, &BTreeSet::new());
        let (zones, there) = (per_zone(&chosen), per_zone(&nodes.iter().collect::<Vec<_>>()));
        prop_assert!(chosen.len() <= limits.in_all);
        let allowed: usize = there.values().map(|count| *count.min(&limits.per_zone)).sum();
        prop_assert_eq!(chosen.len(), allowed.min(limits.in_all), "none is left out without need");
        let most = zones.values().copied().max().unwrap_or_default();
        for (zone, count) in there {
            let taken = zones.get(&zone).copied().unwrap_or_default();
            prop_assert!(taken <= limits.per_zone);
            // One that has fewer than another by more than one has no more.
            prop_assert!(taken + 1 >= most || taken == count, "{zone:?}: {taken} of {count}, another {most}");
        }
    }

    #[test]
    fn a_node_that_comes_or_goes_moves_one_other_at_most(
        limits in limits(), nodes in cluster(), which in any::<prop::sample::Index>(), zone in 0_usize..4,
    ) {
        let mut nodes = nodes;
        let registered = ids(&chosen(&limits, &nodes, &BTreeSet::new()));
        let again = ids(&chosen(&limits, &nodes, &registered));
        prop_assert_eq!(&again, &registered, "nothing moves by itself");

        nodes.push(member(9_999, zone));
        let with = ids(&chosen(&limits, &nodes, &registered));
        let new: Vec<_> = with.difference(&registered).collect();
        prop_assert!(new.iter().all(|id| ***id == *"i-9999"), "{new:?}");
        prop_assert!(registered.difference(&with).count() <= new.len());

        let gone = nodes.swap_remove(which.index(nodes.len()));
        let left = ids(&chosen(&limits, &nodes, &with));
        prop_assert!(left.difference(&with).count() <= 1);
        let others = with.difference(&left).filter(|id| **id != gone.id);
        prop_assert!(others.count() <= 1);
        // Who was no target is missed by nobody.
        prop_assert!(with.contains(&gone.id) || left == with);
    }

    #[test]
    fn what_is_registered_in_waves_never_stands_above_the_limits(
        limits in limits(), before in cluster(), after in cluster(), known in any::<bool>(),
    ) {
        let target = |member: &&Member| Target { id: Arc::clone(&member.id), port: 30_080 };
        let zones: BTreeMap<Arc<str>, Option<Arc<str>>> = before.iter().chain(&after)
            .map(|member| (Arc::clone(&member.id), member.zone.clone())).collect();
        let real = |target: &Target| zones[&target.id].clone();
        let mut present: BTreeSet<Target> = chosen(&limits, &before, &BTreeSet::new()).iter().map(target).collect();
        let there: BTreeSet<Arc<str>> = after.iter().map(|member| Arc::clone(&member.id)).collect();
        // Of nodes that are gone the zone may be forgotten.
        let seen = |target: &Target| (known || there.contains(&target.id)).then(|| real(target)).flatten();
        let registered: BTreeSet<_> = present.iter().map(|target| Arc::clone(&target.id)).collect();
        let wanted: BTreeSet<Target> = chosen(&limits, &after, &registered).iter().map(target).collect();
        let mut waves = 0;
        while present != wanted {
            waves += 1;
            prop_assert!(waves < 20, "it does not end");
            let mut register: BTreeSet<Target> = wanted.difference(&present).cloned().collect();
            limits.leave_out(&mut register, present.iter(), seen);
            // Both are asked for at once: what goes may be counted still.
            let mut both = present.clone();
            both.extend(register.iter().cloned());
            prop_assert!(both.len() <= limits.in_all, "{} of {}", both.len(), limits.in_all);
            let mut counts = BTreeMap::<_, usize>::new();
            for target in &both {
                *counts.entry(real(target)).or_default() += 1;
            }
            prop_assert!(counts.values().all(|count| *count <= limits.per_zone));
            present = both.intersection(&wanted).cloned().collect();
        }
    }
}

#[test]
fn unhealthy_ones_give_way_and_registered_ones_stay() {
    let nodes: Vec<Member> = (0..6).map(|number| member(number, number % 2)).collect();
    let limits = Limits::new(Quotas::default().with(Quota::TargetsPerZone, 2), 1, false);
    let standing = |member: &Member| match &*member.id {
        "i-0000" => Standing::Unhealthy,
        "i-0002" | "i-0003" => Standing::Registered,
        _ => Standing::New,
    };
    let chosen = ids(&limits.choose(nodes.iter().collect(), standing));
    for (id, expected) in [
        ("i-0000", false),
        ("i-0002", true),
        ("i-0003", true),
        ("i-0004", true),
    ] {
        assert_eq!(chosen.contains(id), expected, "{id} in {chosen:?}");
    }
}

#[test]
fn each_quota_is_shared_by_the_ports() {
    let limits = |ports, crossing| {
        let limits = Limits::new(Quotas::default(), ports, crossing);
        (limits.per_zone, limits.in_all)
    };
    assert_eq!(limits(1, false), (500, 1_000));
    assert_eq!(limits(1, true), (500, 500));
    assert_eq!(limits(4, false), (125, 750));
    assert_eq!(limits(10, true), (50, 50));
    assert_eq!(limits(50, true), (10, 10));
    let raised = Quotas::default().with(Quota::TargetsPerZone, 1_000);
    assert_eq!(Limits::new(raised, 4, true).in_all, 250);
}

#[test]
fn the_quota_that_binds_is_named() {
    for (ports, crossing, chosen, all, parts) in [
        (
            10,
            true,
            50,
            60,
            [
                "50 of 60 nodes",
                "Zone per Network Load Balancer (L-B211E961) is 500, for all zones together",
                "each of 10 ports",
                "targets-per-zone",
            ],
        ),
        (
            1,
            false,
            600,
            900,
            [
                "600 of 900 nodes",
                "(L-B211E961) is 500. With",
                "use fewer ports, or ask AWS",
                "targets-per-zone",
            ],
        ),
        (
            1,
            false,
            1_000,
            1_200,
            [
                "1000 of 1200",
                "Targets per Target Group per Region (L-A0D0B863) is 1000",
                "use fewer ports",
                "targets-per-group",
            ],
        ),
        (
            4,
            false,
            750,
            900,
            [
                "750 of 900",
                "Targets per Network Load Balancer (L-EEF1AD04) is 3000",
                "each of 4 ports",
                "aws-quota targets",
            ],
        ),
    ] {
        let limits = Limits::new(Quotas::default(), ports, crossing);
        let mut plan = Plan::empty();
        limits.tell(&mut plan, chosen, all, "nodes");
        let told = plan.warnings[0].to_string();
        for part in parts {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
