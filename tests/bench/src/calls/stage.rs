//! Where it happens: a cluster on a real API server, its nodes in moto, and the program that is measured. Writes: processes,
//! Services, instances.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_harness::{
    aws::{Call, Counts, Mark},
    control_plane::Options,
    progress::Progress,
    wait::eventually,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    controller::{Controller, UNLIMITED},
    row::Amount,
};
use crate::system::Cost;

/// How often each Service is looked at by default.
pub const RESYNC: Duration = Duration::from_secs(600);

/// How long anything may take before it counts as failed.
const LIMIT: Duration = Duration::from_secs(900);

/// Requests to the API server under way at a time.
const TOGETHER: usize = 32;

/// A cluster, and the controller in it.
pub struct Stage {
    /// API server and cloud.
    pub world: AwsWorld,
    /// The program that is measured.
    pub controller: Controller,
    program: PathBuf,
    silence: Duration,
}

/// Calls, those that change something apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// What changes something.
    pub writes: Counts,
    /// What changes nothing.
    pub reads: Counts,
}

impl Counted {
    fn of(calls: Vec<Call>) -> Self {
        let (reads, writes): (Vec<_>, Vec<_>) = calls.into_iter().partition(Call::is_read);
        Self {
            writes: Counts::of(&writes),
            reads: Counts::of(&reads),
        }
    }

    /// How many.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount::Calls {
            writes: self.writes.writes,
            reads: self.reads.reads,
        }
    }
}

impl Stage {
    /// A cluster of this many nodes, with a controller that is ready. What AWS is asked has ended when it is asked nothing for
    /// `silence`.
    ///
    /// # Errors
    /// When a part does not come up.
    pub async fn new(program: &Path, nodes: usize, silence: Duration) -> Result<Self> {
        let plane = Options {
            controller_manager: false,
            progress: Progress::quiet(),
            ..Options::default()
        };
        let world = AwsWorld::without_controller(plane, nodes, &[]).await?;
        Ok(Self {
            controller: start(program, &world, RESYNC).await?,
            world,
            program: program.to_owned(),
            silence,
        })
    }

    /// Ends the controller and starts it again; each Service is then looked at every so often.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(self, resync: Duration) -> Result<Self> {
        self.controller.stop()?;
        let controller = start(&self.program, &self.world, resync).await?;
        Ok(Self { controller, ..self })
    }

    /// Takes everything down.
    ///
    /// # Errors
    /// When a part does not end, or asked of AWS what its model forbids.
    pub async fn stop(self) -> Result<()> {
        self.controller.stop()?;
        self.world.stop().await
    }

    fn services(&self) -> Api<Service> {
        self.world.world.services("default")
    }

    /// Creates Services, and waits until all are served.
    ///
    /// # Errors
    /// When they are not.
    pub async fn create(&self, names: &[String], ports: usize) -> Result<()> {
        let api = &self.services();
        each(names, async |name| {
            let service = service(name, ports)?;
            api.create(&PostParams::default(), &service).await?;
            Ok(())
        })
        .await?;
        self.served(names).await
    }

    /// Deletes Services, and waits until all are gone.
    ///
    /// # Errors
    /// When they are not.
    pub async fn delete(&self, names: &[String]) -> Result<()> {
        let api = &self.services();
        each(names, async |name| {
            api.delete(name, &DeleteParams::default()).await?;
            Ok(())
        })
        .await?;
        self.eventually("Services to go", || async {
            let there = self.among(names).await?;
            ensure!(there.is_empty(), "{} are there", there.len());
            Ok(())
        })
        .await
    }

    /// Gives a Service an annotation that is not about load balancers.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn annotate(&self, name: &str) -> Result<()> {
        let patch =
            Patch::Merge(json!({"metadata": {"annotations": {"example.org/owner": "shop"}}}));
        let api = self.services();
        api.patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// A node joins.
    ///
    /// # Errors
    /// When the API server or moto refuses.
    pub async fn join(&mut self) -> Result<()> {
        self.world.add_node().await?;
        Ok(())
    }

    async fn served(&self, names: &[String]) -> Result<()> {
        self.eventually("Services to be served", || async {
            let there = self.among(names).await?;
            let served = there.iter().filter(|service| is_served(service)).count();
            ensure!(
                served == names.len(),
                "{served} of {} are served",
                names.len()
            );
            Ok(())
        })
        .await
    }

    async fn among(&self, names: &[String]) -> Result<Vec<Service>> {
        let all = self.services().list(&ListParams::default()).await?;
        let ours = |service: &Service| names.contains(&service.name_any());
        Ok(all.items.into_iter().filter(ours).collect())
    }

    /// Waits until AWS is asked nothing any more.
    ///
    /// # Errors
    /// When it is asked again and again.
    pub async fn silence(&self) -> Result<()> {
        let calls = self.world.aws.calls();
        self.eventually("silence", || async {
            let mark = calls.mark();
            tokio::time::sleep(self.silence).await;
            let counts = calls.count_since(mark);
            ensure!(mark == calls.mark(), "{counts}");
            Ok(())
        })
        .await
    }

    /// Waits until an operation was called this often.
    ///
    /// # Errors
    /// When it is not.
    pub async fn called(&self, since: Mark, operation: &str, times: usize) -> Result<()> {
        self.eventually(operation, || async {
            let counts = self.world.aws.calls().count_since(since);
            let called = counts.of_operation(operation);
            ensure!(called >= times, "{called} of {times}");
            Ok(())
        })
        .await
    }

    /// What was asked since a moment; what the controller has cost so far.
    ///
    /// # Errors
    /// When AWS's model forbids something of it, or the controller has ended.
    pub fn counted(&mut self, since: Mark) -> Result<(Counted, Cost)> {
        self.world.aws.check()?;
        let counted = Counted::of(self.world.aws.calls().since(since));
        Ok((counted, self.controller.cost()?))
    }

    /// Now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.world.aws.calls().mark()
    }

    async fn eventually<F, Fut>(&self, what: &str, condition: F) -> Result<()>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<()>>,
    {
        let done = eventually(what, LIMIT, condition).await;
        done.with_context(|| {
            format!(
                "the end of the controller's log:\n{}",
                self.controller.log()
            )
        })
    }
}

async fn start(program: &Path, world: &AwsWorld, resync: Duration) -> Result<Controller> {
    let resync = format!("{}s", resync.as_secs());
    let args = ["--aws-rate", UNLIMITED, "--resync", &resync];
    Controller::start(program, &world.world, &args, &[]).await
}

/// Does something with each, many at a time.
pub(crate) async fn each(names: &[String], act: impl AsyncFn(&str) -> Result<()>) -> Result<()> {
    stream::iter(names)
        .map(|name| act(name))
        .buffer_unordered(TOGETHER)
        .try_collect()
        .await
}

/// A plain Service.
pub(crate) fn service(name: &str, ports: usize) -> Result<Service> {
    let ports: Vec<_> = (8001..)
        .take(ports)
        .map(|port| json!({"name": format!("p-{port}"), "port": port}))
        .collect();
    let service = json!({
        "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": "evenkeel.dev/aws", "ports": ports},
    });
    Ok(serde_json::from_value(service)?)
}

/// Whether nothing is left to do for it.
pub(crate) fn is_served(service: &Service) -> bool {
    let conditions = service.status.iter().flat_map(|status| &status.conditions);
    let has = |kind: &str, value: &str| {
        let mut all = conditions.clone().flatten();
        all.any(|one| one.type_ == kind && one.status == value)
    };
    has("evenkeel.dev/Serving", "True") && has("evenkeel.dev/Provisioning", "False")
}
