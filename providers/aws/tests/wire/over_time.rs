//! AWS at its own pace: what takes minutes, is seen late, or is refused for being asked too often. On our fake alone; its clock is moved here.

use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_core::{engine::Report, intent::Intent};
use evenkeel_harness::fake_aws::{Buckets, FakeAws, Moment, Settle, Times};

use super::stage::{Stage, service, settled};

/// How long between two looks.
const STEP: Duration = Duration::from_secs(10);

/// More looks than anything here takes.
const LOOKS: usize = 120;

fn fake(stage: &Stage) -> &FakeAws {
    stage.aws.as_fake().expect("these tests run on our fake")
}

async fn typical(nodes: usize) -> Result<Stage> {
    let stage = Stage::with_nodes(nodes).await?;
    fake(&stage).set(|settings| settings.times = Times::typical());
    Ok(stage)
}

/// Looks again and again while time passes, until a report is as wanted.
async fn until(stage: &Stage, intent: &Intent, wanted: impl Fn(&Report) -> bool) -> Result<Report> {
    let mut last = None;
    for _ in 0..LOOKS {
        let (report, _) = stage.look(intent).await;
        if wanted(&report) {
            return Ok(report);
        }
        last = Some(report);
        fake(stage).advance(STEP).await;
    }
    anyhow::bail!("not within {LOOKS} looks: {last:#?}")
}

async fn until_gone(stage: &Stage, intent: &Intent) -> Result<()> {
    for _ in 0..LOOKS {
        let (report, _) = stage.release(intent).await;
        if report.gone {
            return Ok(());
        }
        fake(stage).advance(STEP).await;
    }
    anyhow::bail!("it does not go")
}

fn healthy(report: &Report) -> Option<u32> {
    Some(report.published.as_ref()?.targets.as_ref()?.healthy)
}

/// How many targets of the only target group are healthy.
fn healthy_at(moment: &Moment<'_>) -> usize {
    let groups = moment.state.target_groups.values();
    groups.map(|group| moment.healthy(group)).sum()
}

/// Made, served, moved to another NodePort, and gone again. From the moment at which the first target is healthy until the Service is
/// given up, one is.
#[tokio::test]
async fn a_life_at_the_pace_of_aws() -> Result<()> {
    let stage = typical(2).await?;
    let shop = service("shop", &[80]);
    stage.serve(&shop).await;
    until(&stage, &shop, |report| {
        report.settled() && healthy(report) == Some(2)
    })
    .await?;
    let history = fake(&stage).history();
    history.never("a listener without targets", |moment| {
        let mut listeners = moment.state.listeners.values();
        listeners.any(|listener| {
            let mut groups = moment.state.target_groups.values();
            groups.any(|group| listener.forwards_to(&group.arn) && group.targets.is_empty())
        })
    })?;

    let mut moved = shop.clone();
    moved.ports[0].node_port = Some(31_999);
    stage.serve(&moved).await;
    let at = |port: u16| {
        let state = fake(&stage).state();
        let group = state.target_groups.values().next().cloned();
        group.is_some_and(|group| {
            let mut targets = group.targets.iter();
            targets.all(|(key, target)| key.port == port || target.deregistered_at.is_some())
        })
    };
    until(&stage, &moved, |report| {
        report.settled() && healthy(report) == Some(2) && at(31_999)
    })
    .await?;
    let history = fake(&stage).history();
    let mut served = false;
    history.walk(|moment| {
        let healthy = healthy_at(moment);
        assert!(
            !served || healthy > 0,
            "nobody serves at {} by {}",
            moment.at,
            moment.cause
        );
        served |= healthy > 0;
        false
    });
    assert!(served);

    until_gone(&stage, &moved).await?;
    let left = fake(&stage).state();
    assert!(left.load_balancers.is_empty() && left.target_groups.is_empty());
    assert!(left.interfaces.is_empty(), "{:?}", left.interfaces);
    stage.aws.check()
}

/// A load balancer that AWS cannot set up: nobody is told that it serves, and all are told why it does not. Another one beside it serves.
#[tokio::test]
async fn a_load_balancer_that_cannot_be_set_up() -> Result<()> {
    const WHY: &str = "The subnet has run out of addresses";
    let stage = typical(2).await?;
    fake(&stage).set(|settings| {
        settings.fails.insert("doomed".to_owned(), WHY.to_owned());
    });
    let mut shop = service("shop", &[80]);
    let name = "service.beta.kubernetes.io/aws-load-balancer-name";
    shop.annotations.insert(name.into(), "doomed".into());
    let other = service("other", &[80]);
    let (report, _) = stage.serve(&shop).await;
    assert_eq!(report.refusals, [], "it is provisioning");
    stage.serve(&other).await;
    let report = until(&stage, &shop, |report| !report.refusals.is_empty()).await?;
    let told = report.refusals[0].problem.to_string();
    assert!(
        told.contains("doomed") && told.contains(WHY) && told.contains("delete the load balancer"),
        "{told}"
    );
    until(&stage, &other, |report| {
        report.settled() && healthy(report) == Some(2)
    })
    .await?;
    let doomed = |moment: &Moment<'_>| {
        let mut balancers = moment.state.load_balancers.values();
        balancers.find(|one| one.name == "doomed").cloned()
    };
    fake(&stage)
        .history()
        .never("its targets are healthy", |moment| {
            let doomed = doomed(moment);
            doomed.is_some_and(|doomed| {
                let groups = moment.state.target_groups.values();
                let mut own = groups.filter(|group| group.load_balancers.contains(&doomed.arn));
                own.any(|group| moment.healthy(group) > 0)
            })
        })?;

    // As it is told: the cause is mended, and the load balancer deleted by hand.
    fake(&stage).set(|settings| settings.fails.clear());
    let state = fake(&stage).state();
    let arn = state.load_balancers.find(|one| one.name == "doomed");
    let gone = serde_json::json!({"LoadBalancerArn": arn.context("it is there")?.arn});
    let client = stage.aws.client();
    client.call("elbv2", "DeleteLoadBalancer", gone).await?;
    until(&stage, &shop, |report| {
        report.settled() && report.refusals.is_empty() && healthy(report) == Some(2)
    })
    .await?;
    stage.aws.check()
}

/// AWS lets go of what a load balancer used when it is gone for a while. Calls that are refused meanwhile count against the account like others.
#[tokio::test]
async fn a_deletion_is_hardly_ever_refused() -> Result<()> {
    let stage = typical(2).await?;
    let shop = service("shop", &[80]);
    stage.serve(&shop).await;
    until(&stage, &shop, Report::settled).await?;
    let mark = stage.aws.calls().mark();
    until_gone(&stage, &shop).await?;
    let calls = stage.aws.calls().since(mark);
    let mut writes: Vec<_> = calls.iter().filter(|call| !call.is_read()).collect();
    writes.sort_by_key(|call| call.name());
    let names: Vec<_> = writes.iter().map(|call| call.name()).collect();
    assert_eq!(
        names,
        [
            "ec2:DeleteSecurityGroup",
            "elbv2:DeleteLoadBalancer",
            "elbv2:DeleteTargetGroup",
            "elbv2:DeleteTargetGroup",
        ]
    );
    stage.aws.check()
}

/// Reads that miss the last writes make nothing twice, and take nothing away that is needed.
#[tokio::test]
async fn reads_that_are_late() -> Result<()> {
    for lag in [Settle::after(Duration::from_secs(25)), Settle::calls(3)] {
        let mut stage = Stage::with_nodes(2).await?;
        fake(&stage).set(|settings| settings.lag = lag);
        let all = [service("first", &[80]), service("second", &[80, 443])];
        for one in &all {
            stage.serve(one).await;
        }
        for one in &all {
            until(&stage, one, Report::settled).await?;
        }
        // Somebody who remembers nothing, and sees what was a while ago.
        stage.restart().await?;
        for one in &all {
            until(&stage, one, Report::settled).await?;
        }
        let state = fake(&stage).state();
        let counts = (
            state.load_balancers.len(),
            state.target_groups.len(),
            state.listeners.len(),
        );
        assert_eq!(counts, (2, 3, 3), "{lag:?}");
        let history = fake(&stage).history();
        history.always("nothing twice", |moment| {
            moment.state.load_balancers.len() <= 2 && moment.state.target_groups.len() <= 3
        })?;
        let most = |moment: &Moment<'_>| moment.state.listeners.len();
        let mut highest = 0;
        history.walk(|moment| {
            assert!(
                most(moment) >= highest,
                "one was taken away by {}",
                moment.cause
            );
            highest = most(moment);
            false
        });
        for one in &all {
            until_gone(&stage, one).await?;
        }
        let state = fake(&stage).state();
        assert!(
            state.load_balancers.is_empty() && state.target_groups.is_empty(),
            "{lag:?}"
        );
        stage.aws.check()?;
    }
    Ok(())
}

/// Writes that do not find what was made a moment ago make nothing twice, leave nothing behind, and are made again. With reads that are
/// late too.
#[tokio::test]
async fn writes_that_are_late() -> Result<()> {
    let seconds = |seconds| Settle::after(Duration::from_secs(seconds));
    for (write_lag, lag) in [
        (seconds(25), Settle::AT_ONCE),
        (Settle::calls(2), Settle::AT_ONCE),
        (seconds(25), seconds(15)),
        (seconds(15), seconds(25)),
        (Settle::calls(1), Settle::calls(2)),
    ] {
        let mut stage = Stage::with_nodes(2).await?;
        fake(&stage).set(|settings| (settings.write_lag, settings.lag) = (write_lag, lag));
        let all = late_services(&stage).await?;
        for one in &all {
            stage.serve(one).await;
        }
        for one in &all {
            until(&stage, one, Report::settled).await?;
        }
        stage.restart().await?;
        for one in &all {
            until(&stage, one, Report::settled).await?;
        }
        let state = fake(&stage).state();
        let counts = (
            state.load_balancers.len(),
            state.target_groups.len(),
            state.listeners.len(),
        );
        assert_eq!(counts, (3, 4, 4), "{write_lag:?} {lag:?}");
        for listener in state.listeners.values() {
            let expected = if listener.port == 443 { 2 } else { 0 };
            assert_eq!(listener.certificates.len(), expected, "{listener:?}");
        }
        // One that is given up before all of it could be made.
        let brief = service("brief", &[80]);
        stage.serve(&brief).await;
        for one in all.iter().chain([&brief]) {
            until_gone(&stage, one).await?;
        }
        let left = fake(&stage).state();
        assert!(
            left.load_balancers.is_empty() && left.target_groups.is_empty(),
            "{write_lag:?} {lag:?}: {left:#?} {}",
            stage.aws.calls()
        );
        let groups = left.security_groups.values();
        let ours: Vec<_> = groups.filter(|one| one.name.starts_with("ek-")).collect();
        assert_eq!(ours.len(), 1, "that of all: {ours:#?}");
        stage.aws.check()?;
    }
    Ok(())
}

/// Plain, with attributes, and with a second certificate: with writes right after creates.
async fn late_services(stage: &Stage) -> Result<[Intent; 3]> {
    let asked = serde_json::json!({"DomainName": "till.example"});
    let made = stage.aws.client().call("acm", "RequestCertificate", asked);
    let second = made.await?["CertificateArn"].as_str().map(str::to_owned);
    let certificates = [
        stage.world.certificate_arn.clone(),
        second.context("an ARN")?,
    ];
    let annotated = |mut intent: Intent, pairs: &[(&str, &str)]| {
        for (suffix, value) in pairs {
            let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
            intent.annotations.insert(key.into(), (*value).into());
        }
        intent
    };
    Ok([
        service("plain", &[80]),
        annotated(
            service("attributes", &[80, 81]),
            &[
                ("attributes", "load_balancing.cross_zone.enabled=true"),
                (
                    "target-group-attributes",
                    "deregistration_delay.timeout_seconds=60",
                ),
                ("listener-attributes.TCP-80", "tcp.idle_timeout.seconds=600"),
            ],
        ),
        annotated(
            service("certificates", &[443]),
            &[("ssl-cert", &certificates.join(","))],
        ),
    ])
}

/// More calls than AWS allows: those that are refused are made later, and in the end all is there once.
#[tokio::test]
async fn asked_too_often() -> Result<()> {
    const MANY: usize = 20;
    let stage = Stage::with_nodes(2).await?;
    fake(&stage).set(|settings| settings.buckets = Some(Buckets::documented()));
    let all: Vec<_> = (0..MANY)
        .map(|n| service(&format!("s{n}"), &[80]))
        .collect();
    let mark = stage.aws.calls().mark();
    for _ in 0..LOOKS {
        let reports = futures::future::join_all(all.iter().map(|one| stage.serve(one))).await;
        if reports.iter().all(|(report, _)| report.settled()) {
            break;
        }
        fake(&stage).advance(Duration::from_secs(5)).await;
    }
    let calls = stage.aws.calls().since(mark);
    let throttled = calls
        .iter()
        .filter(|call| call.error.as_deref() == Some("Throttling"));
    assert!(throttled.count() > 0, "the scene is set");
    for one in &all {
        settled(&stage.serve(one).await.0);
    }
    let state = fake(&stage).state();
    let counts = (
        state.load_balancers.len(),
        state.target_groups.len(),
        state.listeners.len(),
    );
    assert_eq!(counts, (MANY, MANY, MANY));
    let group = state
        .target_groups
        .values()
        .next()
        .context("a target group")?;
    assert_eq!(group.targets.len(), 2);
    stage.aws.check()
}
