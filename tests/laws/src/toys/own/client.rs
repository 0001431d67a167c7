//! The calls, and what their errors mean (Reads and Writes). The only file that calls the cloud.

use std::sync::Arc;

use evenkeel_core::error::{CloudError, ErrorClass, ProviderFault};

use super::{
    cloud::{ApiError, Cloud, Marks, Object, Spec},
    ways::Ways,
};
use crate::tap::{Call, Fault, Kind, Tap};

/// A client of one cloud.
#[derive(Clone, Debug)]
pub struct Client {
    cloud: Arc<Cloud>,
    tap: Tap,
}

impl Client {
    /// A client whose calls pass the tap.
    pub fn new(cloud: Arc<Cloud>, tap: Tap) -> Self {
        Self { cloud, tap }
    }

    /// The ways of the cloud.
    pub fn ways(&self) -> &Ways {
        self.cloud.ways()
    }

    /// The objects of a cluster, or of one of its groups.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    pub async fn list(
        &self,
        cluster: &str,
        group: Option<&str>,
    ) -> Result<Vec<Object>, CloudError> {
        let ours = |object: &Object| {
            object.marks.as_ref().is_some_and(|m| {
                *m.cluster == *cluster && group.is_none_or(|group| m.group == group)
            })
        };
        let call = Call::read("List", group.unwrap_or("*"));
        self.read("List", call, || {
            Ok(self.cloud.list().into_iter().filter(ours).collect())
        })
        .await
    }

    /// Makes an object with its marks. One that is there already and is ours is success.
    ///
    /// # Errors
    /// Rejected when the name is taken by somebody else; Conflict when ours is another than asked for.
    pub async fn create(
        &self,
        name: &str,
        marks: &Marks,
        spec: &Spec,
    ) -> Result<Object, CloudError> {
        let made = self
            .write("Create", name, || {
                self.cloud.create(name, marks.clone(), spec.clone())
            })
            .await;
        if !matches!(&made, Err(error) if error.code.as_deref() == Some("Exists")) {
            return made;
        }
        let there = self
            .read("Get", Call::read("Get", name), || self.cloud.get(name))
            .await?;
        match &there.marks {
            Some(found) if found.cluster == marks.cluster && found.group == marks.group => {
                if found == marks && there.spec == *spec {
                    Ok(there)
                } else {
                    Err(CloudError::new(
                        ErrorClass::Conflict,
                        "Create",
                        format!("{name} is there, and different"),
                    ))
                }
            }
            _ => Err(CloudError::new(
                ErrorClass::Rejected,
                "Create",
                format!(
                    "{name} is there and does not belong to this cluster. Remove it or rename it."
                ),
            )),
        }
    }

    /// Changes an object, if it is still the one that was seen.
    ///
    /// # Errors
    /// Conflict when it is not.
    pub async fn change(
        &self,
        seen: &Object,
        marks: &Marks,
        spec: &Spec,
    ) -> Result<Object, CloudError> {
        let change = || {
            self.cloud
                .change(&seen.name, seen.version, marks.clone(), spec.clone())
        };
        self.write("Change", &seen.name, change).await
    }

    /// Removes an object. One that is gone already is success. Returns it when it takes time to go.
    ///
    /// # Errors
    /// Conflict while others use it.
    pub async fn delete(&self, seen: &Object) -> Result<Option<Object>, CloudError> {
        let deleted = match self
            .write("Delete", &seen.name, || self.cloud.delete(&seen.name))
            .await
        {
            Err(error) if error.code.as_deref() == Some("NotFound") => Ok(()),
            other => other,
        };
        let leaving = self.ways().leaves_in.map(|time| Object {
            leaving: Some(time),
            ..seen.clone()
        });
        deleted.map(|()| leaving)
    }

    async fn read<T>(
        &self,
        operation: &'static str,
        call: Call,
        work: impl FnOnce() -> Result<T, ApiError>,
    ) -> Result<T, CloudError> {
        self.tap
            .call(call, async { work() })
            .await
            .map_err(|error| classify(operation, Kind::Read, &error))
    }

    async fn write<T>(
        &self,
        operation: &'static str,
        name: &str,
        work: impl FnOnce() -> Result<T, ApiError>,
    ) -> Result<T, CloudError> {
        let effect = async {
            let result = work();
            self.tap.saw(self.cloud.picture());
            result
        };
        let result = self.tap.call(Call::write(operation, name), effect).await;
        result.map_err(|error| classify(operation, Kind::Write, &error))
    }
}

/// What to do about an error.
fn classify(operation: &'static str, kind: Kind, error: &ApiError) -> CloudError {
    let class = match (error, kind) {
        (
            ApiError::Exists
            | ApiError::NotFound
            | ApiError::InUse
            | ApiError::Changed
            | ApiError::NotReady,
            _,
        ) => ErrorClass::Conflict,
        (ApiError::Invalid(_), _) => ErrorClass::Rejected,
        (ApiError::QuotaExceeded, _) => ErrorClass::Quota,
        (ApiError::Line(Fault::Throttled), _) => ErrorClass::Throttled { after: None },
        (ApiError::Line(Fault::Conflict), _) => ErrorClass::Conflict,
        (ApiError::Line(Fault::Rejected), _) => ErrorClass::Rejected,
        (ApiError::Line(Fault::Expired), _) => ErrorClass::Denied,
        // A write without an answer may have happened: only a fresh read knows.
        (ApiError::Line(Fault::LostAnswer), Kind::Write) => ErrorClass::Conflict,
        (ApiError::Line(_), _) => ErrorClass::Transient,
    };
    let told = CloudError::new(class, operation, error.to_string()).with_code(error.code());
    match error {
        ApiError::Line(Fault::Expired) => told.of_provider(ProviderFault::CredentialsExpired),
        _ => told,
    }
}
