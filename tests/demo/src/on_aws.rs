//! The application on AWS as moto plays it: no pods and no traffic, but all that is made. Writes: processes, an emulator.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::aws::{Counts, State};
use evenkeel_harness::kubectl::Kubectl;
use evenkeel_harness::progress::Progress;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::manifest;
use crate::scene::{FRONT, NODES, SHOP};
use crate::show::Show;
use crate::steps::application::MANIFEST;

/// Shows it; whether every check passed.
pub(crate) async fn run() -> Result<bool> {
    println!("A control plane, moto, {NODES} instances and the controller are started ...");
    let mut show = Show::new();
    let mut scene = AwsWorld::start(NODES, &[]).await?;
    let ended = steps(&mut scene, &mut show).await;
    show.summary();
    scene.stop().await?;
    ended.map(|()| show.failed() == 0)
}

async fn steps(scene: &mut AwsWorld, show: &mut Show) -> Result<()> {
    show.step(
        1,
        "A complete application is applied, its front end with the class evenkeel.dev/aws",
    );
    let shop = json!({"metadata": {"name": SHOP}});
    let namespaces: Api<Namespace> = Api::all(scene.world.client());
    let shop = serde_json::from_value(shop)?;
    namespaces.create(&PostParams::default(), &shop).await?;
    let mark = scene.aws.calls().mark();
    let applied = manifest::apply(&scene.world.client(), SHOP, &objects()?).await;
    show.check(
        "the API server accepts it",
        applied.map(|all| all.join(", ")),
    );
    let kubectl = Kubectl::new(&scene.world.plane, SHOP, Progress::new()).await?;

    show.step(2, "evenkeel makes a Network Load Balancer");
    let served = scene
        .world
        .condition(SHOP, FRONT, "evenkeel.dev/Serving", "True");
    show.check("it serves", served.await);
    let settled = scene
        .world
        .condition(SHOP, FRONT, "evenkeel.dev/Provisioning", "False");
    show.check("nothing is left to do", settled.await);
    show.command(&kubectl.run(&["get", "service", FRONT]).await?.ok()?);
    let state = scene.aws.state().await?;
    let hostname = hostname(scene).await?;
    let balancer = state.load_balancers().first().context("no load balancer")?;
    let published = balancer["DNSName"] == *hostname;
    show.check(
        "its host name is published",
        published.then_some(hostname).context("another name"),
    );
    for line in what_there_is(&state) {
        show.note(line);
    }
    show.check("all nodes are targets", targets(&state, NODES));
    show.note(Counts::of(&scene.aws.calls().since(mark)));

    show.step(3, "A node joins");
    let mark = scene.aws.calls().mark();
    scene.add_node().await?;
    let joined = eventually("another target", LIMIT, || async {
        targets(&scene.aws.state().await?, NODES + 1)
    });
    show.check("it is a target", joined.await);
    show.note(Counts::of(&scene.aws.calls().since(mark)));

    show.step(4, "A mistake is told, and nothing is called");
    let mark = scene.aws.calls().mark();
    let wrong = "service.beta.kubernetes.io/aws-load-balancer-scheme=sideways";
    show.command(
        &kubectl
            .run(&["annotate", "service", FRONT, wrong])
            .await?
            .ok()?,
    );
    let told = scene
        .world
        .condition(SHOP, FRONT, "evenkeel.dev/Degraded", "True");
    show.check("a condition says what is wrong", told.await);
    let calls = scene.aws.calls().since(mark);
    show.check(
        "AWS was not called",
        calls.is_empty().then_some("0 calls").context("it was"),
    );

    show.step(5, "The Service is deleted");
    show.command(&kubectl.run(&["delete", "service", FRONT]).await?.ok()?);
    let state = scene.aws.state().await?;
    let left = state.load_balancers().len() + state.target_groups().len();
    show.check(
        "nothing of it is left",
        (left == 0).then_some("").context(left),
    );
    Ok(())
}

/// The application's objects; the front end is AWS's.
fn objects() -> Result<Vec<Value>> {
    let mut objects = manifest::read(MANIFEST)?;
    let front = objects
        .iter_mut()
        .find(|object| object["kind"] == "Service" && object["metadata"]["name"] == FRONT);
    front.context("no front end in the manifest")?["spec"]["loadBalancerClass"] =
        json!("evenkeel.dev/aws");
    Ok(objects)
}

async fn hostname(scene: &AwsWorld) -> Result<String> {
    let service = scene.world.services(SHOP).get(FRONT).await?;
    let entry = ingress(&service).into_iter().next().context("no ingress")?;
    entry.hostname.context("no host name")
}

/// How many targets the only target group has.
fn targets(state: &State, expected: usize) -> Result<String> {
    let [group] = state.target_groups() else {
        anyhow::bail!("{} target groups", state.target_groups().len());
    };
    let targets = group["Targets"].as_array().map_or(0, Vec::len);
    ensure!(targets == expected, "{targets} of {expected}");
    Ok(format!("{targets} instances"))
}

/// A line for each object, as a client that is not ours sees it.
fn what_there_is(state: &State) -> Vec<String> {
    let text = |object: &Value, fields: &[&str]| {
        fields.iter().fold(String::new(), |mut line, field| {
            let value = &object[*field];
            let _ = write!(
                line,
                " {}",
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            );
            line
        })
    };
    let mut lines = Vec::new();
    for balancer in state.load_balancers() {
        lines.push(format!(
            "load balancer{}",
            text(balancer, &["LoadBalancerName", "Type", "Scheme"])
        ));
        for listener in balancer["Listeners"].as_array().into_iter().flatten() {
            lines.push(format!("listener{}", text(listener, &["Protocol", "Port"])));
        }
    }
    for group in state.target_groups() {
        let fields = [
            "TargetGroupName",
            "TargetType",
            "Protocol",
            "HealthCheckProtocol",
            "HealthCheckPort",
        ];
        lines.push(format!("target group{}", text(group, &fields)));
    }
    for group in state.security_groups() {
        if !group["Tags"]["evenkeel.dev/cluster"].is_null() {
            lines.push(format!("security group{}", text(group, &["GroupName"])));
        }
    }
    lines
}
