//! Worlds for tests that need them by the thousand: kept when a test is over, emptied for the next, read in one request. Writes to moto.
//!
//! boto3 reads and builds call by call, which takes tens of milliseconds; moto itself (`aws/moto_as_aws/control.py`) takes one or two.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::Aws;
use super::emulator::{Emulator, Kind};
use super::lease::Lease;
use super::state::State;
use super::world::{World, WorldOptions};
use crate::wire;

static KEPT: Mutex<Vec<Prepared>> = Mutex::new(Vec::new());

/// A world that was built, with the region in which it stands.
#[derive(Debug)]
pub(super) struct Prepared {
    options: WorldOptions,
    lease: Lease,
    world: World,
}

impl Prepared {
    pub(super) fn give_back(self) {
        kept().push(self);
    }

    fn take(options: &WorldOptions) -> Option<Self> {
        let mut kept = kept();
        let place = kept
            .iter()
            .position(|prepared| prepared.options == *options)?;
        Some(kept.swap_remove(place))
    }
}

fn kept() -> std::sync::MutexGuard<'static, Vec<Prepared>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Aws {
    /// A corner of moto with a world in it, as new. Built only if no test before has left one like it.
    ///
    /// # Errors
    /// As [`Aws::moto`].
    pub async fn moto_in_world(options: &WorldOptions) -> Result<(Self, World)> {
        let address = Emulator::shared(Kind::Moto).await?.address();
        let taken = Prepared::take(options);
        let lease = match &taken {
            Some(prepared) => prepared.lease.clone(),
            None => Lease::take(Kind::Moto),
        };
        let mut aws = Self::through(Kind::Moto, lease.clone(), address, None).await?;
        let world = match taken {
            Some(prepared) => {
                aws.empty(&prepared.world).await?;
                prepared.world
            }
            None => World::build(aws.client(), options).await?,
        };
        aws.prepared = Some(Prepared {
            options: options.clone(),
            lease,
            world: world.clone(),
        });
        Ok((aws, world))
    }

    /// Takes away all that was made in a world since it was built: load balancers, target groups, security groups, rules, addresses,
    /// health. Only of [`Kind::Moto`].
    ///
    /// # Errors
    /// When moto does not answer.
    pub async fn empty(&self, world: &World) -> Result<()> {
        let keep = format!(
            "&keep={},{}",
            world.node_security_group, world.allocation_id
        );
        self.control("POST", "empty", &keep).await?;
        Ok(())
    }

    /// What [`Aws::state`] reads, quicker: without subnets and addresses, from moto itself. Of our own fake it is that, and of nothing else.
    ///
    /// # Errors
    /// When moto does not answer.
    pub async fn quick_state(&self) -> Result<State> {
        if self.as_fake().is_some() {
            return self.state().await;
        }
        Ok(State::new(self.control("GET", "state", "").await?))
    }

    async fn control(&self, method: &str, what: &str, more: &str) -> Result<serde_json::Value> {
        let address = Emulator::shared(Kind::Moto).await?.address();
        let (account, region) = (self.account(), self.region());
        let path = format!("/moto-api/harness/{what}?account={account}&region={region}{more}");
        wire::json(address, method, &path, None).await
    }
}
