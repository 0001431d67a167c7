//! The laws that every provider obeys, held to this one at the wire: the real client, and AWS as an emulator plays it.
//!
//! What must be true is read from the emulator by another client than ours. Worlds are dear here, so each scenario is broken at one or a
//! few of its calls, chosen anew in each; `laws_in_memory.rs` breaks every step of every scenario in every way. That plans do not
//! depend on an order shows there, and that every scenario settles shows here where foreign objects stay.

mod asks;
mod rig;

use rig::AwsRig;

macro_rules! at_the_wire {
    // `laws_in_memory.rs` holds these.
    (settles) => {};
    (deterministic) => {};
    // All groups share what is known of nodes: who is first has them admitted, which no rehearsal of another foretells.
    (rehearsal_equals_execution) => {
        evenkeel_laws::law!(AwsRig::with_nodes_admitted(), rehearsal_equals_execution);
    };
    ($law:ident) => {
        evenkeel_laws::law!(AwsRig::that_breaks_in_turn(), $law);
    };
}

evenkeel_laws::each_law!(at_the_wire);

/// Where the first write to each new object does not find it.
mod where_writes_are_late {
    use super::AwsRig;

    evenkeel_laws::law!(AwsRig::whose_writes_are_late(), settles);
    evenkeel_laws::law!(AwsRig::whose_writes_are_late(), deleted_half_way);
}

#[test]
fn random_walks() {
    let walked =
        evenkeel_laws::walk::random_walks(&AwsRig::default(), "proptest-regressions/laws.txt");
    if let Err(why) = walked {
        panic!("{why}");
    }
}
