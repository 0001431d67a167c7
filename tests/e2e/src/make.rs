//! Making Services and what they stand in front of. Writes: the API server.

use std::collections::BTreeSet;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::World;

/// A Service of our class for the pods with the label `app: web`, with one port and these annotations (null: none).
pub fn load_balancer(name: &str, port: u16, annotations: Value) -> Service {
    let service = json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/local",
            "selector": {"app": "web"},
            "ports": [{"port": port}],
        },
    });
    serde_json::from_value(service).expect("a Service")
}

impl World {
    /// Creates [`load_balancer`].
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn expose(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
        annotations: Value,
    ) -> Result<Service> {
        let service = load_balancer(name, port, annotations);
        let services = self.services(namespace);
        Ok(services.create(&PostParams::default(), &service).await?)
    }

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
