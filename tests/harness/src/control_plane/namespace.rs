//! A Kubernetes namespace per test, deleted with the test. Writes to the API server.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client, Config};

use crate::random;

/// How long the deletion may take: it is asked for, not awaited.
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);

/// A Kubernetes namespace with a name of its own; its deletion is asked for when this value is dropped.
#[derive(Debug)]
pub struct TestNamespace {
    name: String,
    config: Config,
}

impl TestNamespace {
    pub(super) async fn create(prefix: &str, client: Client, config: Config) -> Result<Self> {
        let name = format!("{prefix}-{}", random::hex(3));
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::all(client)
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("cannot create the namespace {name}"))?;
        Ok(Self { name, config })
    }

    /// The namespace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let config = self.config.clone();
        // The runtime that the test used may be ending: this needs one of its own, on a thread of its own.
        let deletion = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                let Ok(client) = Client::try_from(config) else {
                    return;
                };
                let namespaces = Api::<Namespace>::all(client);
                let parameters = DeleteParams::default();
                let deletion = namespaces.delete(&name, &parameters);
                // Best effort: the API server may be stopped, and everything goes with it anyway.
                let _ = tokio::time::timeout(DELETE_TIMEOUT, deletion).await;
            });
        });
        let _ = deletion.join();
    }
}
