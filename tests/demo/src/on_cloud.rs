//! The application on a cloud as it is played here: no pods and no traffic, but all that is made. Writes: processes, an emulator.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

use anyhow::{Context as _, Result};
use evenkeel_e2e::World;
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::kubectl::Kubectl;
use evenkeel_harness::progress::Progress;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Namespace};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::manifest;
use crate::scene::{FRONT, NODES, SHOP};
use crate::show::Show;
use crate::steps::application::MANIFEST;

/// A cluster on a cloud.
pub(crate) trait Scene {
    /// A place among the calls.
    type Mark;

    /// The provider's name.
    const PROVIDER: &'static str;
    /// The cloud's name.
    const CLOUD: &'static str;
    /// What is made for the front end.
    const MADE: &'static str;
    /// An annotation with a value that cannot be used.
    const WRONG: &'static str;

    /// Its API server and controller.
    fn world(&self) -> &World;

    /// After the last call.
    fn mark(&self) -> Self::Mark;

    /// How many calls there were since, and which.
    fn calls(&self, since: Self::Mark) -> (usize, String);

    /// A line for each object, as a client that is not ours sees it.
    async fn lines(&self) -> Result<Vec<String>>;

    /// What was published, where the cloud says the same.
    async fn published(&self, entry: &LoadBalancerIngress) -> Result<String>;

    /// That there are so many targets.
    async fn targets(&self, expected: usize) -> Result<String>;

    /// Has a node join.
    async fn add_node(&mut self) -> Result<()>;

    /// How many objects there are that a Service has for itself.
    async fn left(&self) -> Result<usize>;

    /// Takes everything down; fails if the cloud was asked for what its description forbids.
    async fn stop(self) -> Result<()>;
}

/// Shows it; whether every check passed.
pub(crate) async fn run<S: Scene>(start: impl Future<Output = Result<S>>) -> Result<bool> {
    println!(
        "A control plane, {} as it is played here, {NODES} nodes and the controller are started ...",
        S::CLOUD
    );
    let mut show = Show::new();
    let mut scene = start.await?;
    let ended = steps(&mut scene, &mut show).await;
    show.summary();
    scene.stop().await?;
    ended.map(|()| show.failed() == 0)
}

async fn steps<S: Scene>(scene: &mut S, show: &mut Show) -> Result<()> {
    let (provider, cloud) = (S::PROVIDER, S::CLOUD);
    show.step(
        1,
        &format!("A complete application is applied, its front end with the class evenkeel.dev/{provider}"),
    );
    let client = scene.world().client();
    let shop = json!({"metadata": {"name": SHOP}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let shop = serde_json::from_value(shop)?;
    namespaces.create(&PostParams::default(), &shop).await?;
    let mark = scene.mark();
    let applied = manifest::apply(&client, SHOP, &objects(provider)?).await;
    show.check(
        "the API server accepts it",
        applied.map(|all| all.join(", ")),
    );
    let kubectl = Kubectl::new(&scene.world().plane, SHOP, Progress::new()).await?;

    show.step(2, &format!("evenkeel makes {}", S::MADE));
    let condition = |kind, status| scene.world().condition(SHOP, FRONT, kind, status);
    show.check("it serves", condition("evenkeel.dev/Serving", "True").await);
    let settled = condition("evenkeel.dev/Provisioning", "False").await;
    show.check("nothing is left to do", settled);
    show.command(&kubectl.run(&["get", "service", FRONT]).await?.ok()?);
    let service = scene.world().services(SHOP).get(FRONT).await?;
    let entry = ingress(&service).into_iter().next().context("no ingress")?;
    show.check(
        "what is published is the cloud's",
        scene.published(&entry).await,
    );
    for line in scene.lines().await? {
        show.note(line);
    }
    show.check("all nodes are targets", scene.targets(NODES).await);
    show.note(scene.calls(mark).1);

    show.step(3, "A node joins");
    let mark = scene.mark();
    scene.add_node().await?;
    let joined = eventually("another target", LIMIT, || scene.targets(NODES + 1)).await;
    show.check("it is a target", joined);
    show.note(scene.calls(mark).1);

    show.step(4, "A mistake is told, and nothing is called");
    let mark = scene.mark();
    let annotated = kubectl.run(&["annotate", "service", FRONT, S::WRONG]);
    show.command(&annotated.await?.ok()?);
    let told = scene
        .world()
        .condition(SHOP, FRONT, "evenkeel.dev/Degraded", "True");
    show.check("a condition says what is wrong", told.await);
    let (calls, which) = scene.calls(mark);
    show.check(
        &format!("{cloud} was not called"),
        (calls == 0).then_some("0 calls").context(which),
    );

    show.step(5, "The Service is deleted");
    show.command(&kubectl.run(&["delete", "service", FRONT]).await?.ok()?);
    let left = scene.left().await?;
    show.check(
        "nothing of it is left",
        (left == 0).then_some("").context(left),
    );
    Ok(())
}

/// The application's objects; the front end is the cloud's.
fn objects(provider: &str) -> Result<Vec<Value>> {
    let mut objects = manifest::read(MANIFEST)?;
    let front = objects
        .iter_mut()
        .find(|object| object["kind"] == "Service" && object["metadata"]["name"] == FRONT);
    front.context("no front end in the manifest")?["spec"]["loadBalancerClass"] =
        json!(format!("evenkeel.dev/{provider}"));
    Ok(objects)
}
