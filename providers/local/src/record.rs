//! What a data plane has, written down: the `cloud` part of a document of facts, and the words for objects in plans (Decides;
//! [`look`] Reads).
//!
//! The words are those of the data plane's API. What its pools have free is the data plane's own to judge, so an address that is not held
//! yet is known after apply.

use std::collections::BTreeMap;

use evenkeel_core::{
    error::CloudError,
    ids::GroupKey,
    problem::{Problem, Problems},
    provider::{Snapshot, SnapshotPart, Want},
    record::{Cloud, Document, Record},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Local,
    api::{
        BackendSetSpec, Health, LeaseSpec, LeaseStatus, ListenerPhase, ListenerSpec, Marks, Objects,
    },
    client::Client,
    model::{Desired, Observed, Seen},
    snapshot,
};

/// A document of facts for this provider.
pub type LocalFacts = Document<LocalCloud>;

/// What a data plane has of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalCloud {
    /// The addresses that are held.
    #[serde(default)]
    pub leases: Vec<ObjectRecord<LeaseSpec, LeaseStatus>>,
    /// The sets of targets.
    #[serde(default)]
    pub backend_sets: Vec<ObjectRecord<BackendSetSpec, HealthRecord>>,
    /// The ports that are listened on.
    #[serde(default)]
    pub listeners: Vec<ObjectRecord<ListenerSpec, ListenerPhase>>,
}

impl Cloud for LocalCloud {
    const KIND: &'static str = "LocalFacts";
}

/// An object of the data plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "{Spec}Object")]
pub struct ObjectRecord<Spec, Status> {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub marks: Marks,
    /// Its generation; missing: known after apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// What was asked.
    pub spec: Spec,
    /// What is; missing: known after apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// The health of a backend set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthRecord {
    /// How many of its targets are healthy.
    pub healthy: u32,
}

/// Everything that one group of Services has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "LocalObjects")]
pub struct GroupObjects(LocalCloud);

impl GroupObjects {
    /// All that a group has.
    pub fn of(seen: &Observed) -> Self {
        let leases = seen.leases.iter();
        let backend_sets = seen.backend_sets.iter();
        let listeners = seen.listeners.iter();
        Self(LocalCloud {
            leases: leases
                .map(|(name, seen)| {
                    ObjectRecord::of(name, seen, seen.spec.clone(), seen.status.clone())
                })
                .collect(),
            backend_sets: backend_sets
                .map(|(name, seen)| {
                    let status = seen.status.map(|healthy| HealthRecord { healthy });
                    ObjectRecord::of(name, seen, seen.spec.to_wire(), status)
                })
                .collect(),
            listeners: listeners
                .map(|(name, seen)| {
                    ObjectRecord::of(name, seen, seen.spec.clone(), seen.status.clone())
                })
                .collect(),
        })
    }
}

impl<Spec, Status> ObjectRecord<Spec, Status> {
    fn of<S, T>(name: &str, seen: &Seen<S, T>, spec: Spec, status: Option<Status>) -> Self {
        Self {
            name: name.to_owned(),
            marks: seen.marks.clone(),
            generation: seen.generation,
            spec,
            status,
        }
    }
}

/// Reads all that the data plane has of the cluster.
///
/// # Errors
/// When the data plane does not answer.
pub async fn look(local: &Local) -> Result<LocalCloud, CloudError> {
    let Objects {
        leases,
        backend_sets,
        listeners,
    } = local.client().objects(None).await?;
    let healthy = |targets: &[crate::api::TargetStatus]| {
        let targets = targets.iter();
        let healthy = targets.filter(|target| target.health == Health::Healthy);
        u32::try_from(healthy.count()).unwrap_or(u32::MAX)
    };
    Ok(LocalCloud {
        leases: leases
            .into_iter()
            .map(|lease| ObjectRecord {
                name: lease.name,
                marks: lease.marks,
                generation: Some(lease.generation),
                spec: lease.spec,
                status: Some(lease.status),
            })
            .collect(),
        backend_sets: backend_sets
            .into_iter()
            .map(|set| ObjectRecord {
                name: set.name,
                marks: set.marks,
                generation: Some(set.generation),
                spec: set.spec,
                status: Some(HealthRecord {
                    healthy: healthy(&set.status.targets),
                }),
            })
            .collect(),
        listeners: listeners
            .into_iter()
            .map(|listener| ObjectRecord {
                name: listener.name,
                marks: listener.marks,
                generation: Some(listener.generation),
                spec: listener.spec,
                status: Some(listener.status.phase),
            })
            .collect(),
    })
}

/// A data plane that was written down, as the provider sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    groups: BTreeMap<String, Observed>,
}

impl World {
    /// What a document says of the objects of a cluster.
    ///
    /// # Errors
    /// Everything in it that has no meaning, by the path of the field.
    pub fn new(cloud: &LocalCloud, cluster: &str) -> Result<Self, Problems> {
        // It only knows how objects are kept, and is never asked.
        let client = Client::new("", cluster.into(), crate::client::CALL_TIMEOUT);
        let mut problems = Problems::none();
        let mut world = Self::default();
        for (index, record) in cloud.leases.iter().enumerate() {
            let at = format!("cloud.leases[{index}]");
            let seen = record.seen(record.spec.clone(), record.status.clone());
            if let Some(group) = world.group(&at, cluster, &record.marks, &mut problems) {
                let before = group.leases.insert(record.name.clone(), seen);
                once(&at, &record.name, before.is_none(), &mut problems);
            }
        }
        for (index, record) in cloud.backend_sets.iter().enumerate() {
            let at = format!("cloud.backendSets[{index}]");
            let spec = client.seen_spec(record.spec.clone(), &record.marks);
            let seen = record.seen(spec, record.status.map(|status| status.healthy));
            if let Some(group) = world.group(&at, cluster, &record.marks, &mut problems) {
                let before = group.backend_sets.insert(record.name.clone(), seen);
                once(&at, &record.name, before.is_none(), &mut problems);
            }
        }
        for (index, record) in cloud.listeners.iter().enumerate() {
            let at = format!("cloud.listeners[{index}]");
            let seen = record.seen(record.spec.clone(), record.status.clone());
            if let Some(group) = world.group(&at, cluster, &record.marks, &mut problems) {
                let before = group.listeners.insert(record.name.clone(), seen);
                once(&at, &record.name, before.is_none(), &mut problems);
            }
        }
        problems.check()?;
        Ok(world)
    }

    fn group(
        &mut self,
        at: &str,
        cluster: &str,
        marks: &Marks,
        problems: &mut Problems,
    ) -> Option<&mut Observed> {
        if marks.cluster != cluster {
            problems.push(Problem::new(
                format!("{at}.marks.cluster"),
                &marks.cluster,
                format!("is not the UID of this cluster, {cluster}"),
                "Leave out what is another cluster's.",
            ));
            return None;
        }
        Some(self.groups.entry(marks.group.clone()).or_default())
    }
}

impl<Spec, Status> ObjectRecord<Spec, Status> {
    fn seen<S, T>(&self, spec: S, status: Option<T>) -> Seen<S, T> {
        Seen {
            marks: self.marks.clone(),
            spec,
            generation: self.generation,
            status,
        }
    }
}

/// Of each name there is one.
fn once(at: &str, name: &str, is_first: bool, problems: &mut Problems) {
    if !is_first {
        problems.push(Problem::new(
            format!("{at}.name"),
            name,
            "stands twice",
            "Keep one of the two.",
        ));
    }
}

impl Record<Local> for World {
    fn observe(&self, key: &GroupKey, _: &Want<Desired>) -> Observed {
        let group = self.groups.get(&key.identity());
        group.cloned().unwrap_or_default()
    }

    fn snapshot(&self) -> Snapshot<Observed> {
        let part = |(identity, observed): (&String, &Observed)| {
            let part = SnapshotPart {
                service: snapshot::service(observed),
                objects: observed.len(),
                observed: observed.clone(),
            };
            (identity.clone(), part)
        };
        Snapshot {
            groups: self.groups.iter().map(part).collect(),
        }
    }
}
