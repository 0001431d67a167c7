//! How claims become the object's next body (Decides), and the calls that read and write it.
//!
//! Parts without a claim are carried as the raw JSON they are, with whatever fields they have.

use std::collections::BTreeMap;

use async_trait::async_trait;
use evenkeel_core::{
    error::CloudError,
    ids::{Cluster, GroupKey},
    shared::{Claim, SharedBackend, SharedObject},
    ticket::Ticket,
};
use serde_json::Value;

use super::{
    client::{Blame, Client},
    cloud::Body,
    model::Part,
    names,
    predict::with_given,
};

/// The one object of this cloud.
#[derive(Debug)]
pub struct Balancer {
    cluster: Cluster,
    client: Client,
}

impl Balancer {
    /// The object that groups of this cluster share.
    pub fn new(cluster: Cluster, client: Client) -> Self {
        Self { cluster, client }
    }

    /// What a part becomes by a claim: None leaves it alone.
    fn next(&self, there: Option<&Value>, claim: &Claim<Part>) -> Option<Option<Value>> {
        let ours = there.and_then(|raw| part_of(raw, &self.cluster));
        // Somebody else's part under our name is never written over, whatever is claimed.
        if there.is_some() && ours.is_none() {
            return None;
        }
        match claim {
            Claim::Unknown => None,
            Claim::Gone => Some(None),
            Claim::Want(part) => Some(Some(raw(&with_given(part, ours.as_ref(), None)))),
        }
    }
}

impl SharedObject for Balancer {
    type Live = Body;
    type Fragment = Part;

    fn merge(&self, live: &Body, claims: &BTreeMap<GroupKey, Claim<Part>>) -> Body {
        let mut body = live.clone();
        for (key, claim) in claims {
            let name = names::part(&self.cluster, key);
            match self.next(live.parts.get(&name), claim) {
                None => {}
                Some(Some(part)) => drop(body.parts.insert(name, part)),
                Some(None) => drop(body.parts.remove(&name)),
            }
        }
        body
    }

    fn shows(&self, live: &Body, key: &GroupKey, claim: &Claim<Part>) -> bool {
        let there = live.parts.get(&names::part(&self.cluster, key));
        self.next(there, claim)
            .is_none_or(|next| next.as_ref() == there)
    }

    fn blamed(
        &self,
        error: &CloudError,
        tried: &BTreeMap<GroupKey, Claim<Part>>,
    ) -> Option<GroupKey> {
        let blame = error.source.as_ref()?.downcast_ref::<Blame>()?;
        tried
            .keys()
            .find(|key| names::part(&self.cluster, key) == blame.part)
            .cloned()
    }
}

#[async_trait]
impl SharedBackend for Balancer {
    async fn read(&self) -> Result<Body, CloudError> {
        self.client.get().await
    }

    async fn write(&self, base: &Body, body: Body, _ticket: &Ticket) -> Result<Body, CloudError> {
        self.client.put(base.version, body.parts).await
    }
}

/// A part of this cluster; None for anybody else's.
pub fn part_of(raw: &Value, cluster: &Cluster) -> Option<Part> {
    let part: Part = serde_json::from_value(raw.clone()).ok()?;
    (part.cluster == cluster.uid).then_some(part)
}

/// A part as the cloud keeps it.
pub fn raw(part: &Part) -> Value {
    serde_json::to_value(part).expect("our types serialise")
}
