//! Who the controller is: somebody with the permissions that the book lists, and no others. Reads the book, Writes the role.

use anyhow::{Context as _, Result};
use evenkeel_harness::control_plane::ControlPlane;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::door::Access;

/// The page that lists the permissions.
const BOOK: &str = include_str!("../../../docs/install.md");
/// The service account's name and namespace, which are those of the controller's own objects.
const NAME: &str = "evenkeel";
pub(crate) const NAMESPACE: &str = "kube-system";
/// The user that it is.
pub(crate) const USER: &str = "system:serviceaccount:kube-system:evenkeel";

/// A line of the book's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permission {
    /// Only in the namespace of the controller's own objects; else everywhere.
    pub(crate) at_home: bool,
    pub(crate) group: String,
    pub(crate) resource: String,
    /// Only objects of these names; empty is all.
    pub(crate) names: Vec<String>,
    pub(crate) verbs: Vec<String>,
}

impl Permission {
    pub(crate) fn covers(&self, access: &Access) -> bool {
        (!self.at_home || access.namespace == NAMESPACE)
            && self.group == access.group
            && self.resource == access.resource
            && (self.names.is_empty() || self.names.contains(&access.name))
            && self.verbs.iter().any(|verb| verb == access.verb)
    }

    fn rule(&self) -> Value {
        json!({
            "apiGroups": [self.group],
            "resources": [self.resource],
            "resourceNames": self.names,
            "verbs": self.verbs,
        })
    }
}

/// The permissions that the book lists: under the heading "Permissions", a table of group, resource, verbs, why, and one of
/// those in the namespace of the controller's own objects.
pub(crate) fn documented() -> Vec<Permission> {
    let section = BOOK
        .split("\n## ")
        .find(|section| section.starts_with("Permissions"));
    let lines: Vec<_> = section.unwrap_or_default().lines().collect();
    let tables = lines
        .split(|line| !line.starts_with('|'))
        .filter(|table| !table.is_empty());
    tables
        .enumerate()
        .flat_map(|(number, table)| {
            let rows = table.iter().skip(2);
            rows.filter_map(move |row| permission(row, number > 0))
        })
        .collect()
}

fn permission(row: &str, at_home: bool) -> Option<Permission> {
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    let [_, group, resource, verbs, ..] = cells.as_slice() else {
        return None;
    };
    // Of a name it is said by which flag it can be another one.
    let mut code = resource
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| !code.starts_with('-'))
        .map(str::to_owned);
    Some(Permission {
        at_home,
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
    let (home, everywhere): (Vec<_>, Vec<_>) = documented()
        .into_iter()
        .partition(|permission| permission.at_home);
    let rules = |all: &[Permission]| all.iter().map(Permission::rule).collect::<Vec<_>>();
    let role = |all: &[Permission]| json!({"metadata": {"name": NAME}, "rules": rules(all)});
    let binding = |kind: &str| {
        json!({
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        })
    };
    let client = plane.client();
    create(&Api::<ClusterRole>::all(client.clone()), role(&everywhere)).await?;
    let bindings = Api::<ClusterRoleBinding>::all(client.clone());
    create(&bindings, binding("ClusterRole")).await?;
    let roles = Api::<Role>::namespaced(client.clone(), NAMESPACE);
    create(&roles, role(&home)).await?;
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), NAMESPACE);
    create(&bindings, binding("Role")).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, NAMESPACE);
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
        let access = |verb, namespace: &str, resource: &str, name: &str| Access {
            verb,
            group: match resource {
                "leases" => "coordination.k8s.io".to_owned(),
                _ => String::new(),
            },
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        for (access, expected) in [
            (access("watch", "", "services", ""), true),
            (access("patch", "shop", "services/status", "web"), true),
            (access("patch", "shop", "services", "web"), false),
            (access("get", "", "namespaces", "kube-system"), true),
            (access("get", "", "namespaces", "shop"), false),
            (access("create", NAMESPACE, "leases", ""), true),
            (access("create", "shop", "leases", ""), false),
            (access("update", NAMESPACE, "leases", "evenkeel"), true),
            (access("update", NAMESPACE, "leases", "other"), false),
        ] {
            let covered = all.iter().any(|permission| permission.covers(&access));
            assert_eq!(covered, expected, "{access:?}: {all:?}");
        }
    }
}
