//! Our own rates against Azure's limits, as documented.

use anyhow::Result;
use evenkeel_azure::client::Rates;
use evenkeel_core::ticket::Ticket;
use evenkeel_harness::fake_azure::{Buckets, Settings};
use futures::future::join_all;

use super::stage::{Stage, public_ip};

/// How much faster than the wall's both clocks go.
const SPEED: u32 = 4;

#[tokio::test]
async fn more_at_once_than_azure_takes_are_never_refused() -> Result<()> {
    let settings = Settings {
        buckets: Some(Buckets::documented()),
        history: false,
        ..Settings::default()
    };
    let mut rates = Rates::default();
    for name in Rates::NAMES {
        let rate = rates.named(name).expect("a rate");
        rate.per_second *= f64::from(SPEED);
    }
    let stage = Stage::with(settings, |config| config.rates = rates).await?;
    let _clock = stage.azure.keep_time(SPEED);
    let ticket = Ticket::unlimited();
    let made = (0..260).map(async |number| {
        let path = stage.path(&format!("publicIPAddresses/a{number}"))?;
        stage.client.put(&path, public_ip(), None, &ticket).await?;
        anyhow::Ok(path)
    });
    let made: Result<Vec<_>> = join_all(made).await.into_iter().collect();
    for gone in join_all(made?.iter().map(|path| stage.client.delete(path, &ticket))).await {
        gone?;
    }
    let calls = stage.azure.calls().all();
    let refused = calls.iter().filter(|call| call.status == Some(429));
    assert_eq!(refused.count(), 0);
    Ok(())
}
