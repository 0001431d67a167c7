//! One write: from the resource as it is to the resource as it shall be, with its ETag and its operation. Decides.

use std::collections::BTreeMap;

use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::addresses::Addresses;
use super::ids::{ArmId, Ids};
use super::json::Parts as _;
use super::refusal::{Answer, Refusal, forbidden, refuse, refuse_with};
use super::settings::{Overlap, Pace, Settings};
use super::state::{Kind, Operation, Phase, Resource, State, Status};
use super::{public_ips, show};
use crate::cloud::Settle;

/// A write under way.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) state: &'a mut State,
    pub(super) settings: &'a Settings,
    pub(super) now: Timestamp,
    pub(super) ids: &'a mut Ids,
    pub(super) addresses: &'a mut Addresses,
    pub(super) patience: &'a mut Patience,
    /// Which write took the place of which.
    pub(super) superseded: &'a mut Vec<String>,
    pub(super) method: &'a Method,
    pub(super) id: &'a ArmId,
    pub(super) if_match: Option<&'a str>,
    /// How the operation shall end, if not well.
    pub(super) end: End,
}

/// How an operation ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) fails: Option<Refusal>,
    pub(super) superseded: bool,
    pub(super) lost: bool,
}

/// What a write answers: status, the resource's key where its body is the resource, the operation.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) status: u16,
    pub(super) shown: Option<ArmId>,
    pub(super) operation: Option<String>,
    pub(super) location: String,
}

/// How often a call was refused because something takes time, by what it was about.
#[derive(Debug, Default)]
pub(super) struct Patience(BTreeMap<String, (Timestamp, u32)>);

impl Patience {
    pub(super) fn begin(&mut self, what: &str, now: Timestamp) {
        self.0.insert(what.to_owned(), (now, 0));
    }

    /// Whether what began is over: both the time has passed and enough calls were refused. Counts this one if not.
    pub(super) fn is_over(&mut self, what: &str, settle: Settle, now: Timestamp) -> bool {
        let Some((since, refused)) = self.0.get_mut(what) else {
            return true;
        };
        if *refused >= settle.calls && now >= *since + settle.after {
            return true;
        }
        *refused = refused.saturating_add(1);
        false
    }
}

impl Turn<'_> {
    /// The top-level resource as this write finds it; none where there is none.
    ///
    /// What another write has not finished is dealt with here: see [`Overlap`].
    pub(super) fn begin(&mut self) -> Answer<Option<Resource>> {
        let key = self.id.top().key();
        let Some(found) = self.state.resources.get(&key).cloned() else {
            return match self.if_match {
                // RFC 9110, 13.1.1: the condition is false where the resource is not there.
                Some(etag) => Err(mismatch(etag, "", self.id)),
                None => Ok(None),
            };
        };
        if let Some(etag) = self.if_match
            && etag != found.etag
        {
            return Err(mismatch(etag, &found.etag, self.id));
        }
        let Some(operation) = found.operation.clone() else {
            return Ok(Some(found));
        };
        let running = self.state.operations.get_mut(&operation);
        let running = running.expect("a resource's operation is there");
        if running.deletes || self.settings.overlap == Overlap::Refused {
            return Err(refuse_with(
                409,
                "AnotherOperationInProgress",
                format!(
                    "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: {operation}."
                ),
            ));
        }
        running.status = Status::Canceled;
        self.superseded
            .push(format!("{} {} of {}", self.method, self.id, running.call));
        let live = found.live.clone();
        let key = self.id.top().key();
        let Some(live) = live else {
            self.state.resources.remove(&key);
            return Ok(None);
        };
        let back = Resource {
            goal: live,
            phase: Phase::Succeeded,
            operation: None,
            ..found
        };
        self.state.resources.insert(key, back.clone());
        Ok(Some(back))
    }

    /// Has the resource become `goal`.
    pub(super) fn commit(
        &mut self,
        kind: Kind,
        before: Option<Resource>,
        goal: Value,
        pace: Pace,
    ) -> Written {
        let top = self.id.top();
        let key = top.key();
        let location = goal.text("/location").unwrap_or_default().to_owned();
        let status = match &before {
            Some(_) => 200,
            None => 201,
        };
        // Recorded: a PUT that changes nothing answers 200 `Succeeded` with the same ETag, and without an operation.
        if let Some(before) = &before
            && before.phase == Phase::Succeeded
            && before.goal == goal
        {
            return Written {
                status,
                shown: Some(self.id.clone()),
                operation: None,
                location,
            };
        }
        let pace = match (pace, &self.end) {
            (Pace::AtOnce, end) if *end != End::default() => Pace::Operation(Settle::AT_ONCE),
            (pace, _) => pace,
        };
        let resource = Resource {
            kind,
            id: before
                .as_ref()
                .map_or_else(|| top.to_string(), |before| before.id.clone()),
            etag: self.ids.etag(),
            phase: Phase::Updating,
            goal,
            live: before.as_ref().and_then(|before| before.live.clone()),
            operation: None,
            guid: before.map_or_else(|| self.ids.guid(), |before| before.guid),
        };
        self.state.resources.insert(key.clone(), resource);
        let operation = self.operation(&key, pace, false);
        Written {
            status,
            shown: Some(self.id.clone()),
            operation: Some(operation),
            location,
        }
    }

    /// Has the resource go.
    pub(super) fn delete(&mut self, found: Resource, pace: Pace) -> Written {
        let key = self.id.top().key();
        let location = found.location().to_owned();
        let etag = self.ids.etag();
        self.state.resources.insert(
            key.clone(),
            Resource {
                phase: Phase::Deleting,
                etag,
                ..found
            },
        );
        let operation = self.operation(&key, pace, true);
        Written {
            status: 202,
            shown: None,
            operation: Some(operation),
            location,
        }
    }

    fn operation(&mut self, key: &str, pace: Pace, deletes: bool) -> String {
        let id = self.ids.guid();
        let settle = match pace {
            Pace::AtOnce => Settle::AT_ONCE,
            Pace::Operation(settle) => settle,
        };
        let operation = Operation {
            resource: key.to_owned(),
            call: format!("{} {}", self.method, self.id.kind()),
            status: Status::InProgress,
            began: self.now,
            settle,
            looks: 0,
            fails: self.end.fails.clone(),
            lost: self.end.lost,
            superseded: self.end.superseded,
            deletes,
        };
        self.state.operations.insert(id.clone(), operation);
        if let Some(resource) = self.state.resources.get_mut(key) {
            resource.operation = Some(id.clone());
        }
        if pace == Pace::AtOnce {
            finish(self.state, self.addresses, self.ids, &id);
        }
        id
    }

    /// "A new ETag with each effective change" holds for what a write touches beside its own resource too: the cloud provider for
    /// Kubernetes, `.agents/references/etag-cache.md`: a load balancer's frontends change the ETags of their public addresses.
    pub(super) fn touch(&mut self, key: &str) {
        let etag = self.ids.etag();
        if let Some(resource) = self.state.resources.get_mut(key) {
            resource.etag = etag;
        }
    }

    /// What happens to public addresses when a load balancer's frontends change.
    pub(super) fn attached(&mut self, before: Option<&Value>, after: Option<&Value>) {
        let of = |body: Option<&Value>| {
            body.map(show::public_ips_of)
                .unwrap_or_default()
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (before, after) = (of(before), of(after));
        for key in before.symmetric_difference(&after) {
            self.touch(key);
        }
        for key in before.difference(&after) {
            self.patience.begin(key, self.now);
        }
    }
}

/// Recorded: 412 `PreconditionFailed`, with `PreconditionFailedEtagMismatch` inside.
fn mismatch(asked: &str, found: &str, id: &ArmId) -> Refusal {
    Refusal {
        details: vec![(
            "PreconditionFailedEtagMismatch".to_owned(),
            format!(
                "Etag provided in if-match header {asked} does not match etag {found} of resource {id} in NRP data store."
            ),
        )],
        ..refuse_with(412, "PreconditionFailed", "Precondition failed.")
    }
}

/// Brings operations to their end that are over by now.
pub(super) fn finish_due(
    state: &mut State,
    addresses: &mut Addresses,
    ids: &mut Ids,
    now: Timestamp,
) {
    let due: Vec<String> = state
        .operations
        .iter()
        .filter(|(_, operation)| operation.is_due(now))
        .map(|(id, _)| id.to_owned())
        .collect();
    for id in due {
        finish(state, addresses, ids, &id);
    }
}

fn finish(state: &mut State, addresses: &mut Addresses, ids: &mut Ids, id: &str) {
    let Some(operation) = state.operations.get_mut(id) else {
        return;
    };
    let key = operation.resource.clone();
    operation.status = match &operation.fails {
        Some(refusal) => Status::Failed(refusal.code.clone(), refusal.message.clone()),
        None if operation.superseded => Status::Canceled,
        None => Status::Succeeded,
    };
    let (status, deletes) = (operation.status.clone(), operation.deletes);
    if deletes && matches!(status, Status::Succeeded) {
        state.resources.remove(&key);
        return;
    }
    let Some(found) = state.resources.get(&key).cloned() else {
        return;
    };
    let mut after = Resource {
        operation: None,
        ..found
    };
    match status {
        Status::Failed(..) => after.phase = Phase::Failed,
        Status::Canceled => {
            let Some(live) = after.live.clone() else {
                state.resources.remove(&key);
                return;
            };
            after.goal = live;
            after.phase = Phase::Succeeded;
            after.etag = ids.etag();
        }
        _ => {
            if after.kind == Kind::PublicIp {
                public_ips::give_address(state, addresses, &mut after);
            }
            after.phase = Phase::Succeeded;
            after.live = Some(after.goal.clone());
        }
    }
    state.resources.insert(key, after);
}

/// The resource that a call needs.
pub(super) fn there(found: Option<Resource>, id: &ArmId) -> Answer<Resource> {
    found.ok_or_else(|| absent(id))
}

/// Recorded: `ResourceNotFound` of Azure Resource Manager for a resource, `NotFound` of the network provider for a part of one.
pub(super) fn absent(id: &ArmId) -> Refusal {
    match id.path.len() {
        0..=2 => refuse_with(
            404,
            "ResourceNotFound",
            format!(
                "The Resource '{}/{}' under resource group '{}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
                id.full_kind(),
                id.name(),
                id.group.as_deref().unwrap_or_default()
            ),
        ),
        _ => refuse_with(404, "NotFound", format!("Resource {id} not found.")),
    }
}

/// Azure's names: "Naming rules and restrictions for Azure resources", Microsoft.Network: 1 to 80, alphanumerics, underscores, periods and
/// hyphens; begins with an alphanumeric, ends with an alphanumeric or an underscore. The text is the one that users report.
pub(super) fn check_name(name: &str) -> Answer<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = (1..=80).contains(&name.len())
        && name.starts_with(word)
        && name.ends_with(word)
        && name.chars().all(|c| word(c) || c == '.' || c == '-');
    if fits {
        return Ok(());
    }
    Err(refuse(
        "InvalidResourceName",
        format!(
            "Resource name {name} is invalid. The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'."
        ),
    ))
}

/// What every top-level body has: where it is, and tags within their limits ("Use tags to organize your Azure resources", "Limitations").
pub(super) fn check_common(turn: &Turn<'_>, body: &Value, before: Option<&Resource>) -> Answer<()> {
    check_name(turn.id.name())?;
    let Some(location) = body.text("/location") else {
        return Err(refuse(
            "LocationRequired",
            "The location property is required for this definition.",
        ));
    };
    let (name, group) = (turn.id.name(), turn.id.group.as_deref().unwrap_or_default());
    if let Some(before) = before
        && normal(before.location()) != normal(location)
    {
        return Err(refuse_with(
            409,
            "InvalidResourceLocation",
            format!(
                "The resource '{name}' already exists in location '{}' in resource group '{group}'. A resource with the same name cannot be created in location '{location}'. Please select a new resource name.",
                before.location()
            ),
        ));
    }
    check_tags(turn.settings, body)
}

pub(super) fn check_tags(settings: &Settings, body: &Value) -> Answer<()> {
    let Some(tags) = body.get("tags").and_then(Value::as_object) else {
        return Ok(());
    };
    if tags.len() > settings.quotas.tags {
        return Err(forbidden(
            "InvalidTagCount",
            format!(
                "Too many tags: {}, at most {}.",
                tags.len(),
                settings.quotas.tags
            ),
        ));
    }
    for (name, value) in tags {
        if name.is_empty()
            || name.len() > 512
            || name.contains(['<', '>', '%', '&', '\\', '?', '/'])
        {
            return Err(refuse(
                "InvalidTagNameCharacters",
                format!(
                    "The tag names '{name}' have reserved characters '<,>,%,&,\\,?,/' or control characters, or are empty or longer than 512."
                ),
            ));
        }
        if value.as_str().is_some_and(|value| value.len() > 256) {
            return Err(forbidden(
                "InvalidTagValueLength",
                format!("Tag value too large: the tag '{name}' exceeds 256 characters."),
            ));
        }
    }
    Ok(())
}

/// Regions are written `West Europe` and `westeurope`.
pub(super) fn normal(location: &str) -> String {
    location.replace(' ', "").to_lowercase()
}

/// PATCH: tags alone, at once ("Load Balancers - Update Tags": one answer, 200).
pub(super) fn patch_tags(turn: &mut Turn<'_>, kind: Kind, body: &Value) -> Answer<Written> {
    let found = turn.begin()?;
    let found = there(found, turn.id)?;
    if found.kind != kind {
        return Err(absent(turn.id));
    }
    let fields = body.as_object();
    if fields.is_none_or(|fields| fields.keys().any(|field| field != "tags")) {
        return Err(refuse(
            "InvalidRequestContent",
            "The request content was invalid: only tags can be updated so.",
        ));
    }
    check_tags(turn.settings, body)?;
    let mut goal = found.goal.clone();
    goal["tags"] = body["tags"].clone();
    Ok(turn.commit(kind, Some(found), goal, Pace::AtOnce))
}
