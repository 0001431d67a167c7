//! The provider `aws` as it is run: the real program, a real API server, AWS as moto plays it. What was made is seen by a client that is not ours.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_e2e::facts::plans_alike;
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::aws::{Mark, State};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

const ANNOTATIONS: &str = "service.beta.kubernetes.io/aws-load-balancer-";
const NAMESPACE: &str = "default";
const CLASS: &str = "evenkeel.dev/aws";
const FINALIZER: &str = "evenkeel.dev/aws";

async fn create(
    world: &AwsWorld,
    name: &str,
    class: Option<&str>,
    annotations: Value,
) -> Result<Service> {
    let service = json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": class,
            "ports": [{"name": "http", "port": 80}],
        },
    });
    let services = world.world.services(NAMESPACE);
    let service = serde_json::from_value(service)?;
    Ok(services.create(&PostParams::default(), &service).await?)
}

async fn annotate(world: &AwsWorld, name: &str, annotations: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    let services = world.world.services(NAMESPACE);
    services
        .patch(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn delete(world: &AwsWorld, name: &str) -> Result<()> {
    let services = world.world.services(NAMESPACE);
    services.delete(name, &DeleteParams::default()).await?;
    world.world.gone(NAMESPACE, name).await
}

/// Waits until a Service is served and nothing is left to do for it; returns its hostname.
async fn served(world: &AwsWorld, name: &str) -> Result<String> {
    let of = |kind| world.world.condition(NAMESPACE, name, kind, "True");
    of("evenkeel.dev/Serving").await?;
    let settled = world
        .world
        .condition(NAMESPACE, name, "evenkeel.dev/Provisioning", "False");
    settled.await?;
    let service = world.world.services(NAMESPACE).get(name).await?;
    let entries = ingress(&service);
    let [entry] = &entries[..] else {
        anyhow::bail!("one entry: {entries:?}");
    };
    ensure!(entry.ip.is_none(), "{entry:?}");
    entry.hostname.clone().context("a hostname")
}

/// Waits until AWS has what `check` finds there.
async fn until(
    world: &AwsWorld,
    what: &str,
    check: impl Fn(&State) -> Result<()>,
) -> Result<State> {
    eventually(what, LIMIT, || async {
        let state = world.aws.state().await?;
        check(&state).with_context(|| state.to_string())?;
        Ok(state)
    })
    .await
    .with_context(|| {
        format!(
            "the end of the controller's log:\n{}",
            world.world.controller_log()
        )
    })
}

/// The only load balancer with its only target group.
fn only(state: &State) -> Result<(&Value, &Value)> {
    let ([balancer], [group]) = (state.load_balancers(), state.target_groups()) else {
        anyhow::bail!("one load balancer and one target group: {state}");
    };
    Ok((balancer, group))
}

/// Targets as `instance:port`, in order.
fn targets(group: &Value) -> Vec<String> {
    let mut all: Vec<_> = group["Targets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|target| {
            let at = &target["Target"];
            format!("{}:{}", at["Id"].as_str().unwrap_or_default(), at["Port"])
        })
        .collect();
    all.sort();
    all
}

/// Protocol, port and path of a target group's probe.
fn probe(group: &Value) -> (&str, &str, &str) {
    let text = |key: &str| group[key].as_str().unwrap_or_default();
    (
        text("HealthCheckProtocol"),
        text("HealthCheckPort"),
        text("HealthCheckPath"),
    )
}

/// All nodes at the NodePort of a Service.
async fn expected_targets(world: &AwsWorld, name: &str) -> Result<Vec<String>> {
    let service = world.world.services(NAMESPACE).get(name).await?;
    let spec = service.spec.context("a spec")?;
    let port = spec.ports.iter().flatten().find_map(|port| port.node_port);
    let port = port.context("a NodePort")?;
    let nodes = world.site.nodes.iter();
    let mut all: Vec<_> = nodes
        .map(|node| format!("{}:{port}", node.instance_id))
        .collect();
    all.sort();
    Ok(all)
}

/// Waits until these writes were answered, and no other.
async fn written(world: &AwsWorld, since: Mark, expected: &[&str]) -> Result<()> {
    eventually("the expected writes", LIMIT, || async {
        let written = world.writes_since(since);
        ensure!(written == expected, "{written:?}");
        Ok(())
    })
    .await
}

/// The ids of a load balancer's subnets, in order.
fn subnets(balancer: &Value) -> Vec<&str> {
    let zones = balancer["AvailabilityZones"].as_array();
    let zones = zones.into_iter().flatten();
    let mut all: Vec<_> = zones.filter_map(|zone| zone["SubnetId"].as_str()).collect();
    all.sort_unstable();
    all
}

fn sorted(ids: &[String]) -> Vec<&str> {
    let mut all: Vec<_> = ids.iter().map(String::as_str).collect();
    all.sort_unstable();
    all
}

/// The only Services of a cluster live here, one story after another.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_class_gets_a_load_balancer_and_leaves_nothing() -> Result<()> {
    let mut world = AwsWorld::start(3, &[]).await?;
    what_is_asked_for_is_made(&world).await.context("create")?;
    a_changed_annotation_is_followed(&world)
        .await
        .context("annotation")?;
    a_new_node_becomes_a_target(&mut world)
        .await
        .context("node added")?;
    a_node_that_leaves_is_no_target(&mut world)
        .await
        .context("node removed")?;
    mistakes_are_told_at_once_and_nothing_is_called(&world)
        .await
        .context("mistakes")?;
    targets_follow_the_labels_of_nodes(&world)
        .await
        .context("labels of nodes")?;
    plan_and_status_tell_what_is_there(&world)
        .await
        .context("plan and status")?;
    facts_make_the_plans_that_the_cluster_makes(&world)
        .await
        .context("facts")?;
    a_restart_writes_nothing(&mut world)
        .await
        .context("restart")?;
    a_deletion_leaves_nothing(&world)
        .await
        .context("deletion")?;
    world.stop().await
}

async fn what_is_asked_for_is_made(world: &AwsWorld) -> Result<()> {
    create(world, "shop", Some(CLASS), json!({})).await?;
    let hostname = served(world, "shop").await?;
    let service = world.world.services(NAMESPACE).get("shop").await?;
    let finalizers = service.finalizers();
    ensure!(finalizers == [FINALIZER], "{finalizers:?}");
    world
        .world
        .event(NAMESPACE, "shop", "EnsuredLoadBalancer")
        .await?;

    let state = world.aws.state().await?;
    let (balancer, group) = only(&state)?;
    ensure!(balancer["DNSName"] == *hostname, "{hostname}: {balancer:#}");
    ensure!(balancer["Type"] == "network", "{balancer:#}");
    ensure!(balancer["Scheme"] == "internet-facing", "{balancer:#}");
    ensure!(
        subnets(balancer) == sorted(&world.site.public_subnets),
        "{balancer:#}"
    );
    ensure!(
        balancer["Tags"]["evenkeel.dev/service"] == "default/shop",
        "{balancer:#}"
    );
    let listeners = balancer["Listeners"].as_array().context("listeners")?;
    ensure!(
        listeners.len() == 1 && listeners[0]["Port"] == 80 && listeners[0]["Protocol"] == "TCP",
        "{balancer:#}"
    );
    ensure!(
        targets(group) == expected_targets(world, "shop").await?,
        "{group:#}"
    );
    ensure!(
        probe(group) == ("HTTP", "10256", "/healthz"),
        "kube-proxy's health answers: {group:#}"
    );
    let given = balancer["SecurityGroups"].as_array().context("groups")?;
    let rules: Vec<_> = given
        .iter()
        .filter_map(Value::as_str)
        .flat_map(|id| state.ingress_rules(id))
        .collect();
    ensure!(
        rules
            .iter()
            .any(|rule| rule["FromPort"] == 80 && rule["CidrIpv4"] == "0.0.0.0/0"),
        "clients are admitted: {rules:#?}"
    );
    let admitted = state.ingress_rules(&world.site.node_security_group);
    ensure!(
        admitted.iter().any(|rule| {
            let from = &rule["ReferencedGroupInfo"]["GroupId"];
            given.contains(from) && rule["FromPort"] == 30_000
        }),
        "the load balancer reaches the nodes: {admitted:#?}"
    );
    Ok(())
}

async fn a_changed_annotation_is_followed(world: &AwsWorld) -> Result<()> {
    let cross_zone = "load_balancing.cross_zone.enabled";
    let attributes = format!("{ANNOTATIONS}attributes");
    let mark = world.aws.calls().mark();
    annotate(
        world,
        "shop",
        json!({(&*attributes): format!("{cross_zone}=true")}),
    )
    .await?;
    until(world, "cross-zone load balancing", |state| {
        let (balancer, _) = only(state)?;
        ensure!(balancer["Attributes"][cross_zone] == "true");
        Ok(())
    })
    .await?;
    annotate(world, "shop", json!({(&*attributes): null})).await?;
    until(world, "AWS's default again", |state| {
        let (balancer, _) = only(state)?;
        ensure!(balancer["Attributes"][cross_zone] == "false");
        Ok(())
    })
    .await?;
    // The attribute's tag comes before it and goes after it; another one says that all of it is done.
    let (tag, modify, untag) = (
        "elbv2:AddTags",
        "elbv2:ModifyLoadBalancerAttributes",
        "elbv2:RemoveTags",
    );
    let all = [tag, modify, tag, modify, untag];
    written(world, mark, &all).await
}

/// Labels the node of this number for a pool.
async fn label(world: &AwsWorld, node: usize, pool: &str) -> Result<()> {
    let nodes = Api::<Node>::all(world.world.client());
    let patch = Patch::Merge(json!({"metadata": {"labels": {"pool": pool}}}));
    let name = &world.site.nodes[node].private_dns_name;
    nodes.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until the targets of `shop` are the nodes of these numbers, of all that the cluster has.
async fn targets_are(world: &AwsWorld, numbers: &[usize]) -> Result<()> {
    let all = expected_targets(world, "shop").await?;
    let ids: Vec<&str> = numbers
        .iter()
        .map(|number| &*world.site.nodes[*number].instance_id)
        .collect();
    let is_one = |target: &&String| ids.iter().any(|id| target.starts_with(id));
    let expected: Vec<_> = all.iter().filter(is_one).cloned().collect();
    let found = until(world, "the targets on the chosen nodes", |state| {
        let (_, group) = only(state)?;
        ensure!(targets(group) == expected, "expected {expected:?}");
        Ok(())
    });
    found.await.map(drop)
}

async fn targets_follow_the_labels_of_nodes(world: &AwsWorld) -> Result<()> {
    const REGISTER: &str = "elbv2:RegisterTargets";
    const DEREGISTER: &str = "elbv2:DeregisterTargets";
    let key = format!("{ANNOTATIONS}target-node-labels");
    let mark = world.aws.calls().mark();
    label(world, 0, "edge").await?;
    annotate(world, "shop", json!({(&*key): "pool=edge"})).await?;
    targets_are(world, &[0]).await?;
    written(world, mark, &[DEREGISTER, "elbv2:AddTags"]).await?;

    let mark = world.aws.calls().mark();
    label(world, 1, "edge").await?;
    targets_are(world, &[0, 1]).await?;
    label(world, 1, "core").await?;
    targets_are(world, &[0]).await?;
    written(world, mark, &[REGISTER, DEREGISTER]).await?;

    // One whose annotations are wrong goes on with the nodes that it chose last.
    let scheme = format!("{ANNOTATIONS}scheme");
    annotate(world, "shop", json!({(&*scheme): "public", (&*key): "?"})).await?;
    let rejected = world
        .world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "True");
    rejected.await?;
    let mark = world.aws.calls().mark();
    label(world, 2, "edge").await?;
    targets_are(world, &[0, 2]).await?;
    written(world, mark, &[REGISTER]).await?;

    let mark = world.aws.calls().mark();
    annotate(
        world,
        "shop",
        json!({(&*scheme): null, (&*key): "pool=nobody"}),
    )
    .await?;
    let text = "no node that can be a target has the labels pool=nobody, so the targets stay";
    eventually("an event that says so", LIMIT, || async {
        let events = world.world.events(NAMESPACE, "shop").await?;
        let told = events.iter().any(|(_, note)| note.contains(text));
        ensure!(told, "{events:#?}");
        Ok(())
    })
    .await?;
    targets_are(world, &[0, 2]).await?;
    written(world, mark, &["elbv2:AddTags"]).await?;

    let mark = world.aws.calls().mark();
    annotate(world, "shop", json!({(&*key): null})).await?;
    targets_are(world, &[0, 1, 2]).await?;
    written(world, mark, &[REGISTER, "elbv2:RemoveTags"]).await
}

async fn a_new_node_becomes_a_target(world: &mut AwsWorld) -> Result<()> {
    let mark = world.aws.calls().mark();
    world.add_node().await?;
    let expected = expected_targets(world, "shop").await?;
    until(world, "four targets", |state| {
        let (_, group) = only(state)?;
        ensure!(targets(group) == expected, "expected {expected:?}");
        Ok(())
    })
    .await?;
    written(world, mark, &["elbv2:RegisterTargets"]).await
}

async fn a_node_that_leaves_is_no_target(world: &mut AwsWorld) -> Result<()> {
    let leaver = world.site.nodes.last().context("a node")?.clone();
    let mark = world.aws.calls().mark();
    world.remove_node(&leaver).await?;
    let expected = expected_targets(world, "shop").await?;
    until(world, "three targets", |state| {
        let (_, group) = only(state)?;
        ensure!(targets(group) == expected, "expected {expected:?}");
        Ok(())
    })
    .await?;
    written(world, mark, &["elbv2:DeregisterTargets"]).await
}

async fn mistakes_are_told_at_once_and_nothing_is_called(world: &AwsWorld) -> Result<()> {
    served(world, "shop").await?;
    let before = world.aws.state().await?;
    let mark = world.aws.calls().mark();
    let scheme = format!("{ANNOTATIONS}scheme");
    let interval = format!("{ANNOTATIONS}healthcheck-interval");
    let wrong = json!({(&*scheme): "sideways", (&*interval): "soon"});
    annotate(world, "shop", wrong).await?;
    let told = world
        .world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "True")
        .await?;
    ensure!(told.reason == "InvalidConfiguration", "{told}");
    for part in [&*scheme, "sideways", &*interval, "soon"] {
        ensure!(told.message.contains(part), "{part:?} is not in {told}");
    }
    let note = world
        .world
        .event(NAMESPACE, "shop", "InvalidConfiguration")
        .await?;
    ensure!(note == told.message, "{note}");
    let calls = world.aws.calls().since(mark);
    ensure!(calls.is_empty(), "{calls:?}");
    ensure!(world.aws.state().await? == before, "something changed");

    annotate(world, "shop", json!({(&*scheme): null, (&*interval): null})).await?;
    world
        .world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "False")
        .await?;
    served(world, "shop").await?;
    Ok(())
}

async fn evenkeel(world: &AwsWorld, args: &[&str]) -> Result<(Option<i32>, String)> {
    world.world.evenkeel(args).await
}

async fn plan_and_status_tell_what_is_there(world: &AwsWorld) -> Result<()> {
    let mark = world.aws.calls().mark();
    let (code, said) = evenkeel(world, &["plan", "shop"]).await?;
    ensure!(code == Some(0), "{said}");
    ensure!(
        said.contains("default/shop on aws: nothing to do"),
        "{said}"
    );

    let file = world.world.plane.directory().join("second.json");
    let second = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "second", "namespace": NAMESPACE},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": CLASS, "ports": [{"port": 443}]},
    });
    std::fs::write(&file, second.to_string())?;
    let file = file.display().to_string();
    let (code, said) = evenkeel(world, &["plan", "-f", &file]).await?;
    ensure!(code == Some(2), "{said}");
    // Security group, target group, load balancer, listener; what the cluster shares is there. Rules and targets are changes of these.
    for kind in [
        "+ load balancer",
        "+ target group",
        "+ listener",
        "+ security group",
    ] {
        ensure!(said.contains(kind), "{kind:?} is not in {said}");
    }

    let hostname = served(world, "shop").await?;
    let (code, said) = evenkeel(world, &["status", "-o", "wide"]).await?;
    ensure!(code == Some(0), "{said}");
    for part in ["shop", "Active", &hostname] {
        ensure!(said.contains(part), "{part:?} is not in {said}");
    }
    let written = world.writes_since(mark);
    ensure!(written.is_empty(), "{written:?}");
    Ok(())
}

/// For the Service that is there and for one that is to be made; and facts are only read.
async fn facts_make_the_plans_that_the_cluster_makes(world: &AwsWorld) -> Result<()> {
    let mark = world.aws.calls().mark();
    let place = |name: &str| {
        world
            .world
            .plane
            .directory()
            .join(name)
            .display()
            .to_string()
    };
    let (facts, second) = (place("facts.yaml"), place("second.json"));
    let (code, said) = evenkeel(world, &["facts", "-o", &facts]).await?;
    ensure!(code == Some(0), "{said}");
    let changed = place("changed.json");
    let interval = format!("{ANNOTATIONS}healthcheck-interval");
    let object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop", "namespace": NAMESPACE, "annotations": {(&*interval): "30"}},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}]},
    });
    std::fs::write(&changed, object.to_string())?;
    let ran = async |arguments: &[&str]| evenkeel(world, arguments).await;
    for (asked, exact) in [
        (&["shop"][..], true),
        (&["-f", &changed], true),
        // Its UID, of which names are made, is another one each time.
        (&["-f", &second], false),
    ] {
        plans_alike(ran, &facts, asked, exact).await?;
    }
    let written = world.writes_since(mark);
    ensure!(written.is_empty(), "{written:?}");
    Ok(())
}

async fn a_restart_writes_nothing(world: &mut AwsWorld) -> Result<()> {
    let before = served(world, "shop").await?;
    let mark = world.aws.calls().mark();
    world.world.kill_controller()?;
    world.world.start_controller().await?;
    eventually("the Service to be gone through", LIMIT, || async {
        let (_, said) = evenkeel(world, &["status", "shop"]).await?;
        ensure!(said.contains("Active"), "{said}");
        let runs = world.world.metric("evenkeel_reconcile_total").await?;
        ensure!(runs > 0.0, "no run yet");
        Ok(())
    })
    .await?;
    ensure!(served(world, "shop").await? == before);
    let written = world.writes_since(mark);
    ensure!(written.is_empty(), "{written:?}");
    Ok(())
}

async fn a_deletion_leaves_nothing(world: &AwsWorld) -> Result<()> {
    delete(world, "shop").await?;
    // What the cluster's Services share stays: the nodes admit it once for all.
    until(world, "nothing of the Service to be left", |state| {
        ensure!(state.load_balancers().is_empty());
        ensure!(state.target_groups().is_empty());
        let of_services = |group: &&Value| !group["Tags"]["evenkeel.dev/group"].is_null();
        let left: Vec<_> = state.security_groups().iter().filter(of_services).collect();
        ensure!(left.is_empty(), "{left:#?}");
        Ok(())
    })
    .await?;
    Ok(())
}

/// The manifest of AWS's own documentation, for the controller that was built into Kubernetes.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_class_gets_an_internal_load_balancer() -> Result<()> {
    let world = AwsWorld::start(2, &["--default-provider", "aws"]).await?;
    let annotations = json!({
        (&*format!("{ANNOTATIONS}type")): "nlb",
        (&*format!("{ANNOTATIONS}internal")): "true",
    });
    create(&world, "shop", None, annotations).await?;
    let hostname = served(&world, "shop").await?;
    let state = world.aws.state().await?;
    let (balancer, group) = only(&state)?;
    ensure!(balancer["DNSName"] == *hostname, "{hostname}: {balancer:#}");
    ensure!(balancer["Scheme"] == "internal", "{balancer:#}");
    ensure!(
        subnets(balancer) == sorted(&world.site.private_subnets),
        "{balancer:#}"
    );
    ensure!(group["TargetType"] == "instance", "{group:#}");
    ensure!(
        targets(group) == expected_targets(&world, "shop").await?,
        "{group:#}"
    );
    a_deletion_leaves_nothing(&world).await?;
    world.stop().await
}

/// With a service proxy that is not kube-proxy, nobody would be healthy by the probe that is the default elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn where_kube_proxys_health_does_not_answer_a_connection_is_the_probe() -> Result<()> {
    let world = AwsWorld::start_without_kube_proxy(2, &[]).await?;
    create(&world, "shop", Some(CLASS), json!({})).await?;
    served(&world, "shop").await?;
    let state = world.aws.state().await?;
    let (_, group) = only(&state)?;
    ensure!(probe(group) == ("TCP", "traffic-port", ""), "{group:#}");
    let note = world
        .world
        .event(NAMESPACE, "shop", "UnsupportedFeature")
        .await?;
    ensure!(note.contains("port 10256 of the nodes"), "{note}");

    // Who asks for it gets it all the same.
    let port = format!("{ANNOTATIONS}healthcheck-port");
    annotate(&world, "shop", json!({(&*port): "10256"})).await?;
    until(&world, "the probe that is asked for", |state| {
        let (_, group) = only(state)?;
        ensure!(probe(group) == ("HTTP", "10256", "/healthz"));
        Ok(())
    })
    .await?;
    a_deletion_leaves_nothing(&world).await?;
    world.stop().await
}
