//! What a plan shows is what a run does, it makes no write, and a region that was written down makes the same plan.

use anyhow::Result;
use evenkeel_aws::{Context, record};
use evenkeel_core::{
    engine::{AnyProvider as _, Ask, Engine, Rehearsal, Request},
    intent::Intent,
    plan::{Action, Change},
};

use super::stage::{Stage, cluster, key, serve, service, settled};

fn annotated(name: &str, ports: &[u16], annotations: &[(&str, &str)]) -> Intent {
    let mut intent = service(name, ports);
    for (suffix, value) in annotations {
        let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
        intent.annotations.insert(key.into(), (*value).into());
    }
    intent
}

/// What becomes of one Service over time.
fn story() -> Vec<(&'static str, Option<Intent>)> {
    let attributes = (
        "target-group-attributes",
        "deregistration_delay.timeout_seconds=60",
    );
    vec![
        (
            "is made",
            Some(annotated("shop", &[80], &[("scheme", "internal")])),
        ),
        (
            "has another port and attributes",
            Some(annotated(
                "shop",
                &[80, 443],
                &[("scheme", "internal"), attributes],
            )),
        ),
        (
            "has one port less, and another health check",
            Some(annotated(
                "shop",
                &[443],
                &[("scheme", "internal"), ("healthcheck-interval", "30")],
            )),
        ),
        ("goes", None),
    ]
}

fn request(stage: &Stage, intent: Option<&Intent>) -> Request {
    let named = service("shop", &[80]);
    match intent {
        Some(intent) => stage.request(&key(intent), serve(intent)),
        None => stage.request(&key(&named), Ask::Release),
    }
}

/// Changes as both sides tell them: what AWS calls an object is foretold before it is there.
fn told(changes: &[Change]) -> Vec<String> {
    let one = |change: &Change| {
        let detail = match change.detail.find("known after apply") {
            Some(at) => &change.detail[..at],
            None => &change.detail,
        };
        format!(
            "{} {} {} {detail}",
            change.action.as_str(),
            change.kind,
            change.id
        )
    };
    let mut all: Vec<_> = changes.iter().map(one).collect();
    all.sort();
    all
}

/// The call that makes or removes an object of this kind.
fn operation(change: &Change) -> Option<String> {
    let verb = match change.action {
        Action::Create => "Create",
        Action::Destroy => "Delete",
        Action::Change | Action::Replace => return None,
    };
    let (api, kind) = match change.kind {
        "load balancer" => ("elbv2", "LoadBalancer"),
        "target group" => ("elbv2", "TargetGroup"),
        "listener" => ("elbv2", "Listener"),
        "security group" => ("ec2", "SecurityGroup"),
        _ => return None,
    };
    Some(format!("{api}:{verb}{kind}"))
}

#[tokio::test]
async fn a_plan_is_what_a_run_does_and_writes_nothing() -> Result<()> {
    let stage = Stage::with_nodes(2).await?;
    for (what, intent) in story() {
        let request = request(&stage, intent.as_ref());
        let mark = stage.aws.calls().mark();
        let rehearsal = stage.engine.rehearse(&request).await.expect("AWS answers");
        let asked = stage.aws.calls().count_since(mark);
        assert_eq!(asked.writes, 0, "{what}: {asked}");
        let planned: Vec<Change> = rehearsal.waves.concat();
        assert!(!planned.is_empty(), "{what}");
        let (report, made) = match &intent {
            Some(intent) => stage.serve(intent).await,
            None => stage.release(&service("shop", &[80])).await,
        };
        assert!(report.failures.is_empty(), "{what}: {report:#?}");
        assert_eq!(told(&planned), told(&report.applied), "{what}");
        let operations = planned.iter().filter_map(operation);
        let mut all: Vec<_> = operations.collect();
        all.sort();
        for operation in &all {
            let count = all.iter().filter(|other| *other == operation).count();
            assert_eq!(
                made.of_operation(operation),
                count,
                "{what}: {operation} in {made}"
            );
        }
    }
    stage.aws.check()
}

/// The same plan from what was written down, as text.
async fn offline(stage: &Stage, request: &Request) -> Result<Rehearsal> {
    let live = super::stage::provider(&stage.world, super::stage::config(&stage.aws, &stage.world));
    let mark = stage.aws.calls().mark();
    let cloud = record::look(&live).await?;
    let asked = stage.aws.calls().count_since(mark);
    assert_eq!(asked.writes, 0, "facts are only read: {asked}");
    let text = serde_json::to_string(&cloud)?;
    let context = Context::new(cluster(&stage.world));
    let recorded = record::recorded(context, &serde_json::from_str(&text)?)?;
    let mark = stage.aws.calls().mark();
    let rehearsal = Engine::new(recorded).rehearse(request).await?;
    let asked = stage.aws.calls().since(mark);
    assert!(
        asked.is_empty(),
        "what was written down is enough: {asked:?}"
    );
    Ok(rehearsal)
}

#[tokio::test]
async fn facts_make_the_plan_that_the_live_account_makes() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    // Another Service, whose objects are in the account too.
    settled(
        &stage
            .serve(&annotated("other", &[8080], &[("scheme", "internal")]))
            .await
            .0,
    );
    for (what, intent) in story() {
        // As the command does, without a memory.
        stage.restart_cold();
        let request = request(&stage, intent.as_ref());
        let online = stage.engine.rehearse(&request).await.expect("AWS answers");
        assert_eq!(offline(&stage, &request).await?, online, "{what}");
        stage
            .engine
            .run(request, &evenkeel_core::converge::NoJournal)
            .await;
    }
    stage.aws.check()
}
