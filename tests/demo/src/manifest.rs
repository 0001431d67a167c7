//! Applying manifests, as `kubectl apply --server-side` does. Writes: the API server.

use anyhow::{Context as _, Result};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;

/// The objects of a manifest.
///
/// # Errors
/// When it is not YAML.
pub(crate) fn read(text: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(text).context("the manifest is not YAML")
}

/// Applies objects to a namespace; returns `kind/name` of each.
///
/// # Errors
/// When the API server refuses one.
pub(crate) async fn apply(
    client: &Client,
    namespace: &str,
    objects: &[Value],
) -> Result<Vec<String>> {
    let mut applied = Vec::new();
    for object in objects {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let (group, version) = text("/apiVersion")
            .rsplit_once('/')
            .unwrap_or(("", text("/apiVersion")));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        api.patch(
            name,
            &PatchParams::apply("evenkeel-demo").force(),
            &Patch::Apply(object),
        )
        .await
        .with_context(|| format!("apply {kind}/{name}"))?;
        applied.push(format!("{}/{name}", kind.to_lowercase()));
    }
    Ok(applied)
}
