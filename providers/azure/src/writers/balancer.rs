//! A load balancer at Azure, as its writer reads and writes it (Reads and Writes).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    intent::Scheme,
    shared::{Claim, Gather, SharedBackend, SharedObject},
    ticket::Ticket,
};

use crate::{
    Context,
    client::Client,
    model::Fragment,
    path,
    shared::{Balancer, json::Document},
};

/// One of the cluster's load balancers.
pub(crate) struct BalancerBackend {
    object: Balancer,
    client: Arc<Client>,
    id: String,
    gather: Option<Gather>,
}

impl BalancerBackend {
    pub(super) fn new(
        context: &Arc<Context>,
        client: &Arc<Client>,
        scheme: Scheme,
        gather: Option<Gather>,
    ) -> Self {
        Self {
            object: Balancer::new(Arc::clone(context), scheme),
            client: Arc::clone(client),
            id: context.load_balancer_id(scheme),
            gather,
        }
    }
}

impl SharedObject for BalancerBackend {
    type Live = Option<Document>;
    type Fragment = Fragment;

    fn merge(
        &self,
        live: &Option<Document>,
        claims: &BTreeMap<GroupKey, Claim<Fragment>>,
    ) -> Option<Document> {
        self.object.merge(live, claims)
    }

    fn shows(&self, live: &Option<Document>, key: &GroupKey, claim: &Claim<Fragment>) -> bool {
        self.object.shows(live, key, claim)
    }

    fn excess(
        &self,
        live: &Option<Document>,
        claims: &BTreeMap<GroupKey, Claim<Fragment>>,
    ) -> Vec<(GroupKey, CloudError)> {
        self.object.excess(live, claims)
    }

    fn blamed(
        &self,
        error: &CloudError,
        tried: &BTreeMap<GroupKey, Claim<Fragment>>,
    ) -> Option<GroupKey> {
        self.object.blamed(error, tried)
    }
}

#[async_trait]
impl SharedBackend for BalancerBackend {
    async fn read(&self) -> Result<Option<Document>, CloudError> {
        self.client.get(&path(&self.id)?).await
    }

    /// A write over what is there is held to its version. Where nothing was there, and where it goes, no version can be named: it is
    /// looked at once more before.
    async fn write(
        &self,
        base: &Option<Document>,
        body: Option<Document>,
        ticket: &Ticket,
    ) -> Result<Option<Document>, CloudError> {
        let path = path(&self.id)?;
        let etag = base.as_ref().and_then(Document::etag);
        match body {
            Some(body) => {
                if base.is_none() && self.client.get(&path).await?.is_some() {
                    return Err(moved("PUT loadBalancers"));
                }
                let put = self.client.put(&path, body.put(), etag.as_deref(), ticket);
                put.await.map(Some)
            }
            None => {
                let now = self.client.get(&path).await?;
                match now {
                    None => return Ok(None),
                    Some(now) if now.etag() != etag => return Err(moved("DELETE loadBalancers")),
                    Some(_) => {}
                }
                self.client.delete(&path, ticket).await?;
                Ok(None)
            }
        }
    }

    fn gathers(&self) -> Option<Gather> {
        self.gather
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

fn moved(operation: &'static str) -> CloudError {
    CloudError::new(
        ErrorClass::Conflict,
        operation,
        "somebody else has written the load balancer; it is looked at anew",
    )
}
