//! Plans: the writes possible now, what is waited for, what is refused and why (Decides).

#[cfg(test)]
mod approving;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    digest::Digest,
    ids::{ResourceId, ServiceUid},
    ports::PortKey,
    problem::{Problem, Warning},
};

/// What a step does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Makes it.
    Create,
    /// Changes it in place.
    Change,
    /// Puts a new one in its place.
    Replace,
    /// Removes it.
    Destroy,
}

impl Action {
    /// The sign a printed plan puts before the line.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Change => "~",
            Self::Replace => "±",
            Self::Destroy => "-",
        }
    }

    /// As said in logs: `create`, `change`, `replace`, `destroy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Replace => "replace",
            Self::Destroy => "destroy",
        }
    }
}

/// What a step means for traffic that flows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disturbance {
    /// Nothing.
    None,
    /// New connections may go elsewhere; open ones live on.
    Drains,
    /// Open connections of this object end.
    Interrupts,
}

/// Why a step is there: a field, what it is, what it shall be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Reason {
    /// The field, in the words of the cloud.
    pub field: &'static str,
    /// What was observed; empty for an object that is new.
    pub from: String,
    /// What is wanted; empty for an object that goes.
    pub to: String,
}

impl Reason {
    /// A difference.
    pub fn new(field: &'static str, from: impl fmt::Display, to: impl fmt::Display) -> Self {
        Self {
            field,
            from: from.to_string(),
            to: to.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.field, self.from, self.to)
    }
}

/// What one step costs, for people, logs and digests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Change {
    /// The object, by its logical id.
    pub id: ResourceId,
    /// What kind of object, in the cloud's words: `listener`.
    pub kind: &'static str,
    /// What is done.
    pub action: Action,
    /// What it means for traffic.
    pub disturbance: Disturbance,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What the object is, in a few words: `TCP :443 -> backend set`.
    pub detail: String,
    /// Set on steps that give up an address or replace a load balancer: the cloud's identity of what is lost.
    /// Such a step is only planned under an approval, and the identity makes that approval work once. Its reasons are part
    /// of what is approved: only what makes the loss necessary, and nothing that nodes change.
    pub gives_up: Option<Arc<str>>,
}

impl Change {
    /// A change without reasons that disturbs nothing.
    pub fn new(
        action: Action,
        kind: &'static str,
        id: ResourceId,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            id,
            kind,
            action,
            disturbance: Disturbance::None,
            reasons: Vec::new(),
            detail: detail.into(),
            gives_up: None,
        }
    }

    /// The same with reasons.
    #[must_use]
    pub fn because(mut self, reasons: Vec<Reason>) -> Self {
        self.reasons = reasons;
        self
    }

    /// The same with what it means for traffic.
    #[must_use]
    pub fn disturbing(mut self, disturbance: Disturbance) -> Self {
        self.disturbance = disturbance;
        self
    }

    /// The same, marked as giving up what the cloud calls `identity`.
    #[must_use]
    pub fn giving_up(mut self, identity: impl Into<Arc<str>>) -> Self {
        self.gives_up = Some(identity.into());
        self
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:<14} {:<16} {}",
            self.action.sign(),
            self.kind,
            self.id.as_str(),
            self.detail
        )?;
        for reason in &self.reasons {
            write!(f, "\n      {reason}")?;
        }
        Ok(())
    }
}

/// One step with what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned<S> {
    /// The provider's step.
    pub step: S,
    /// What it costs.
    pub change: Change,
}

/// When a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// Somebody will wake the group.
    Told,
    /// The group looks again after this long.
    After(Duration),
    /// A fresh read: what was seen may be old, and the next step needs proof. The loop reads at once.
    FreshRead,
    /// The group's next turn, which comes when the groups that stand in line have had theirs. Said beside steps, and waited for once these
    /// are done; what was seen stands meanwhile.
    Turn,
}

/// Something that is not there yet. Waiting is not failing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Wait {
    /// The object waited for.
    pub id: ResourceId,
    /// What is waited for, for people.
    pub what: String,
    /// When to look again.
    pub until: Until,
}

/// Something that is not done, and why. A refusal is the twin of a Problem that only the facts reveal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The object it is about.
    pub id: ResourceId,
    /// Why, and what to do.
    pub problem: Problem,
    /// The digest that an approval must name, where approval is what is missing.
    pub approval: Option<String>,
    /// The Service and its port that is not served because of it, where it is about one port.
    pub port: Option<(ServiceUid, PortKey)>,
}

/// What can be done now, what is waited for, what is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<S> {
    /// The writes possible now. They are independent of each other and may run in parallel.
    pub steps: Vec<Planned<S>>,
    /// What has to happen first.
    pub waits: Vec<Wait>,
    /// What will not be done.
    pub refusals: Vec<Refusal>,
    /// What a user should know of how it is done, given the facts.
    pub warnings: Vec<Warning>,
    /// The names of the labels of nodes that it looks at. Where the set of nodes does not tell them yet, they are read, and the
    /// group is planned anew.
    pub node_labels: BTreeSet<Arc<str>>,
}

impl<S> Default for Plan<S> {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            waits: Vec::new(),
            refusals: Vec::new(),
            warnings: Vec::new(),
            node_labels: BTreeSet::new(),
        }
    }
}

impl<S> Plan<S> {
    /// Nothing to do.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a step.
    pub fn step(&mut self, step: S, change: Change) {
        self.steps.push(Planned { step, change });
    }

    /// Adds a wait.
    pub fn wait(&mut self, id: ResourceId, what: impl Into<String>, until: Until) {
        self.waits.push(Wait {
            id,
            what: what.into(),
            until,
        });
    }

    /// Adds a refusal that no approval lifts.
    pub fn refuse(&mut self, id: ResourceId, problem: Problem) {
        self.refusals.push(Refusal {
            id,
            problem,
            approval: None,
            port: None,
        });
    }

    /// Adds a refusal of one port of a Service; its other ports are served.
    pub fn refuse_port(
        &mut self,
        id: ResourceId,
        service: ServiceUid,
        port: PortKey,
        problem: Problem,
    ) {
        self.refuse(id, problem);
        if let Some(refusal) = self.refusals.last_mut() {
            refusal.port = Some((service, port));
        }
    }
}

/// The digest that an approval of these destructive changes names.
///
/// It covers what is given up and what for (the fields of the reasons and what they shall be), and nothing else: nodes
/// may come and go and the digest stays. It names the cloud's identity of each lost object, so an approval left in Git
/// approves nothing later; and what shall be instead, so that it does not approve something else now.
///
/// To survive a crash half-way, a plan hands in the same losses for as long as the replacement lasts, also those whose
/// successor is there already.
pub fn approval_digest(changes: &[Change]) -> String {
    let what_for = |change: &Change| {
        let mut wanted: Vec<_> = change
            .reasons
            .iter()
            .map(|reason| (reason.field, reason.to.clone()))
            .collect();
        wanted.sort_unstable();
        wanted
    };
    let mut given_up: Vec<_> = changes
        .iter()
        .filter_map(|change| {
            let lost = change.gives_up.as_ref()?;
            Some((&change.id, lost, what_for(change)))
        })
        .collect();
    given_up.sort();
    // One loss told by two steps is one loss.
    given_up.dedup();
    Digest::of(&given_up).short()
}

/// Whether destructive changes may go on.
///
/// # Errors
/// The refusal, which names the digest to approve.
pub fn approved(changes: &[Change], approval: Option<&str>) -> Result<(), Box<Refusal>> {
    let digest = approval_digest(changes);
    let mut approvals = approval.into_iter().flat_map(str::split_whitespace);
    if approvals.any(|one| one == digest) {
        return Ok(());
    }
    let Some(change) = changes.iter().find(|change| change.gives_up.is_some()) else {
        return Ok(());
    };
    let why = change
        .reasons
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    Err(Box::new(Refusal {
        id: change.id.clone(),
        problem: Problem::new(
            change.reasons.first().map_or("spec", |reason| reason.field),
            change.reasons.first().map_or("", |reason| reason.to.as_str()),
            format!("would {} {} {} ({why})", change.action.as_str(), change.kind, change.id),
            format!("To approve exactly this, annotate the Service with evenkeel.dev/approve={digest}; else take the change back."),
        )
        .with_reason(crate::problem::reason::APPROVAL_REQUIRED),
        approval: Some(digest),
        port: None,
    }))
}
