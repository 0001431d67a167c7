//! The provider at the wire: what it asks of AWS, counted and checked against AWS's own model, and what is there
//! afterwards as another client sees it.
//!
//! What is about load balancers runs twice, with the same assertions: on moto, which others wrote, and on our own fake, which is
//! stricter. Where the two differ, `tests/harness/aws/fake-and-moto.md` says who is right.

use anyhow::Result;
use evenkeel_harness::{aws::Aws, fake_aws::Settings};

#[path = "."]
mod on_moto {
    use super::{Aws, Result};

    async fn backend() -> Result<Aws> {
        Aws::moto().await
    }

    mod access;
    mod budget;
    mod changes;
    mod credentials;
    mod drift;
    mod endpoints;
    mod failing;
    mod holder;
    mod kinds;
    mod openings;
    mod plans;
    mod pods;
    mod policy;
    mod probe;
    mod rows;
    mod stage;
}

#[path = "."]
mod on_fake {
    #![expect(clippy::duplicate_mod, reason = "the same tests on another backend")]

    use super::{Aws, Result, Settings};

    async fn backend() -> Result<Aws> {
        Aws::fake(Settings::default()).await
    }

    mod access;
    mod budget;
    mod changes;
    mod drift;
    mod failing;
    mod foretold;
    mod holder;
    mod kinds;
    mod limits;
    mod openings;
    mod over_time;
    mod plans;
    mod pods;
    mod replays;
    mod rows;
    mod stage;
}
