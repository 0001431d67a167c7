//! What the world is told: the finalizer, the status, events (Writes to the API server).
//!
//! Everything goes through the subresource `status`: the right to write Services themselves is never needed. A write
//! names the object's UID, so that a namesake of later times is never written. Nothing is written that would change
//! nothing.

pub mod events;
pub mod patch;

use std::sync::Arc;

use evenkeel_core::{
    claim::finalizer,
    endpoints::{GateCondition, PodFacts, SERVICE_NAME_LABEL, SliceFacts},
    ids::{ProviderName, ServiceKey, ServiceRef},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client,
    api::{GetParams, ListParams, Patch, PatchParams},
    core::{Request, Resource as _},
};
use serde_json::Value;
use tracing::{debug, info};

use crate::{
    metrics::Metrics,
    standing::ControllerStanding,
    watch::{item::Item, services::reference},
};
use patch::{Wanted, finalizer_patch, gate_patch, release_patch, status_patch};

/// Who we are to the API server's field management.
pub const FIELD_MANAGER: &str = "evenkeel";

/// How often a release is patched anew, when somebody else's write came between.
const RELEASE_TRIES: u32 = 3;

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no such Service any more, or another of the same name.
    #[error("the Service is gone")]
    Gone,
    /// It is not what it was when the write was decided: read it again.
    #[error("the Service changed: {0}")]
    Changed(String),
    /// The API server refused or could not be reached.
    #[error("{0}")]
    Failed(#[source] Box<kube::Error>),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => match status.code {
                404 => Self::Gone,
                // A UID that does not match is a 409 or a 422, depending on the kind of patch; so is a type that changed
                // under us, or a finalizer for an object that is being deleted. Only a read tells.
                409 | 422 => Self::Changed(status.message.clone()),
                _ => Self::Failed(Box::new(error)),
            },
            _ => Self::Failed(Box::new(error)),
        }
    }
}

/// Writes to Services.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    metrics: Metrics,
    standing: Arc<ControllerStanding>,
}

impl Publisher {
    /// A publisher.
    pub fn new(client: Client, metrics: Metrics, standing: Arc<ControllerStanding>) -> Self {
        Self {
            client,
            metrics,
            standing,
        }
    }

    fn api(&self, service: &ServiceRef) -> Api<Item<Service>> {
        Api::namespaced(self.client.clone(), &service.key.namespace)
    }

    /// Reads a Service anew; None when it is gone, or another has its name.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn read(&self, service: &ServiceRef) -> Result<Option<Item<Service>>, WriteError> {
        let found = self.api(service).get_opt(&service.key.name).await;
        let found = self.allowed("get services", found)?;
        Ok(found.filter(|found| found.meta.uid.as_deref() == Some(service.uid.as_str())))
    }

    /// Reads the EndpointSlices of a Service, and the version of that list.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn slices(
        &self,
        service: &ServiceKey,
    ) -> Result<(Option<u64>, Vec<Item<SliceFacts>>), WriteError> {
        let api = Api::<Item<SliceFacts>>::namespaced(self.client.clone(), &service.namespace);
        // No resourceVersion: the server answers with what is stored, not with what it remembers.
        let all = ListParams::default().labels(&format!("{SERVICE_NAME_LABEL}={}", service.name));
        let listed = self.allowed("list endpointslices", api.list(&all).await)?;
        let version = listed.metadata.resource_version.as_deref();
        Ok((
            version.and_then(|version| version.parse().ok()),
            listed.items,
        ))
    }

    /// Writes the condition of a gate of a pod: of that pod, and of none that has its name by now. Returns the pod.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn write_gate(
        &self,
        service: &ServiceKey,
        (pod, facts): (&str, &PodFacts),
        condition: &GateCondition,
        now: Timestamp,
    ) -> Result<Item<PodFacts>, WriteError> {
        let patch = gate_patch(&service.name, facts, condition, now);
        let api = Api::<Item<PodFacts>>::namespaced(self.client.clone(), &service.namespace);
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let written = api
            .patch_status(pod, &parameters, &Patch::Strategic(patch))
            .await;
        let written = self.allowed("patch pods/status", written)?;
        debug!(
            pod,
            open = condition.open,
            reason = &*condition.reason,
            "wrote the readiness gate"
        );
        Ok(written)
    }

    /// Tells who watches over the controller's rights whether pods may be watched.
    pub fn pods_watched(&self, refused: Option<&str>) {
        self.standing.api("watch pods", refused);
    }

    /// Makes sure that a provider's finalizer is on the Service. Returns the Service when it was written.
    ///
    /// # Errors
    /// When it cannot be there: then nothing may be made for this Service.
    pub async fn add_finalizer(
        &self,
        service: &Service,
        provider: &ProviderName,
    ) -> Result<Option<Item<Service>>, WriteError> {
        let name = finalizer(provider);
        let Some(patch) = finalizer_patch(service, &name) else {
            return Ok(None);
        };
        let service = reference(service);
        info!(finalizer = name, "adding our finalizer");
        let written = self.json_patch(&service, patch).await?;
        debug!(finalizer = name, "added our finalizer");
        Ok(Some(written))
    }

    /// Publishes a status, if it is not there already. Returns the Service when it was written.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn write_status(
        &self,
        service: &Service,
        wanted: &Wanted,
    ) -> Result<Option<Item<Service>>, WriteError> {
        let Some(patch) = status_patch(service, wanted) else {
            return Ok(None);
        };
        let service = reference(service);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        info!(addresses = wanted.addresses(), "publishing the status");
        let written = self
            .api(&service)
            .patch_status(&service.key.name, &parameters, &Patch::Apply(patch))
            .await;
        let written = self.told(written)?;
        self.metrics.status_written();
        debug!("published the status");
        Ok(Some(written))
    }

    /// Takes our hand off a Service: our finalizer, our conditions and, with `clear`, the addresses, in one patch. Done is
    /// also when nothing of ours is there.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn release(
        &self,
        service: &ServiceRef,
        provider: &ProviderName,
        clear: bool,
    ) -> Result<(), WriteError> {
        let mut tries = 0;
        loop {
            let Some(live) = self.read_whole(service).await? else {
                return Ok(());
            };
            let Some(patch) = release_patch(&live, &finalizer(provider), clear) else {
                return Ok(());
            };
            info!("removing our finalizer and what we published");
            tries += 1;
            match self.json_patch(service, patch).await {
                Ok(_) => {
                    debug!("removed our finalizer");
                    return Ok(());
                }
                Err(WriteError::Gone) => return Ok(()),
                Err(WriteError::Changed(_)) if tries < RELEASE_TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The whole Service as the API server has it: a JSON patch counts positions.
    async fn read_whole(&self, service: &ServiceRef) -> Result<Option<Value>, WriteError> {
        let request = Request::new(Service::url_path(&(), Some(&service.key.namespace)));
        let request = request
            .get(&service.key.name, &GetParams::default())
            .map_err(kube::Error::BuildRequest)?;
        let found = self.client.request::<Value>(request).await;
        match self.allowed("get services", found) {
            Ok(live) => {
                Ok(Some(live).filter(|live| live["metadata"]["uid"] == service.uid.as_str()))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn json_patch(
        &self,
        service: &ServiceRef,
        patch: Value,
    ) -> Result<Item<Service>, WriteError> {
        let patch = serde_json::from_value(patch).expect("our patches are JSON patches");
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let written = self
            .api(service)
            .patch_status(&service.key.name, &parameters, &Patch::Json::<()>(patch))
            .await;
        self.told(written)
    }

    /// Tells who watches over the controller's rights whether a call was allowed.
    fn allowed<T>(
        &self,
        call: &'static str,
        result: Result<T, kube::Error>,
    ) -> Result<T, kube::Error> {
        match &result {
            Ok(_) => self.standing.api(call, None),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                self.standing.api(call, Some(&status.message));
            }
            Err(_) => {}
        }
        result
    }

    fn told<T>(&self, result: Result<T, kube::Error>) -> Result<T, WriteError> {
        self.allowed("patch services/status", result)
            .map_err(|error| {
                let error = WriteError::from(error);
                if matches!(error, WriteError::Changed(_)) {
                    self.metrics.conflicted();
                }
                error
            })
    }
}
