//! Who the controller is: somebody with the permissions that the book lists, and no others. Reads the book, Writes the role.

use anyhow::{Context as _, Result};
use evenkeel_harness::control_plane::ControlPlane;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::door::Access;

/// The page that lists the permissions.
const BOOK: &str = include_str!("../../../docs/install.md");
/// The service account's name and namespace.
const NAME: &str = "evenkeel";
const NAMESPACE: &str = "kube-system";
/// The user that it is.
pub(crate) const USER: &str = "system:serviceaccount:kube-system:evenkeel";

/// A line of the book's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permission {
    pub(crate) group: String,
    pub(crate) resource: String,
    /// Only objects of these names; empty is all.
    pub(crate) names: Vec<String>,
    pub(crate) verbs: Vec<String>,
}

impl Permission {
    pub(crate) fn covers(&self, access: &Access) -> bool {
        self.group == access.group
            && self.resource == access.resource
            && (self.names.is_empty() || self.names.contains(&access.name))
            && self.verbs.iter().any(|verb| verb == access.verb)
    }
}

/// The permissions that the book lists: under the heading "Permissions", a table of group, resource, verbs, why.
pub(crate) fn documented() -> Vec<Permission> {
    let section = BOOK
        .split("\n## ")
        .find(|section| section.starts_with("Permissions"));
    let rows = section.unwrap_or_default().lines();
    let rows = rows.filter(|line| line.starts_with('|')).skip(2);
    rows.filter_map(permission).collect()
}

fn permission(row: &str) -> Option<Permission> {
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    let [_, group, resource, verbs, ..] = cells.as_slice() else {
        return None;
    };
    let mut code = resource.split('`').skip(1).step_by(2).map(str::to_owned);
    Some(Permission {
        group: group.trim_matches(['"', '`']).to_owned(),
        resource: code.next()?,
        names: code.collect(),
        verbs: verbs
            .split(',')
            .map(|verb| verb.trim().trim_matches('`').to_owned())
            .collect(),
    })
}

/// The token of somebody who may do what the book says, and nothing else.
pub(crate) async fn token(plane: &ControlPlane) -> Result<String> {
    let rules: Vec<_> = documented()
        .iter()
        .map(|permission| {
            json!({
                "apiGroups": [permission.group],
                "resources": [permission.resource],
                "resourceNames": permission.names,
                "verbs": permission.verbs,
            })
        })
        .collect();
    let role = json!({"metadata": {"name": NAME}, "rules": rules});
    let binding = json!({
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
    });
    create(&Api::<ClusterRole>::all(plane.client()), role).await?;
    create(&Api::<ClusterRoleBinding>::all(plane.client()), binding).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client(), NAMESPACE);
    create(&accounts, json!({"metadata": {"name": NAME}})).await?;
    let request: TokenRequest =
        serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": []}}))?;
    let granted = accounts
        .create_token_request(NAME, &PostParams::default(), &request)
        .await?;
    granted
        .status
        .and_then(|status| status.token)
        .context("no token")
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let object = serde_json::from_value(object)?;
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_book_is_read() {
        let all = documented();
        assert!(all.len() >= 5, "{all:?}");
        let access = |verb, resource: &str, name: &str| Access {
            verb,
            group: String::new(),
            resource: resource.to_owned(),
            name: name.to_owned(),
        };
        for (access, expected) in [
            (access("watch", "services", ""), true),
            (access("patch", "services/status", "web"), true),
            (access("patch", "services", "web"), false),
            (access("get", "namespaces", "kube-system"), true),
            (access("get", "namespaces", "shop"), false),
        ] {
            let covered = all.iter().any(|permission| permission.covers(&access));
            assert_eq!(covered, expected, "{access:?}: {all:?}");
        }
    }
}
