//! The laws. Each is `async fn(&rig) -> Result<(), String>`, and [`all_laws!`](crate::all_laws) makes a test of each.

mod converging;
mod owning;
mod restarting;
mod serving;
mod writing;

pub use converging::{deterministic, quiet, rehearsal_equals_execution, repeatable, settles};
pub use owning::{
    approval_works_once, deletes_cleanly, foreign_objects_stay, retained_objects_stay,
};
pub use restarting::{deleted_half_way, restartable, retained_whatever_fails};
pub use serving::{broken_annotation_stops_nobody, make_before_break, unknown_claims_stay};
pub use writing::{
    destroys_wait_after_a_takeover, ended_ticket_writes_nothing, hopeless_writes_are_not_repeated,
    refused_stop_no_neighbours, waiting_holds_no_worker,
};

use crate::{
    rig::Rig,
    scene::{Scenario, scenarios},
};

/// One test per law, and one for random walks.
///
/// `all_laws!(rig, "proptest-regressions/rig.txt")`: the expression makes the [`Rig`]; the file, relative to the
/// crate, keeps the seeds of walks that failed and is committed. The calling crate needs `tokio` with `rt` and `macros`
/// as a dev-dependency.
#[macro_export]
macro_rules! all_laws {
    ($rig:expr, $seeds:literal) => {
        $crate::list_laws! { @hold $rig; }

        #[test]
        fn random_walks() {
            if let Err(why) = $crate::walk::random_walks(&$rig, $seeds) {
                panic!("{why}");
            }
        }
    };
}

/// Calls a macro of the caller's once for each law, with its name: for a rig that holds some laws differently, or not at all. A law that
/// is new reaches it too.
///
/// `each_law!(held)` with `macro_rules! held { (quiet) => {}; ($law:ident) => { evenkeel_laws::law!(MyRig::new(), $law); } }`.
#[macro_export]
macro_rules! each_law {
    ($held:ident) => {
        $crate::list_laws! { @call $held; }
    };
}

/// The test of one law.
#[macro_export]
macro_rules! law {
    ($rig:expr, $law:ident) => {
        #[::tokio::test]
        async fn $law() {
            if let Err(why) = $crate::laws::$law(&$rig).await {
                panic!("{why}");
            }
        }
    };
}

/// The one list of the laws.
#[doc(hidden)]
#[macro_export]
macro_rules! list_laws {
    (@hold $rig:expr; $($law:ident)+) => {
        $($crate::law!($rig, $law);)+
    };
    (@call $held:ident; $($law:ident)+) => {
        $($held!($law);)+
    };
    ($($whom:tt)+) => {
        $crate::list_laws! { $($whom)+
            settles
            rehearsal_equals_execution
            repeatable
            deterministic
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
    };
}

/// Holds a law to every scenario, and names the one that breaks it.
async fn in_every_scenario<R: Rig>(
    rig: &R,
    law: impl AsyncFn(&Scenario) -> Result<(), String>,
) -> Result<(), String> {
    for scenario in scenarios(rig) {
        law(&scenario)
            .await
            .map_err(|why| format!("{}: {why}", scenario.name))?;
    }
    Ok(())
}
