//! What the controller tells of its Services: the answer of `/status`, for both ends (Decides).
//!
//! It comes from memory, but for the health of targets, which is read when somebody asks. Texts are those that conditions
//! show, so that they hold no secrets.

mod nodes;

use evenkeel_core::{
    engine::Report,
    problem::{PortError, Problem, Problems, Warning},
    published::TargetHealth,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

pub use nodes::{HeldNode, NodesOf};

/// Whom somebody asks for: the query of `/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// None: all namespaces.
    pub namespace: Option<String>,
    /// None: all names.
    pub name: Option<String>,
    /// No Services at all: only what is known of nodes.
    #[serde(rename = "withoutServices")]
    pub without_services: bool,
}

impl Scope {
    /// Whether an object is in it.
    pub fn holds(&self, meta: &ObjectMeta) -> bool {
        let is =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        !self.without_services && is(&self.namespace, &meta.namespace) && is(&self.name, &meta.name)
    }

    /// As it is asked for. Names of Kubernetes need no escaping.
    pub fn path(&self) -> String {
        let one = |key: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{key}={value}"))
        };
        let query: Vec<_> = [
            one("namespace", &self.namespace),
            one("name", &self.name),
            self.without_services
                .then(|| "withoutServices=true".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect();
        match query.as_slice() {
            [] => "/status".to_owned(),
            query => format!("/status?{}", query.join("&")),
        }
    }
}

/// What a controller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Standings {
    /// The UID of the cluster's namespace kube-system: whoever asks can tell whose controller answers.
    pub cluster: String,
    /// The controller's version.
    pub version: String,
    /// Every Service it has to do with, by namespace and name.
    pub services: Vec<Standing>,
    /// What it knows of the nodes beyond what the API server has, by provider.
    pub nodes: Vec<NodesOf>,
}

/// Where one Service stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Standing {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Who serves it; empty before it was worked on.
    pub provider: String,
    /// `claimed`, `active`, `degraded`, `rejected` or `releasing`.
    pub state: String,
    /// Since when it is not as asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The group whose load balancer it shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Addresses in its status.
    pub addresses: Vec<String>,
    /// Ports in its status that are open: `443/TCP`.
    pub ports: Vec<String>,
    /// Targets of its load balancer; None where the provider does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<TargetHealth>,
    /// The pools that its addresses are of, by name; empty where the provider has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
    /// What stands in the way.
    #[serde(flatten)]
    pub trouble: Trouble,
}

/// What stands in the way of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Trouble {
    /// Nothing is written, because its owner asked for that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Writes that the pause holds back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// What its owner has to change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Fault>,
    /// What the facts do not allow, or nobody approved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Fault>,
    /// Ports that are not served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port_errors: Vec<Fault>,
    /// Calls that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Fault>,
    /// What is waited for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<String>,
    /// What its owner should know though all is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Fault {
    /// CamelCase and stable: the reason of condition and event, or the class of an error.
    pub reason: String,
    /// Where: a field, a port, an object or a call.
    pub at: String,
    /// What is wrong, with what to do next.
    pub message: String,
    /// The digest that an approval must name, where that is what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

impl From<&Problem> for Fault {
    fn from(problem: &Problem) -> Self {
        Self {
            reason: problem.reason.to_owned(),
            at: problem.field.clone(),
            message: problem.to_string(),
            approval: None,
        }
    }
}

impl From<&PortError> for Fault {
    fn from(error: &PortError) -> Self {
        Self {
            reason: error.reason.to_owned(),
            at: error.port.to_string(),
            message: error.message.to_string(),
            approval: None,
        }
    }
}

impl Trouble {
    /// What a run means for one Service. `own` is what is wrong with its own fields, `warnings` what its owner should know
    /// of them, `ports` which of its ports are not served.
    pub fn of(
        report: &Report,
        own: Option<&Problems>,
        warnings: &[Warning],
        ports: &[PortError],
    ) -> Self {
        let problems = own.or(report.problems.as_ref());
        Self {
            paused: report.paused,
            withheld: report.withheld.iter().map(one_line).collect(),
            problems: problems
                .into_iter()
                .flat_map(Problems::iter)
                .map(Fault::from)
                .collect(),
            refusals: report
                .refusals
                .iter()
                // A refused port is told as that port's error.
                .filter(|refusal| refusal.port.is_none())
                .map(|refusal| Fault {
                    approval: refusal.approval.clone(),
                    ..Fault::from(&refusal.problem)
                })
                .collect(),
            port_errors: ports.iter().map(Fault::from).collect(),
            failures: report
                .failures
                .iter()
                .map(|failure| Fault {
                    reason: failure.class.as_str().to_owned(),
                    at: failure.operation.to_owned(),
                    message: failure.message.clone(),
                    approval: None,
                })
                .collect(),
            waits: report.waits.iter().map(|wait| wait.what.clone()).collect(),
            warnings: warnings
                .iter()
                .chain(&report.warnings)
                .map(|warning| Fault {
                    reason: warning.reason.to_owned(),
                    at: String::new(),
                    message: warning.message.clone(),
                    approval: None,
                })
                .collect(),
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A change in one line.
fn one_line(change: &evenkeel_core::plan::Change) -> String {
    format!(
        "{} {} {}",
        change.action.as_str(),
        change.kind,
        change.id.as_str()
    )
}

#[cfg(test)]
mod tests {
    use evenkeel_core::{
        ids::{ResourceId, ServiceKey, ServiceRef, ServiceUid},
        plan::{Refusal, Until, Wait},
        ports::{PortKey, Protocol},
    };

    use super::*;

    #[test]
    fn a_scope_is_what_it_asks_for() {
        let meta = ObjectMeta {
            namespace: Some("shop".into()),
            name: Some("a".into()),
            ..ObjectMeta::default()
        };
        for (namespace, name, holds, path) in [
            (None, None, true, "/status"),
            (Some("shop"), None, true, "/status?namespace=shop"),
            (Some("other"), None, false, "/status?namespace=other"),
            (
                Some("shop"),
                Some("b"),
                false,
                "/status?namespace=shop&name=b",
            ),
        ] {
            let scope = Scope {
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
                ..Scope::default()
            };
            assert_eq!((scope.holds(&meta), scope.path().as_str()), (holds, path));
        }
    }

    #[test]
    fn nobody_is_in_a_scope_without_services() {
        let scope = Scope {
            without_services: true,
            ..Scope::default()
        };
        assert!(!scope.holds(&ObjectMeta::default()));
        assert_eq!(scope.path(), "/status?withoutServices=true");
    }

    #[test]
    fn a_run_without_trouble_tells_nothing() {
        assert!(Trouble::of(&Report::default(), None, &[], &[]).is_none());
    }

    #[test]
    fn what_is_told_can_be_read_and_says_a_refused_port_once() {
        let port = PortKey {
            port: 443,
            protocol: Protocol::Tcp,
        };
        let service = ServiceRef {
            key: ServiceKey::new("shop", "checkout"),
            uid: ServiceUid::new("u1"),
        };
        let refusal = |approval: Option<&str>, port| Refusal {
            id: ResourceId::new("lease"),
            problem: Problem::new("spec.ip", "1", "is taken", "Take another."),
            approval: approval.map(str::to_owned),
            port,
        };
        let report = Report {
            waits: vec![Wait {
                id: ResourceId::new("lb"),
                what: "the address".into(),
                until: Until::Told,
            }],
            refusals: vec![
                refusal(Some("abc"), None),
                refusal(None, Some((service.uid.clone(), port))),
            ],
            ..Report::default()
        };
        let error = PortError {
            service,
            port,
            reason: "PortNotOpened",
            message: "is taken".into(),
        };
        let trouble = Trouble::of(&report, None, &[], &[error]);
        assert_eq!(trouble.waits, ["the address"]);
        assert_eq!(trouble.refusals.len(), 1);
        assert_eq!(trouble.refusals[0].approval.as_deref(), Some("abc"));
        assert_eq!(trouble.port_errors[0].at, "443/TCP");
        let standing = Standing {
            name: "checkout".into(),
            trouble,
            ..Standing::default()
        };
        let text = serde_json::to_string(&standing).expect("is written");
        assert_eq!(
            serde_json::from_str::<Standing>(&text).expect("is read"),
            standing
        );
        assert!(!text.contains("paused"), "{text}");
    }
}
