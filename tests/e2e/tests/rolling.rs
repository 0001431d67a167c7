//! Ten nodes and ten times all pods are replaced while requests come in, and no client notices.
//! Needs network namespaces; where they are impossible the run says so.
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

use anyhow::{Result, ensure};
use evenkeel_e2e::rolling::{Rolling, replace_under_load};
use evenkeel_harness::nodes::namespaces_possible;
use evenkeel_harness::progress::Progress;

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_nodes_and_pods_are_replaced() -> Result<()> {
    if let Err(reason) = namespaces_possible() {
        eprintln!(
            "SKIPPED (needs namespaces): no_client_notices_that_nodes_and_pods_are_replaced: {reason}"
        );
        return Ok(());
    }
    let report = replace_under_load(Rolling {
        nodes: 10,
        nodes_at_once: 2,
        rollouts: 10,
        per_second: 500,
    })
    .await?;
    // Said also where the output of tests that pass is not shown: the figures are the purpose.
    Progress::new().note(&report.to_string());
    let failed = report.failures.len();
    ensure!(failed == 0, "clients noticed {failed} times, see above");
    Ok(())
}
