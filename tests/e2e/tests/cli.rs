//! The command line on a real API server: what `status` and `plan` say is what there is, and what `run` then does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::facts::plans_alike;
use evenkeel_e2e::look::LIMIT;
use evenkeel_e2e::{World, WorldOptions};
use evenkeel_harness::evenkeel::evenkeel_binary;
use evenkeel_harness::kubectl::Kubectl;
use evenkeel_harness::nodes::{NodesKind, NodesOptions};
use evenkeel_harness::progress::Progress;
use evenkeel_harness::supervise::Supervised;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::{net::TcpStream, process::Command};

const NAMESPACE: &str = "default";

/// A command that has ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("no JSON: {self:?}"))
    }

    fn says(&self, part: &str) -> Result<()> {
        ensure!(
            self.out.contains(part),
            "{part:?} is not in\n{}\n{}",
            self.out,
            self.err
        );
        Ok(())
    }
}

/// The command line of somebody with a kubeconfig.
struct Cli {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Cli {
    async fn new(world: &World) -> Result<Self> {
        let home = world.plane.directory().join("cli");
        std::fs::create_dir_all(&home)?;
        Ok(Self {
            program: tokio::task::spawn_blocking(evenkeel_binary).await??,
            kubeconfig: world.plane.kubeconfig().to_owned(),
            home,
        })
    }

    fn with(&self, program: &Path, kubeconfig: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: self.home.clone(),
        }
    }

    async fn run(&self, args: &[&str]) -> Result<Ran> {
        self.run_with(args, "").await
    }

    async fn run_with(&self, args: &[&str], input: &str) -> Result<Ran> {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = tokio::time::timeout(LIMIT, child.wait_with_output())
            .await
            .with_context(|| format!("{args:?} does not end"))??;
        Ok(Ran {
            code: output.status.code().context("ended by a signal")?,
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }
}

async fn world(run: &[&str]) -> Result<World> {
    let nodes = NodesOptions {
        kind: NodesKind::Loopback,
        ..NodesOptions::default()
    };
    let world = World::start(WorldOptions {
        nodes: Some(nodes),
        controller: false,
        run: run.iter().map(ToString::to_string).collect(),
        ..WorldOptions::default()
    })
    .await?;
    world.deploy(NAMESPACE, "web", 2).await?;
    Ok(world)
}

fn manifest(name: &str, class: Option<&str>, annotations: Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 8080, "targetPort": "http"}],
        },
    });
    if let Some(class) = class {
        service["spec"]["loadBalancerClass"] = class.into();
    }
    service
}

const LOCAL: Option<&str> = Some("evenkeel.dev/local");

async fn create(world: &World, manifest: Value) -> Result<Service> {
    let service = serde_json::from_value(manifest)?;
    Ok(world
        .services(NAMESPACE)
        .create(&PostParams::default(), &service)
        .await?)
}

/// All that a plan might have written: every Service, every ConfigMap, every object of the data plane.
async fn traces(world: &World) -> Result<(BTreeMap<String, Option<String>>, Value)> {
    let mut versions = BTreeMap::new();
    let all = ListParams::default();
    for service in Api::<Service>::all(world.client()).list(&all).await? {
        versions.insert(
            format!("service {}", service.name_any()),
            service.resource_version(),
        );
    }
    for map in Api::<ConfigMap>::all(world.client()).list(&all).await? {
        versions.insert(format!("map {}", map.name_any()), map.resource_version());
    }
    Ok((versions, world.objects().await?))
}

/// The steps of the only plan of a document, wave by wave, each wave in order.
fn waves(plan: &Value) -> Result<Vec<Vec<String>>> {
    let groups = plan["groups"].as_array().context("no groups")?;
    ensure!(groups.len() == 1, "{} plans in {plan:#}", groups.len());
    let waves = groups[0]["waves"].as_array().context("no waves")?;
    let step = |step: &Value| {
        let text = |field: &str| step[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text("action"), text("kind"), text("id"))
    };
    let wave = |wave: &Value| {
        let mut steps: Vec<_> = wave.as_array().into_iter().flatten().map(step).collect();
        steps.sort();
        steps
    };
    Ok(waves.iter().map(wave).collect())
}

/// The writes that the controller has made for a Service, in the order in which they ended, cut into waves of these sizes.
fn written(world: &World, service: &str, sizes: &[usize]) -> Result<Vec<Vec<String>>> {
    let controller = world.controller.as_ref().context("no controller")?;
    let log = controller.log_tail(usize::MAX);
    let name = format!("\"service.name\":\"{service}\"");
    let ours = log.lines().filter(|line| line.contains(&name));
    let mut done = ours.filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let message = line.pointer("/fields/message").or(line.get("message"))?;
        Some(message.as_str()?.strip_prefix("done: ")?.to_owned())
    });
    let mut waves = Vec::new();
    for size in sizes {
        let mut wave: Vec<_> = done.by_ref().take(*size).collect();
        wave.sort();
        waves.push(wave);
    }
    let rest: Vec<_> = done.collect();
    ensure!(rest.is_empty(), "more was written: {rest:?}");
    Ok(waves)
}

async fn active(world: &World, service: &str) -> Result<()> {
    world
        .condition(NAMESPACE, service, "evenkeel.dev/Serving", "True")
        .await?;
    world
        .condition(NAMESPACE, service, "evenkeel.dev/Provisioning", "False")
        .await?;
    Ok(())
}

/// Waits until the leader has published itself.
async fn published(world: &World) -> Result<String> {
    let maps = Api::<ConfigMap>::all(world.client());
    let labels = ListParams::default()
        .labels("app.kubernetes.io/name=evenkeel,app.kubernetes.io/component=controller");
    eventually("the controller's own object", LIMIT, || async {
        let maps = maps.list(&labels).await?;
        let map = maps.items.first().context("there is none")?;
        Ok(format!(
            "{}/{}",
            map.namespace().unwrap_or_default(),
            map.name_any()
        ))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_what_run_then_does_and_writes_nothing() -> Result<()> {
    let mut world = world(&["--default-provider", "local", "--log-format", "json"]).await?;
    let cli = Cli::new(&world).await?;
    let socket = world.socket.display().to_string();
    create(&world, manifest("web", LOCAL, json!({}))).await?;
    let classless = manifest("classless", None, json!({})).to_string();
    let before = traces(&world).await?;

    // Nobody runs: defaults stand in, and that is said.
    let plan = cli.run(&["plan", "web", "--local-socket", &socket]).await?;
    ensure!(plan.code == 2, "{plan:?}");
    plan.says("Assumed: no controller was found")?;
    plan.says("no default provider")?;
    plan.says("+ address lease")?;
    let planned = cli
        .run(&[
            "plan",
            "default/web",
            "--local-socket",
            &socket,
            "-o",
            "json",
        ])
        .await?;
    ensure!(planned.code == 2, "{planned:?}");
    let planned = waves(&planned.json()?)?;
    ensure!(planned.len() >= 2, "{planned:?}");
    let skipped = cli
        .run_with(&["plan", "-f", "-", "--local-socket", &socket], &classless)
        .await?;
    ensure!(skipped.code == 0, "{skipped:?}");
    skipped.says("default/classless: it has no class")?;
    ensure!(traces(&world).await? == before, "something was written");

    world.start_controller().await?;
    active(&world, "web").await?;
    let sizes: Vec<_> = planned.iter().map(Vec::len).collect();
    eventually("what run did", LIMIT, || async {
        let done = written(&world, "web", &sizes)?;
        ensure!(done == planned, "planned {planned:#?}, done {done:#?}");
        Ok(())
    })
    .await?;
    let place = published(&world).await?;
    let before = traces(&world).await?;

    // The controller's own configuration: its socket, and its default provider.
    let nothing = cli.run(&["plan", "web"]).await?;
    ensure!(nothing.code == 0, "{nothing:?}");
    nothing.says("default/web on local: nothing to do")?;
    ensure!(!nothing.out.contains("Assumed"), "{}", nothing.out);
    let new = cli
        .run_with(&["plan", "-f", "-", "-o", "json"], &classless)
        .await?;
    ensure!(new.code == 2, "{new:?}");
    let document = new.json()?;
    ensure!(document["controller"] == place, "{document:#}");
    ensure!(
        waves(&document)? == planned,
        "another Service, the same steps: {document:#}"
    );
    ensure!(new.out.contains("known after apply"), "{document:#}");
    let everything = cli.run(&["plan", "--all"]).await?;
    ensure!(everything.code == 0, "{everything:?}");

    facts_make_the_plans_that_the_cluster_makes(&cli, &classless).await?;
    changes(&cli).await?;
    approvals(&world, &cli).await?;
    refusals(&world, &cli).await?;
    without_the_right_to_try(&world, &cli, &classless).await?;
    ensure!(traces(&world).await? == before, "something was written");
    world.stop().await
}

/// For what is there, a change of it, a new one and one that goes; and facts are only read.
async fn facts_make_the_plans_that_the_cluster_makes(cli: &Cli, classless: &str) -> Result<()> {
    let place = |name: &str| cli.home.join(name).display().to_string();
    let facts = place("facts.yaml");
    let written = cli.run(&["facts", "-o", &facts]).await?;
    ensure!(written.code == 0, "{written:?}");
    let (changed, released, new) = (
        place("changed.json"),
        place("released.json"),
        place("new.json"),
    );
    let timeout = json!({"evenkeel.dev/idle-timeout": "7m"});
    std::fs::write(&changed, manifest("web", LOCAL, timeout).to_string())?;
    std::fs::write(&released, release().to_string())?;
    std::fs::write(&new, classless)?;
    let program = async |arguments: &[&str]| {
        let ran = cli.run(arguments).await?;
        Ok((Some(ran.code), ran.out + &ran.err))
    };
    for (asked, exact) in [
        (&["web"][..], true),
        (&["--all"], true),
        (&["-f", &changed], true),
        (&["-f", &released], true),
        // Its UID, of which names are made, is another one each time.
        (&["-f", &new], false),
    ] {
        plans_alike(program, &facts, asked, exact).await?;
    }
    Ok(())
}

/// What is there, as no load balancer any more.
fn release() -> Value {
    let mut released = manifest("web", None, json!({}));
    released["spec"]["type"] = "ClusterIP".into();
    released["spec"]["loadBalancerClass"] = Value::Null;
    released
}

/// A file that changes what is there.
async fn changes(cli: &Cli) -> Result<()> {
    let timeout = json!({"evenkeel.dev/idle-timeout": "7m"});
    let file = cli.home.join("web.yaml");
    let other = "\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n";
    std::fs::write(&file, manifest("web", LOCAL, timeout).to_string() + other)?;
    let file = file.display().to_string();
    let changed = cli.run(&["plan", "-f", &file]).await?;
    ensure!(changed.code == 2, "{changed:?}");
    changed.says("~ listener")?;
    changed.says("idle timeout: ")?;
    changed.says("Plan: 0 to create, 1 to change, 0 to replace, 0 to destroy")?;
    changed.says("Assumed: objects of other kinds, 1 in")?;

    let released = cli
        .run_with(&["plan", "-f", "-"], &release().to_string())
        .await?;
    ensure!(released.code == 2, "{released:?}");
    released.says("default/web on local, release")?;
    released.says("- listener")?;
    released.says("- address lease")?;

    let grouped = json!({"evenkeel.dev/group": "edge"});
    let grouped = manifest("web", LOCAL, grouped).to_string();
    let moved = cli.run_with(&["plan", "-f", "-"], &grouped).await?;
    moved.says("default/web (group edge) on local")?;
    moved.says("default/web on local, release")?;
    moved.says("Plan: 3 to create, 0 to change, 0 to replace, 3 to destroy")
}

/// What gives something up is refused, with what approves it; and what is typed then approves it.
async fn approvals(world: &World, cli: &Cli) -> Result<()> {
    let pool = world.pools.first().context("no pool")?;
    let address = pool.replace(".0/24", ".200");
    let moved = |approve: &str| {
        let annotations =
            json!({"evenkeel.dev/static-address": address, "evenkeel.dev/approve": approve});
        manifest("web", LOCAL, annotations).to_string()
    };
    let refused = cli
        .run_with(&["plan", "-f", "-", "-o", "json"], &moved(""))
        .await?;
    ensure!(refused.code == 2, "{refused:?}");
    let document = refused.json()?;
    ensure!(
        waves(&document)?.is_empty(),
        "nothing is done: {document:#}"
    );
    let refusal = &document["groups"][0]["refusals"][0];
    let digest = refusal["approval"].as_str().context("no digest")?;
    ensure!(refusal["reason"] == "ApprovalRequired", "{document:#}");
    let page = cli.run_with(&["plan", "-f", "-"], &moved("")).await?;
    page.says(&format!(
        "kubectl annotate service -n default web evenkeel.dev/approve={digest} --overwrite"
    ))?;
    let approved = cli.run_with(&["plan", "-f", "-"], &moved(digest)).await?;
    approved.says("-/+ address lease")?;
    approved.says(&format!("approved by evenkeel.dev/approve={digest}"))
}

/// What cannot be planned, and what is rejected.
async fn refusals(world: &World, cli: &Cli) -> Result<()> {
    let broken = json!({"evenkeel.dev/scheme": "sideways", "evenkeel.dev/idle-timeout": "soon"});
    let rejected = manifest("broken", LOCAL, broken).to_string();
    let rejected = cli.run_with(&["plan", "-f", "-"], &rejected).await?;
    ensure!(rejected.code == 2, "{rejected:?}");
    rejected.says("sideways")?;
    rejected.says("soon")?;

    let mut invalid = manifest("invalid", LOCAL, json!({}));
    invalid["spec"]["ports"][0]["port"] = 0.into();
    let invalid = invalid.to_string();
    let nowhere = world
        .plane
        .directory()
        .join("nowhere.sock")
        .display()
        .to_string();
    for (args, input, part) in [
        (
            &["plan", "-f", "-"][..],
            invalid.as_str(),
            "the API server refuses the Service default/invalid",
        ),
        (
            &["plan", "absent"],
            "",
            "there is no Service default/absent",
        ),
        (&["plan", "-o", "jsn"], "", "'json'"),
        (&["plan", "-f", "/does/not/exist.yaml"], "", "name a file"),
        (
            &["plan", "web", "--local-socket", &nowhere],
            "",
            "run `evenkeel plan` on the data plane's machine",
        ),
        (&["status", "kubernetes"], "", "its type is ClusterIP"),
        (&["status", "--context", "nowhere"], "", "choose one of"),
        (
            &["status", "--controller", "default/absent"],
            "",
            "there is no ConfigMap default/absent",
        ),
    ] {
        let ran = cli.run_with(args, input).await?;
        ensure!(ran.code == 1, "{args:?}: {ran:?}");
        ensure!(
            ran.err.contains(part),
            "{args:?}: {part:?} is not in {}",
            ran.err
        );
    }
    Ok(())
}

/// Somebody who may look and nothing else plans all the same, and is told what that rests on.
async fn without_the_right_to_try(world: &World, cli: &Cli, classless: &str) -> Result<()> {
    let parameters = PostParams::default();
    let role = json!({
        "metadata": {"name": "only-looks"},
        "rules": [{"apiGroups": [""], "resources": ["services", "nodes", "configmaps", "namespaces"], "verbs": ["get", "list"]}],
    });
    let roles = Api::<ClusterRole>::all(world.client());
    roles
        .create(&parameters, &serde_json::from_value(role)?)
        .await?;
    let binding = json!({
        "metadata": {"name": "only-looks"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "only-looks"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "looker"}],
    });
    let bindings = Api::<ClusterRoleBinding>::all(world.client());
    bindings
        .create(&parameters, &serde_json::from_value(binding)?)
        .await?;

    let mut kubeconfig = Kubeconfig::read_from(&cli.kubeconfig)?;
    for user in &mut kubeconfig.auth_infos {
        let user = user.auth_info.as_mut().context("no user")?;
        user.impersonate = Some("looker".to_owned());
    }
    let path = cli.home.join("looker");
    std::fs::write(&path, serde_json::to_string(&kubeconfig)?)?;
    let looker = cli.with(&cli.program, &path);
    let planned = eventually("the role to hold", LIMIT, || async {
        let planned = looker.run_with(&["plan", "-f", "-"], classless).await?;
        ensure!(planned.code == 2, "{planned:?}");
        Ok(planned)
    })
    .await?;
    planned.says("+ listener")?;
    planned.says("known after apply")?;
    planned.says("it was not asked, because that is not allowed")
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_where_every_service_stands() -> Result<()> {
    let mut world = world(&[]).await?;
    let cli = Cli::new(&world).await?;
    let none = cli.run(&["status"]).await?;
    ensure!(none.code == 0, "{none:?}");
    none.says("evenkeel has no Services in the namespace default")?;
    none.says("Assumed: no controller was found")?;

    let fine = json!({"local.evenkeel.dev/access-log": "true"});
    create(&world, manifest("fine", LOCAL, fine)).await?;
    let broken = json!({"evenkeel.dev/scheme": "sideways", "evenkeel.dev/idle-timeout": "soon"});
    create(&world, manifest("broken", LOCAL, broken)).await?;
    create(
        &world,
        manifest("held", LOCAL, json!({"evenkeel.dev/paused": "true"})),
    )
    .await?;
    world.start_controller().await?;
    active(&world, "fine").await?;
    world
        .condition(NAMESPACE, "broken", "evenkeel.dev/Degraded", "True")
        .await?;
    let paused = world
        .condition(NAMESPACE, "held", "evenkeel.dev/Provisioning", "False")
        .await?;
    ensure!(paused.reason == "Paused", "{paused:?}");
    let place = published(&world).await?;

    let document = eventually("targets to be healthy", LIMIT, || async {
        let status = cli.run(&["status", "-o", "json"]).await?;
        ensure!(status.code == 0, "{status:?}");
        let document = status.json()?;
        let fine = service(&document, "fine")?;
        let (healthy, total) = (&fine["targets"]["healthy"], &fine["targets"]["total"]);
        ensure!(healthy == total && total.as_u64() > Some(0), "{document:#}");
        Ok(document)
    })
    .await?;
    for (name, state, reason, list) in [
        ("fine", "active", "Serving", None),
        (
            "broken",
            "rejected",
            "InvalidConfiguration",
            Some(("problems", 2)),
        ),
        ("held", "claimed", "Paused", Some(("withheld", 3))),
    ] {
        let row = service(&document, name)?;
        ensure!(
            row["state"] == state && row["reason"] == reason && row["provider"] == "local",
            "{row:#}"
        );
        if let Some((list, count)) = list {
            ensure!(
                row[list].as_array().map(Vec::len) == Some(count),
                "{list}: {row:#}"
            );
        }
    }
    let address = world
        .address(NAMESPACE, "fine", 8080)
        .await?
        .ip()
        .to_string();
    ensure!(
        service(&document, "fine")?["addresses"] == json!([address]),
        "{document:#}"
    );
    ensure!(
        service(&document, "fine")?["pools"] == json!(world.pools),
        "{document:#}"
    );
    ensure!(document["controller"]["object"] == place, "{document:#}");
    ensure!(document["controller"]["unknown"].is_null(), "{document:#}");
    ensure!(
        document["figures"]["cloudWrites"].as_u64() >= Some(3),
        "{document:#}"
    );
    ensure!(document["assumed"] == json!([]), "{document:#}");

    let page = cli.run(&["status", "-A"]).await?;
    for part in [
        "NAMESPACE",
        &address,
        "8080/TCP",
        "default/broken is rejected",
        "\"sideways\"",
        "\"soon\"",
        "held back by the pause",
        &place,
    ] {
        page.says(part)?;
    }
    ensure!(
        !page.out.contains('\u{1b}'),
        "colour without a terminal: {}",
        page.out
    );
    let wide = cli.run(&["status", "-o", "wide"]).await?;
    let yaml = cli.run(&["status", "fine", "-o", "yaml"]).await?;
    let pool = world.pools.first().context("no pool")?;
    wide.says("NODE-PORTS")?;
    wide.says(pool)?;
    yaml.says("kind: Status")?;
    yaml.says(pool)?;
    ensure!(
        !yaml.out.contains("broken"),
        "only the one that is named: {}",
        yaml.out
    );
    let empty = cli.run(&["status", "-n", "kube-system"]).await?;
    empty.says("no Services in the namespace kube-system")?;

    counted(&world, &cli).await?;
    plugin(&world, &cli).await?;
    watching(&world, &cli).await?;

    world.kill_controller()?;
    let alone = cli.run(&["status"]).await?;
    ensure!(alone.code == 0, "{alone:?}");
    alone.says("Targets are unknown: the controller does not answer")?;
    alone.says("\"soon\"")?;
    world.stop().await
}

fn service(document: &Value, name: &str) -> Result<Value> {
    let services = document["services"].as_array().context("no services")?;
    let found = services.iter().find(|service| service["name"] == name);
    found
        .cloned()
        .with_context(|| format!("{name} is not in {document:#}"))
}

/// What goes through a load balancer is counted, in the status and in the metrics.
async fn counted(world: &World, cli: &Cli) -> Result<()> {
    const CLIENTS: u64 = 3;
    let address = world.address(NAMESPACE, "fine", 8080).await?;
    for _ in 0..CLIENTS {
        TcpStream::connect(address).await?;
    }
    let listener = format!("{address}/TCP");
    eventually("the connections to be counted", LIMIT, || async {
        let document = cli.run(&["status", "fine", "-o", "json"]).await?.json()?;
        let traffic = &service(&document, "fine")?["traffic"];
        let connections = &traffic["listeners"][&listener]["connections"];
        ensure!(connections.as_u64() == Some(CLIENTS), "{traffic:#}");
        ensure!(
            traffic["targets"]
                .as_object()
                .is_some_and(|targets| !targets.is_empty()),
            "{traffic:#}"
        );
        Ok(())
    })
    .await?;
    let log = world.data_plane.as_ref().context("it runs")?.log_tail(200);
    let lines = log.lines().filter(|line| {
        let said = |part: &str| line.contains(part);
        said(&format!("listener={address}"))
            && said("service.name=\"fine\"")
            && said("end=\"closed\"")
    });
    ensure!(lines.count() as u64 == CLIENTS, "the access log: {log}");
    let wide = cli.run(&["status", "fine", "-o", "wide"]).await?;
    wide.says(&listener)?;
    let metric = "evenkeel_dataplane_connections_accepted_total";
    let counted = world.metric(metric).await?;
    #[expect(clippy::float_cmp, reason = "a count")]
    let right = counted == CLIENTS as f64;
    ensure!(right, "{metric} is {counted}");
    Ok(())
}

/// Under another name it is a plugin of kubectl's, by itself and through the real kubectl.
async fn plugin(world: &World, cli: &Cli) -> Result<()> {
    let link = cli.home.join("kubectl-evenkeel");
    std::os::unix::fs::symlink(&cli.program, &link)?;
    let linked = cli.with(&link, &cli.kubeconfig);
    let help = linked.run(&["plan", "--help"]).await?;
    help.says("Usage: kubectl evenkeel plan")?;
    linked.run(&["status"]).await?.says("Active")?;

    let kubectl = Kubectl::new(&world.plane, NAMESPACE, Progress::new()).await?;
    let mut command = Command::new(kubectl.program());
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command
        .args(["evenkeel", "status", "-n", NAMESPACE])
        .env("PATH", format!("{}:{path}", cli.home.display()))
        .env("KUBECONFIG", &cli.kubeconfig)
        .env("HOME", &cli.home)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, output).await??;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && text.contains("Active"),
        "{output:?}"
    );
    Ok(())
}

/// Each change is shown, until somebody has seen enough.
async fn watching(world: &World, cli: &Cli) -> Result<()> {
    let log = cli.home.join("watch.log");
    let mut watch = Supervised::builder(&cli.program)
        .args(["status", "--watch", "-n", NAMESPACE])
        .env("KUBECONFIG", &cli.kubeconfig)
        .env("HOME", &cli.home)
        .log_file(&log)
        .spawn()?;
    let shows = async |part: &str| {
        eventually(format!("{part:?} to be shown"), LIMIT, || async {
            let text = std::fs::read_to_string(&log)?;
            ensure!(text.contains(part), "{text}");
            Ok(())
        })
        .await
    };
    shows("default/broken is rejected").await?;
    let patch = json!({"metadata": {"annotations": {"evenkeel.dev/scheme": "upwards"}}});
    let services = world.services(NAMESPACE);
    services
        .patch("broken", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    shows("\"upwards\"").await?;
    create(world, manifest("late", LOCAL, json!({}))).await?;
    shows("late").await?;
    services.delete("late", &DeleteParams::default()).await?;
    watch.terminate()?;
    let status = watch.wait(LIMIT)?;
    ensure!(status.success(), "{status}");
    world.gone(NAMESPACE, "late").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_cluster() -> Result<()> {
    let program = tokio::task::spawn_blocking(evenkeel_binary).await??;
    let home = tempfile::tempdir()?;
    let cli = Cli {
        program,
        kubeconfig: home.path().join("none"),
        home: home.path().to_owned(),
    };
    let version = cli.run(&["--version"]).await?;
    version.says("(commit ")?;
    ensure!(
        cli.run(&["version"]).await?.out == version.out,
        "two versions"
    );
    for (shell, part) in [
        ("bash", "_evenkeel()"),
        ("zsh", "#compdef evenkeel"),
        ("fish", "complete -c evenkeel"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = cli.run(&["completions", shell]).await?;
        ensure!(script.code == 0, "{shell}: {}", script.err);
        script.says(part)?;
        script.says("all-namespaces")?;
    }
    let nowhere = cli.run(&["status"]).await?;
    ensure!(nowhere.code == 1 && !nowhere.err.is_empty(), "{nowhere:?}");
    let unknown = cli.run(&["statsu"]).await?;
    ensure!(
        unknown.code == 1 && unknown.err.contains("'status'"),
        "{unknown:?}"
    );
    Ok(())
}
