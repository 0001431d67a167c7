//! The plain manifests: what they grant is what the controller needs, no more and no less.
//!
//! `kubectl apply -k deploy/manifests` goes to a real API server, and `evenkeel run` shows the token of exactly that service
//! account. Then every verb is taken away in turn, and each time the controller must miss it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use evenkeel::{args::RunArgs, config};
use evenkeel_e2e::{World, WorldOptions, look::LIMIT};
use evenkeel_harness::kubectl::Kubectl;
use evenkeel_harness::progress::Progress;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/manifests");
const ON_AWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/aws");
const ON_AZURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/azure");
const HOME: &str = "evenkeel-system";
const NAME: &str = "evenkeel";
const USER: &str = "system:serviceaccount:evenkeel-system:evenkeel";

/// A world where the manifests are applied and the controller, which does not run yet, is their service account.
async fn world() -> Result<World> {
    let options = WorldOptions {
        nodes: None,
        controller: false,
        run: ["--namespace", HOME, "--log", "info,evenkeel=debug"]
            .map(str::to_owned)
            .into(),
        ..WorldOptions::default()
    };
    let mut world = World::start(options).await?;
    let kubectl = Kubectl::new(&world.plane, HOME, Progress::new()).await?;
    kubectl.run(&["apply", "-k", MANIFESTS]).await?.ok()?;
    let accounts: Api<ServiceAccount> = Api::namespaced(world.client(), HOME);
    let token = accounts
        .create_token_request(NAME, &PostParams::default(), &TokenRequest::default())
        .await?;
    let token = token
        .status
        .and_then(|status| status.token)
        .context("no token")?;
    let kubeconfig = world.plane.directory().join("service-account.kubeconfig");
    world.plane.write_kubeconfig_for(&token, &kubeconfig)?;
    world.kubeconfig = Some(kubeconfig);
    Ok(world)
}

async fn create_node(world: &World, name: &str, address: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(world.client());
    let node = json!({
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    });
    nodes
        .create(&PostParams::default(), &serde_json::from_value(node)?)
        .await?;
    Ok(())
}

async fn annotate(world: &World, name: &str, annotations: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    world
        .services("default")
        .patch(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_manifests_alone_everything_works() -> Result<()> {
    let mut world = world().await?;
    create_node(&world, "node-1", "127.0.0.1").await?;
    world.start_controller().await?;
    world.expose("default", "web", 8080, Value::Null).await?;
    world.address("default", "web", 8080).await?;
    world.event("default", "web", "EnsuredLoadBalancer").await?;

    annotate(&world, "web", json!({"evenkeel.dev/idle-timeout": "wrong"})).await?;
    world
        .condition("default", "web", "evenkeel.dev/Degraded", "True")
        .await?;
    world
        .event("default", "web", "InvalidConfiguration")
        .await?;
    annotate(&world, "web", json!({"evenkeel.dev/idle-timeout": null})).await?;
    world
        .condition("default", "web", "evenkeel.dev/Degraded", "False")
        .await?;

    create_node(&world, "node-2", "127.0.0.2").await?;
    eventually("both nodes to be targets", LIMIT, || async {
        let targets = world.target_nodes().await?;
        ensure!(targets.len() == 2, "{targets:?}");
        Ok(())
    })
    .await?;

    let leases: Api<Lease> = Api::namespaced(world.client(), HOME);
    let lease = leases.get(NAME).await.context("the Lease")?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    ensure!(
        holder.is_some_and(|holder| !holder.is_empty()),
        "nobody holds the Lease"
    );
    let objects: Api<ConfigMap> = Api::namespaced(world.client(), HOME);
    objects
        .get(NAME)
        .await
        .context("the controller's ConfigMap")?;

    let services = world.services("default");
    services.delete("web", &DeleteParams::default()).await?;
    world.gone("default", "web").await?;
    ensure!(world.object_count().await? == 0, "something is left");
    let log = log(&world)?;
    let denied: Vec<_> = log
        .lines()
        .filter(|line| line.contains("is forbidden"))
        .collect();
    ensure!(denied.is_empty(), "something was denied: {denied:?}");
    world.stop().await
}

/// All that the controller has said.
fn log(world: &World) -> Result<String> {
    let controller = world.controller.as_ref().context("it does not run")?;
    Ok(controller.log_tail(usize::MAX))
}

/// A verb of a rule that the manifests grant.
#[derive(Clone, Debug)]
struct Grant {
    cluster: bool,
    rule: usize,
    group: String,
    resource: String,
    name: Option<String>,
    verb: String,
}

fn grants(cluster: bool, rules: &[PolicyRule]) -> Vec<Grant> {
    let mut grants = Vec::new();
    for (rule, granted) in rules.iter().enumerate() {
        let resources = granted.resources.iter().flatten();
        for resource in resources {
            grants.extend(granted.verbs.iter().map(|verb| {
                Grant {
                    cluster,
                    rule,
                    group: granted
                        .api_groups
                        .iter()
                        .flatten()
                        .next()
                        .cloned()
                        .unwrap_or_default(),
                    resource: resource.clone(),
                    name: granted.resource_names.iter().flatten().next().cloned(),
                    verb: verb.clone(),
                }
            }));
        }
    }
    grants
}

fn without(rules: &[PolicyRule], grant: &Grant) -> Vec<PolicyRule> {
    let mut rules = rules.to_vec();
    rules[grant.rule].verbs.retain(|verb| *verb != grant.verb);
    // A rule without verbs is refused.
    rules.retain(|rule| !rule.verbs.is_empty());
    rules
}

/// The rules of the manifests' two roles.
struct Rules {
    cluster: Vec<PolicyRule>,
    home: Vec<PolicyRule>,
}

impl Rules {
    async fn read(world: &World) -> Result<Self> {
        let cluster: Api<ClusterRole> = Api::all(world.client());
        let home: Api<Role> = Api::namespaced(world.client(), HOME);
        Ok(Self {
            cluster: cluster.get(NAME).await?.rules.context("no rules")?,
            home: home.get(NAME).await?.rules.context("no rules")?,
        })
    }

    async fn write(world: &World, cluster: bool, rules: &[PolicyRule]) -> Result<()> {
        let patch = Patch::Merge(json!({"rules": rules}));
        let parameters = PatchParams::default();
        if cluster {
            let api: Api<ClusterRole> = Api::all(world.client());
            api.patch(NAME, &parameters, &patch).await?;
        } else {
            let api: Api<Role> = Api::namespaced(world.client(), HOME);
            api.patch(NAME, &parameters, &patch).await?;
        }
        Ok(())
    }
}

/// Waits until the API server's answer about a grant is this.
async fn until_granted(world: &World, grant: &Grant, allowed: bool) -> Result<()> {
    let (resource, subresource) = grant
        .resource
        .split_once('/')
        .unwrap_or((&grant.resource, ""));
    let review = json!({"spec": {"user": USER, "resourceAttributes": {
        "namespace": if grant.cluster { "" } else { HOME },
        "group": grant.group, "resource": resource, "subresource": subresource,
        "name": grant.name.as_deref().unwrap_or_default(), "verb": grant.verb,
    }}});
    let review: SubjectAccessReview = serde_json::from_value(review)?;
    let reviews: Api<SubjectAccessReview> = Api::all(world.client());
    eventually("the role to take effect", LIMIT, || async {
        let answer = reviews.create(&PostParams::default(), &review).await?;
        let answer = answer.status.context("no answer")?.allowed;
        ensure!(answer == allowed, "allowed: {answer}");
        Ok(())
    })
    .await
}

/// Makes the controller's own object be there, or not.
async fn leave_object(world: &World, there: bool) -> Result<()> {
    let objects: Api<ConfigMap> = Api::namespaced(world.client(), HOME);
    if there {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}});
        let parameters = PatchParams::apply("evenkeel-tests").force();
        objects
            .patch(NAME, &parameters, &Patch::Apply(object))
            .await?;
    } else if objects.get_opt(NAME).await?.is_some() {
        objects.delete(NAME, &DeleteParams::default()).await?;
    }
    Ok(())
}

/// Starts a controller, stirs the world, and waits until the controller's log says that it was denied this.
async fn is_missed(world: &mut World, grant: &Grant) -> Result<()> {
    // It never gets ready without what it needs for that; whatever it says is in its log.
    world.launch_controller().await?;
    let world = &*world;
    let denied = format!("cannot {} resource \\\"{}\\\"", grant.verb, grant.resource);
    let plain = denied.replace('\\', "");
    let round = std::cell::Cell::new(0);
    eventually(
        format!("the controller to miss {grant:?}"),
        Duration::from_secs(40),
        || async {
            let number = round.replace(round.get() + 1);
            // Something to tell, and then the same once more.
            let value = if number % 8 < 4 {
                json!("wrong")
            } else {
                json!(null)
            };
            annotate(world, "web", json!({"evenkeel.dev/idle-timeout": value})).await?;
            // Whoever leaves alive is read once more before anything is given back.
            let leaves = number % 8 < 4;
            let kind = if leaves { "ClusterIP" } else { "LoadBalancer" };
            let class = (!leaves).then_some("evenkeel.dev/local");
            let spec = json!({"spec": {"type": kind, "loadBalancerClass": class}});
            world
                .services("default")
                .patch("leaver", &PatchParams::default(), &Patch::Merge(spec))
                .await?;
            let said = log(world)?;
            ensure!(
                said.contains(&denied) || said.contains(&plain),
                "{}",
                tail(&said)
            );
            Ok(())
        },
    )
    .await
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_one_verb_something_is_missed() -> Result<()> {
    let mut world = world().await?;
    create_node(&world, "node-1", "127.0.0.1").await?;
    world.expose("default", "web", 8080, Value::Null).await?;
    world.expose("default", "leaver", 8080, Value::Null).await?;
    let rules = Rules::read(&world).await?;
    let all = [grants(true, &rules.cluster), grants(false, &rules.home)].concat();
    ensure!(all.len() > 12, "the manifests grant little: {all:?}");
    // This API server streams its lists; older ones are asked for pages.
    for grant in all.iter().filter(|grant| grant.verb != "list") {
        let whole = if grant.cluster {
            &rules.cluster
        } else {
            &rules.home
        };
        Rules::write(&world, grant.cluster, &without(whole, grant)).await?;
        until_granted(&world, grant, false).await?;
        if grant.resource == "configmaps" {
            leave_object(&world, grant.verb != "create").await?;
        }
        let missed = is_missed(&mut world, grant).await;
        world.kill_controller()?;
        Rules::write(&world, grant.cluster, whole).await?;
        until_granted(&world, grant, true).await?;
        missed?;
    }
    world.stop().await
}

/// A control plane on which the manifests of a directory were applied, and nothing else runs.
async fn applied(manifests: &str) -> Result<World> {
    let options = WorldOptions {
        nodes: None,
        data_plane: false,
        controller: false,
        ..WorldOptions::default()
    };
    let world = World::start(options).await?;
    let kubectl = Kubectl::new(&world.plane, HOME, Progress::new()).await?;
    kubectl.run(&["apply", "-k", manifests]).await?.ok()?;
    Ok(world)
}

/// The providers that the configuration in the manifests enables.
async fn enabled(world: &World) -> Result<Vec<String>> {
    let maps: Api<ConfigMap> = Api::namespaced(world.client(), HOME);
    let map = maps.get("evenkeel-configuration").await?;
    let files = map.data.unwrap_or_default();
    let [(path, text)] = files.iter().collect::<Vec<_>>()[..] else {
        bail!("one file: {files:?}");
    };
    let file = config::File {
        path: path.into(),
        text: text.clone(),
    };
    let around = config::Surroundings::default();
    let read = config::Config::of_run(&RunArgs::default(), Some(&file), &around);
    let read = read.map_err(|problems| anyhow!("{problems}"))?;
    Ok(read.rules.enabled.iter().map(ToString::to_string).collect())
}

/// What `deploy/aws` adds: a configuration that reads, the role to take on, and the right to follow pods.
#[tokio::test(flavor = "multi_thread")]
async fn on_aws_the_manifests_have_their_own_configuration_role_and_rights() -> Result<()> {
    let world = applied(ON_AWS).await?;
    ensure!(enabled(&world).await? == ["aws"]);

    let accounts: Api<ServiceAccount> = Api::namespaced(world.client(), HOME);
    let account = accounts.get(NAME).await?;
    let role = account
        .metadata
        .annotations
        .and_then(|mut all| all.remove("eks.amazonaws.com/role-arn"));
    ensure!(
        role.is_some_and(|role| role.contains(":role/")),
        "the service account names no role"
    );

    let roles: Api<ClusterRole> = Api::all(world.client());
    let rules = roles.get("evenkeel-pods").await?.rules;
    let rules = rules.context("no rules")?;
    let added = grants(true, &rules);
    let slices = added.iter().any(|one| one.resource == "endpointslices");
    ensure!(slices, "{added:?}");
    // The plain manifests' own are there too.
    let plain = Rules::read(&world).await?;
    for grant in grants(true, &plain.cluster).iter().chain(&added) {
        until_granted(&world, grant, true).await?;
    }
    world.stop().await
}

/// What `deploy/azure` adds: a configuration that reads, and an identity for the pods.
#[tokio::test(flavor = "multi_thread")]
async fn on_azure_the_manifests_have_their_own_configuration_and_identity() -> Result<()> {
    let world = applied(ON_AZURE).await?;
    ensure!(enabled(&world).await? == ["azure"]);
    let accounts: Api<ServiceAccount> = Api::namespaced(world.client(), HOME);
    let annotations = accounts.get(NAME).await?.metadata.annotations;
    let identity = "azure.workload.identity/client-id";
    ensure!(annotations.is_some_and(|all| all.contains_key(identity)));
    let deployments: Api<Deployment> = Api::namespaced(world.client(), HOME);
    let deployment = serde_json::to_value(deployments.get(NAME).await?)?;
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    ensure!(labels["azure.workload.identity/use"] == "true", "{labels}");
    // The patch leaves the plain manifests' own where they are.
    ensure!(labels["app.kubernetes.io/name"].is_string(), "{labels}");
    world.stop().await
}

#[test]
fn the_manifests_are_where_the_test_looks() {
    for directory in [MANIFESTS, ON_AWS, ON_AZURE] {
        assert!(Path::new(directory).join("kustomization.yaml").is_file());
    }
}
