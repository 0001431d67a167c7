//! Every file of the fuzz targets' corpus, through the very functions that they run.

use std::{fs, path::Path};

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a crate of its own in `fuzz`")]
mod targets;

/// Runs the files of a target, of which so many inputs must be good ones: where all is refused, nothing is tested.
fn corpus(target: &str, run: fn(&[u8]) -> usize, fewest: usize) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let mut good = 0;
    for file in files {
        let bytes = fs::read(&file).expect("it can be read");
        let result = std::panic::catch_unwind(|| run(&bytes));
        good += result.unwrap_or_else(|_| panic!("{} breaks a promise, see above", file.display()));
    }
    assert!(good >= fewest, "{target}: {good} good ones");
}

#[test]
fn api() {
    corpus("api", targets::api, 50);
}

#[test]
fn state() {
    corpus("state", targets::state, 10);
}

#[test]
fn proxy_header() {
    corpus("proxy_header", targets::proxy_header, 30);
}
