//! The laws that every provider obeys, held to this one at the wire: the real client, and AWS as an emulator plays it.
//!
//! What must be true is read from the emulator by another client than ours. Worlds are dear here, so each scenario is broken at one or a
//! few of its calls, chosen anew in each; `laws_in_memory.rs` breaks every step of every scenario in every way. That plans do not
//! depend on an order shows there, and that every scenario settles shows here where foreign objects stay.

mod asks;
mod rig;

use rig::AwsRig;

evenkeel_laws::all_laws! { @each AwsRig::that_breaks_in_turn();
    repeatable
    quiet
    restartable
    deleted_half_way
    retained_whatever_fails
    make_before_break
    broken_annotation_stops_nobody
    unknown_claims_stay
    deletes_cleanly
    foreign_objects_stay
    retained_objects_stay
    approval_works_once
    hopeless_writes_are_not_repeated
    refused_stop_no_neighbours
    waiting_holds_no_worker
    ended_ticket_writes_nothing
    destroys_wait_after_a_takeover
}

// All groups share what is known of nodes: who is first has them admitted, which no rehearsal of another foretells.
evenkeel_laws::all_laws! { @each AwsRig::with_nodes_admitted();
    rehearsal_equals_execution
}

#[test]
fn random_walks() {
    let walked =
        evenkeel_laws::walk::random_walks(&AwsRig::default(), "proptest-regressions/laws.txt");
    if let Err(why) = walked {
        panic!("{why}");
    }
}
