//! A subscription with a client of it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use evenkeel_azure::client::{Client, ClientConfig, Credential, Rates, ResourcePath};
use evenkeel_core::ticket::Ticket;
use evenkeel_harness::fake_azure::{FakeAzure, LOCATION, Settings, World, WorldOptions};
use serde_json::{Value, json};

/// How long anything here may take on a machine that builds beside it.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) azure: FakeAzure,
    pub(crate) world: World,
    pub(crate) client: Client,
}

impl Stage {
    pub(crate) async fn new(settings: Settings) -> Result<Self> {
        Self::with(settings, |_| ()).await
    }

    /// With a configuration that is another in something.
    pub(crate) async fn with(
        settings: Settings,
        change: impl FnOnce(&mut ClientConfig),
    ) -> Result<Self> {
        let azure = FakeAzure::start(settings).await?;
        let world = World::build(&azure, &WorldOptions::default());
        let mut config = config(&azure);
        change(&mut config);
        Ok(Self {
            client: Client::new(config)?,
            azure,
            world,
        })
    }

    /// The id of something of the network in the first group.
    pub(crate) fn id(&self, path: &str) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Network/{path}",
            self.azure.subscription(),
            self.world.group
        )
    }

    pub(crate) fn path(&self, path: &str) -> Result<ResourcePath> {
        ResourcePath::parse(&self.id(path)).context("an id")
    }

    /// A load balancer with a frontend in the subnet of the nodes.
    pub(crate) fn load_balancer(&self, tag: &str) -> String {
        let frontend = json!({"name": "f", "properties": {"subnet": {"id": self.world.subnet}, "privateIPAllocationMethod": "Dynamic"}});
        json!({
            "location": LOCATION, "sku": {"name": "Standard"}, "tags": {"tag": tag},
            "properties": {"frontendIPConfigurations": [frontend]},
        })
        .to_string()
    }

    /// Has the load balancer be there, by a call.
    pub(crate) async fn put(&self, tag: &str) -> Result<String> {
        let path = self.path("loadBalancers/lb")?;
        let body = self.load_balancer(tag);
        let ticket = Ticket::unlimited();
        let written = self.client.put(&path, body, None, &ticket).await?;
        written.etag().context("an entity tag")
    }

    /// The tag of the load balancer that is in effect.
    pub(crate) fn tag(&self) -> Option<String> {
        let state = self.azure.state();
        let live = state.load_balancer("lb")?.live.clone()?;
        live["tags"]["tag"].as_str().map(str::to_owned)
    }
}

/// What a client of the fake is configured with: quick, and never held back.
pub(crate) fn config(azure: &FakeAzure) -> ClientConfig {
    let here: Option<Arc<str>> = Some(azure.endpoint().into());
    let who = azure.identities();
    ClientConfig {
        endpoint: here.clone(),
        authority: here.clone(),
        metadata: here,
        credential: Credential::Secret {
            tenant: who.tenant.into(),
            client: who.client.into(),
            secret: who.secret.into(),
        },
        poll_pauses: [Duration::from_millis(1)].into(),
        rates: Rates::unlimited(),
        ..ClientConfig::default()
    }
}

/// A public address.
pub(crate) fn public_ip() -> String {
    let body: Value = json!({
        "location": LOCATION, "sku": {"name": "Standard"},
        "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
    });
    body.to_string()
}
