//! Drift: what somebody else changed by hand is found by the next look, put right and told, and what is not ours stays byte for byte.

use anyhow::{Context as _, Result, ensure};
use evenkeel_core::{engine::Report, intent::Intent};
use evenkeel_harness::aws::{
    Counts,
    drift::{Drift, Strangers, alike},
};

use super::stage::{Stage, service, settled};

/// The pages that all Services share.
const PAGES: [&str; 5] = [
    "elbv2:DescribeLoadBalancers",
    "elbv2:DescribeTargetGroups",
    "elbv2:DescribeTags",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeInstances",
];

/// Reads for this Service alone.
fn own_reads(asked: &Counts) -> usize {
    let shared: usize = PAGES.iter().map(|page| asked.of_operation(page)).sum();
    asked.reads - shared
}

/// Asks for something of every object, so that there is something to change.
fn asking() -> Intent {
    let mut shop = service("shop", &[80, 443]);
    let annotations = Drift::annotations().into_iter();
    shop.annotations
        .extend(annotations.map(|(key, value)| (key.into(), value.into())));
    shop
}

/// Whether a report tells of this, and of nothing else that was not asked for.
fn told(report: &Report, drift: Drift) -> Result<()> {
    let (kind, id, field) = drift.tells();
    ensure!(report.repaired, "{report:#?}");
    let mut changes = report.drifted.iter();
    let told = changes.any(|change| {
        let fields = change.reasons.iter().map(|reason| reason.field);
        change.kind == kind
            && change.id.as_str() == id
            && (field.is_empty() || fields.into_iter().any(|its| its == field))
    });
    ensure!(told, "{kind} {id} {field}: {:#?}", report.drifted);
    Ok(())
}

/// Each kind of drift, one after the other.
#[tokio::test]
async fn what_somebody_changed_is_found_repaired_and_told() -> Result<()> {
    let mut stage = Stage::with_nodes(3).await?;
    stage.sweep_at_every_look();
    let (shop, quiet) = (asking(), service("quiet", &[80, 443]));
    for one in [&shop, &quiet] {
        settled(&stage.serve(one).await.0);
        settled(&stage.look(one).await.0);
    }
    Strangers::make(stage.aws.client(), "shop/shop", &stage.world).await?;
    let before = stage.state().await?;
    let (was, strangers) = (alike(&before), Strangers::find(&before));
    for drift in Drift::ALL {
        let client = stage.aws.client();
        let made = drift.make(client, "shop/shop", &stage.world).await;
        made.with_context(|| format!("{drift:?}"))?;
        let by_hand = stage.state().await?;
        assert_ne!(alike(&by_hand), was, "{drift:?}: the scene is set");

        let (report, _) = stage.look(&shop).await;
        settled(&report);
        told(&report, drift).with_context(|| format!("{drift:?}"))?;
        let after = stage.state().await?;
        assert_eq!(alike(&after), was, "{drift:?}");
        assert_eq!(Strangers::find(&after), strangers, "{drift:?}");

        // It is told once, and nobody else pays for it.
        let (report, asked) = stage.look(&shop).await;
        settled(&report);
        assert_eq!(
            (report.drifted.len(), asked.writes),
            (0, 0),
            "{drift:?}: {asked}"
        );
        let (report, asked) = stage.look(&quiet).await;
        settled(&report);
        let p = quiet.ports.len();
        assert_eq!(
            (own_reads(&asked), asked.writes),
            (1 + p, 0),
            "{drift:?}: {asked}"
        );
    }
    stage.aws.check()
}

/// Between two looks at the region a look at a Service asks for what only that one tells, whatever was done to it.
#[tokio::test]
async fn a_look_has_its_budget() -> Result<()> {
    let stage = Stage::with_nodes(3).await?;
    for ports in [&[80_u16][..], &[80, 443], &[80, 443, 8443, 9000]] {
        let p = ports.len();
        let shop = service(&format!("shop-{p}"), ports);
        settled(&stage.serve(&shop).await.0);
        settled(&stage.look(&shop).await.0);
        let (_, asked) = stage.look(&shop).await;
        assert_eq!((asked.reads, asked.writes), (1 + p, 0), "{asked}");
        if p == 1 {
            continue;
        }
        let name = format!("shop/shop-{p}");
        for drift in [Drift::ListenerDeleted, Drift::TargetRemoved] {
            drift.make(stage.aws.client(), &name, &stage.world).await?;
            let (report, asked) = stage.look(&shop).await;
            settled(&report);
            told(&report, drift)?;
            assert_eq!(
                (asked.reads, asked.writes),
                (1 + p, 1),
                "{drift:?}: {asked}"
            );
        }
    }
    stage.aws.check()
}

/// A listener by hand on a port that the Service asks for is not taken over: the port is told of, and the others are served.
#[tokio::test]
async fn a_stranger_in_our_place_stays() -> Result<()> {
    let stage = Stage::with_nodes(2).await?;
    let shop = service("shop", &[80]);
    settled(&stage.serve(&shop).await.0);
    Strangers::make(stage.aws.client(), "shop/shop", &stage.world).await?;
    let strangers = Strangers::find(&stage.state().await?);
    let wider = service("shop", &[80, 9999]);
    for _ in 0..2 {
        let (report, _) = stage.look(&wider).await;
        let refusal = report.refusals.first().context("it is refused")?;
        let text = refusal.problem.to_string();
        ensure!(text.contains("made by hand"), "{text}");
        assert_eq!(Strangers::find(&stage.state().await?), strangers);
    }
    stage.aws.check()
}
