//! A provider whose cloud says how long to wait when it is asked too often.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use evenkeel_core::{
    converge::Journal,
    engine::{AnyProvider, Found, Rehearsal, Report, Request},
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    provider::Wake,
};

/// The provider.
pub(crate) struct Patient {
    pub(crate) provider: Arc<dyn AnyProvider>,
    /// What the cloud says.
    pub(crate) after: Duration,
}

#[async_trait]
impl AnyProvider for Patient {
    fn name(&self) -> &'static str {
        self.provider.name()
    }
    async fn run(&self, request: Request, journal: &dyn Journal) -> Report {
        let mut report = self.provider.run(request, journal).await;
        for failure in &mut report.failures {
            if let ErrorClass::Throttled { after } = &mut failure.class {
                *after = Some(self.after);
            }
        }
        report
    }
    async fn rehearse(&self, request: &Request) -> Result<Rehearsal, CloudError> {
        self.provider.rehearse(request).await
    }
    async fn inventory(&self) -> Result<Vec<Found>, CloudError> {
        self.provider.inventory().await
    }
    fn attach(&self, wake: Wake) {
        self.provider.attach(wake);
    }
    fn forget(&self, key: &GroupKey) {
        self.provider.forget(key);
    }
}
