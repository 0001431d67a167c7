//! Up to AWS's quotas and above them: no call fails, and what there is no room for is not begun. On our fake, which has the quotas.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use evenkeel_aws::{
    Aws, Context,
    client::Client,
    quotas::{Quota, Quotas},
};
use evenkeel_core::{
    engine::Report,
    ids::Cluster,
    intent::{Intent, SourceRanges},
    nodes::NodeSet,
    problem::reason,
};
use evenkeel_harness::fake_aws::{FakeAws, Moment, Quotas as Theirs};
use serde_json::json;

use super::stage::{CLUSTER, Controller, Stage, as_it_is, config, service, settled};

fn fake(stage: &Stage) -> &FakeAws {
    stage.aws.as_fake().expect("these tests run on our fake")
}

fn annotate(mut intent: Intent, suffix: &str, value: &str) -> Intent {
    let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
    intent.annotations.insert(key.into(), value.into());
    intent
}

fn crossing(intent: Intent) -> Intent {
    annotate(
        intent,
        "attributes",
        "load_balancing.cross_zone.enabled=true",
    )
}

/// What AWS allows here, and what the operator said of it.
struct Allowed {
    theirs: Theirs,
    ours: Quotas,
}

impl Allowed {
    fn default() -> Self {
        Self {
            theirs: Theirs::default(),
            ours: Quotas::default(),
        }
    }

    fn most(mut self, quota: Quota, most: usize) -> Self {
        let theirs = match quota {
            Quota::LoadBalancers => &mut self.theirs.load_balancers,
            Quota::TargetGroups => &mut self.theirs.target_groups,
            Quota::Targets => &mut self.theirs.targets_per_load_balancer,
            Quota::TargetsPerZone => &mut self.theirs.targets_per_zone,
            Quota::TargetsPerGroup => &mut self.theirs.targets_per_group,
            Quota::SecurityGroups => &mut self.theirs.security_groups,
            Quota::Rules => &mut self.theirs.rules,
            Quota::GroupsPerInterface => &mut self.theirs.security_groups_per_interface,
            Quota::Interfaces => &mut self.theirs.interfaces,
            Quota::Certificates => &mut self.theirs.certificates,
        };
        *theirs = most;
        self.ours = self.ours.with(quota, most);
        self
    }

    /// A cluster in such an account.
    async fn stage(&self, nodes: usize) -> Result<Stage> {
        let mut stage = Stage::with_nodes(nodes).await?;
        fake(&stage).set(|settings| settings.quotas = self.theirs);
        stage.engine = self.engine(&stage);
        Ok(stage)
    }

    /// A controller that remembers nothing.
    fn engine(&self, stage: &Stage) -> Controller {
        let context = Context {
            quotas: self.ours,
            ..Context::new(Cluster::new(CLUSTER, &*stage.world.cluster))
        };
        as_it_is(Aws::new(
            context,
            Client::new(config(&stage.aws, &stage.world)),
        ))
    }
}

/// No call has failed.
fn none_failed(stage: &Stage) -> Result<()> {
    let calls = stage.aws.calls().all();
    let failed: Vec<_> = calls.iter().filter(|call| call.error.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    stage.aws.check()
}

/// Nothing is served, and why it says so.
fn refused(report: &Report, parts: &[&str]) {
    assert_eq!(report.failures, []);
    let told: Vec<_> = report
        .refusals
        .iter()
        .map(|refusal| refusal.problem.to_string())
        .collect();
    let first = report.refusals.first().expect("it is refused");
    assert_eq!(first.problem.reason, reason::QUOTA_EXCEEDED);
    for part in parts {
        assert!(
            told.iter().any(|text| text.contains(part)),
            "{part}: {told:#?}"
        );
    }
}

fn counts(stage: &Stage) -> (usize, usize, usize) {
    let state = fake(stage).state();
    (
        state.load_balancers.len(),
        state.target_groups.len(),
        state.security_groups.len(),
    )
}

/// More Services at once than there is room for, beside a load balancer of somebody else.
#[tokio::test]
async fn as_many_load_balancers_as_the_region_may_have() -> Result<()> {
    let allowed = Allowed::default().most(Quota::LoadBalancers, 4);
    let stage = allowed.stage(2).await?;
    let theirs =
        json!({"Name": "theirs", "Type": "network", "Subnets": stage.world.public_subnets});
    stage
        .aws
        .client()
        .call("elbv2", "CreateLoadBalancer", theirs)
        .await?;
    let all: Vec<_> = (0..6).map(|n| service(&format!("s{n}"), &[80])).collect();
    let reports = futures::future::join_all(all.iter().map(|one| stage.serve(one))).await;
    let (served, others): (Vec<_>, Vec<_>) = all
        .iter()
        .zip(reports.into_iter().map(|(report, _)| report))
        .partition(|(_, report)| report.refusals.is_empty());
    assert_eq!((served.len(), others.len()), (3, 3));
    for (_, report) in &served {
        settled(report);
    }
    let parts = [
        "Network Load Balancers per Region (L-69A177A2)",
        "the quota is 4",
        "aws-quota load-balancers",
    ];
    for (_, report) in &others {
        refused(report, &parts);
    }
    let (balancers, groups, security) = counts(&stage);
    assert_eq!(
        (balancers, groups),
        (4, 3),
        "nothing of the others was begun"
    );

    // Who gives one up makes room for another, and nothing was left of it.
    assert!(stage.release(served[0].0).await.0.gone);
    settled(&stage.serve(others[0].0).await.0);
    refused(&stage.serve(others[1].0).await.0, &parts);
    assert_eq!(counts(&stage), (balancers, groups, security));
    none_failed(&stage)
}

/// Each load balancer has an interface in each of its three zones, and keeps it for a while when it is gone.
#[tokio::test]
async fn as_many_interfaces_as_the_vpc_may_have() -> Result<()> {
    let allowed = Allowed::default().most(Quota::Interfaces, 5);
    let stage = allowed.stage(2).await?;
    let (first, second) = (service("first", &[80]), service("second", &[80]));
    settled(&stage.serve(&first).await.0);
    let told = [
        "Network Load Balancer ENIs per VPC (L-23568085)",
        "\"3\" are there, 3 more would be needed, and the quota is 5",
        "aws-quota interfaces",
    ];
    refused(&stage.serve(&second).await.0, &told);
    // One that needs fewer fits.
    let zones = stage.world.private_subnets[..2].join(",");
    let small = annotate(service("small", &[80]), "subnets", &zones);
    settled(&stage.serve(&annotate(small, "scheme", "internal")).await.0);
    assert_eq!(fake(&stage).state().interfaces.len(), 5);
    assert!(stage.release(&first).await.0.gone);
    settled(&stage.serve(&second).await.0);
    none_failed(&stage)
}

/// Who starts anew counts what is there.
#[tokio::test]
async fn a_restart_knows_what_the_region_has() -> Result<()> {
    let allowed = Allowed::default().most(Quota::LoadBalancers, 1);
    let mut stage = allowed.stage(2).await?;
    let (first, second) = (service("first", &[80]), service("second", &[80]));
    settled(&stage.serve(&first).await.0);
    for inventory in [false, true] {
        stage.engine = allowed.engine(&stage);
        if inventory {
            stage.engine.inventory().await?;
        }
        refused(&stage.serve(&second).await.0, &["the quota is 1"]);
        settled(&stage.serve(&first).await.0);
    }
    none_failed(&stage)
}

#[tokio::test]
async fn as_many_target_groups_as_the_region_may_have() -> Result<()> {
    let allowed = Allowed::default().most(Quota::TargetGroups, 3);
    let stage = allowed.stage(2).await?;
    let shop = service("shop", &[80, 81]);
    settled(&stage.serve(&shop).await.0);
    let before = counts(&stage);
    refused(
        &stage.serve(&service("second", &[80, 81])).await.0,
        &[
            "Target Groups per Region (L-B22855CB): \"2\" are there, 2 more would be needed, and the quota is 3",
        ],
    );
    assert_eq!(counts(&stage), before);
    // Of the ports of one that is there those are served for which there is room.
    let (report, _) = stage.serve(&service("shop", &[80, 81, 82, 83])).await;
    refused(&report, &["\"3\" are there, 1 more would be needed"]);
    let ports: Vec<_> = report
        .refusals
        .iter()
        .filter_map(|refusal| refusal.port.as_ref())
        .collect();
    assert_eq!(ports.len(), 1, "{ports:?}");
    assert_eq!(fake(&stage).state().listeners.len(), 3);
    none_failed(&stage)
}

#[tokio::test]
async fn what_one_object_may_have_is_refused_before_any_write() -> Result<()> {
    let allowed = Allowed::default()
        .most(Quota::Rules, 3)
        .most(Quota::Certificates, 1)
        .most(Quota::GroupsPerInterface, 2);
    let stage = allowed.stage(2).await?;
    let mut certificates = vec![stage.world.certificate_arn.clone()];
    for name in ["shop.example", "till.example"] {
        let asked = json!({"DomainName": name});
        let made = stage.aws.client().call("acm", "RequestCertificate", asked);
        let arn = made.await?["CertificateArn"].as_str().map(str::to_owned);
        certificates.push(arn.context("an ARN")?);
    }
    let with_tls = |count: usize| {
        annotate(
            service("tls", &[443]),
            "ssl-cert",
            &certificates[..count].join(","),
        )
    };
    let nodes = stage.world.node_security_group.clone();
    let ranges = ["10.1.0.0/16", "10.2.0.0/16"].map(|range| range.parse().expect("a range"));
    let ranged = |ports: &[u16]| {
        let mut intent = service("ranged", ports);
        intent.source_ranges = SourceRanges::Only(ranges.to_vec());
        intent
    };
    let many: Vec<u16> = (1..=51).collect();
    let groups = annotate(
        service("groups", &[80]),
        "security-groups",
        &format!("{nodes}, sg-1, sg-2"),
    );
    for (intent, part) in [
        (
            ranged(&[80, 81]),
            "Inbound or outbound rules per security group (L-0EA8095F)",
        ),
        (groups, "Security groups per network interface (L-2AFB9258)"),
        (
            with_tls(3),
            "Certificates per Network Load Balancer (L-52964454)",
        ),
        (service("many", &many), "AWS allows 50 on a load balancer"),
    ] {
        let (report, asked) = stage.serve(&intent).await;
        let problems = report.problems.context("it is rejected")?.to_string();
        assert!(problems.contains(part), "{problems}");
        assert_eq!(asked.writes, 0, "{asked}");
    }
    // As many as there may be are made.
    settled(&stage.serve(&ranged(&[80])).await.0);
    settled(&stage.serve(&with_tls(2)).await.0);
    settled(
        &stage
            .serve(&annotate(
                service("shop", &many[..3]),
                "security-groups",
                &nodes,
            ))
            .await
            .0,
    );
    none_failed(&stage)
}

/// 50 listeners, which AWS raises for nobody.
#[tokio::test]
async fn as_many_listeners_as_a_load_balancer_may_have() -> Result<()> {
    let stage = Allowed::default().stage(2).await?;
    let many: Vec<u16> = (1..=50).collect();
    settled(&stage.serve(&service("many", &many)).await.0);
    assert_eq!(fake(&stage).state().listeners.len(), 50);
    none_failed(&stage)
}

/// The first few of the nodes, by number.
fn some_nodes(stage: &Stage, which: impl Fn(usize) -> bool) -> Arc<NodeSet> {
    let all = stage.nodes.nodes().iter().enumerate();
    let some = all.filter(|(number, _)| which(*number));
    Arc::new(NodeSet::new(some.map(|(_, node)| node.clone()).collect()))
}

/// How many targets each group has that are registered.
fn registered(moment: &Moment<'_>) -> Vec<usize> {
    let groups = moment.state.target_groups.values();
    let count = |targets: Vec<_>| targets.len();
    groups
        .map(|group| {
            let targets = group.targets.values();
            count(
                targets
                    .filter(|target| target.deregistered_at.is_none())
                    .collect::<Vec<_>>(),
            )
        })
        .collect()
}

fn now(stage: &Stage) -> Vec<usize> {
    let state = fake(stage).state();
    let mut counts = Vec::new();
    fake(stage).history().walk(|moment| {
        counts = registered(moment);
        false
    });
    assert_eq!(counts.len(), state.target_groups.len());
    counts
}

/// Nodes come, go and are replaced at the limit; ports come and go; the NodePort moves; cross-zone load balancing goes on and off.
#[tokio::test]
async fn as_many_targets_as_a_load_balancer_may_have() -> Result<()> {
    for (limit, cross, share) in [
        // 18 nodes in three zones.
        (Quota::TargetsPerZone, false, [12, 6]),
        (Quota::TargetsPerZone, true, [4, 2]),
        (Quota::Targets, false, [4, 2]),
        (Quota::TargetsPerGroup, false, [4, 4]),
    ] {
        let allowed = Allowed::default().most(limit, 4);
        let mut stage = allowed.stage(18).await?;
        let all = Arc::clone(&stage.nodes);
        let of = |intent: Intent| if cross { crossing(intent) } else { intent };
        let shop = of(service("shop", &[80]));
        // Below, at, and above.
        for count in [3, 12, 15] {
            stage.nodes = some_nodes(&stage, |number| number < count);
            stage.serve(&shop).await;
            stage.nodes = Arc::clone(&all);
        }
        let (report, _) = stage.serve(&shop).await;
        settled(&report);
        let told = report
            .warnings
            .iter()
            .find(|warning| warning.reason == reason::QUOTA_EXCEEDED);
        let told = told.context("it is told")?.to_string();
        assert!(
            told.contains(&format!("{} of 18 nodes", share[0])) && told.contains(limit.code()),
            "{told}"
        );
        assert_eq!(now(&stage), [share[0]], "{limit}");

        // Half of the nodes go, then those that are left.
        for half in [0, 1] {
            stage.nodes = some_nodes(&stage, |number| number % 2 == half);
            settled(&stage.serve(&shop).await.0);
            settled(&stage.look(&shop).await.0);
            stage.nodes = Arc::clone(&all);
        }
        settled(&stage.serve(&shop).await.0);
        assert_eq!(now(&stage), [share[0]], "{limit}");

        let mut moved = shop.clone();
        moved.ports[0].node_port = Some(31_999);
        settled(&until_settled(&stage, &moved).await);
        assert_eq!(now(&stage), [share[0]], "{limit}");

        let both = of(service("shop", &[80, 81]));
        settled(&until_settled(&stage, &both).await);
        assert_eq!(now(&stage), [share[1]; 2], "{limit}");
        settled(&until_settled(&stage, &shop).await);
        assert_eq!(now(&stage), [share[0]], "{limit}");
        settled(&until_settled(&stage, &both).await);
        let other = of(service("shop", &[81, 82]));
        settled(&until_settled(&stage, &other).await);
        assert_eq!(now(&stage), [share[1]; 2], "{limit}");
        settled(&until_settled(&stage, &shop).await);
        assert_eq!(now(&stage), [share[0]], "{limit}");

        if limit == Quota::TargetsPerZone {
            let (plain, crossed) = (service("shop", &[80]), crossing(service("shop", &[80])));
            for (intent, count) in [(&crossed, 4), (&plain, 12), (&crossed, 4)] {
                settled(&until_settled(&stage, intent).await);
                assert_eq!(now(&stage), [count]);
            }
        }
        // Who starts anew has nothing to mend, and knows how many there may be.
        stage.engine = allowed.engine(&stage);
        stage.engine.inventory().await?;
        stage.serve(&shop).await;
        stage.nodes = some_nodes(&stage, |number| number != 3);
        settled(&until_settled(&stage, &shop).await);
        // From the first one on somebody serves.
        let mut served = false;
        fake(&stage).history().walk(|moment| {
            let serves = registered(moment).iter().any(|count| *count > 0);
            assert!(
                serves || !served,
                "nobody serves at {} by {}",
                moment.at,
                moment.cause
            );
            served |= serves;
            false
        });
        none_failed(&stage).with_context(|| format!("{limit}, cross-zone {cross}"))?;
    }
    Ok(())
}

async fn until_settled(stage: &Stage, intent: &Intent) -> Report {
    let mut report = stage.serve(intent).await.0;
    for _ in 0..20 {
        if report.settled() {
            break;
        }
        report = stage.look(intent).await.0;
    }
    report
}

/// Two hundred nodes more than one zone takes.
#[tokio::test]
async fn the_documented_numbers() -> Result<()> {
    let stage = Stage::with_nodes(600).await?;
    let shop = crossing(service("shop", &[80, 443]));
    let (report, _) = stage.serve(&shop).await;
    settled(&report);
    assert_eq!(now(&stage), [250, 250]);
    let told = report
        .warnings
        .iter()
        .map(ToString::to_string)
        .find(|text| text.contains("250 of 600 nodes"));
    assert!(told.is_some(), "{:#?}", report.warnings);
    none_failed(&stage)
}
