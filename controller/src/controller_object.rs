//! The controller's own object in the cluster: a ConfigMap that says how it runs and what is wrong with it (Decides).
//!
//! The leader publishes it. A command line on a laptop finds it by its labels and plans with the very configuration that
//! the cluster runs with. A fault of the controller itself (a provider's credentials, nodes that are held) is one
//! condition here, not one on every Service. It holds no secrets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Deserialize, Serialize};

/// The labels by which the object is found, whatever its name and namespace are.
pub const LABELS: [(&str, &str); 2] = [
    ("app.kubernetes.io/name", "evenkeel"),
    ("app.kubernetes.io/component", "controller"),
];

/// Key of [`ControllerObject::configuration`].
const CONFIGURATION: &str = "configuration";
/// Key of [`ControllerObject::about`].
const ABOUT: &str = "about";
/// Key of [`ControllerObject::conditions`].
const CONDITIONS: &str = "conditions";

/// What the object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControllerObject {
    /// The effective configuration, as a configuration file: names of options with all their values. What only concerns
    /// the process itself (how it logs, where it listens) is not in it.
    pub configuration: BTreeMap<String, Vec<String>>,
    /// Who published it.
    pub about: About,
    /// What holds of the controller as a whole, sorted by type and provider.
    pub conditions: Vec<ControllerCondition>,
}

/// The process that leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct About {
    /// Its version.
    pub version: String,
    /// Its name among the replicas: the holder of the Lease.
    pub identity: String,
    /// Its pod, when it runs in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Where it serves health, metrics and what it knows of the Services; None: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

/// One fact about the controller as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerCondition {
    /// What: `ProviderReady`, `NodesTrusted`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Of which provider.
    pub provider: String,
    /// `True`, `False` or `Unknown`. True is good.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, with what to do next.
    pub message: String,
    /// Since when.
    pub last_transition_time: Timestamp,
}

impl ControllerObject {
    /// The object as it is published.
    pub fn to_config_map(&self, namespace: &str, name: &str) -> ConfigMap {
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        let data = [
            (
                CONFIGURATION,
                json(serde_json::to_string_pretty(&self.configuration)),
            ),
            (ABOUT, json(serde_json::to_string_pretty(&self.about))),
            (
                CONDITIONS,
                json(serde_json::to_string_pretty(&self.conditions)),
            ),
        ];
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                labels: Some(LABELS.map(owned).into()),
                ..ObjectMeta::default()
            },
            data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ConfigMap::default()
        }
    }

    /// What an object says. A part that cannot be read, perhaps of a later version, says nothing.
    pub fn from_config_map(object: &ConfigMap) -> Self {
        let text = |key| object.data.as_ref().and_then(|data| data.get(key));
        fn read<T: Default + for<'a> Deserialize<'a>>(text: Option<&String>) -> T {
            text.and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default()
        }
        Self {
            configuration: read(text(CONFIGURATION)),
            about: read(text(ABOUT)),
            conditions: read(text(CONDITIONS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_can_be_read() {
        let object = ControllerObject {
            configuration: [("provider".to_owned(), vec!["local".to_owned()])].into(),
            about: About {
                version: "1.2.3".into(),
                identity: "pod-a_1".into(),
                pod: None,
                listen: Some("127.0.0.1:10290".into()),
            },
            conditions: vec![ControllerCondition {
                type_: "ProviderReady".into(),
                provider: "local".into(),
                status: "False".into(),
                reason: "PermissionDenied".into(),
                message: "no".into(),
                last_transition_time: "2026-01-02T03:04:05Z".parse().expect("a time"),
            }],
        };
        let published = object.to_config_map("kube-system", "evenkeel");
        assert_eq!(ControllerObject::from_config_map(&published), object);
        assert_eq!(
            ControllerObject::from_config_map(&ConfigMap::default()),
            ControllerObject::default()
        );
    }
}
