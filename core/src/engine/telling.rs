//! What goes waits until the world is told of what there is now.

use futures::FutureExt as _;

use super::*;
use crate::{
    converge::NoJournal,
    plan::Change,
    published::Ingress,
    scripted::{Manners, Scripted, request, serve},
};

/// A journal whose world is told of nothing.
struct Untold;

impl Journal for Untold {
    fn begins(&self, _: &GroupKey, _: &Change) {}
    fn ended(&self, _: &GroupKey, _: &Change, _: Result<(), &CloudError>) {}
    fn observed(&self, _: &GroupKey, _: Result<(), &CloudError>) {}
    fn tells(&self, _: &GroupKey, addresses: &[Ingress]) -> bool {
        assert!(!addresses.is_empty());
        false
    }
}

fn run(engine: &Engine<Scripted>, ask: Ask, journal: &dyn Journal) -> Report {
    let ran = engine.run(request(ask), journal).now_or_never();
    ran.expect("the scripted cloud answers at once")
}

#[test]
fn nothing_of_what_is_served_goes_before_and_everything_else_is_done() {
    let engine = Engine::new(Scripted::new(Manners::default()));
    run(&engine, serve(&[("lb", "1"), ("old", "1")]), &Untold);
    let changed = || serve(&[("lb", "2"), ("new", "1")]);
    for time in ["at first", "again"] {
        let report = run(&engine, changed(), &Untold);
        assert!(report.untold && report.settled(), "{time}: {report:#?}");
        let cloud = engine.provider().cloud();
        assert_eq!(cloud.objects["lb"], "2", "{time}");
        assert!(cloud.objects.contains_key("new") && cloud.objects.contains_key("old"));
    }
    let report = run(&engine, changed(), &NoJournal);
    assert!(!report.untold, "{report:#?}");
    assert!(!engine.provider().cloud().objects.contains_key("old"));
    let reads = engine.provider().cloud().reads;
    run(&engine, changed(), &Untold);
    assert_eq!(engine.provider().cloud().reads, reads, "all is done");
}

#[test]
fn a_release_tells_nobody() {
    let engine = Engine::new(Scripted::new(Manners::default()));
    run(&engine, serve(&[("lb", "1")]), &Untold);
    let report = run(&engine, Ask::Release, &Untold);
    assert!(report.gone && !report.untold, "{report:#?}");
}
