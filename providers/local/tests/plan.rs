//! Printed plans of every case, and what must hold of every rehearsal.

mod golden;

use std::fmt::Write as _;

use evenkeel_core::{
    Timestamp,
    converge::{Rehearsed, Round, rehearse},
    endpoints::EndpointSet,
    failure::Failures,
    ids::GroupKey,
    nodes::NodeSet,
    provider::{Provider, Verdict, Want},
};
use evenkeel_local::{
    Local,
    model::{Desired, Observed},
};
use golden::Asked;

#[test]
fn what_each_case_would_do() {
    insta::glob!("cases/*.yaml", |path| {
        let provider = golden::provider();
        let steps = golden::read(path);
        let mut text = String::new();
        let Some(key) = golden::key(&steps) else {
            return;
        };
        let mut seen = Observed::default();
        let mut nodes = NodeSet::empty();
        for (number, step) in steps.iter().enumerate() {
            let _ = writeln!(text, "=== step {}", number + 1);
            nodes = step.nodes.clone();
            seen = print(
                &mut text,
                &provider,
                &key,
                &want(&provider, step),
                &nodes,
                seen,
            );
        }
        text.push_str("=== deleted\n");
        let seen = print(&mut text, &provider, &key, &Want::Nothing, &nodes, seen);
        assert!(seen.is_empty(), "left over: {seen:#?}");
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("plan", text);
        });
    });
}

fn want(provider: &Local, step: &Asked) -> Want<Desired> {
    match step.group.as_ref().map(|group| provider.desired(group)) {
        Some(Verdict::Accepted { desired, .. }) => Want::Exists(desired),
        Some(Verdict::Rejected(_)) | None => Want::Frozen,
    }
}

/// Prints what would be done, also with the approval it asks for, and returns what would then be there.
fn print(
    text: &mut String,
    provider: &Local,
    key: &GroupKey,
    want: &Want<Desired>,
    nodes: &NodeSet,
    seen: Observed,
) -> Observed {
    let rehearsed = foretell(provider, key, want, nodes, seen.clone(), None);
    print_plan(text, &rehearsed);
    let asked = rehearsed
        .refusals
        .iter()
        .find_map(|refusal| refusal.approval.clone());
    let rehearsed = match asked {
        None => rehearsed,
        Some(digest) => {
            let _ = writeln!(text, "--- approved");
            let rehearsed = foretell(provider, key, want, nodes, seen, Some(&digest));
            print_plan(text, &rehearsed);
            rehearsed
        }
    };
    let published = provider.published(key, &rehearsed.seen);
    let addresses: Vec<String> = published
        .ingress
        .iter()
        .map(|ingress| format!("{ingress:?}"))
        .collect();
    let ports: Vec<String> = published
        .ports
        .iter()
        .map(|port| format!("{} {}", port.service, port.port))
        .collect();
    let _ = writeln!(
        text,
        "published: [{}] [{}]",
        addresses.join(", "),
        ports.join(", ")
    );
    rehearsed.seen
}

fn print_plan(text: &mut String, rehearsed: &Rehearsed<Observed>) {
    for (number, wave) in rehearsed.waves.iter().enumerate() {
        let _ = writeln!(text, "wave {}", number + 1);
        for change in wave {
            let _ = writeln!(text, "  {change} ({:?})", change.disturbance);
        }
    }
    for refusal in &rehearsed.refusals {
        let _ = writeln!(text, "refused {}: {}", refusal.id, refusal.problem);
    }
    for wait in &rehearsed.waits {
        let _ = writeln!(
            text,
            "waits for {}: {} {:?}",
            wait.id, wait.what, wait.until
        );
    }
}

fn foretell(
    provider: &Local,
    key: &GroupKey,
    want: &Want<Desired>,
    nodes: &NodeSet,
    seen: Observed,
    approval: Option<&str>,
) -> Rehearsed<Observed> {
    let round = Round {
        key,
        want,
        nodes,
        followed: None,
        endpoints: &EndpointSet::unknown(),
        approval,
        now: Timestamp::UNIX_EPOCH,
    };
    let rehearsed = rehearse(provider, round, seen, &Failures::default());
    assert!(rehearsed.settled, "the plan does not end: {rehearsed:#?}");
    rehearsed
}
