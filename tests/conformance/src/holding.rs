//! What the data plane holds for one Service. Reads what its API told.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The kinds of objects, as the API lists them and as its paths name them; what refers comes before what is referred to.
pub(crate) const KINDS: [(&str, &str); 4] = [
    ("listeners", "listeners"),
    ("backend_sets", "backendsets"),
    ("leases", "leases"),
    // Of a cloud that has them.
    ("security_groups", ""),
];

/// The objects of one Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Holding {
    objects: BTreeMap<&'static str, Vec<Value>>,
}

impl Holding {
    /// Those of a Service, out of all there are.
    pub(crate) fn of(all: &Value, uid: &str) -> Self {
        let of_kind = |kind: &str| -> Vec<Value> {
            let objects = all[kind].as_array().into_iter().flatten();
            objects
                .filter(|object| {
                    object["marks"]["member"] == uid || object["marks"]["group"] == uid
                })
                .cloned()
                .collect()
        };
        Self {
            objects: KINDS
                .iter()
                .map(|(kind, _)| (*kind, of_kind(kind)))
                .collect(),
        }
    }

    pub(crate) fn kind(&self, kind: &str) -> &[Value] {
        self.objects
            .get(kind)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.objects.values().all(Vec::is_empty)
    }

    /// Generations by kind and name: equal when nothing was written.
    pub(crate) fn generations(&self) -> BTreeMap<String, u64> {
        let all = self
            .objects
            .iter()
            .flat_map(|(kind, objects)| objects.iter().map(move |object| (kind, object)));
        all.map(|(kind, object)| {
            let name = object["name"].as_str().unwrap_or_default();
            let generation = object["generation"].as_u64().unwrap_or_default();
            (format!("{kind}/{name}"), generation)
        })
        .collect()
    }

    /// The ports that are listened on.
    pub(crate) fn ports(&self) -> BTreeSet<u64> {
        let listeners = self.kind("listeners").iter();
        listeners
            .filter_map(|listener| listener["spec"]["port"].as_u64())
            .collect()
    }

    /// The listeners as `53/UDP`, with the ports of the targets behind each; one for two protocols is two.
    pub(crate) fn served(&self) -> BTreeSet<(String, BTreeSet<u64>)> {
        let behind = |listener: &Value| {
            let sets = self.kind("backend_sets").iter();
            let mut sets = sets.filter(|set| set["name"] == listener["spec"]["backend_set"]);
            let targets = sets
                .next()
                .and_then(|set| set["spec"]["targets"].as_array());
            let ports = targets.into_iter().flatten();
            ports.filter_map(|target| target["port"].as_u64()).collect()
        };
        let mut all = BTreeSet::new();
        for listener in self.kind("listeners") {
            let (spec, ports): (_, BTreeSet<_>) = (&listener["spec"], behind(listener));
            let protocols = spec["protocol"].as_str().unwrap_or_default();
            for protocol in protocols.split('_') {
                all.insert((format!("{}/{protocol}", spec["port"]), ports.clone()));
            }
        }
        all
    }

    /// The only object of a kind.
    pub(crate) fn only(&self, kind: &str) -> Result<&Value> {
        match self.kind(kind) {
            [one] => Ok(one),
            others => anyhow::bail!("there are {} {kind}, not one", others.len()),
        }
    }

    /// The targets of all backend sets: node and port.
    pub(crate) fn targets(&self) -> BTreeSet<(String, u64)> {
        let sets = self.kind("backend_sets").iter();
        sets.flat_map(|set| set["spec"]["targets"].as_array().into_iter().flatten())
            .filter_map(|target| {
                Some((
                    target["node"].as_str()?.to_owned(),
                    target["port"].as_u64()?,
                ))
            })
            .collect()
    }

    /// The nodes among the targets.
    pub(crate) fn nodes(&self) -> BTreeSet<String> {
        self.targets().into_iter().map(|(node, _)| node).collect()
    }

    /// The nodes among the targets that are healthy in any backend set.
    pub(crate) fn healthy_nodes(&self) -> BTreeSet<String> {
        let sets = self.kind("backend_sets").iter();
        sets.flat_map(|set| set["status"]["targets"].as_array().into_iter().flatten())
            .filter(|target| target["health"] == "healthy")
            .filter_map(|target| target["target"]["node"].as_str().map(str::to_owned))
            .collect()
    }

    /// The ports of the targets.
    pub(crate) fn target_ports(&self) -> BTreeSet<u64> {
        self.targets().into_iter().map(|(_, port)| port).collect()
    }

    /// What the only listener lets in; None is everyone.
    pub(crate) fn source_ranges(&self) -> Result<Option<Vec<String>>> {
        let ranges = &self.only("listeners")?["spec"]["source_ranges"];
        if ranges.is_null() {
            return Ok(None);
        }
        let ranges = ranges.as_array().context("source_ranges is no list")?;
        Ok(Some(
            ranges
                .iter()
                .filter_map(|range| range.as_str().map(str::to_owned))
                .collect(),
        ))
    }

    /// The health check of the only backend set.
    pub(crate) fn health_check(&self) -> Result<&Value> {
        Ok(&self.only("backend_sets")?["spec"]["health_check"])
    }
}
