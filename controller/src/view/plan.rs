//! A rehearsal for people and for programs (Decides).

use evenkeel_core::{
    engine::Rehearsal,
    plan::{Action, Change, Disturbance},
    published::Ingress,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::standing::Fault;

mod page;
#[cfg(test)]
mod tests;

/// All that `evenkeel plan` found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`super::status::API_VERSION`].
    pub api_version: String,
    /// `Plan`.
    pub kind: String,
    /// `namespace/name` of the ConfigMap whose configuration was planned with; None where none was found.
    pub controller: Option<String>,
    /// A plan per load balancer, by the Services it is for.
    pub groups: Vec<GroupPlan>,
    /// What was asked for and is none of evenkeel's business.
    pub skipped: Vec<Skipped>,
    /// Load balancers of this cluster whose Services are gone; they are left alone.
    pub orphans: Vec<Orphan>,
    /// Values that the API server gives when the Services are made, with what stands in for them until then.
    #[serde(default)]
    pub stand_ins: Vec<StandIn>,
    /// Objects of other kinds in the files, which were passed over.
    #[serde(default)]
    pub passed_over: usize,
    /// What was taken for granted, in sentences.
    pub assumed: Vec<String>,
    /// The sums.
    pub summary: Summary,
}

/// A value that stands in for one which the API server gives later. Wherever it stands in a plan, the real one will stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StandIn {
    /// `namespace/name`.
    pub service: String,
    /// The field: `spec.ports[0].nodePort`.
    pub field: String,
    /// What stands in for it.
    pub value: String,
}

/// What would be done for the Services that share one load balancer, nearly always one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupPlan {
    /// `namespace/name` of those it serves or releases.
    pub services: Vec<String>,
    /// Those of them that it releases.
    pub releases: Vec<String>,
    /// The group's name, where it has one.
    pub group: Option<String>,
    /// The provider.
    pub provider: String,
    /// Whether the Services' owner asked that nothing be written: then the steps are what is held back.
    pub paused: bool,
    /// Why it is rejected: what is there stays.
    pub problems: Vec<Fault>,
    /// Ports that would not be served.
    pub port_errors: Vec<Fault>,
    /// What its owner should know.
    pub warnings: Vec<Fault>,
    /// The steps. Those of one wave are independent of each other; a wave begins when the one before has ended.
    pub waves: Vec<Vec<Step>>,
    /// What would be waited for in the end.
    pub waits: Vec<String>,
    /// What would be refused.
    pub refusals: Vec<Fault>,
    /// The addresses that would be published.
    pub addresses: Vec<String>,
    /// The ports that would be open: `443/TCP`.
    pub ports: Vec<String>,
    /// The digest of the steps that give something up, where there are some: asked for, or given.
    pub approval: Option<String>,
    /// Everything that there would be in the end, whole, in the words of the provider's facts.
    #[serde(default)]
    #[schemars(schema_with = "objects")]
    pub objects: Value,
    /// Why there is no plan.
    pub error: Option<String>,
}

/// The objects of each provider; null where there is no plan.
fn objects(generator: &mut SchemaGenerator) -> Schema {
    let aws = generator.subschema_for::<evenkeel_aws::record::GroupObjects>();
    let azure = generator.subschema_for::<evenkeel_azure::record::GroupObjects>();
    let local = generator.subschema_for::<evenkeel_local::record::GroupObjects>();
    json_schema!({ "anyOf": [aws, azure, local, {"type": "null"}] })
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// `create`, `change`, `replace` or `destroy`.
    pub action: String,
    /// The kind of object, in the cloud's words.
    pub kind: String,
    /// The object, by a name that is the same in every cluster.
    pub id: String,
    /// What it is, in a few words.
    pub detail: String,
    /// `none`, `drains` (new connections may go elsewhere, open ones live on) or `interrupts` (open connections end).
    pub disturbance: String,
    /// Why.
    pub reasons: Vec<Difference>,
    /// What is lost for good, and so needs approval.
    pub gives_up: Option<String>,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// In the words of the cloud.
    pub field: String,
    /// What it is.
    pub from: String,
    /// What it shall be.
    pub to: String,
}

/// A Service without a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// `namespace/name`.
    pub service: String,
    /// Why.
    pub why: String,
}

/// A load balancer without a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Orphan {
    /// The provider.
    pub provider: String,
    /// `namespace/name` as its marks tell it.
    pub service: String,
    /// How many objects it has.
    pub objects: usize,
}

/// The sums of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Objects that are made.
    pub create: usize,
    /// Objects that are changed in place.
    pub change: usize,
    /// Objects that are replaced.
    pub replace: usize,
    /// Objects that are removed.
    pub destroy: usize,
    /// Steps that are felt by clients.
    pub disturbing: usize,
    /// Refusals.
    pub refused: usize,
    /// Groups that are rejected, and ports that would not be served.
    pub rejected: usize,
    /// Groups that could not be planned.
    pub failed: usize,
}

impl Summary {
    /// The sums of these.
    pub fn of(groups: &[GroupPlan]) -> Self {
        let steps = || groups.iter().flat_map(|group| group.waves.iter().flatten());
        let action = |action: Action| {
            steps()
                .filter(|step| step.action == action.as_str())
                .count()
        };
        Self {
            create: action(Action::Create),
            change: action(Action::Change),
            replace: action(Action::Replace),
            destroy: action(Action::Destroy),
            disturbing: steps().filter(|step| step.disturbance != "none").count(),
            refused: groups.iter().map(|group| group.refusals.len()).sum(),
            rejected: groups
                .iter()
                .map(|group| usize::from(!group.problems.is_empty()) + group.port_errors.len())
                .sum(),
            failed: groups.iter().filter(|group| group.error.is_some()).count(),
        }
    }

    /// Whether somebody would have to change something.
    pub fn has_problems(&self) -> bool {
        self.refused + self.rejected > 0
    }

    /// Whether there is nothing to do, and nothing that somebody would have to do.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&Change> for Step {
    fn from(change: &Change) -> Self {
        let disturbance = match change.disturbance {
            Disturbance::None => "none",
            Disturbance::Drains => "drains",
            Disturbance::Interrupts => "interrupts",
        };
        Self {
            action: change.action.as_str().to_owned(),
            kind: change.kind.to_owned(),
            id: change.id.as_str().to_owned(),
            detail: change.detail.clone(),
            disturbance: disturbance.to_owned(),
            reasons: change
                .reasons
                .iter()
                .map(|reason| Difference {
                    field: reason.field.to_owned(),
                    from: reason.from.clone(),
                    to: reason.to.clone(),
                })
                .collect(),
            gives_up: change.gives_up.as_ref().map(ToString::to_string),
        }
    }
}

impl GroupPlan {
    /// Takes in what a provider foretells.
    pub fn foretold(&mut self, rehearsal: &Rehearsal) {
        let problems = rehearsal.problems.iter().flat_map(|all| all.iter());
        self.problems.extend(problems.map(Fault::from));
        self.port_errors
            .extend(rehearsal.port_errors.iter().map(Fault::from));
        self.warnings
            .extend(rehearsal.warnings.iter().map(|warning| Fault {
                reason: warning.reason.to_owned(),
                message: warning.message.clone(),
                ..Fault::default()
            }));
        self.waves = rehearsal
            .waves
            .iter()
            .map(|wave| wave.iter().map(Step::from).collect())
            .collect();
        self.waits
            .extend(rehearsal.waits.iter().map(|wait| wait.what.clone()));
        self.refusals
            .extend(rehearsal.refusals.iter().map(|refusal| Fault {
                approval: refusal.approval.clone(),
                ..Fault::from(&refusal.problem)
            }));
        let published = &rehearsal.published;
        self.addresses = published
            .ingress
            .iter()
            .map(|ingress| match ingress {
                Ingress::Ip { ip, .. } => ip.to_string(),
                Ingress::Hostname(name) => name.clone(),
            })
            .collect();
        self.ports = published
            .ports
            .iter()
            .map(|port| port.port.to_string())
            .collect();
        self.approval.clone_from(&rehearsal.approval);
        self.objects = rehearsal.objects.clone();
    }

    /// Puts words in place of values that the API server has not given yet, wherever they stand as a number of their own.
    pub fn hide(&mut self, values: &[(u16, String)]) {
        let hide = |text: &mut String| {
            for (value, words) in values {
                *text = replace_number(text, &value.to_string(), words);
            }
        };
        for step in self.waves.iter_mut().flatten() {
            hide(&mut step.detail);
            for reason in &mut step.reasons {
                hide(&mut reason.from);
                hide(&mut reason.to);
            }
        }
        let texts = self.waits.iter_mut();
        texts.for_each(&hide);
        for fault in self.refusals.iter_mut().chain(&mut self.problems) {
            hide(&mut fault.message);
        }
    }
}

/// Puts words in place of a number that is not part of a longer word.
fn replace_number(text: &str, number: &str, words: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let joins = |c: char| c.is_alphanumeric() || c == '.';
    while let Some(at) = rest.find(number) {
        let (before, after) = (&rest[..at], &rest[at + number.len()..]);
        result.push_str(before);
        let alone = !result.ends_with(joins) && !after.starts_with(char::is_alphanumeric);
        result.push_str(if alone { words } else { number });
        rest = after;
    }
    result.push_str(rest);
    result
}
