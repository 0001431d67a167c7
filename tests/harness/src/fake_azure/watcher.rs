//! Who looks at every call on its way. Decides.

use std::fmt;

use async_trait::async_trait;

use super::{Call, Fault};

/// Looks at every call of whoever is tested, and may break it: for tests that decide call by call.
#[async_trait]
pub trait Watcher: fmt::Debug + Send + Sync {
    /// A call has arrived: what shall happen to it. The call waits as long as this takes. Calls that [`super::FakeAzure::inject`] breaks are
    /// not asked for. What is held is held until the connection ends.
    async fn arrived(&self, call: &Call) -> Option<Fault>;

    /// A call was carried out; the caller has not heard of it, and may never.
    async fn carried_out(&self, call: &Call);
}
