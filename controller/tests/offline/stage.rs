//! The program, files for it, and what it says.

use std::{
    cell::RefCell,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::schemas::{Schema, facts_schema};

/// A manifest as a repository has it.
pub(crate) const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/offline/web.yaml");

/// The facts that most plans are made with.
const AWS: &str = include_str!("aws.yaml");

/// The facts of a place on Azure.
const AZURE: &str = include_str!("azure.yaml");

/// The facts of a data plane.
const LOCAL: &str = include_str!("local.yaml");

/// A directory with facts.
pub(crate) struct Stage {
    directory: TempDir,
    facts: RefCell<Value>,
}

impl Stage {
    /// One on AWS.
    pub(crate) fn new() -> Self {
        Self::of(AWS)
    }

    /// One on Azure.
    pub(crate) fn azure() -> Self {
        Self::of(AZURE)
    }

    /// One with a data plane of its own.
    pub(crate) fn local() -> Self {
        Self::of(LOCAL)
    }

    fn of(facts: &str) -> Self {
        let stage = Self {
            directory: tempfile::tempdir().expect("a directory"),
            facts: RefCell::new(serde_saphyr::from_str(facts).expect("facts")),
        };
        stage.change_facts(|_| {});
        stage
    }

    /// Writes other facts.
    pub(crate) fn change_facts(&self, change: impl FnOnce(&mut Value)) {
        let mut facts = self.facts.borrow_mut();
        change(&mut facts);
        self.write("facts.json", &facts.to_string());
    }

    /// The facts as they are now.
    pub(crate) fn facts(&self) -> Value {
        self.facts.borrow().clone()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("is written");
        path.display().to_string()
    }

    /// Writes a Service of the namespace `shop`.
    pub(crate) fn service(&self, name: &str, mut service: Value) -> String {
        service["apiVersion"] = json!("v1");
        service["kind"] = json!("Service");
        service["metadata"]["name"] = json!(name);
        service["metadata"]["namespace"] = json!("shop");
        self.write(&format!("{name}.json"), &service.to_string())
    }

    /// A directory with a copy of a file.
    pub(crate) fn directory_of(&self, file: &str) -> String {
        let directory = self.directory.path().join("manifests");
        std::fs::create_dir(&directory).expect("a directory");
        std::fs::copy(file, directory.join("copy.yaml")).expect("a copy");
        directory.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command
            .current_dir(self.directory.path())
            // Neither a kubeconfig nor credentials nor anything else of whoever runs this.
            .env_clear()
            .args(["plan", "--offline", "--facts", "facts.json"])
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, Output) {
        let output = self.command(arguments).output().expect("it runs");
        (output.status.code().expect("it ends by itself"), output)
    }

    /// The page.
    pub(crate) fn plan(&self, arguments: &[&str]) -> (i32, String) {
        let (code, output) = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        assert_eq!(text(&output.stderr), "");
        (
            code,
            text(&output.stdout).replace(env!("CARGO_MANIFEST_DIR"), "controller"),
        )
    }

    /// The document, which is as its schema says, as are the facts.
    pub(crate) fn document(&self, arguments: &[&str]) -> (i32, Value) {
        let (code, output) = self.run(&[arguments, &["-o", "json"]].concat());
        (code, self.checked(&output))
    }

    fn checked(&self, output: &Output) -> Value {
        let plan = serde_json::from_slice(&output.stdout);
        let plan = plan.unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Schema::read("plan-v1.json").must_take(&plan);
        let facts = self.facts.borrow();
        Schema::read(facts_schema(&facts)).must_take(&facts);
        plan
    }

    /// The document for a manifest on standard input.
    pub(crate) fn piped(&self, file: &str) -> (i32, Value) {
        let file = std::fs::File::open(file).expect("a file");
        let mut command = self.command(&["-f", "-", "-o", "json"]);
        let output = command.stdin(Stdio::from(file)).output().expect("it runs");
        (
            output.status.code().expect("it ends by itself"),
            self.checked(&output),
        )
    }

    /// What it says where it can make no plan.
    pub(crate) fn complains(&self, arguments: &[&str]) -> (i32, String) {
        let (code, output) = self.run(arguments);
        assert!(output.stdout.is_empty(), "{output:?}");
        (code, String::from_utf8(output.stderr).expect("text"))
    }
}
