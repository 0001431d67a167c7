//! One request: who asks, for what, and what is answered. Decides.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::ids::{ArmId, group_key, write_ids};
use super::json::{Parts as _, children, name_of, same};
use super::refusal::{Answer, Refusal, malformed, refuse, refuse_with};
use super::show::{self, Around};
use super::state::{Kind, Operation, Resource, State, Status};
use super::turn::{End, Turn, Written, absent, patch_tags};
use super::{Inner, Way, buckets, load_balancers, public_ips, roles, schema, security_groups};

/// The version of Microsoft.Network that the fake is.
pub(super) const NETWORK_VERSION: &str = "2024-03-01";

/// A request as it came.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Without percent signs.
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// `http://127.0.0.1:PORT`, as whoever asks wrote it.
    pub(super) base: String,
}

/// What it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A resource, or a part of one.
    One(ArmId),
    /// A collection.
    All(ArmId),
    /// All resources of a subscription: `/subscriptions/S/resources`.
    Everything,
    /// A resource group.
    Group(String),
    /// An operation, or what came of it.
    Operation { id: String, result: bool },
    /// A token, of a tenant or of the instance metadata service.
    Token,
    /// Nothing that is known.
    Nothing,
}

/// What is answered.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl Reply {
    pub(super) fn refusal(refusal: &Refusal) -> Self {
        let after = refusal.retry_after.map(|after| after.to_string());
        Self {
            status: refusal.status,
            headers: after
                .into_iter()
                .map(|after| ("retry-after", after))
                .collect(),
            body: Some(refusal.body()),
        }
    }

    pub(super) fn ok(body: Value) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: Some(body),
        }
    }
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn asked(&self) -> Asked {
        let parts: Vec<&str> = self.path.trim_matches('/').split('/').collect();
        let is = |at: usize, word: &str| parts.get(at).is_some_and(|part| same(part, word));
        if self.path == "/metadata/identity/oauth2/token"
            || self.path.ends_with("/oauth2/v2.0/token")
        {
            return Asked::Token;
        }
        if is(0, "subscriptions") && is(2, "resources") && parts.len() == 3 {
            return Asked::Everything;
        }
        if is(0, "subscriptions") && is(2, "resourceGroups") && parts.len() == 4 {
            return Asked::Group(group_key(parts[1], parts[3]));
        }
        let Some(id) = ArmId::parse(&self.path) else {
            return Asked::Nothing;
        };
        match (id.path.first().map(String::as_str), id.path.get(2)) {
            (Some("locations"), Some(kind)) if id.path.len() == 4 => Asked::Operation {
                id: id.name().to_owned(),
                result: same(kind, "operationResults"),
            },
            _ if id.is_one() => Asked::One(id),
            _ => Asked::All(id),
        }
    }

    /// As [`super::Call::kind`] names it.
    pub(super) fn kind(&self) -> String {
        match self.asked() {
            Asked::One(id) => format!("{} {}", self.method, id.kind()),
            Asked::All(id) if self.method == Method::GET => format!("LIST {}", id.kind()),
            Asked::All(id) => format!("{} {}", self.method, id.kind()),
            Asked::Everything => "LIST resources".to_owned(),
            Asked::Group(_) => format!("{} resourceGroups", self.method),
            Asked::Operation { .. } => "POLL".to_owned(),
            Asked::Token => "TOKEN".to_owned(),
            Asked::Nothing => format!("{} nothing", self.method),
        }
    }

    fn json(&self) -> Answer<Value> {
        let kind = self.header("content-type").unwrap_or_default();
        if !kind.starts_with("application/json") {
            return Err(refuse_with(
                415,
                "UnsupportedMediaType",
                format!(
                    "The content media type '{kind}' is not supported. Only 'application/json' is supported."
                ),
            ));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            refuse(
                "InvalidRequestContent",
                format!(
                    "The request content was invalid and could not be deserialized: '{error}'."
                ),
            )
        })
    }
}

/// A fault that changes how a write ends.
pub(super) type Ending = End;

impl Inner {
    /// Answers a request to Azure Resource Manager.
    pub(super) fn answer(&mut self, way: Way, request: &Request, end: Ending) -> Reply {
        self.finish_due();
        let answer = self.try_answer(way, request, end);
        let mut reply = match answer {
            Ok(reply) => reply,
            Err(refusal) => {
                self.state.undo();
                Reply::refusal(&refusal)
            }
        };
        if let Some(body) = &mut reply.body {
            write_ids(body, self.settings.casing);
        }
        reply.headers.push(("x-ms-request-id", self.ids.guid()));
        self.commit(crate::cloud::history::Cause::Call(request.kind()));
        reply
    }

    fn try_answer(&mut self, way: Way, request: &Request, end: Ending) -> Answer<Reply> {
        let asked = request.asked();
        if way == Way::Front {
            self.login.check_token(request.header("authorization"))?;
        }
        check_version(request, &asked)?;
        let subscription = request.path.split('/').nth(2).unwrap_or_default();
        if !same(subscription, &self.subscription) {
            return Err(refuse_with(
                404,
                "SubscriptionNotFound",
                format!("The subscription '{subscription}' could not be found."),
            ));
        }
        let left = match way {
            Way::Front => {
                let buckets = self.settings.buckets.as_ref();
                let subscription = &self.subscription;
                let method = &request.method;
                Some(self.levels.take(buckets, method, subscription, self.now)?)
            }
            Way::Back => None,
        };
        let mut reply = match (&request.method, asked) {
            (&Method::GET, asked) => self.read(way, request, asked)?,
            (_, Asked::One(id)) => self.write(way, request, &id, end)?,
            (method, _) => return Err(not_allowed(method, &request.path)),
        };
        if let Some(left) = left {
            let (principal, subscription) = buckets::headers(&request.method);
            let left = [
                (principal, left.principal.to_string()),
                (subscription, left.subscription.to_string()),
            ];
            reply.headers.extend(left);
        }
        Ok(reply)
    }

    fn read(&mut self, way: Way, request: &Request, asked: Asked) -> Answer<Reply> {
        let role = match way {
            Way::Front => self.settings.role.clone(),
            Way::Back => None,
        };
        if let Asked::Operation { id, result } = asked {
            if let Some(at) = ArmId::parse(&request.path).filter(|_| self.settings.polls_need_role)
            {
                roles::check(role.as_ref(), "read", &at)?;
            }
            return self.poll(&id, result);
        }
        // Whoever looks at a resource that changes sees that it does.
        if let Asked::One(id) = &asked {
            let found = self.state.resources.get(&id.top().key());
            if let Some(operation) = found.and_then(|found| found.operation.clone()) {
                self.look(&operation);
            }
        }
        let late = way == Way::Front && self.settings.lag != crate::cloud::Settle::AT_ONCE;
        let state = match late {
            true => self.replica.read(self.settings.lag, self.now),
            false => &self.state,
        };
        match asked {
            Asked::One(id) => {
                roles::check(role.as_ref(), "read", &id)?;
                read_one(state, &id)
            }
            Asked::All(id) => {
                let all = list(state, &id, role.as_ref())?;
                page(request, all, self.settings.page)
            }
            Asked::Everything => {
                let all = everything(state, request, role.as_ref())?;
                page(request, all, self.settings.page)
            }
            Asked::Group(key) => {
                let group = state.resources.get(&key);
                let group = group.ok_or_else(|| group_not_found(&key))?;
                Ok(Reply::ok(show::resource(state, group, &Around::default())))
            }
            _ => Err(refuse_with(
                404,
                "InvalidResourceType",
                format!(
                    "The resource type of '{}' could not be found.",
                    request.path
                ),
            )),
        }
    }

    fn look(&mut self, operation: &str) {
        if let Some(operation) = self.state.operations.get_mut(operation)
            && operation.is_under_way()
        {
            operation.looks = operation.looks.saturating_add(1);
        }
    }

    /// Recorded: 200 with `status`, and with `error` where there is one.
    fn poll(&mut self, id: &str, result: bool) -> Answer<Reply> {
        let found = self.state.operations.get(id).cloned();
        let Some(operation) = found.filter(|operation| !operation.lost) else {
            return Err(refuse_with(
                404,
                "OperationNotFound",
                format!("The operation {id} is not found."),
            ));
        };
        let mut reply = match (&operation.status, result) {
            (Status::InProgress, true) => Reply {
                status: 202,
                ..Reply::default()
            },
            (Status::Succeeded, true) => Reply {
                status: 204,
                ..Reply::default()
            },
            (_, _) => Reply::ok(status(&operation)),
        };
        if operation.is_under_way() {
            self.look(id);
            if let Some(after) = self.settings.poll_after {
                reply.headers.push(("retry-after", after.to_string()));
            }
        }
        Ok(reply)
    }

    fn write(&mut self, way: Way, request: &Request, id: &ArmId, end: Ending) -> Answer<Reply> {
        let role = self.settings.role.as_ref().filter(|_| way == Way::Front);
        let verb = match request.method {
            Method::DELETE => "delete",
            _ => "write",
        };
        let kind = id.kind();
        let known = id.provider == "Microsoft.Network";
        if !known || !is_written(&request.method, &kind) {
            return Err(not_allowed(&request.method, &request.path));
        }
        roles::check(role, verb, id)?;
        let group = id.group_key();
        if self.state.resources.get(&group).is_none() {
            return Err(group_not_found(&group));
        }
        let body = match request.method {
            Method::DELETE => Value::Null,
            _ => self.body(way, request, id, &kind)?,
        };
        let (settings, if_match) = (self.settings.clone(), request.header("if-match"));
        let mut turn = Turn {
            state: &mut self.state,
            settings: &settings,
            now: self.now,
            ids: &mut self.ids,
            addresses: &mut self.addresses,
            patience: &mut self.patience,
            superseded: &mut self.superseded,
            method: &request.method,
            id,
            if_match,
            end,
        };
        if way == Way::Front && request.method == Method::PUT {
            load_balancers::check_links(&turn, &body)?;
            if let Some(prefix) = body.text("/properties/publicIPPrefix/id") {
                roles::check_link(settings.role.as_ref(), id, prefix, "join/action")?;
            }
        }
        let written = match (request.method.as_str(), kind.as_str()) {
            ("PUT", "loadBalancers") => load_balancers::put(&mut turn, &body),
            ("DELETE", "loadBalancers") => load_balancers::delete(&mut turn),
            ("PUT", "loadBalancers/backendAddressPools") => {
                load_balancers::put_pool(&mut turn, &body)
            }
            ("DELETE", "loadBalancers/backendAddressPools") => {
                load_balancers::delete_pool(&mut turn)
            }
            ("PUT", "publicIPAddresses") => public_ips::put(&mut turn, &body),
            ("DELETE", "publicIPAddresses") => public_ips::delete(&mut turn),
            ("PUT", "networkSecurityGroups") => security_groups::put(&mut turn, &body),
            ("DELETE", "networkSecurityGroups") => security_groups::delete(&mut turn),
            ("PUT", "networkSecurityGroups/securityRules") => {
                security_groups::put_rule(&mut turn, &body)
            }
            ("DELETE", "networkSecurityGroups/securityRules") => {
                security_groups::delete_rule(&mut turn)
            }
            ("PATCH", "loadBalancers") => patch_tags(&mut turn, Kind::LoadBalancer, &body),
            ("PATCH", "publicIPAddresses") => patch_tags(&mut turn, Kind::PublicIp, &body),
            _ => patch_tags(&mut turn, Kind::SecurityGroup, &body),
        };
        match written {
            // Recorded: 204 for what is not there.
            Err(refusal) if request.method == Method::DELETE && refusal.status == 404 => {
                Ok(Reply {
                    status: 204,
                    ..Reply::default()
                })
            }
            written => Ok(self.written(request, &written?)),
        }
    }

    /// The body, if it is one; mistakes in it that Azure would overlook are kept for [`super::FakeAzure::check`].
    fn body(&mut self, way: Way, request: &Request, id: &ArmId, kind: &str) -> Answer<Value> {
        let mut body = request.json()?;
        let root = match request.method {
            Method::PATCH => "TagsObject",
            _ => schema::root(kind).expect("what is written has a type"),
        };
        let live = self.state.resources.get(&id.top().key()).map(|found| {
            let shown = show::resource(&self.state, found, &Around::default());
            match id.path.len() {
                2 => shown,
                _ => part(&shown, id).cloned().unwrap_or_default(),
            }
        });
        let strict = way == Way::Front && self.settings.refuses_read_only;
        let problems = schema::check(root, &body, live.as_ref(), strict);
        if !problems.is_empty() {
            let problems = problems.join("; ");
            if way == Way::Front {
                self.violations
                    .push(format!("{} {id}: {problems}", request.method));
            }
            return Err(malformed("InvalidJson", problems));
        }
        for (name, expected) in [("/id", id.to_string()), ("/name", id.name().to_owned())] {
            if let Some(found) = body.text(name)
                && !same(found, &expected)
            {
                return Err(refuse(
                    "InvalidRequestContent",
                    format!(
                        "The {name} '{found}' of the body is not that of the path, '{expected}'."
                    ),
                ));
            }
        }
        schema::strip(root, &mut body);
        Ok(body)
    }

    fn written(&self, request: &Request, written: &Written) -> Reply {
        let mut reply = Reply {
            status: written.status,
            ..Reply::default()
        };
        if let Some(id) = &written.shown
            && let Some(found) = self.state.resources.get(&id.top().key())
        {
            let around = match (found.kind, written.status) {
                // Nobody can have it yet.
                (Kind::PublicIp, 201) => Around::default(),
                _ => around(&self.state, found),
            };
            let shown = show::resource(&self.state, found, &around);
            reply.body = Some(match id.path.len() {
                2 => shown,
                _ => part(&shown, id).cloned().unwrap_or_default(),
            });
        }
        let Some(operation) = &written.operation else {
            return reply;
        };
        let place = |what: &str| {
            format!(
                "{}/subscriptions/{}/providers/Microsoft.Network/locations/{}/{what}/{operation}?api-version={NETWORK_VERSION}&t=1&c=2&s=3&h=4",
                request.base, self.subscription, written.location
            )
        };
        reply
            .headers
            .push(("azure-asyncoperation", place("operations")));
        match written.status {
            202 => reply.headers.push(("location", place("operationResults"))),
            _ => reply
                .headers
                .push(("azure-asyncnotification", "Enabled".to_owned())),
        }
        reply
    }
}

fn is_written(method: &Method, kind: &str) -> bool {
    let top = [
        "loadBalancers",
        "publicIPAddresses",
        "networkSecurityGroups",
    ]
    .contains(&kind);
    let part = [
        "loadBalancers/backendAddressPools",
        "networkSecurityGroups/securityRules",
    ]
    .contains(&kind);
    match *method {
        Method::PATCH => top,
        Method::PUT | Method::DELETE => top || part,
        _ => false,
    }
}

/// "Resource provider APIs": every call says the version.
fn check_version(request: &Request, asked: &Asked) -> Answer<()> {
    let Some(version) = request.query.get("api-version") else {
        return Err(refuse(
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    };
    let network = match asked {
        // The interfaces of a scale set are read by a version of their own, 2018-10-01.
        Asked::One(id) | Asked::All(id) => id.provider == "Microsoft.Network",
        Asked::Operation { .. } => true,
        _ => false,
    };
    let is_date = version.len() >= 10 && version.starts_with("20");
    if !is_date || (network && version != NETWORK_VERSION) {
        return Err(refuse(
            "InvalidApiVersionParameter",
            format!(
                "The api-version '{version}' is invalid. The supported versions are '{NETWORK_VERSION}'."
            ),
        ));
    }
    Ok(())
}

fn not_allowed(method: &Method, path: &str) -> Refusal {
    refuse_with(
        405,
        "MethodNotAllowed",
        format!("The HTTP method '{method}' is not supported for '{path}'."),
    )
}

fn group_not_found(key: &str) -> Refusal {
    let name = key.rsplit('/').next().unwrap_or_default();
    refuse_with(
        404,
        "ResourceGroupNotFound",
        format!("Resource group '{name}' could not be found."),
    )
}

fn part<'a>(shown: &'a Value, id: &ArmId) -> Option<&'a Value> {
    let mut all = children(shown, &id.path[2]).iter();
    all.find(|child| same(name_of(child), id.name()))
}

/// Recorded: a GET has the header ETag; PUT has not.
fn read_one(state: &State, id: &ArmId) -> Answer<Reply> {
    if state.resources.get(&id.group_key()).is_none() {
        return Err(group_not_found(&id.group_key()));
    }
    let whole = state.resources.get(&id.key());
    let top = state.resources.get(&id.top().key());
    let body = match (whole, top) {
        (Some(found), _) => show::resource(state, found, &around(state, found)),
        (None, Some(top)) if id.path.len() == 4 => {
            let shown = show::resource(state, top, &around(state, top));
            part(&shown, id).cloned().ok_or_else(|| absent(id))?
        }
        (None, Some(_)) => return Err(absent(id)),
        (None, None) => return Err(absent(&id.top())),
    };
    let mut reply = Reply::ok(body);
    let etag = reply.body.as_ref().and_then(|body| body.text("/etag"));
    if let Some(etag) = etag.map(str::to_owned) {
        reply.headers.push(("etag", etag));
    }
    Ok(reply)
}

fn around(state: &State, one: &Resource) -> Around {
    match one.kind {
        Kind::LoadBalancer | Kind::PublicIp => Around::of(state),
        _ => Around::default(),
    }
}

fn list(state: &State, id: &ArmId, role: Option<&roles::Role>) -> Answer<Vec<Value>> {
    if id.path.len() == 3 {
        let top = id.top();
        if let Some(found) = state.resources.get(&top.key())
            && found.goal.has(&format!("/properties/{}", id.path[2]))
        {
            roles::check(role, "read", id)?;
            let shown = show::resource(state, found, &around(state, found));
            return Ok(children(&shown, &id.path[2]).to_vec());
        }
    }
    if id.group.is_some() && state.resources.get(&id.group_key()).is_none() {
        return Err(group_not_found(&id.group_key()));
    }
    let around = Around::of(state);
    let all = state.resources.values().filter_map(|one| {
        let found = ArmId::parse(&one.id)?;
        let within = match &id.group {
            Some(group) => found.group.as_ref().is_some_and(|other| same(other, group)),
            None => true,
        };
        let alike = found.full_kind() == id.full_kind()
            && found.path.len() == id.path.len() + 1
            && (id.path.len() == 1 || same(&found.path[1], &id.path[1]));
        (within && alike && roles::may_read(role, &found))
            .then(|| show::resource(state, one, &around))
    });
    Ok(all.collect())
}

/// "Resources - List": `$filter=tagName eq 'A' and tagValue eq 'B'`, with what lists of all kinds show.
fn everything(state: &State, request: &Request, role: Option<&roles::Role>) -> Answer<Vec<Value>> {
    let filter = request.query.get("$filter").map(String::as_str);
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    for term in filter.into_iter().flat_map(|filter| filter.split(" and ")) {
        let parsed = term.split_once(" eq ").and_then(|(name, value)| {
            Some((
                name.trim(),
                value.trim().strip_prefix('\'')?.strip_suffix('\'')?,
            ))
        });
        match parsed {
            Some((name @ ("tagName" | "tagValue" | "resourceType"), value)) => {
                wanted.insert(name, value);
            }
            _ => {
                return Err(refuse(
                    "InvalidFilterInQueryString",
                    format!("Invalid $filter '{term}' specified in the query string."),
                ));
            }
        }
    }
    let all = state.resources.values().filter_map(|one| {
        let id = ArmId::parse(&one.id)?;
        if id.path.len() != 2 || !roles::may_read(role, &id) {
            return None;
        }
        if let Some(kind) = wanted.get("resourceType")
            && !same(kind, &id.full_kind())
        {
            return None;
        }
        if let Some(name) = wanted.get("tagName") {
            let value = one.tag(name)?;
            if wanted
                .get("tagValue")
                .is_some_and(|wanted| *wanted != value)
            {
                return None;
            }
        }
        Some(json!({
            "id": one.id, "name": one.name(), "type": id.full_kind(),
            "location": one.goal["location"], "tags": one.goal["tags"],
        }))
    });
    Ok(all.collect())
}

/// "nextLink": the whole address of the next page.
fn page(request: &Request, all: Vec<Value>, size: usize) -> Answer<Reply> {
    let skip = match request.query.get("$skipToken") {
        None => 0,
        Some(token) => token.parse::<usize>().map_err(|_| {
            refuse(
                "InvalidSkipToken",
                format!("The skip token '{token}' is invalid."),
            )
        })?,
    };
    let rest = all.len().saturating_sub(skip);
    let items: Vec<_> = all.into_iter().skip(skip).take(size).collect();
    let mut body = json!({"value": items});
    if rest > size {
        let version = request.query.get("api-version").map_or("", String::as_str);
        let mut link = format!("{}{}?api-version={version}", request.base, request.path);
        if let Some(filter) = request.query.get("$filter") {
            let filter: String = form_urlencoded::byte_serialize(filter.as_bytes()).collect();
            link.push_str(&format!("&$filter={filter}"));
        }
        link.push_str(&format!("&$skipToken={}", skip + size));
        body["nextLink"] = json!(link);
    }
    Ok(Reply::ok(body))
}

fn status(operation: &Operation) -> Value {
    match &operation.status {
        Status::InProgress => json!({"status": "InProgress"}),
        Status::Succeeded => json!({"status": "Succeeded"}),
        Status::Failed(..) => {
            let error = operation.fails.as_ref().map(Refusal::error);
            json!({"status": "Failed", "error": error})
        }
        // As users report it.
        Status::Canceled => json!({
            "status": "Canceled",
            "error": {
                "code": "Canceled",
                "message": "Operation was canceled.",
                "details": [{
                    "code": "CanceledAndSupersededDueToAnotherOperation",
                    "message": format!("Operation {} was canceled and superseded by another operation.", operation.call),
                }],
            },
        }),
    }
}
