//! A Service in YAML in; out what it shall have, or every reason why not.

mod golden;

use std::fmt::Write as _;

use evenkeel_core::provider::{Provider, Verdict};
use evenkeel_local::model::Desired;
use serde_json::Value;

/// One line per object. Of its marks the member and the policy: the others are the same everywhere and have a test of their own.
fn print(text: &mut String, desired: &Desired) {
    let Value::Object(fields) = serde_json::to_value(desired).expect("JSON") else {
        panic!("no object")
    };
    for object in ["leases", "backend_sets", "listeners"]
        .into_iter()
        .flat_map(|kind| fields[kind].as_array().expect("a list"))
    {
        let mut object = object.as_object().expect("an object").clone();
        let id = object.remove("id").expect("an id");
        let marks = object.remove("marks").expect("marks");
        let retain = if marks["retain"] == true {
            ", retained"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "{} of {}{retain}",
            id.as_str().unwrap_or_default(),
            marks["service"].as_str().unwrap_or_default()
        );
        for (field, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            let _ = writeln!(text, "  {field}: {value}");
        }
    }
    for member in &desired.unknown {
        let _ = writeln!(text, "unknown: {member}");
    }
}

#[test]
fn what_each_case_asks() {
    insta::glob!("cases/*.yaml", |path| {
        let provider = golden::provider();
        let mut text = String::new();
        for (number, step) in golden::read(path).iter().enumerate() {
            let _ = writeln!(text, "=== step {}", number + 1);
            match step.group.as_ref().map(|group| provider.desired(group)) {
                None => text.push_str(&golden::told(step, None, &[], &[])),
                Some(Verdict::Rejected(problems)) => {
                    text.push_str(&golden::told(step, Some(&problems), &[], &[]))
                }
                Some(Verdict::Accepted {
                    desired,
                    warnings,
                    port_errors,
                }) => {
                    text.push_str(&golden::told(step, None, &warnings, &port_errors));
                    print(&mut text, &desired);
                }
            }
        }
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("desired", text);
        });
    });
}
