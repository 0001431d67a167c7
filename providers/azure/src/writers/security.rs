//! The nodes' network security group at Azure, as its writer reads and writes it (Reads and Writes).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    shared::{Claim, Gather, SharedBackend, SharedObject},
    ticket::Ticket,
};

use crate::{
    Context,
    client::Client,
    model::Access,
    path,
    shared::{SecurityGroup, json::Document},
};

/// The code of the error that says that it is not there.
const MISSING: &str = "ResourceNotFound";

/// The nodes' network security group.
pub(crate) struct SecurityBackend {
    object: SecurityGroup,
    client: Arc<Client>,
    id: Arc<str>,
    gather: Option<Gather>,
}

impl SecurityBackend {
    pub(super) fn new(
        context: &Arc<Context>,
        client: &Arc<Client>,
        id: &Arc<str>,
        gather: Option<Gather>,
    ) -> Self {
        Self {
            object: SecurityGroup::new(Arc::clone(context)),
            client: Arc::clone(client),
            id: Arc::clone(id),
            gather,
        }
    }
}

/// Whether a read failed because there is no such security group.
pub(crate) fn is_missing(error: &CloudError) -> bool {
    error.code.as_deref() == Some(MISSING)
}

impl SharedObject for SecurityBackend {
    type Live = Document;
    type Fragment = Access;

    fn merge(&self, live: &Document, claims: &BTreeMap<GroupKey, Claim<Access>>) -> Document {
        self.object.merge(live, claims)
    }

    fn shows(&self, live: &Document, key: &GroupKey, claim: &Claim<Access>) -> bool {
        self.object.shows(live, key, claim)
    }

    fn excess(
        &self,
        live: &Document,
        claims: &BTreeMap<GroupKey, Claim<Access>>,
    ) -> Vec<(GroupKey, CloudError)> {
        self.object.excess(live, claims)
    }

    fn blamed(
        &self,
        error: &CloudError,
        tried: &BTreeMap<GroupKey, Claim<Access>>,
    ) -> Option<GroupKey> {
        self.object.blamed(error, tried)
    }
}

#[async_trait]
impl SharedBackend for SecurityBackend {
    async fn read(&self) -> Result<Document, CloudError> {
        let found = self.client.get(&path(&self.id)?).await?;
        found.ok_or_else(|| {
            let error = CloudError::new(
                ErrorClass::Rejected,
                "GET networkSecurityGroups",
                "the nodes' network security group is not there; name the one that there is",
            );
            error.with_code(MISSING)
        })
    }

    async fn write(
        &self,
        base: &Document,
        body: Document,
        ticket: &Ticket,
    ) -> Result<Document, CloudError> {
        let etag = base.etag();
        let path = path(&self.id)?;
        let put = self.client.put(&path, body.put(), etag.as_deref(), ticket);
        put.await
    }

    fn gathers(&self) -> Option<Gather> {
        self.gather
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
