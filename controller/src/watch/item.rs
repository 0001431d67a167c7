//! One object of a watch, cut down to what is read (Decides).
//!
//! The cut is made while the answer is parsed, so that a page of large objects never lies in memory as a whole. What
//! cannot be parsed keeps its name, and its reason.

use std::{borrow::Cow, collections::BTreeMap};

use evenkeel_core::{
    annotation::key::LAST_APPLIED,
    condition::ConditionType,
    endpoints::{GATE_PREFIX, PodFacts, SliceFacts},
    nodes::NodeFacts,
};
use k8s_openapi::{
    api::{
        core::v1::{Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

/// The label that matters to a reading of a Service: it hands it to another service proxy.
const KEPT_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// What is kept of an object.
pub trait Trim: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The kind in Kubernetes.
    type Of: Resource<DynamicType = ()>;
    /// Its plural, for people.
    const PLURAL: &'static str;
    /// Whether an item brings its labels along, for whoever keeps some of them.
    const KEEPS_LABELS: bool = false;

    /// The labels of those that matter; None: all do.
    const LABELS: Option<&str> = None;

    /// Reads it, and keeps what is needed.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(object: Value) -> Result<Self, String>;
}

/// One object, or why it cannot be read.
#[derive(Clone, Debug)]
pub struct Item<T> {
    /// Name, namespace, UID and version; labels where [`Trim::KEEPS_LABELS`] says so.
    pub meta: ObjectMeta,
    /// What is kept.
    pub body: Result<T, String>,
}

impl<'de, T: Trim> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let text = |name: &str| {
            object
                .pointer(&format!("/metadata/{name}"))?
                .as_str()
                .map(str::to_owned)
        };
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            labels: T::KEEPS_LABELS.then(|| labels(&object)),
            ..ObjectMeta::default()
        };
        if meta.name.is_none() {
            return Err(D::Error::custom("an object without metadata.name"));
        }
        Ok(Self {
            meta,
            body: T::read(object),
        })
    }
}

impl<T: Trim> Resource for Item<T> {
    type DynamicType = ();
    type Scope = <T::Of as Resource>::Scope;

    fn kind(of: &()) -> Cow<'_, str> {
        T::Of::kind(of)
    }

    fn group(of: &()) -> Cow<'_, str> {
        T::Of::group(of)
    }

    fn version(of: &()) -> Cow<'_, str> {
        T::Of::version(of)
    }

    fn plural(of: &()) -> Cow<'_, str> {
        T::Of::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// A Service without what nobody reads: managed fields, what `kubectl apply` remembers, labels, the selector, conditions
/// of others.
impl Trim for Service {
    type Of = Self;
    const PLURAL: &'static str = "services";

    fn read(mut object: Value) -> Result<Self, String> {
        if let Some(metadata) = map(&mut object, "metadata") {
            for unread in [
                "managedFields",
                "ownerReferences",
                "generateName",
                "selfLink",
            ] {
                metadata.remove(unread);
            }
            if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                annotations.remove(LAST_APPLIED);
            }
            if let Some(Value::Object(labels)) = metadata.get_mut("labels") {
                labels.retain(|label, _| label == KEPT_LABEL);
            }
            for map in ["labels", "annotations"] {
                if metadata
                    .get(map)
                    .and_then(Value::as_object)
                    .is_some_and(Map::is_empty)
                {
                    metadata.remove(map);
                }
            }
        }
        if let Some(spec) = map(&mut object, "spec") {
            spec.remove("selector");
        }
        if let Some(Value::Array(conditions)) =
            map(&mut object, "status").and_then(|status| status.get_mut("conditions"))
        {
            conditions.retain(|condition| {
                let type_ = condition.get("type").and_then(Value::as_str);
                ConditionType::ALL
                    .iter()
                    .any(|ours| type_ == Some(ours.as_str()))
            });
        }
        serde_json::from_value(object).map_err(|error| error.to_string())
    }
}

/// Of a Node, its facts alone.
impl Trim for NodeFacts {
    type Of = Node;
    const PLURAL: &'static str = "nodes";
    const KEEPS_LABELS: bool = true;

    fn read(mut object: Value) -> Result<Self, String> {
        if let Some(metadata) = map(&mut object, "metadata") {
            metadata.remove("managedFields");
            metadata.remove("annotations");
        }
        // Only the addresses: the list of images and what the kubelet reports is most of a Node, and none of our business.
        if let Some(status) = map(&mut object, "status") {
            status.retain(|field, _| field == "addresses");
        }
        let node: Node = serde_json::from_value(object).map_err(|error| error.to_string())?;
        Ok(Self::from_resource(&node))
    }
}

/// Of an EndpointSlice, its facts alone. Those of Services without an address of their own are left out: no load balancer has one.
impl Trim for SliceFacts {
    type Of = EndpointSlice;
    const PLURAL: &'static str = "endpointslices";
    const LABELS: Option<&str> = Some("kubernetes.io/service-name,!service.kubernetes.io/headless");

    fn read(object: Value) -> Result<Self, String> {
        let slice: EndpointSlice =
            serde_json::from_value(object).map_err(|error| error.to_string())?;
        Ok(Self::from_resource(&slice))
    }
}

/// Of a Pod with a gate of ours, its facts alone. The others are not even read.
impl Trim for PodFacts {
    type Of = Pod;
    const PLURAL: &'static str = "pods";

    fn read(object: Value) -> Result<Self, String> {
        let gates = object.pointer("/spec/readinessGates");
        let gates = gates.and_then(Value::as_array).into_iter().flatten();
        let ours = gates
            .filter_map(|gate| gate.get("conditionType")?.as_str())
            .any(|type_| type_.starts_with(GATE_PREFIX));
        if !ours {
            return Ok(Self::default());
        }
        let pod: Pod = serde_json::from_value(object).map_err(|error| error.to_string())?;
        Ok(Self::from_resource(&pod))
    }
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn map<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(field)?.as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_reads_is_not_kept() {
        let item: Item<Service> = serde_json::from_value(json!({
            "metadata": {
                "name": "checkout", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
                "managedFields": [{"manager": "kubectl"}],
                "labels": {"app": "checkout", "service.kubernetes.io/service-proxy-name": "other"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "evenkeel.dev/scheme": "internal"},
                "finalizers": ["evenkeel.dev/local"],
            },
            "spec": {"type": "LoadBalancer", "selector": {"app": "checkout"}, "ports": [{"port": 80}], "someNewField": true},
            "status": {"loadBalancer": {}, "conditions": [
                {"type": "other.example/Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "evenkeel.dev/Serving", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]},
        }))
        .expect("has a name");
        assert_eq!(item.meta.resource_version.as_deref(), Some("7"));
        let service = item.body.expect("a Service");
        assert_eq!(service.metadata.managed_fields, None);
        assert_eq!(service.metadata.labels.map(|labels| labels.len()), Some(1));
        assert_eq!(
            service
                .metadata
                .annotations
                .map(|all| all.into_keys().collect()),
            Some(vec!["evenkeel.dev/scheme".to_owned()])
        );
        assert_eq!(
            service.metadata.finalizers,
            Some(vec!["evenkeel.dev/local".to_owned()])
        );
        assert_eq!(service.spec.and_then(|spec| spec.selector), None);
        let conditions = service
            .status
            .and_then(|status| status.conditions)
            .expect("ours");
        assert_eq!(
            conditions
                .iter()
                .map(|condition| condition.type_.as_str())
                .collect::<Vec<_>>(),
            ["evenkeel.dev/Serving"]
        );
    }

    #[test]
    fn what_cannot_be_read_keeps_its_name() {
        let item: Item<Service> = serde_json::from_value(json!({
            "metadata": {"name": "odd", "namespace": "shop", "resourceVersion": "8"},
            "spec": {"ports": "not a list"},
        }))
        .expect("has a name");
        assert_eq!(item.meta.name.as_deref(), Some("odd"));
        assert!(
            item.body
                .expect_err("ports are no list")
                .contains("not a list")
        );
    }

    #[test]
    fn the_facts_of_a_node_survive_odd_fields_beside_them() {
        let item: Item<NodeFacts> = serde_json::from_value(json!({
            "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "a"}},
            "spec": {"providerID": "aws:///a/i-1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "capacity": ["odd"]},
        }))
        .expect("has a name");
        let facts = item.body.expect("facts");
        assert_eq!(
            facts.addresses.as_ref(),
            ["10.0.0.1".parse::<std::net::IpAddr>().expect("an address")]
        );
        assert_eq!(facts.zone.as_deref(), Some("a"));
    }
}
