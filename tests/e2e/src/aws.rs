//! A world whose nodes are instances in a corner of AWS. Writes: processes, Node objects, an emulator.

use anyhow::{Context as _, Result};
use evenkeel_harness::aws::{self, Aws};
use evenkeel_harness::control_plane::Options;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::{Cloud, World, WorldOptions};

/// A cluster on AWS. Dropped in the order of the fields.
pub struct AwsWorld {
    /// API server and controller.
    pub world: World,
    /// What went over the wire, and a client that is not ours.
    pub aws: Aws,
    /// VPC, subnets and instances.
    pub site: aws::World,
}

impl AwsWorld {
    /// A cluster of this many nodes, with a controller that has further arguments.
    ///
    /// # Errors
    /// When a part does not come up: with the end of its log.
    pub async fn start(nodes: usize, run: &[&str]) -> Result<Self> {
        let plane = Options {
            controller_manager: false,
            ..Options::default()
        };
        let mut all = Self::without_controller(plane, nodes, run).await?;
        all.world.start_controller().await?;
        Ok(all)
    }

    /// The same on a control plane of the caller's choice; the controller is not started.
    ///
    /// # Errors
    /// As [`AwsWorld::start`].
    pub async fn without_controller(plane: Options, nodes: usize, run: &[&str]) -> Result<Self> {
        let aws = Aws::moto().await?;
        let options = aws::WorldOptions {
            nodes,
            ..aws::WorldOptions::default()
        };
        let site = aws::World::build(aws.client(), &options).await?;
        let world = World::start(WorldOptions {
            plane,
            nodes: None,
            run: run.iter().map(ToString::to_string).collect(),
            data_plane: false,
            controller: false,
            cloud: Some(cloud(&aws, &site)),
            ..WorldOptions::default()
        })
        .await?;
        for node in &site.nodes {
            join(world.client(), node).await?;
        }
        Ok(Self { world, aws, site })
    }

    /// Starts an instance that joins the cluster.
    ///
    /// # Errors
    /// When AWS or the API server refuses.
    pub async fn add_node(&mut self) -> Result<aws::Node> {
        let made = self.site.add_nodes(self.aws.client(), 1).await?;
        let node = made.into_iter().next().context("no instance")?;
        join(self.world.client(), &node).await?;
        Ok(node)
    }

    /// Takes a node out of the cluster; its instance runs on.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn remove_node(&mut self, node: &aws::Node) -> Result<()> {
        let name = &node.private_dns_name;
        let nodes = Api::<Node>::all(self.world.client());
        nodes.delete(name, &DeleteParams::default()).await?;
        self.site.nodes.retain(|one| one.private_dns_name != *name);
        Ok(())
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

fn cloud(aws: &Aws, site: &aws::World) -> Cloud {
    let args = [
        ("--aws-endpoint", aws.endpoint()),
        ("--aws-region", aws.region().to_owned()),
        ("--aws-vpc-id", site.vpc_id.clone()),
        ("--cluster-name", site.cluster.clone()),
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

/// The Node object as an instance's kubelet and AWS's node controller make it, Ready from the start.
async fn join(client: Client, node: &aws::Node) -> Result<()> {
    let nodes = Api::<Node>::all(client);
    let name = &node.private_dns_name;
    let object = json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": node.zone,
        }},
        "spec": {"providerID": node.provider_id()},
        "status": {
            // No InternalIP, where the controller would ask for kube-proxy's health: nobody is there.
            "addresses": [{"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "set by the test",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    });
    let object = serde_json::from_value(object)?;
    nodes.create(&PostParams::default(), &object).await?;
    // The API server taints every new node as not ready and leaves it to a controller, which does not run, to look again.
    let untaint = Patch::Merge(json!({"spec": {"taints": null}}));
    let untainted = nodes.patch(name, &PatchParams::default(), &untaint).await;
    untainted.context("untaint the Node object")?;
    Ok(())
}
