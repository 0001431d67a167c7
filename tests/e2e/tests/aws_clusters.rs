//! Two clusters in one account and VPC: real programs, real API servers, AWS as an emulator plays it.
//!
//! Two of one name never touch each other. One that was restored from a backup of the other has its identity too: it is noticed, and who
//! notices writes no more.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::World;
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::aws::{Mark, State};
use evenkeel_harness::control_plane::Options;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

const NAMESPACE: &str = "default";

fn plane() -> Options {
    Options {
        controller_manager: false,
        ..Options::default()
    }
}

async fn create(world: &World) -> Result<()> {
    let service = json!({
        "metadata": {"name": "shop"},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/aws",
            "ports": [{"name": "http", "port": 80}],
        },
    });
    let service = serde_json::from_value(service)?;
    let services = world.services(NAMESPACE);
    services.create(&PostParams::default(), &service).await?;
    served(world).await
}

async fn served(world: &World) -> Result<()> {
    for (kind, status) in [("Serving", "True"), ("Provisioning", "False")] {
        let kind = format!("evenkeel.dev/{kind}");
        world.condition(NAMESPACE, "shop", &kind, status).await?;
    }
    Ok(())
}

/// Asks for a drain time, which is an attribute of the target group.
async fn ask(world: &World, seconds: u16) -> Result<()> {
    let annotation = json!({"evenkeel.dev/drain": format!("{seconds}s")});
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotation}}));
    let services = world.services(NAMESPACE);
    services
        .patch("shop", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn uid(world: &World) -> Result<String> {
    let namespaces = Api::<Namespace>::all(world.client());
    let namespace = namespaces.get("kube-system").await?;
    namespace.uid().context("a UID")
}

/// What a cluster has, byte for byte: what carries its mark, and the rules from and to its security groups.
fn of_cluster(state: &State, uid: &str) -> Vec<Value> {
    let ours = |item: &&Value| item["Tags"]["evenkeel.dev/cluster"] == uid;
    let groups: Vec<_> = state.security_groups().iter().filter(ours).collect();
    let of_ours = |rule: &&Value| {
        let from = &rule["ReferencedGroupInfo"]["GroupId"];
        let mut ids = groups.iter().map(|group| &group["GroupId"]);
        ids.any(|id| rule["GroupId"] == *id || from == id)
    };
    let items = [state.load_balancers(), state.target_groups()];
    let items = items.into_iter().flatten().filter(ours);
    let rules = state.security_group_rules().iter().filter(of_ours);
    let mut all: Vec<_> = items.chain(rules).cloned().collect();
    all.extend(groups.into_iter().cloned());
    all.sort_by_cached_key(Value::to_string);
    all
}

/// The drain time of the only target group of a cluster.
fn drain(state: &State, uid: &str) -> Result<String> {
    let mut groups = state.target_groups().iter();
    let group = groups.find(|group| group["Tags"]["evenkeel.dev/cluster"] == uid);
    let time =
        &group.context("a target group")?["Attributes"]["deregistration_delay.timeout_seconds"];
    Ok(time.as_str().context("a time")?.to_owned())
}

async fn drains(all: &AwsWorld, uid: &str, seconds: u16) -> Result<()> {
    eventually("the drain time", LIMIT, || async {
        let is = drain(&all.aws.state().await?, uid)?;
        ensure!(is == seconds.to_string(), "{is}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_of_one_name_never_touch_each_other() -> Result<()> {
    let mut all = AwsWorld::start(2, &["--resync", "1s"]).await?;
    create(&all.world).await?;
    let ours = uid(&all.world).await?;
    let before = of_cluster(&all.aws.state().await?, &ours);
    // A load balancer with its target group, two security groups, and rules.
    ensure!(before.len() > 6, "{before:#?}");

    let (mut other, mut nodes) = all.beside(plane(), 2, &["--resync", "1s"]).await?;
    other.start_controller().await?;
    let theirs = uid(&other).await?;
    ensure!(ours != theirs);
    create(&other).await?;
    ask(&other, 33).await?;
    drains(&all, &theirs, 33).await?;
    other.kill_controller()?;
    let gone = all.site.add_nodes(all.aws.client(), 1).await?;
    let late = gone.into_iter().next().context("a node")?;
    all.site.nodes.pop();
    nodes.join(&late).await?;
    other.start_controller().await?;
    eventually("a third target there", LIMIT, || async {
        let state = all.aws.state().await?;
        let mut groups = state.target_groups().iter();
        let group = groups.find(|group| group["Tags"]["evenkeel.dev/cluster"] == *theirs);
        let targets = group.and_then(|group| group["Targets"].as_array());
        ensure!(
            targets.is_some_and(|targets| targets.len() == 3),
            "{group:?}"
        );
        Ok(())
    })
    .await?;
    // What is the other's is nobody's orphan.
    for world in [&all.world, &other] {
        let orphans = world.metric("evenkeel_orphans").await?;
        ensure!(orphans == 0.0, "{orphans}");
    }
    let between = of_cluster(&all.aws.state().await?, &ours);
    ensure!(between == before, "{between:#?} was {before:#?}");

    let services = other.services(NAMESPACE);
    services.delete("shop", &DeleteParams::default()).await?;
    other.gone(NAMESPACE, "shop").await?;
    let after = of_cluster(&all.aws.state().await?, &ours);
    ensure!(after == before, "{after:#?} was {before:#?}");
    let drift = all.world.metric("evenkeel_drift_detected_total").await?;
    ensure!(drift == 0.0, "{drift}");
    other.stop().await?;
    all.world.stop().await?;
    all.aws.check()
}

async fn own_object(world: &World) -> Result<ConfigMap> {
    let maps = Api::<ConfigMap>::namespaced(world.client(), "kube-system");
    Ok(maps.get("evenkeel").await?)
}

/// Waits until the controller says that another cluster writes, and returns what it says.
async fn stopped(world: &World) -> Result<String> {
    let found = eventually("the condition", LIMIT, || async {
        let object = own_object(world).await?;
        let text = object.data.as_ref().and_then(|data| data.get("conditions"));
        let conditions: Vec<Value> = serde_json::from_str(text.context("conditions")?)?;
        let found = conditions
            .iter()
            .find(|one| one["reason"] == "AnotherCluster" && one["status"] == "False");
        let message = found.and_then(|one| one["message"].as_str());
        let message = message.with_context(|| format!("{conditions:#?}"))?;
        Ok(message.to_owned())
    });
    found.await.with_context(|| world.controller_log())
}

async fn take_over(world: &World, told: &str) -> Result<()> {
    const KEY: &str = "evenkeel.dev/take-over";
    let mark = told.split_once(&format!("{KEY}=")).context("what to do")?.1;
    let mark = mark.split_whitespace().next().context("a mark")?;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {KEY: mark}}}));
    let maps = Api::<ConfigMap>::namespaced(world.client(), "kube-system");
    maps.patch("evenkeel", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

fn wrote(all: &AwsWorld, since: Mark) -> Vec<String> {
    all.writes_since(since)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_noticed_and_writes_no_more() -> Result<()> {
    let mut all = AwsWorld::start(2, &["--resync", "1s"]).await?;
    create(&all.world).await?;
    let cluster = uid(&all.world).await?;
    let old = all.world.plane.backup()?;
    // A restart by itself writes nothing; what the next process does, it does under a mark of its own.
    all.world.kill_controller()?;
    let mark = all.aws.calls().mark();
    all.world.start_controller().await?;
    served(&all.world).await?;
    eventually("the first look", LIMIT, || async {
        let runs = all.world.metric("evenkeel_reconcile_total").await?;
        ensure!(runs > 0.0);
        Ok(())
    })
    .await?;
    ensure!(wrote(&all, mark).is_empty(), "{:?}", wrote(&all, mark));
    ask(&all.world, 31).await?;
    drains(&all, &cluster, 31).await?;
    served(&all.world).await?;

    an_old_one_writes_nothing(&mut all, &cluster, old)
        .await
        .context("an old backup")?;
    one_of_just_now_stops_both(&mut all, &cluster)
        .await
        .context("a backup of just now")?;
    all.world.stop().await?;
    all.aws.check()
}

fn restored(backup: std::path::PathBuf) -> Options {
    Options {
        restore: Some(backup),
        ..plane()
    }
}

async fn an_old_one_writes_nothing(
    all: &mut AwsWorld,
    cluster: &str,
    backup: std::path::PathBuf,
) -> Result<()> {
    let (mut copy, _nodes) = all.beside(restored(backup), 1, &["--resync", "1s"]).await?;
    ensure!(uid(&copy).await? == cluster, "it has the identity");
    let before = all.aws.state().await?;
    let mark = all.aws.calls().mark();
    copy.launch_controller().await?;
    let told = stopped(&copy).await?;
    ensure!(told.contains(cluster), "{told}");
    // Somebody cleans up there, and nothing is given back.
    let services = copy.services(NAMESPACE);
    services.delete("shop", &DeleteParams::default()).await?;
    copy.condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "True")
        .await?;
    ensure!(wrote(all, mark).is_empty(), "{:?}", wrote(all, mark));
    ensure!(all.aws.state().await? == before, "something changed");
    copy.stop().await?;
    // The other one goes on.
    ask(&all.world, 32).await?;
    drains(all, cluster, 32).await?;
    served(&all.world).await
}

async fn one_of_just_now_stops_both(all: &mut AwsWorld, cluster: &str) -> Result<()> {
    let backup = all.world.plane.backup()?;
    let (mut copy, _nodes) = all.beside(restored(backup), 1, &["--resync", "1s"]).await?;
    copy.start_controller().await?;
    // The copy has another node, which it makes a target: under its own mark.
    let told = stopped(&all.world).await?;
    let theirs = stopped(&copy).await?;
    ensure!(theirs.contains("contested-by-"), "{theirs}");

    let mark = all.aws.calls().mark();
    ask(&all.world, 34).await?;
    ask(&copy, 35).await?;
    for world in [&all.world, &copy] {
        let degraded = world.condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "True");
        degraded.await?;
    }
    ensure!(wrote(all, mark).is_empty(), "{:?}", wrote(all, mark));

    // A person decides for the original.
    ensure!(told.contains("evenkeel.dev/take-over="), "{told}");
    let told = stopped(&all.world).await?;
    take_over(&all.world, &told).await?;
    drains(all, cluster, 34).await?;
    served(&all.world).await?;
    stopped(&copy).await?;
    copy.stop().await
}
