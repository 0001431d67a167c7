//! Says which commit the program is built from: `EVENKEEL_COMMIT` where whoever packages it says so, else what git says, else
//! `unknown`.
//!
//! A release build follows the branch: a new commit builds the package anew. A development build does not, because a
//! commit would cost everybody a build; its commit is marked with `+dev`: that commit, and whatever came after it.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=EVENKEEL_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let named = env::var("EVENKEEL_COMMIT")
        .ok()
        .map(|commit| commit.trim().to_owned())
        .filter(|commit| !commit.is_empty());
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let built_from = match named.or_else(|| commit(release)) {
        Some(commit) => format!("commit {commit}"),
        None => "commit unknown".to_owned(),
    };
    println!("cargo::rustc-env=EVENKEEL_BUILT_FROM={built_from}");
}

/// The commit of the repository that this package is part of; None in an archive, or without git.
fn commit(release: bool) -> Option<String> {
    // In an archive that lies in somebody else's repository git would name a commit of theirs.
    if git(&["rev-parse", "--show-prefix"])? != "controller/" {
        return None;
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    if !release {
        return Some(format!("{commit}+dev"));
    }
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let places = ["HEAD", "logs/HEAD"].map(str::to_owned);
    for place in places.into_iter().chain(branch) {
        // A path that is not there would build anew each time.
        let path = git(&["rev-parse", "--git-path", &place]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    Some(commit)
}

/// What git answers.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}
