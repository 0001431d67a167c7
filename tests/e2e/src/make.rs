//! Making what Services stand in front of. Writes: the API server.

use std::collections::BTreeSet;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::World;

impl World {
    /// Runs pods with the label `app: NAME` and the port `http` 8080, as a Deployment that is made or changed, and waits until they are
    /// Ready; returns their names.
    ///
    /// # Errors
    /// When the API server refuses it, or the pods are not Ready in time.
    pub async fn deploy(
        &self,
        namespace: &str,
        name: &str,
        replicas: usize,
    ) -> Result<BTreeSet<String>> {
        let deployments: Api<Deployment> = Api::namespaced(self.client(), namespace);
        let labels = json!({"app": name});
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "web", "image": "web", "ports": [{"name": "http", "containerPort": 8080}]}]},
                },
            },
        });
        let parameters = PatchParams::apply("evenkeel-tests").force();
        deployments
            .patch(name, &parameters, &Patch::Apply(deployment))
            .await?;
        self.await_ready_pods(namespace, &format!("app={name}"), replicas)
            .await
    }
}
