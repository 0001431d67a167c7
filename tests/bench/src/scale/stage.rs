//! Where it happens: a cluster on a real API server, its nodes in our fake AWS, the program that is measured, and somebody else who asks.
//! Writes: processes, Services, instances.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_harness::{
    aws::Node,
    control_plane::Options,
    fake_aws::{FakeAws, Quotas, Settings, State, Taken},
    pace::Pace,
    progress::Progress,
    wait::eventually,
};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    args::Size,
    tenant::{KEY, Tenant},
};
use crate::{
    calls::{
        controller::Controller,
        stage::{each, is_served, service},
    },
    system::Cost,
};

/// How long anything may take, on the wall, before it counts as failed.
const LIMIT: Duration = Duration::from_secs(3600);

/// How long between two looks, on the wall: who looks at a million targets keeps AWS from answering meanwhile.
const PAUSE: Duration = Duration::from_millis(300);

/// More of everything that AWS counts than there will be: what is counted is raised, what is limited in time is not.
const ENOUGH: usize = 100_000;

/// The same, as the program is told.
const RAISED: [&str; 7] = [
    "load-balancers",
    "interfaces",
    "target-groups",
    "security-groups",
    "targets",
    "targets-per-zone",
    "targets-per-group",
];

/// The interval of health checks that all are given, in seconds.
const INTERVAL: i64 = 20;

/// A cluster, and the controller in it.
pub struct Stage {
    /// How many there are.
    pub size: Size,
    /// Somebody else.
    pub tenant: Tenant,
    world: AwsWorld,
    fake: Arc<FakeAws>,
    controller: Controller,
    program: PathBuf,
    pace: Pace,
    names: Vec<String>,
}

impl Stage {
    /// A cluster without Services, with a controller that is ready.
    ///
    /// # Errors
    /// When a part does not come up.
    pub async fn new(program: &Path, size: Size, pace: u32) -> Result<Self> {
        let plane = Options {
            controller_manager: false,
            progress: Progress::quiet(),
            ..Options::default()
        };
        let settings = Settings {
            quotas: Quotas::default().raised_with_targets(ENOUGH),
            history: false,
            ..Settings::as_aws()
        };
        let world = AwsWorld::on_fake(settings, plane, size.nodes).await?;
        let fake = Arc::clone(world.aws.as_fake().context("the fake")?);
        let pace = Pace::new(pace, world.world.plane.directory())?;
        fake.run_at(pace.factor());
        Ok(Self {
            size,
            tenant: Tenant::start(&world.aws, pace.factor())?,
            controller: start(program, &world, &pace).await?,
            world,
            fake,
            program: program.to_owned(),
            pace,
            names: (0..size.services)
                .map(|number| format!("shop-{number}"))
                .collect(),
        })
    }

    /// Takes everything down.
    ///
    /// # Errors
    /// When a part does not end, or asked of AWS what its model forbids.
    pub async fn stop(self) -> Result<()> {
        self.controller.stop()?;
        self.world.stop().await
    }

    /// The cloud's time.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.fake.now()
    }

    /// What everybody has asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Taken> {
        self.fake.taken()
    }

    /// What the controller has cost so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cost(&mut self) -> Result<Cost> {
        self.controller.cost()
    }

    fn services(&self) -> Api<Service> {
        self.world.world.services("default")
    }

    /// Creates all Services, and waits until all are served, on all nodes.
    ///
    /// # Errors
    /// When they are not.
    pub async fn create(&mut self) -> Result<()> {
        let api = self.services();
        each(&self.names, async |name| {
            let service = service(name, 1)?;
            api.create(&PostParams::default(), &service).await?;
            Ok(())
        })
        .await?;
        self.targets_are_nodes().await?;
        self.eventually("Services to be served", async |stage| {
            let there = stage.services().list(&ListParams::default()).await?.items;
            let served = there.iter().filter(|service| is_served(service)).count();
            ensure!(served == stage.size.services, "{served} are served");
            Ok(())
        })
        .await
    }

    /// Ends the controller and starts it again; then waits for so long.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(self, then: Duration) -> Result<Self> {
        self.controller.stop()?;
        let controller = start(&self.program, &self.world, &self.pace).await?;
        let stage = Self { controller, ..self };
        tokio::time::sleep(then / stage.pace.factor()).await;
        Ok(stage)
    }

    /// Nodes stop at once, and as many others join. They are gone from the cluster; their instances do not answer, and are there still.
    ///
    /// # Errors
    /// When the API server or AWS refuses.
    pub async fn replace_nodes(&mut self) -> Result<()> {
        let count = self.size.replaced();
        let made = self
            .world
            .site
            .add_nodes(self.world.aws.client(), count)
            .await?;
        let old: Vec<Node> = self.world.site.nodes[..count].to_vec();
        for node in &old {
            self.fake.set_answers(&node.instance_id, false);
        }
        for (old, new) in old.iter().zip(&made) {
            self.world.remove_node(old).await?;
            self.world.nodes.join(new).await?;
        }
        Ok(())
    }

    /// Waits until all targets of a target group are healthy.
    ///
    /// # Errors
    /// When they are not.
    pub async fn healthy(&mut self) -> Result<()> {
        let nodes = self.size.nodes;
        self.probed("probes to succeed", |healthy| healthy == nodes)
            .await
    }

    /// Waits until probes alone have taken the nodes that stopped out of a target group.
    ///
    /// # Errors
    /// When they do not.
    pub async fn probes_have_seen(&mut self) -> Result<()> {
        let most = self.size.nodes - self.size.replaced();
        self.probed("probes to fail", |healthy| healthy <= most)
            .await
    }

    /// Waits until so many targets of the target group that comes last are healthy.
    async fn probed(&mut self, what: &str, so: impl Fn(usize) -> bool) -> Result<()> {
        let last = |state: &State| {
            let last = state.target_groups.iter().last();
            last.map(|(arn, _)| arn.to_owned())
        };
        let group = &self.fake.look(last).context("a target group")?;
        self.eventually(what, async |stage| {
            let health = stage.fake.health(group);
            let healthy = health.get("healthy").copied().unwrap_or_default();
            ensure!(so(healthy), "{health:?}");
            Ok(())
        })
        .await
    }

    /// Waits until each target group has the nodes of the cluster, and no others.
    ///
    /// # Errors
    /// When it has not.
    pub async fn targets_are_nodes(&mut self) -> Result<()> {
        let nodes = self.world.site.nodes.iter();
        let nodes: BTreeSet<String> = nodes.map(|node| node.instance_id.clone()).collect();
        self.groups("targets", |state| {
            let groups = state.target_groups.values();
            groups
                .filter(|group| {
                    let targets = group.targets.iter();
                    let there = targets.filter(|(_, target)| target.deregistered_at.is_none());
                    there.map(|(key, _)| &key.id).eq(&nodes)
                })
                .count()
        })
        .await
    }

    /// Gives all Services an annotation that changes how their targets are probed, and waits until they are.
    ///
    /// # Errors
    /// When they are not.
    pub async fn annotate(&mut self) -> Result<()> {
        let key = "service.beta.kubernetes.io/aws-load-balancer-healthcheck-interval";
        let patch = json!({"metadata": {"annotations": {key: INTERVAL.to_string()}}});
        let (api, patch) = (self.services(), Patch::Merge(patch));
        each(&self.names, async |name| {
            api.patch(name, &PatchParams::default(), &patch).await?;
            Ok(())
        })
        .await?;
        self.groups("intervals", |state| {
            let groups = state.target_groups.values();
            groups
                .filter(|group| group.check.interval == INTERVAL)
                .count()
        })
        .await
    }

    /// Deletes all Services, and waits until nothing of them is left.
    ///
    /// # Errors
    /// When something is.
    pub async fn delete(&mut self) -> Result<()> {
        let api = self.services();
        each(&self.names, async |name| {
            api.delete(name, &DeleteParams::default()).await?;
            Ok(())
        })
        .await?;
        self.eventually("Services to go", async |stage| {
            let there = stage
                .services()
                .list_metadata(&ListParams::default())
                .await?;
            // The API server's own stays.
            let there = there.items.len().saturating_sub(1);
            ensure!(there == 0, "{there} are there");
            let left = stage
                .fake
                .look(|state| state.load_balancers.len() + state.target_groups.len());
            ensure!(left == 0, "{left} are left");
            Ok(())
        })
        .await
    }

    /// Waits until all target groups are so.
    async fn groups(&mut self, what: &str, so: impl Fn(&State) -> usize) -> Result<()> {
        self.eventually(what, async |stage| {
            let count = stage.fake.look(&so);
            ensure!(count == stage.size.services, "{count} are so");
            Ok(())
        })
        .await
    }

    async fn eventually(
        &mut self,
        what: &str,
        condition: impl AsyncFn(&Self) -> Result<()>,
    ) -> Result<()> {
        let done = eventually(what, LIMIT, async || {
            let found = condition(self).await;
            if found.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            found
        })
        .await;
        self.controller.check()?;
        done.with_context(|| format!("the end of the log:\n{}", self.controller.log()))
    }
}

/// Whether somebody else asked.
#[must_use]
pub fn is_other(taken: &Taken) -> bool {
    taken.by == KEY
}

/// How the C library keeps memory: in one heap, and great pieces apart, as that of the image does. What makes time pass faster cannot
/// be put in front of that one.
const MEMORY: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

async fn start(program: &Path, world: &AwsWorld, pace: &Pace) -> Result<Controller> {
    // There is no other replica, and the API server is slow for one whose time passes fast.
    let mut args = vec!["--leader-election".to_owned(), "off".to_owned()];
    for quota in RAISED {
        args.extend(["--aws-quota".to_owned(), format!("{quota}={ENOUGH}")]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let memory = MEMORY.map(|(name, value)| (name, value.to_owned()));
    let environment = [pace.environment().to_vec(), memory.to_vec()].concat();
    Controller::start(program, &world.world, &args, &environment).await
}
