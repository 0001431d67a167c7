//! The controller's own object and its events: written when they change, by the process that leads (Writes to the API
//! server).
//!
//! Only our keys of the ConfigMap's data and our labels are written; what others put beside them stays. Where the right
//! or the namespace is missing, that is said once in the log and tried again; nothing waits for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evenkeel_core::error::chain;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{ControllerStanding, Fact, condition};
use crate::{
    config::Config,
    controller_object::{About, ControllerCondition, ControllerObject},
    outcome::{Notice, RENEW},
    publish::{FIELD_MANAGER, events},
    version::VERSION,
};

/// When a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// What the leader says of itself, beside how it stands.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// See [`ControllerObject::configuration`].
    pub configuration: BTreeMap<String, Vec<String>>,
    /// See [`ControllerObject::about`].
    pub about: About,
}

impl Said {
    /// Of a process that runs with this configuration; `identity` is its name among the replicas.
    pub fn of(config: &Config, mut identity: String) -> Self {
        if !config.home.election {
            // No Lease names it: what tells it from an earlier process of the same pod tells nobody anything.
            identity.truncate(identity.find('_').unwrap_or(identity.len()));
        }
        let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let pod = std::env::var("HOSTNAME").ok().filter(|_| in_pod);
        Self {
            configuration: config.published(),
            about: About {
                version: VERSION.to_owned(),
                identity,
                pod,
                listen: config.listen.map(|address| address.to_string()),
            },
        }
    }
}

/// An event that was told of a condition.
#[derive(Clone, Debug)]
struct Told {
    status: String,
    reason: String,
    /// None: by a process before this one, nobody knows when.
    at: Option<Timestamp>,
}

struct Keeper<'a> {
    standing: &'a ControllerStanding,
    api: Api<ConfigMap>,
    events: events::Events,
    said: Said,
    /// What is there, where that is known; None inside: nothing is.
    there: Option<Option<ConfigMap>>,
    told: BTreeMap<(String, String), Told>,
    /// What was last complained of.
    complaint: Option<String>,
}

impl ControllerStanding {
    /// Keeps the controller's own object true, and tells its events, until told to stop. For the process that leads.
    pub async fn keep(
        &self,
        client: Client,
        events: events::Events,
        said: Said,
        stop: CancellationToken,
    ) {
        let mut keeper = Keeper {
            standing: self,
            api: Api::namespaced(client, &self.home.namespace),
            events,
            said,
            there: None,
            told: BTreeMap::new(),
            complaint: None,
        };
        loop {
            let written = keeper.write().await;
            let failed = written.is_err();
            keeper.complain(written.err());
            let renewal = keeper.tell(self.clock.now());
            let retry = failed.then_some(RETRY);
            let wait = renewal.into_iter().chain(retry).min();
            let again = async {
                match wait {
                    Some(wait) => self.clock.sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = again => {}
            }
        }
    }

    /// Takes over what was published of the same conditions before.
    fn remember(&self, before: &[ControllerCondition]) {
        let mut state = self.state();
        for known in state.facts.values_mut().map(|fact| &mut fact.condition) {
            let same = before.iter().find(|before| {
                before.type_ == known.type_
                    && before.provider == known.provider
                    && before.status == known.status
            });
            if let Some(same) = same {
                known.last_transition_time = same.last_transition_time;
            }
        }
    }
}

impl Keeper<'_> {
    /// Writes the object if it says something else.
    async fn write(&mut self) -> Result<(), kube::Error> {
        let name = self.standing.home.instance.clone();
        if self.there.is_none() {
            let found = self.api.get_opt(&name).await?;
            if let Some(found) = &found {
                self.take_over(found);
            }
            self.there = Some(found);
        }
        let object = ControllerObject {
            configuration: self.said.configuration.clone(),
            about: self.said.about.clone(),
            conditions: self.standing.conditions(),
        };
        let wanted = object.to_config_map(&self.standing.home.namespace, &name);
        let there = self.there.take().flatten();
        let written = match &there {
            Some(there) if says(there, &wanted) => {
                self.there = Some(Some(there.clone()));
                return Ok(());
            }
            Some(_) => {
                let patch =
                    json!({"metadata": {"labels": wanted.metadata.labels}, "data": wanted.data});
                let parameters = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let patch = Patch::Merge(patch);
                match self.api.patch(&name, &parameters, &patch).await {
                    // Somebody deleted it.
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        self.create(&wanted).await?
                    }
                    other => other?,
                }
            }
            None => self.create(&wanted).await?,
        };
        info!(object = %self.standing.place, "published how the controller stands");
        self.there = Some(Some(written));
        Ok(())
    }

    async fn create(&self, wanted: &ConfigMap) -> Result<ConfigMap, kube::Error> {
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        self.api.create(&parameters, wanted).await
    }

    /// What a process before this one has published and told.
    fn take_over(&mut self, found: &ConfigMap) {
        let before = ControllerObject::from_config_map(found).conditions;
        self.standing.remember(&before);
        for known in before {
            let told = Told {
                status: known.status,
                reason: known.reason,
                at: None,
            };
            self.told.insert((known.type_, known.provider), told);
        }
    }

    /// Tells what changed, and what lasts. Returns when something is to be told again.
    fn tell(&mut self, now: Timestamp) -> Option<Duration> {
        let uid = match &self.there {
            Some(Some(there)) => there.uid().map(Arc::from),
            _ => None,
        };
        let about = events::About {
            kind: "ConfigMap",
            namespace: Some(self.standing.home.namespace.as_str().into()),
            name: self.standing.home.instance.as_str().into(),
            uid,
        };
        let mut next: Option<Timestamp> = None;
        let facts: Vec<Fact> = self.standing.state().facts.values().cloned().collect();
        for Fact {
            type_,
            reason,
            condition: known,
        } in facts
        {
            // Whoever holds nodes tells of them.
            if type_ == condition::NODES_TRUSTED || known.status == "Unknown" {
                continue;
            }
            let key = (known.type_.clone(), known.provider.clone());
            let before = self.told.get(&key);
            let good = known.status == "True";
            let same = before
                .is_some_and(|told| told.status == known.status && told.reason == known.reason);
            let at = before.and_then(|told| told.at).filter(|_| same);
            let old = at.is_none_or(|at| now.duration_since(at) >= RENEW);
            let tell = if good {
                before.is_some_and(|told| told.status == "False")
            } else {
                old
            };
            let at = if tell { Some(now) } else { at };
            if tell {
                let notice = if good {
                    Notice::normal(type_, known.message)
                } else {
                    Notice::warning(reason, known.message)
                };
                info!(object = %self.standing.place, reason = notice.reason, "{}", notice.note);
                self.events.tell_of(about.clone(), notice);
            }
            if !good && let Some(due) = at.and_then(|at| at.checked_add(RENEW).ok()) {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
            let told = Told {
                status: known.status,
                reason: known.reason,
                at,
            };
            self.told.insert(key, told);
        }
        next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default())
    }

    /// Says once what keeps the object from being written.
    fn complain(&mut self, error: Option<kube::Error>) {
        let text = error.map(|error| chain(&error));
        if let Some(text) = text.as_ref().filter(|_| self.complaint != text) {
            warn!(
                error = text,
                "{} cannot be written, and commands on other machines do not find it. Let the controller get, create and patch it, as \
                 deploy/manifests does, or name another namespace with --namespace; all else goes on, and it is tried again",
                self.standing.place,
            );
        }
        self.complaint = text;
    }
}

/// Whether an object says already what it should.
fn says(there: &ConfigMap, wanted: &ConfigMap) -> bool {
    fn has(
        there: Option<&BTreeMap<String, String>>,
        wanted: Option<&BTreeMap<String, String>>,
    ) -> bool {
        let has = |(key, value)| there.and_then(|there| there.get(key)) == Some(value);
        wanted.into_iter().flatten().all(has)
    }
    has(there.data.as_ref(), wanted.data.as_ref())
        && has(
            there.metadata.labels.as_ref(),
            wanted.metadata.labels.as_ref(),
        )
}
