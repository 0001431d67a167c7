use super::*;

#[test]
fn numbers_are_read_by_name_and_told_as_they_were_written() {
    let mut quotas = Quotas::default();
    assert_eq!(quotas.changed().count(), 0);
    quotas.read("load-balancers=200").expect("reads");
    quotas.read(" targets-per-zone = 1 ").expect("reads");
    assert_eq!(quotas.of(Quota::LoadBalancers), 200);
    assert_eq!(
        quotas.changed().collect::<Vec<_>>(),
        [(Quota::LoadBalancers, 200), (Quota::TargetsPerZone, 1)]
    );
    for (text, why) in [
        (
            "load-balancers",
            "a quota with a number, one of load-balancers, interfaces",
        ),
        ("balancers=1", "must name one of load-balancers, interfaces"),
        // AWS raises it for nobody.
        ("listeners=60", "must name one of"),
        ("load-balancers=0", "from 1 to 1000000"),
        ("load-balancers=-1", "from 1 to 1000000"),
        ("load-balancers=many", "from 1 to 1000000"),
        ("groups-per-interface=17", "from 1 to 16"),
        ("rules=1001", "from 1 to 1000"),
    ] {
        let wrong = quotas.read(text).expect_err(text);
        assert!(wrong.contains(why), "{text}: {wrong}");
    }
    assert_eq!(
        quotas.of(Quota::LoadBalancers),
        200,
        "nothing else is changed"
    );
}

#[test]
fn rules_times_groups_have_a_limit_of_their_own() {
    let rules = |rules, groups| {
        Quotas::default()
            .with(Quota::Rules, rules)
            .with(Quota::GroupsPerInterface, groups)
            .contradiction()
    };
    assert_eq!(rules(60, 5), None);
    assert_eq!(rules(200, 5), None);
    assert_eq!(rules(62, 16), None);
    let told = rules(201, 5).expect("too many");
    assert!(told.contains("201 rules in each of 5"), "{told}");
}

#[test]
fn each_quota_is_told_from_the_others() {
    for (at, quota) in Quota::ALL.into_iter().enumerate() {
        assert_eq!(quota as usize, at);
        assert_eq!(Quota::named(quota.name()), Some(quota));
        let same = |other: &&Quota| other.code() == quota.code();
        assert_eq!(Quota::ALL.iter().filter(same).count(), 1, "{quota}");
    }
}
