//! The load balancer of one Service, as the data plane has it. Reads what its API told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What the data plane has for one Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Balancer {
    leases: Vec<Value>,
    backend_sets: Vec<Value>,
    listeners: Vec<Value>,
}

impl Balancer {
    /// That of a Service, out of all there is.
    pub(crate) fn of(all: &Value, uid: &str) -> Self {
        let of_kind = |kind: &str| -> Vec<Value> {
            let objects = all[kind].as_array().into_iter().flatten();
            let ours = |marks: &Value| marks["member"] == uid || marks["group"] == uid;
            objects.filter(|o| ours(&o["marks"])).cloned().collect()
        };
        Self {
            leases: of_kind("leases"),
            backend_sets: of_kind("backend_sets"),
            listeners: of_kind("listeners"),
        }
    }

    /// Whether there is none.
    pub(crate) fn is_none(&self) -> bool {
        self.objects().next().is_none()
    }

    /// The ports that it listens on.
    pub(crate) fn ports(&self) -> BTreeSet<u64> {
        let ports = self.listeners.iter().map(|l| &l["spec"]["port"]);
        ports.filter_map(Value::as_u64).collect()
    }

    /// The nodes' ports that it sends connections to.
    pub(crate) fn target_ports(&self) -> BTreeSet<u64> {
        self.targets()
            .filter_map(|(target, _)| target["port"].as_u64())
            .collect()
    }

    /// The nodes that are targets.
    pub(crate) fn nodes(&self) -> BTreeSet<String> {
        self.targets().filter_map(|(t, _)| node(t)).collect()
    }

    /// The nodes that get connections.
    pub(crate) fn healthy(&self) -> BTreeSet<String> {
        self.targets()
            .filter(|(_, status)| status["health"] == "healthy")
            .filter_map(|(target, _)| node(target))
            .collect()
    }

    /// Why a node gets none, in the health check's words.
    pub(crate) fn why_not(&self, name: &str) -> String {
        let reason = self
            .targets()
            .find(|(target, _)| target["node"] == name)
            .and_then(|(_, status)| status["reason"].as_str());
        reason.unwrap_or("no reason").to_owned()
    }

    /// A number for each object that grows when it is written.
    pub(crate) fn generations(&self) -> BTreeMap<String, u64> {
        self.objects()
            .filter_map(|o| Some((o["name"].as_str()?.to_owned(), o["generation"].as_u64()?)))
            .collect()
    }

    fn objects(&self) -> impl Iterator<Item = &Value> {
        [&self.leases, &self.backend_sets, &self.listeners]
            .into_iter()
            .flatten()
    }

    /// Each target with its status.
    fn targets(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let statuses = self
            .backend_sets
            .iter()
            .flat_map(|set| set["status"]["targets"].as_array().into_iter().flatten());
        statuses.map(|status| (&status["target"], status))
    }
}

fn node(target: &Value) -> Option<String> {
    target["node"].as_str().map(str::to_owned)
}
