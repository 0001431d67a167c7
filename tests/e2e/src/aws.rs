//! A world whose nodes are instances in a corner of AWS. Writes: processes, an emulator, and through its parts.

mod kubelet;

use anyhow::{Context as _, Result};
use evenkeel_harness::aws::{self, Aws, Call, Mark};
use evenkeel_harness::control_plane::Options;
use evenkeel_harness::fake_aws::Settings;

pub use kubelet::Kubelet;

use crate::nodes::CloudNodes;
use crate::{Cloud, World, WorldOptions};

/// A cluster on AWS. Dropped in the order of the fields.
pub struct AwsWorld {
    /// API server and controller.
    pub world: World,
    /// What went over the wire, and a client that is not ours.
    pub aws: Aws,
    /// VPC, subnets and instances.
    pub site: aws::World,
    /// Their Node objects.
    pub nodes: CloudNodes,
}

impl AwsWorld {
    /// A cluster of this many nodes, with a controller that has further arguments.
    ///
    /// # Errors
    /// When a part does not come up: with the end of its log.
    pub async fn start(nodes: usize, run: &[&str]) -> Result<Self> {
        Self::start_where(true, nodes, run).await
    }

    /// The same where nothing answers on port 10256 of the nodes, as with a service proxy that is not kube-proxy.
    ///
    /// # Errors
    /// As [`AwsWorld::start`].
    pub async fn start_without_kube_proxy(nodes: usize, run: &[&str]) -> Result<Self> {
        Self::start_where(false, nodes, run).await
    }

    async fn start_where(kube_proxy: bool, nodes: usize, run: &[&str]) -> Result<Self> {
        let plane = Options {
            controller_manager: false,
            ..Options::default()
        };
        let aws = Aws::of_environment().await?;
        let mut all = Self::of(aws, plane, kube_proxy, nodes, run).await?;
        all.world.start_controller().await?;
        Ok(all)
    }

    /// The same on a control plane of the caller's choice; the controller is not started.
    ///
    /// # Errors
    /// As [`AwsWorld::start`].
    pub async fn without_controller(plane: Options, nodes: usize, run: &[&str]) -> Result<Self> {
        let aws = Aws::of_environment().await?;
        Self::of(aws, plane, true, nodes, run).await
    }

    /// The same where AWS is the fake, as told.
    ///
    /// # Errors
    /// As [`AwsWorld::start`].
    pub async fn on_fake(settings: Settings, plane: Options, nodes: usize) -> Result<Self> {
        let aws = Aws::fake(settings).await?;
        Self::of(aws, plane, true, nodes, &[]).await
    }

    async fn of(
        aws: Aws,
        plane: Options,
        kube_proxy: bool,
        nodes: usize,
        run: &[&str],
    ) -> Result<Self> {
        let options = aws::WorldOptions {
            nodes,
            ..aws::WorldOptions::default()
        };
        let site = aws::World::build(aws.client(), &options).await?;
        let world = on_cloud(plane, run, cloud(&aws, &site)).await?;
        let mut nodes = CloudNodes::new(world.client(), kube_proxy);
        for node in &site.nodes {
            nodes.join(node).await?;
        }
        Ok(Self {
            world,
            aws,
            site,
            nodes,
        })
    }

    /// Another cluster in the same place, on a control plane of the caller's choice; it has as many instances of its own. The
    /// controller is not started.
    ///
    /// # Errors
    /// As [`AwsWorld::start`].
    pub async fn beside(
        &mut self,
        plane: Options,
        nodes: usize,
        run: &[&str],
    ) -> Result<(World, CloudNodes)> {
        let made = self.site.add_nodes(self.aws.client(), nodes).await?;
        let cloud = self.world.cloud.clone().context("a cloud")?;
        let world = on_cloud(plane, run, cloud).await?;
        let mut joined = CloudNodes::new(world.client(), true);
        for node in &made {
            joined.join(node).await?;
        }
        // These are not nodes of this cluster.
        let ours = self.site.nodes.len() - made.len();
        self.site.nodes.truncate(ours);
        Ok((world, joined))
    }

    /// Starts an instance that joins the cluster.
    ///
    /// # Errors
    /// When AWS or the API server refuses.
    pub async fn add_node(&mut self) -> Result<aws::Node> {
        let made = self.add_nodes(1).await?;
        made.into_iter().next().context("no instance")
    }

    /// Starts so many.
    ///
    /// # Errors
    /// As [`AwsWorld::add_node`].
    pub async fn add_nodes(&mut self, count: usize) -> Result<Vec<aws::Node>> {
        let made = self.site.add_nodes(self.aws.client(), count).await?;
        for node in &made {
            self.nodes.join(node).await?;
        }
        Ok(made)
    }

    /// Takes a node out of the cluster; its instance runs on.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn remove_node(&mut self, node: &aws::Node) -> Result<()> {
        let name = &node.private_dns_name;
        self.nodes.leave(name).await?;
        self.site.nodes.retain(|one| one.private_dns_name != *name);
        Ok(())
    }

    /// The names of the writes that were answered since, in their order. What a write did can be seen before its answer is: wait for them.
    #[must_use]
    pub fn writes_since(&self, mark: Mark) -> Vec<String> {
        let calls = self.aws.calls().since(mark);
        let writes = calls.iter().filter(|call| !call.is_read());
        writes.map(Call::name).collect()
    }

    /// Takes everything down; fails if a request was seen that AWS's model forbids.
    ///
    /// # Errors
    /// With these requests, or when a part does not end.
    pub async fn stop(self) -> Result<()> {
        self.world.stop().await?;
        self.aws.check()
    }
}

async fn on_cloud(plane: Options, run: &[&str], cloud: Cloud) -> Result<World> {
    World::start(WorldOptions {
        plane,
        nodes: None,
        run: run.iter().map(ToString::to_string).collect(),
        data_plane: false,
        controller: false,
        cloud: Some(cloud),
        ..WorldOptions::default()
    })
    .await
}

/// An account for as many Services as anybody may have: emulators count none, and benches have thousands.
const ROOMY: &str =
    "load-balancers=100000,interfaces=1000000,target-groups=1000000,security-groups=100000";

fn cloud(aws: &Aws, site: &aws::World) -> Cloud {
    let args = [
        ("--aws-endpoint", aws.endpoint()),
        ("--aws-region", aws.region().to_owned()),
        ("--aws-vpc-id", site.vpc_id.clone()),
        ("--cluster-name", site.cluster.clone()),
        ("--aws-quota", ROOMY.to_owned()),
    ];
    let environment = aws.environment().into_iter();
    Cloud {
        provider: "aws",
        args: args
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect(),
        environment: environment
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}
