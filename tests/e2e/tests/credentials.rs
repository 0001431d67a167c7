//! Credentials of the controller as it is run: who it is is told, keys that end are the controller's trouble and no Service's, and no secret is
//! in anything it writes. AWS is played by moto, which checks each signature; the agent of EKS Pod Identity is the test's.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::aws::{Given, Metadata, Session, everything};
use evenkeel_harness::control_plane::Options;
use evenkeel_harness::evenkeel::evenkeel_binary;
use evenkeel_harness::wait::eventually;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;

const NAMESPACE: &str = "default";

/// So short that the next keys are asked for at every call.
const A_MOMENT: SignedDuration = SignedDuration::from_secs(4);

/// A cluster whose controller has the keys that an agent on its node gives it.
struct Pod {
    world: AwsWorld,
    agent: Metadata,
    role: String,
    given: Vec<Session>,
    _home: tempfile::TempDir,
}

impl Pod {
    async fn start() -> Result<Self> {
        let plane = Options {
            controller_manager: false,
            ..Options::default()
        };
        let run = [
            "--log",
            "info,evenkeel=trace,evenkeel_aws=trace,aws_config=debug",
        ];
        let mut world = AwsWorld::without_controller(plane, 2, &run).await?;
        let aws = &world.aws;
        let role = aws
            .create_role(aws.client(), "evenkeel", &everything())
            .await?;
        let session = aws.session(&role).await?;
        let given = Given {
            region: aws.region().to_owned(),
            vpc: world.site.vpc_id.clone(),
            session: Some((session.clone(), A_MOMENT)),
            pod_token: "the-token-of-the-pod".to_owned(),
        };
        let agent = Metadata::start(given).await?;
        let home = tempfile::tempdir()?;
        let token = home.path().join("token");
        std::fs::write(&token, "the-token-of-the-pod")?;
        let cloud = world.world.cloud.as_mut().context("a cloud")?;
        // Region and VPC are found out, and keys are only the agent's.
        cloud.args = ["--aws-endpoint".to_owned(), aws.endpoint()]
            .into_iter()
            .chain(["--cluster-name".to_owned(), world.site.cluster.clone()])
            .collect();
        cloud.environment.retain(|(name, _)| {
            !["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].contains(&&**name)
        });
        for (name, value) in [
            ("AWS_REGION", aws.region().to_owned()),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.pod()),
            (
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                token.display().to_string(),
            ),
        ] {
            cloud.environment.push((name.to_owned(), value));
        }
        world.world.start_controller().await?;
        Ok(Self {
            world,
            agent,
            role,
            given: vec![session],
            _home: home,
        })
    }

    /// The agent gives other keys from now on.
    async fn renew(&mut self) -> Result<()> {
        let session = self.world.aws.session(&self.role).await?;
        self.given.push(session.clone());
        self.agent.give(Some((session, A_MOMENT)));
        Ok(())
    }

    /// Waits until the controller says this of the provider, and returns its message.
    async fn provider(&self, reason: &str) -> Result<String> {
        let api = Api::<ConfigMap>::namespaced(self.world.world.client(), "kube-system");
        eventually(format!("the provider: {reason}"), LIMIT, || async {
            let object = api.get("evenkeel").await?;
            let text = serde_json::to_string(&object.data)?;
            let found = conditions(&object);
            let found = found
                .iter()
                .find(|one| one["type"] == "ProviderReady" && one["reason"] == reason);
            let found = found.with_context(|| text)?;
            Ok(found["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
        .with_context(|| self.world.world.controller_log())
    }

    async fn create(&self, name: &str) -> Result<()> {
        let service = json!({
            "metadata": {"name": name},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "evenkeel.dev/aws",
                "ports": [{"name": "http", "port": 80}],
            },
        });
        let services = self.world.world.services(NAMESPACE);
        let service: Service = serde_json::from_value(service)?;
        services.create(&PostParams::default(), &service).await?;
        Ok(())
    }

    /// Asks for something that needs AWS.
    async fn tag(&self, name: &str, team: &str) -> Result<()> {
        let key = "service.beta.kubernetes.io/aws-load-balancer-additional-resource-tags";
        let value = format!("team={team}");
        let patch = Patch::Merge(json!({"metadata": {"annotations": {(key): value}}}));
        let services = self.world.world.services(NAMESPACE);
        services
            .patch(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn tagged(&self, team: &str) -> Result<()> {
        eventually("the tag", LIMIT, || async {
            let state = self.world.aws.state().await?;
            let balancer = state.load_balancers().first().context("none")?;
            ensure!(balancer["Tags"]["team"] == team, "{balancer:#}");
            Ok(())
        })
        .await
    }

    async fn served(&self, name: &str) -> Result<()> {
        let world = &self.world.world;
        for (kind, status) in [
            ("evenkeel.dev/Serving", "True"),
            ("evenkeel.dev/Provisioning", "False"),
        ] {
            world.condition(NAMESPACE, name, kind, status).await?;
        }
        Ok(())
    }

    /// What `evenkeel status` says to somebody with a kubeconfig and nothing of AWS's.
    async fn status(&self) -> Result<String> {
        let program = tokio::task::spawn_blocking(evenkeel_binary).await??;
        let mut command = Command::new(program);
        command
            .args(["status"])
            .env("KUBECONFIG", self.world.world.plane.kubeconfig())
            .kill_on_drop(true);
        let ran = tokio::time::timeout(LIMIT, command.output()).await??;
        Ok(String::from_utf8(ran.stdout)?)
    }

    /// All that controllers of this world logged.
    fn log(&self) -> Result<String> {
        let mut all = String::new();
        for entry in std::fs::read_dir(self.world.world.plane.log_dir())? {
            let path: PathBuf = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with("evenkeel-") {
                all.push_str(&std::fs::read_to_string(path)?);
            }
        }
        Ok(all)
    }
}

fn conditions(object: &ConfigMap) -> Vec<Value> {
    let data = object.data.iter().flatten();
    let texts = data.filter_map(|(_, text)| serde_json::from_str::<Value>(text).ok());
    texts
        .filter_map(|value| value.as_array().cloned())
        .flatten()
        .collect()
}

/// One story: a Service is served, the keys end, come back, and nobody has to restart anything.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_pod_that_end_and_come_back() -> Result<()> {
    let mut pod = Pod::start().await?;
    pod.create("shop").await?;
    pod.served("shop").await?;
    who_asks_is_told(&pod).await.context("identity")?;
    keys_are_renewed(&mut pod).await.context("renewed")?;
    keys_that_ended_are_told_once(&mut pod)
        .await
        .context("ended")?;
    no_secret_is_told(&pod).await.context("secrets")?;
    pod.world.stop().await
}

async fn who_asks_is_told(pod: &Pod) -> Result<()> {
    let aws = &pod.world.aws;
    let said = pod.provider("Answers").await?;
    let status = pod.status().await?;
    let log = pod.log()?;
    for part in [
        format!("account {}", aws.account()),
        format!("region {}", aws.region()),
        format!("VPC {}", pod.world.site.vpc_id),
        format!("arn:aws:sts::{}:assumed-role/evenkeel-", aws.account()),
        "an HTTP endpoint (EKS Pod Identity, ECS)".to_owned(),
    ] {
        for place in [&said, &status, &log] {
            ensure!(place.contains(&part), "{part}: {place}");
        }
    }
    Ok(())
}

async fn keys_are_renewed(pod: &mut Pod) -> Result<()> {
    pod.renew().await?;
    let mark = pod.world.aws.calls().mark();
    pod.tag("shop", "first").await?;
    pod.tagged("first").await?;
    let calls = pod.world.aws.calls().since(mark);
    let new = &pod.given[1].id;
    ensure!(calls.iter().all(|call| call.error.is_none()), "{calls:?}");
    ensure!(
        calls.iter().any(|call| call.access_key == *new),
        "{calls:?}"
    );
    pod.served("shop").await
}

async fn keys_that_ended_are_told_once(pod: &mut Pod) -> Result<()> {
    let before = pod.world.aws.state().await?;
    pod.agent.give(None);
    pod.tag("shop", "second").await?;
    let said = pod.provider("CredentialsExpired").await?;
    for part in ["no credentials", "Give the controller valid credentials"] {
        ensure!(said.contains(part), "{part}: {said}");
    }
    // Another Service meets the same.
    pod.create("late").await?;
    let world = &pod.world.world;
    for name in ["shop", "late"] {
        let told = world
            .condition(NAMESPACE, name, "evenkeel.dev/Degraded", "True")
            .await?;
        let elsewhere = "the ConfigMap kube-system/evenkeel";
        ensure!(told.message.contains(elsewhere), "{told}");
        // The controller's trouble is told there and not as an event of each Service.
        let events = world.events(NAMESPACE, name).await?;
        ensure!(
            events
                .iter()
                .all(|(reason, _)| reason != "CredentialsExpired"),
            "{events:?}"
        );
    }
    ensure!(pod.status().await?.contains("CredentialsExpired"));
    ensure!(pod.world.aws.state().await? == before, "something changed");
    // It can lead and serve others.
    for path in ["/readyz", "/healthz"] {
        let (code, text) = world.get(path).await?;
        ensure!(code == 200, "{path}: {code} {text}");
    }
    let ready = "evenkeel_provider_ready";
    ensure!(world.metric(ready).await? == 0.0);

    let controller = world.controller.as_ref().context("a controller")?.pid();
    pod.renew().await?;
    pod.provider("Answers").await?;
    pod.tagged("second").await?;
    for name in ["shop", "late"] {
        pod.served(name).await?;
    }
    let world = &pod.world.world;
    ensure!(world.metric(ready).await? == 1.0);
    let now = world.controller.as_ref().context("a controller")?.pid();
    ensure!(now == controller, "it was restarted");
    // One event when they ended, and one when they came back.
    let events = {
        let api = Api::<Event>::namespaced(world.client(), "kube-system");
        api.list(&ListParams::default()).await?.items
    };
    let ended: Vec<_> = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("CredentialsExpired"))
        .collect();
    ensure!(ended.len() == 1, "{ended:#?}");
    Ok(())
}

async fn no_secret_is_told(pod: &Pod) -> Result<()> {
    let client = pod.world.world.client();
    let services = pod.world.world.services(NAMESPACE);
    let all = ListParams::default();
    let objects = [
        serde_json::to_string(&services.list(&all).await?.items)?,
        serde_json::to_string(
            &Api::<ConfigMap>::all(client.clone())
                .list(&all)
                .await?
                .items,
        )?,
        serde_json::to_string(&Api::<Event>::all(client).list(&all).await?.items)?,
    ]
    .concat();
    let log = pod.log()?;
    ensure!(log.contains("looked at the provider"), "{log}");
    let token = "the-token-of-the-pod".to_owned();
    let sessions = pod.given.iter();
    let secrets = sessions.flat_map(|key| [key.secret.clone(), key.token.clone()]);
    for secret in secrets.chain([token]) {
        ensure!(!log.contains(&secret), "a secret is in the log");
        ensure!(!objects.contains(&secret), "a secret is in an object");
    }
    Ok(())
}
