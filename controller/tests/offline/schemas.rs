//! The published schemas, judged by a validator that is not ours ([`boon`]): what our own checker says of a document it says too.

use std::path::Path;

use boon::{Compiler, SchemaIndex, Schemas};
use evenkeel_core::record::check::check;
use serde_json::{Value, json};

use crate::{
    local,
    rounds::carried_out,
    stage::{Stage, WEB},
};

/// Where they are.
const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schemas");

/// A published schema, for both judges.
pub(crate) struct Schema {
    name: String,
    text: Value,
    compiled: (Schemas, SchemaIndex),
}

/// The schema of facts.
pub(crate) fn facts_schema(facts: &Value) -> &'static str {
    match facts["kind"].as_str() {
        Some("AwsFacts") => "aws-facts-v1.json",
        Some("AzureFacts") => "azure-facts-v1.json",
        Some("LocalFacts") => "local-facts-v1.json",
        kind => panic!("{kind:?} has no schema"),
    }
}

impl Schema {
    /// Reads one, which must be a schema itself.
    pub(crate) fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(Path::new(PUBLISHED).join(name)).expect("a schema");
        let text: Value = serde_json::from_str(&text).expect("JSON");
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.add_resource(name, text.clone()).expect("a name");
        let index = compiler.compile(name, &mut schemas);
        let index = index.unwrap_or_else(|error| panic!("{name} is no schema: {error:#}"));
        Self {
            name: name.to_owned(),
            text,
            compiled: (schemas, index),
        }
    }

    /// Whether a document is as it says, on which both judges must agree.
    fn takes(&self, what: &str, document: &Value) -> bool {
        let ours = check(document, &self.text);
        let (schemas, index) = &self.compiled;
        let theirs = schemas.validate(document, *index);
        match (&ours, &theirs) {
            (Ok(()), Err(why)) => panic!("{}: {what}: only we take it: {why:#}", self.name),
            (Err(why), Ok(())) => panic!("{}: {what}: only we refuse it: {why}", self.name),
            _ => ours.is_ok(),
        }
    }

    /// Fails unless a document is as it says.
    pub(crate) fn must_take(&self, document: &Value) {
        let taken = self.takes("the document", document);
        assert!(taken, "not as {} says: {document:#}", self.name);
    }
}

/// Documents of every kind, with all that a Service brings about.
fn documents() -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    for (stage, carried_out) in [
        (Stage::new(), carried_out as fn(&Stage, &Value)),
        (Stage::local(), local::carried_out),
    ] {
        let (_, plan) = stage.document(&["-f", WEB]);
        carried_out(&stage, &plan);
        let facts = stage.facts();
        all.push((facts_schema(&facts), facts));
        all.push(("plan-v1.json", plan));
    }
    all
}

/// Every place in a document: as a JSON pointer.
fn places(document: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match document {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}/{}", escaped(key)), all)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(index, value)| places(value, &format!("{at}/{index}"), all)),
        _ => {}
    }
}

#[test]
fn both_judges_say_the_same_of_whatever_is_wrong_in_one_place() {
    let instead = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0.5),
        json!(70_000),
        json!("text"),
        json!([]),
        json!([null]),
        json!({}),
        json!({"unheard": "of"}),
    ];
    for (name, document) in documents() {
        let schema = Schema::read(name);
        schema.must_take(&document);
        let mut all = Vec::new();
        places(&document, "", &mut all);
        let mut refused = 0;
        let mut judge = |what: String, changed: &Value| {
            refused += usize::from(!schema.takes(&what, changed));
        };
        for at in &all {
            for value in &instead {
                let mut changed = document.clone();
                *changed.pointer_mut(at).expect("the place") = value.clone();
                judge(format!("{value} at {at}"), &changed);
            }
            let mut changed = document.clone();
            if let Some(Value::Object(map)) = changed.pointer_mut(at) {
                map.insert("unheard".to_owned(), json!("of"));
                judge(format!("one more field in {at}"), &changed);
            }
            let Some((parent, key)) = at.rsplit_once('/') else {
                continue;
            };
            let mut changed = document.clone();
            if let Some(Value::Object(map)) = changed.pointer_mut(parent) {
                map.remove(&key.replace("~1", "/").replace("~0", "~"));
                judge(format!("no {at}"), &changed);
            }
        }
        assert!(refused > all.len(), "{name}: only {refused} were refused");
    }
}

#[test]
fn what_is_no_document_of_ours_is_refused_by_both() {
    let stage = Stage::new();
    let (aws, local) = (stage.facts(), Stage::local().facts());
    let (_, plan) = stage.document(&["-f", WEB]);
    let is = |value: Value| Some(value);
    for (name, document, at, value) in [
        (
            "aws-facts-v1.json",
            &aws,
            "/apiVersion",
            is(json!("facts.evenkeel.dev/v2")),
        ),
        ("aws-facts-v1.json", &aws, "/kind", is(json!("LocalFacts"))),
        ("aws-facts-v1.json", &aws, "/cluster/uid", None),
        (
            "aws-facts-v1.json",
            &aws,
            "/nodes/0/ready",
            is(json!("yes")),
        ),
        ("aws-facts-v1.json", &aws, "/cloud/vpc", None),
        (
            "aws-facts-v1.json",
            &aws,
            "/cloud/subnets/0/zoen",
            is(json!("eu-west-1a")),
        ),
        (
            "aws-facts-v1.json",
            &aws,
            "/cloud/subnets/0/freeAddresses",
            is(json!(-1)),
        ),
        (
            "local-facts-v1.json",
            &local,
            "/kind",
            is(json!("AwsFacts")),
        ),
        ("local-facts-v1.json", &local, "/cloud", None),
        (
            "local-facts-v1.json",
            &local,
            "/cloud/leases",
            is(json!({})),
        ),
        (
            "local-facts-v1.json",
            &local,
            "/cloud/vpc",
            is(json!({"id": "vpc-1"})),
        ),
        ("plan-v1.json", &plan, "/summary", None),
        ("plan-v1.json", &plan, "/summary/create", is(json!("3"))),
        ("plan-v1.json", &plan, "/groups/0/paused", is(json!("no"))),
        (
            "plan-v1.json",
            &plan,
            "/groups/0/services",
            is(json!("shop/web")),
        ),
    ] {
        let schema = Schema::read(name);
        schema.must_take(document);
        let mut changed = document.clone();
        let (parent, key) = at.rsplit_once('/').expect("a pointer");
        let parent = changed.pointer_mut(parent).and_then(Value::as_object_mut);
        let parent = parent.expect("a place");
        match &value {
            Some(value) => parent.insert(key.to_owned(), value.clone()),
            None => parent.remove(key),
        };
        assert!(
            !schema.takes(at, &changed),
            "{name} takes {value:?} at {at}"
        );
    }
}
