//! How nodes come and go. Writes: Node objects, and the pool's network.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::agent::{Agent, now};
use super::network::NodeNetwork;
use super::objects;
use crate::wait::eventually;

/// How long the API server may take to show what was asked of it.
pub(crate) const API_LIMIT: Duration = Duration::from_secs(30);

/// Adds a node; on failure nothing of it is left.
pub(crate) async fn add_node(agent: &Agent, name: &str) -> Result<()> {
    let network = agent.network.add_node(name).await?;
    let mut created = false;
    let started = start_node(agent, name, &network, &mut created).await;
    if started.is_err() {
        let _ = agent.network.remove_node(name).await;
        if created {
            let _ = agent.nodes().delete(name, &DeleteParams::default()).await;
        }
        return started;
    }
    {
        let mut state = agent.state();
        state.removed.remove(name);
        state.nodes.insert(name.to_owned(), network.addresses);
    }
    agent.changed.notify_one();
    Ok(())
}

/// `created` tells whether the Node object is ours: one that was there before stays.
async fn start_node(
    agent: &Agent,
    name: &str,
    network: &NodeNetwork,
    created: &mut bool,
) -> Result<()> {
    let node = objects::node(name, &network.addresses, &network.pod_ranges, &now());
    let node: Node = serde_json::from_value(node).context("node object")?;
    agent
        .nodes()
        .create(&PostParams::default(), &node)
        .await
        .context("create the Node object")?;
    *created = true;
    // The API server taints every new node as not ready and leaves it to a controller, which we do not run, to look again.
    let untaint = Patch::Merge(json!({"spec": {"taints": null}}));
    agent
        .nodes()
        .patch(name, &PatchParams::default(), &untaint)
        .await
        .context("untaint the Node object")?;
    agent.network.start_node(name).await
}

/// Takes a node away: network, object, pods.
pub(crate) async fn remove_node(agent: &Agent, name: &str) -> Result<()> {
    {
        let mut state = agent.state();
        ensure!(
            state.nodes.remove(name).is_some(),
            "the pool has no such node"
        );
        state.removed.insert(name.to_owned());
    }
    let network = agent.network.remove_node(name).await;
    match agent.nodes().delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error).context("delete the Node object"),
    }
    agent.changed.notify_one();
    let pods: Api<Pod> = Api::all(agent.client.clone());
    let of_node = ListParams::default().fields(&format!("spec.nodeName={name}"));
    eventually("the pods of the node to go", API_LIMIT, || async {
        let left = pods.list(&of_node).await?.items;
        let names: Vec<_> = left
            .iter()
            .filter_map(|p| p.metadata.name.as_deref())
            .collect();
        ensure!(names.is_empty(), "still there: {names:?}");
        Ok(())
    })
    .await?;
    network
}

impl Agent {
    /// The Node objects.
    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }
}
