//! What a group that somebody woke knows.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::scripted::{Manners, Scripted, request, run, serve};

#[test]
fn a_group_that_was_woken_looks_once_whenever_that_was() {
    for (name, during, after, reads) in [
        ("nobody", false, false, 0),
        ("while it rests", false, true, 1),
        ("while it runs", true, false, 1),
        ("both", true, true, 1),
    ] {
        let engine = Engine::new(Scripted::new(Manners {
            wakes: during,
            ..Manners::default()
        }));
        let told = Arc::new(AtomicUsize::new(0));
        engine.attach({
            let told = told.clone();
            Arc::new(move |_| {
                told.fetch_add(1, Ordering::Relaxed);
            })
        });
        let first = run(&engine, request(serve(&[])));
        assert!(first.settled(), "{name}");
        if after {
            engine.provider().wake();
        }
        assert_eq!(
            told.load(Ordering::Relaxed),
            usize::from(during) + usize::from(after),
            "{name}: the caller is told"
        );
        // What happened behind its back.
        engine
            .provider()
            .cloud()
            .objects
            .insert("news".into(), String::new());
        let report = run(&engine, request(serve(&[])));
        assert_eq!(
            (report.reads, report.applied.len()),
            (reads, reads),
            "{name}"
        );
        if !during {
            let rests = run(&engine, request(serve(&[])));
            assert_eq!(rests.reads, 0, "{name}: once");
        }
    }
}
