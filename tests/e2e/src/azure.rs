//! A world whose nodes are machines in a corner of Azure, as our fake plays it. Writes: processes, a fake, and through its parts.

use anyhow::{Context as _, Result};
use evenkeel_harness::control_plane::Options;
use evenkeel_harness::fake_azure::{self, FakeAzure, Mark, Settings};

use crate::nodes::{CloudNodes, Machine};
use crate::{Cloud, World, WorldOptions};

/// Where nodes are: their addresses answer on this machine.
const RANGE: &str = "127.81.0.0/16";

/// A cluster on Azure. Dropped in the order of the fields.
pub struct AzureWorld {
    /// API server and controller.
    pub world: World,
    /// Azure, with what went over the wire, and a client that is not ours.
    pub azure: FakeAzure,
    /// Virtual network, subnets and the nodes' interfaces.
    pub site: fake_azure::World,
    /// The nodes' Node objects.
    pub nodes: CloudNodes,
}

impl AzureWorld {
    /// A cluster of this many nodes, with a controller that has further arguments.
    ///
    /// # Errors
    /// When a part does not come up: with the end of its log.
    pub async fn start(nodes: usize, run: &[&str]) -> Result<Self> {
        let plane = Options {
            controller_manager: false,
            ..Options::default()
        };
        let mut all = Self::without_controller(Settings::default(), plane, nodes, run).await?;
        all.world.start_controller().await?;
        Ok(all)
    }

    /// The same on a control plane and with an Azure of the caller's choice; the controller is not started.
    ///
    /// # Errors
    /// As [`AzureWorld::start`].
    pub async fn without_controller(
        settings: Settings,
        plane: Options,
        nodes: usize,
        run: &[&str],
    ) -> Result<Self> {
        let azure = FakeAzure::start(settings).await?;
        let options = fake_azure::WorldOptions {
            nodes: 0,
            range: Some(RANGE),
            ..fake_azure::WorldOptions::default()
        };
        let site = fake_azure::World::build(&azure, &options);
        let mut world = World::start(WorldOptions {
            plane,
            nodes: None,
            run: run.iter().map(ToString::to_string).collect(),
            data_plane: false,
            controller: false,
            ..WorldOptions::default()
        })
        .await?;
        world.cloud = Some(cloud(&azure, &site, &world)?);
        let joined = CloudNodes::new(world.client(), true);
        let mut all = Self {
            world,
            azure,
            site,
            nodes: joined,
        };
        for _ in 0..nodes {
            all.add_node().await?;
        }
        Ok(all)
    }

    /// Starts a machine that joins the cluster; returns the node's name.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn add_node(&mut self) -> Result<String> {
        join(&mut self.nodes, &mut self.site, &self.azure).await
    }

    /// The names of the writes that were answered since, in their order. What a write did can be seen before its answer is: wait for them.
    #[must_use]
    pub fn writes_since(&self, mark: Mark) -> Vec<String> {
        let calls = self.azure.calls().since(mark);
        let writes = calls.into_iter().filter(|call| !call.is_read());
        writes.map(|call| call.kind).collect()
    }

    /// Takes everything down; fails if a request was seen that Azure's description forbids.
    ///
    /// # Errors
    /// With these requests, or when a part does not end.
    pub async fn stop(self) -> Result<()> {
        self.world.stop().await?;
        self.azure.check()
    }
}

/// Starts a machine that joins a cluster; returns the node's name.
///
/// # Errors
/// When the API server refuses.
pub async fn join(
    nodes: &mut CloudNodes,
    site: &mut fake_azure::World,
    azure: &FakeAzure,
) -> Result<String> {
    let name = format!("n{}", site.nodes.len() + 1);
    let address = nodes.join(machine(&name, site, azure)).await?;
    Ok(site.add_node_at(azure, &address.to_string()))
}

/// A machine as Azure's cloud provider writes it down in the Node object.
fn machine(name: &str, site: &fake_azure::World, azure: &FakeAzure) -> Machine {
    let (subscription, group) = (azure.subscription(), &site.group);
    Machine {
        name: name.to_owned(),
        zone: format!("{}-1", fake_azure::LOCATION),
        provider_id: format!(
            "azure:///subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
        ),
    }
}

/// The configuration is the file that the cloud's own controller reads.
fn cloud(azure: &FakeAzure, site: &fake_azure::World, world: &World) -> Result<Cloud> {
    let who = azure.identities();
    let file = world.plane.directory().join("azure.json");
    std::fs::write(&file, site.azure_json(azure).to_string())?;
    let file = file.to_str().context("a path in UTF-8")?.to_owned();
    let args = [
        ("--azure-config", file),
        ("--azure-authority", azure.endpoint()),
    ];
    Ok(Cloud {
        provider: "azure",
        args: args
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect(),
        // For commands, which have the configuration from the cluster, and that is without secrets.
        environment: [
            ("AZURE_TENANT_ID", who.tenant),
            ("AZURE_CLIENT_ID", who.client),
            ("AZURE_CLIENT_SECRET", who.secret),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
    })
}
