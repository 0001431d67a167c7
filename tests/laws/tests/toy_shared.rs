//! The laws, held to the toy whose Services share one object.

use evenkeel_laws::{laws, toys::shared::rig::SharedRig};

evenkeel_laws::all_laws!(SharedRig::default(), "proptest-regressions/toy_shared.txt");

#[tokio::test]
async fn refused_without_a_name_stop_no_neighbours() {
    if let Err(why) = laws::refused_stop_no_neighbours(&SharedRig {
        refuses_unnamed: true,
    })
    .await
    {
        panic!("{why}");
    }
}
