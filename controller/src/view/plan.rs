//! A rehearsal for people and for programs (Decides).

use std::fmt::Write as _;

use evenkeel_core::{
    engine::Rehearsal,
    plan::{Action, Change, Disturbance},
    published::Ingress,
};
use serde::{Deserialize, Serialize};

use super::{
    ink::{Ink, Tone},
    standing::Fault,
    status::approval_command,
};

#[cfg(test)]
mod tests;

/// All that `evenkeel plan` found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What was taken for granted, in sentences.
    pub assumed: Vec<String>,
    /// The sums.
    pub summary: Summary,
}

/// What would be done for the Services that share one load balancer, nearly always one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Why there is no plan.
    pub error: Option<String>,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// In the words of the cloud.
    pub field: String,
    /// What it is.
    pub from: String,
    /// What it shall be.
    pub to: String,
}

/// A Service without a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// `namespace/name`.
    pub service: String,
    /// Why.
    pub why: String,
}

/// A load balancer without a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// The provider.
    pub provider: String,
    /// `namespace/name` as its marks tell it.
    pub service: String,
    /// How many objects it has.
    pub objects: usize,
}

/// The sums of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.waves.iter().flatten()
    }

    fn title(&self) -> String {
        let services = self.services.join(", ");
        let mut title = match &self.group {
            Some(group) => format!("{services} (group {group}) on {}", self.provider),
            None => format!("{services} on {}", self.provider),
        };
        if !self.releases.is_empty() {
            let all = self.releases.len() == self.services.len();
            let who = if all {
                String::new()
            } else {
                format!(" of {}", self.releases.join(", "))
            };
            let _ = write!(title, ", release{who}");
        }
        title
    }

    fn render(&self, text: &mut String, ink: Ink) {
        let _ = write!(text, "{}", ink.paint(Tone::Strong, self.title()));
        let quiet = self.steps().next().is_none()
            && self.problems.is_empty()
            && self.refusals.is_empty()
            && self.port_errors.is_empty()
            && self.waits.is_empty()
            && self.error.is_none();
        if quiet {
            text.push_str(": nothing to do");
        }
        text.push('\n');
        let mut line = |tone, words: String| {
            let _ = writeln!(text, "  {}", ink.paint(tone, words));
        };
        if self.paused {
            line(
                Tone::Warn,
                "paused: nothing is written until the annotation evenkeel.dev/paused is removed"
                    .into(),
            );
        }
        if let Some(error) = &self.error {
            line(Tone::Bad, format!("no plan: {error}"));
        }
        if !self.problems.is_empty() {
            line(
                Tone::Bad,
                "rejected: what is there stays, and only its targets follow the nodes".into(),
            );
            for problem in &self.problems {
                line(Tone::Bad, format!("  {}", problem.message));
            }
        }
        for step in self.steps() {
            render_step(text, step, ink);
        }
        let mut line = |tone, words: String| {
            let _ = writeln!(text, "  {}", ink.paint(tone, words));
        };
        for refusal in &self.refusals {
            line(
                Tone::Bad,
                format!("refused ({}): {}", refusal.reason, refusal.message),
            );
            let service = self
                .services
                .first()
                .and_then(|service| service.split_once('/'));
            if let (Some(digest), Some((namespace, name))) = (&refusal.approval, service) {
                line(
                    Tone::Strong,
                    format!("  {}", approval_command(namespace, name, digest)),
                );
            }
        }
        for error in &self.port_errors {
            line(
                Tone::Bad,
                format!("port {} is not served: {}", error.at, error.message),
            );
        }
        for wait in &self.waits {
            line(Tone::Warn, format!("waits for {wait}"));
        }
        for warning in &self.warnings {
            line(Tone::Warn, format!("to know: {}", warning.message));
        }
        if self.approved() {
            let digest = self.approval.as_deref().unwrap_or_default();
            line(
                Tone::Warn,
                format!("approved by evenkeel.dev/approve={digest}"),
            );
        }
        if !quiet && !self.addresses.is_empty() {
            let ports = if self.ports.is_empty() {
                "no port".to_owned()
            } else {
                self.ports.join(", ")
            };
            line(
                Tone::Faint,
                format!("serves {} on {ports} then", self.addresses.join(", ")),
            );
        }
    }

    /// Whether something is given up because somebody approved it.
    fn approved(&self) -> bool {
        self.approval.is_some() && self.steps().any(|step| step.gives_up.is_some())
    }
}

impl Plan {
    /// The page.
    pub fn render(&self, ink: Ink) -> String {
        let mut text = String::new();
        for group in &self.groups {
            group.render(&mut text, ink);
        }
        for skipped in &self.skipped {
            let _ = writeln!(
                text,
                "{}: {}",
                ink.paint(Tone::Strong, &skipped.service),
                ink.paint(Tone::Faint, &skipped.why)
            );
        }
        for orphan in &self.orphans {
            let line = format!(
                "left alone: {} of {} on {}, whose Service is gone; delete by hand what nobody needs",
                objects(orphan.objects),
                orphan.service,
                orphan.provider
            );
            let _ = writeln!(text, "{}", ink.paint(Tone::Warn, line));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&ink.paint(Tone::Strong, self.summary.sentence(self.groups.is_empty())));
        text.push('\n');
        for assumed in &self.assumed {
            let line = format!("Assumed: {assumed}");
            let _ = writeln!(text, "{}", ink.paint(Tone::Warn, line));
        }
        text
    }
}

impl Summary {
    fn sentence(&self, nobody: bool) -> String {
        if nobody {
            return "No Services of evenkeel's.".to_owned();
        }
        if self.is_nothing() {
            return "Nothing to do: everything is as asked.".to_owned();
        }
        let mut text = format!(
            "Plan: {} to create, {} to change, {} to replace, {} to destroy",
            self.create, self.change, self.replace, self.destroy
        );
        for (count, words) in [
            (self.disturbing, "felt by clients"),
            (self.refused, "refused"),
            (self.rejected, "rejected"),
            (self.failed, "not planned"),
        ] {
            if count > 0 {
                let _ = write!(text, "; {count} {words}");
            }
        }
        text.push('.');
        text
    }
}

fn objects(count: usize) -> String {
    if count == 1 {
        "1 object".to_owned()
    } else {
        format!("{count} objects")
    }
}

fn render_step(text: &mut String, step: &Step, ink: Ink) {
    let (sign, tone) = match step.action.as_str() {
        "create" => ("+", Tone::Good),
        "change" => ("~", Tone::Warn),
        "replace" => ("-/+", Tone::Bad),
        _ => ("-", Tone::Bad),
    };
    let _ = writeln!(
        text,
        "  {} {}",
        ink.paint(tone, format!("{sign:>3}")),
        ink.paint(
            Tone::Plain,
            format!("{:<14} {:<16} {}", step.kind, step.id, step.detail).trim_end()
        )
    );
    for Difference { field, from, to } in &step.reasons {
        let _ = writeln!(
            text,
            "        {}",
            ink.paint(Tone::Faint, format!("{field}: {from} -> {to}"))
        );
    }
    let felt = match step.disturbance.as_str() {
        "drains" => Some("new connections may go elsewhere, open ones live on"),
        "interrupts" => Some("open connections end"),
        _ => None,
    };
    if let Some(felt) = felt {
        let _ = writeln!(text, "        {}", ink.paint(Tone::Warn, felt));
    }
    if let Some(lost) = &step.gives_up {
        let _ = writeln!(
            text,
            "        {}",
            ink.paint(Tone::Bad, format!("gives up {lost}"))
        );
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
