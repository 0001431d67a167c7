//! The cloud controller's file is all that a client needs.

use anyhow::{Context as _, Result};
use evenkeel_azure::{
    azure_json::AzureJson,
    client::{Client, ClientConfig, ResourcePath},
};
use evenkeel_harness::fake_azure::Settings;

use super::stage::Stage;

#[tokio::test]
async fn a_service_principal_by_the_file() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let text = stage.world.azure_json(&stage.azure).to_string();
    let file =
        AzureJson::read(&text, "azure.json").map_err(|wrong| anyhow::anyhow!("{wrong:?}"))?;
    assert_eq!(file.ignored, [""; 0]);
    let client = file.client(&|_| None);
    let client = Client::new(ClientConfig {
        authority: Some(stage.azure.endpoint().into()),
        ..client.map_err(|wrong| anyhow::anyhow!("{wrong:?}"))?
    })?;
    for (id, expected) in [
        (file.network_id(), &stage.world.network),
        (file.security_group_id(), &stage.world.security_group),
    ] {
        let id = ResourcePath::parse(&id.context("the file names it")?).context("an id")?;
        let found = client.get(&id).await?.context("it is there")?;
        let id = found.field("id").context("an id")?;
        assert_eq!(id.as_str(), Some(&**expected));
    }
    assert_eq!(file.subnet_id().as_ref(), Some(&stage.world.subnet));
    Ok(())
}
