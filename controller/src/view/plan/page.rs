//! The page of a plan (Decides).

use std::fmt::Write as _;

use super::{Difference, GroupPlan, Plan, Step, Summary};
use crate::view::{
    ink::{Ink, Tone},
    status::approval_command,
};

impl GroupPlan {
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
        let width = |of: fn(&Step) -> &str| self.steps().map(|step| of(step).chars().count()).max();
        let widths = (
            width(|step| &step.kind).unwrap_or(0),
            width(|step| &step.id).unwrap_or(0),
        );
        for step in self.steps() {
            render_step(text, step, widths, ink);
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

fn render_step(text: &mut String, step: &Step, (kind, id): (usize, usize), ink: Ink) {
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
            format!("{:<kind$}   {:<id$}   {}", step.kind, step.id, step.detail).trim_end()
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
