//! The marks that this cluster has put into its clouds, in the controller's own ConfigMap (Reads and Writes the API server).
//!
//! They stand beside what [`crate::controller_object`] publishes. A write names the version that it is meant for, so that none of two
//! processes loses the other's mark. Where the right to write is missing nothing is remembered, and none is put into the cloud.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_core::{
    error::{CloudError, ErrorClass, chain},
    holder::{Ledger, Record},
    ids::ProviderName,
};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tracing::{info, warn};

use crate::{config::HomeConfig, controller_object::LABELS, publish::FIELD_MANAGER};

/// Key of the ConfigMap's data: by provider, the marks, oldest first.
const MARKS: &str = "marks";

/// The annotation by which a person has this cluster take over from another's mark. It is used up.
const TAKE_OVER: &str = "evenkeel.dev/take-over";

/// How often a write is tried that met another one, or the object not there yet.
const TRIES: u32 = 10;

/// How long between two tries: the object is published at the start.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest part of a mark that names its process: a tag's value has room for 256 characters.
const LONGEST: usize = 200;

type Marks = BTreeMap<String, Vec<String>>;

/// The marks of one provider.
pub(crate) struct MarkLedger {
    api: Api<ConfigMap>,
    home: HomeConfig,
    installation: String,
    provider: ProviderName,
    process: String,
    count: AtomicU32,
}

impl MarkLedger {
    /// Of a process with this name among the replicas; the client writes only while it leads.
    pub(crate) fn new(
        client: Client,
        home: &HomeConfig,
        provider: &ProviderName,
        identity: &str,
    ) -> Self {
        // What tells processes apart stands at the end.
        let cut = identity.len().saturating_sub(LONGEST);
        Self {
            api: Api::namespaced(client, &home.namespace),
            installation: format!("{}/{}", home.namespace, home.instance),
            home: home.clone(),
            provider: provider.clone(),
            process: identity.get(cut..).unwrap_or(identity).to_owned(),
            count: AtomicU32::new(0),
        }
    }

    fn marks(object: &ConfigMap) -> Marks {
        let text = object.data.as_ref().and_then(|data| data.get(MARKS));
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    fn record(&self, object: &ConfigMap) -> Record {
        let mut marks = Self::marks(object);
        Record {
            marks: marks.remove(self.provider.as_str()).unwrap_or_default(),
            taken_over: object.annotations().get(TAKE_OVER).cloned(),
        }
    }

    /// Writes once. Returns whether it was done; it was not where another write came between.
    async fn try_write(&self, record: &Record, create: bool) -> Result<bool, kube::Error> {
        let name = &self.home.instance;
        let there = self.api.get_opt(name).await?;
        let Some(there) = there else {
            if !create {
                return Ok(false);
            }
            let labels = LABELS.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let object = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    labels: Some(labels.into()),
                    ..ObjectMeta::default()
                },
                data: Some([self.entry(Marks::new(), record)].into()),
                ..ConfigMap::default()
            };
            let parameters = PostParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            return done(self.api.create(&parameters, &object).await);
        };
        let (key, value) = self.entry(Self::marks(&there), record);
        let used_up = there.annotations().get(TAKE_OVER);
        let annotations = used_up
            .filter(|mark| record.marks.contains(mark))
            .map(|_| json!({TAKE_OVER: null}));
        let patch = json!({
            "metadata": {"resourceVersion": there.resource_version(), "annotations": annotations.unwrap_or(json!({}))},
            "data": {key: value},
        });
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        done(
            self.api
                .patch(name, &parameters, &Patch::Merge(patch))
                .await,
        )
    }

    /// What the object shall say: what it said of this provider, and what is new.
    fn entry(&self, mut marks: Marks, record: &Record) -> (String, String) {
        let known = marks.remove(self.provider.as_str()).unwrap_or_default();
        let mut all = Record {
            marks: known,
            taken_over: None,
        };
        for mark in &record.marks {
            all = all.with(mark);
        }
        marks.insert(self.provider.to_string(), all.marks);
        let text = serde_json::to_string(&marks).unwrap_or_default();
        (MARKS.to_owned(), text)
    }
}

fn done(written: Result<ConfigMap, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a right, or the namespace, is missing.
fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404))
}

fn unknown(error: &kube::Error) -> CloudError {
    let text = format!(
        "the cluster does not tell which marks are its own: {}",
        chain(error)
    );
    CloudError::new(ErrorClass::Transient, "marks", text)
}

#[async_trait]
impl Ledger for MarkLedger {
    fn installation(&self) -> &str {
        &self.installation
    }

    fn new_mark(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{}/{number}", self.process)
    }

    fn way_out(&self, mark: &str) -> String {
        format!(
            "kubectl -n {} annotate configmap {} {TAKE_OVER}={mark} --overwrite",
            self.home.namespace, self.home.instance
        )
    }

    async fn read(&self) -> Result<Option<Record>, CloudError> {
        match self.api.get_opt(&self.home.instance).await {
            Ok(found) => {
                let record = found.map(|object| self.record(&object));
                Ok(Some(record.unwrap_or_default()))
            }
            Err(error) if is_missing(&error) => {
                warn!(
                    error = chain(&error),
                    "the ConfigMap {} cannot be read: a cluster restored from a backup of this one would not be told from it",
                    self.installation
                );
                Ok(None)
            }
            Err(error) => Err(unknown(&error)),
        }
    }

    async fn write(&self, record: &Record) -> Result<bool, CloudError> {
        for attempt in 1..=TRIES {
            match self.try_write(record, attempt == TRIES).await {
                Ok(true) => {
                    info!(
                        provider = self.provider.as_str(),
                        mark = record.marks.last(),
                        "begins to write"
                    );
                    return Ok(true);
                }
                Ok(false) => tokio::time::sleep(PAUSE).await,
                Err(error) if is_missing(&error) => {
                    warn!(
                        error = chain(&error),
                        "the ConfigMap {} cannot be written: a cluster restored from a backup of this one is not told from it",
                        self.installation
                    );
                    return Ok(false);
                }
                Err(error) => return Err(unknown(&error)),
            }
        }
        let text = format!("others keep writing the ConfigMap {}", self.installation);
        Err(CloudError::new(ErrorClass::Transient, "marks", text))
    }
}
