//! Providers that are broken on purpose: for each law one that breaks it, so that the law is seen to fail, and for that
//! reason.

mod mutants {
    pub(crate) mod own;
    pub(crate) mod shared;
}

use std::time::Duration;

use evenkeel_core::provider::Provider;
use evenkeel_laws::{
    laws,
    rig::Rig,
    toys::{own::rig::OwnRig, shared::rig::SharedRig},
    wrap::{Over, Tweak, Tweaked},
};
use mutants::{own, shared};

/// A rig whose provider is broken. What never happens is not waited for for long.
fn broken<R: Rig, T: Tweak<R::Provider>>(rig: &R, _: T) -> Over<'_, R, Tweaked<R::Provider, T>>
where
    R::Provider: Provider,
{
    Over::new(rig, Tweaked::new).with_patience(Duration::from_millis(200))
}

macro_rules! caught {
    ($($name:ident: $mutant:expr, of $rig:expr, breaks $law:ident: $words:literal)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let rig = $rig;
                match laws::$law(&broken(&rig, $mutant)).await {
                    Ok(()) => panic!("nothing was noticed"),
                    Err(why) => assert!(why.contains($words), "noticed for another reason: {why}"),
                }
            }
        )*
    };
}

caught! {
    idle: own::Idle, of OwnRig, breaks settles: "publishes"
    waits_for_ever: own::Waits, of OwnRig, breaks settles: "nobody tells it"
    predicts_nothing: own::PredictsNothing, of OwnRig, breaks rehearsal_equals_execution: "does not end"
    predicts_otherwise: own::PredictsOtherwise, of OwnRig, breaks rehearsal_equals_execution: "foretold"
    fails_the_second_time: own::FailsTheSecondTime::default(), of OwnRig, breaks repeatable: "second time"
    heeds_the_order: own::HeedsTheOrder, of OwnRig, breaks deterministic: "in another"
    looks_again: own::LooksAgain, of OwnRig, breaks quiet: "over a restart"
    changes_its_mind: own::ChangesItsMind::default(), of OwnRig, breaks quiet: "nothing has changed"
    leaks: own::Leaks::default(), of OwnRig, breaks restartable: "objects exist twice"
    forgets_to_retain: own::ForgetsToRetain, of OwnRig, breaks retained_objects_stay: "retained objects were"
    retains_when_all_is_well: own::ForgetsToRetain, of OwnRig, breaks retained_whatever_fails: "missing objects"
    empties_first: own::EmptiesFirst, of OwnRig, breaks make_before_break: "has no targets"
    destroys_before_it_creates: own::DestroysFirst, of OwnRig, breaks make_before_break: "is missing"
    nodes_wait: own::NodesWait, of OwnRig, breaks broken_annotation_stops_nobody: "do not follow the nodes"
    tears_down_the_broken: own::TearsDown, of OwnRig, breaks broken_annotation_stops_nobody: "its frontends were"
    deletes_half: own::DeletesHalf, of OwnRig, breaks deletes_cleanly: "left over"
    ignores_marks: own::IgnoresMarks, of OwnRig, breaks foreign_objects_stay: "not ours, and touched"
    ignores_marks_when_deleting: own::IgnoresMarks, of OwnRig, breaks deletes_cleanly: "not ours, and touched"
    approves_itself: own::ApprovesItself, of OwnRig, breaks approval_works_once: "without approval"
    repeats_the_hopeless: own::RepeatsTheHopeless::default(), of OwnRig, breaks hopeless_writes_are_not_repeated: "times"
    sulks: own::Sulks::default(), of OwnRig, breaks refused_stop_no_neighbours: "is settled: false"
    writes_when_it_looks: own::WritesWhenItLooks, of OwnRig, breaks ended_ticket_writes_nothing: "writes came after it"
    calls_a_removal_a_change: own::CallsARemovalAChange, of OwnRig, breaks destroys_wait_after_a_takeover: "removed too early"

    predicts_nothing_shared: shared::PredictsNothing, of SharedRig::default(), breaks rehearsal_equals_execution: "does not end"
    takes_unknown_for_gone: shared::TakesUnknownForGone, of SharedRig::default(), breaks unknown_claims_stay: "not asked about"
    takes_broken_for_gone: shared::TakesBrokenForGone, of SharedRig::default(), breaks broken_annotation_stops_nobody: "its frontends were"
    waits_in_the_run: shared::WaitsInTheRun, of SharedRig::default(), breaks waiting_holds_no_worker: "a run waits for it"
    approves_itself_shared: shared::ApprovesItself, of SharedRig::default(), breaks approval_works_once: "without approval"
}
