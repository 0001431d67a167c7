//! Bad and odd input.

use anyhow::{Result, ensure};
use evenkeel_core::annotation::reference;
use kube::ResourceExt as _;
use serde_json::{Map, json};

use crate::row::{Row, row};
use crate::stage::{Stage, ips};

pub(crate) const ROWS: &[Row] = &[
    row!(118, "old stored object without policy, class, ipFamilies: defaults", not with local: "this API server fills them in on every read; the tables of evenkeel-core read objects without them"),
    row!(
        120,
        "garbage in every annotation: all bad keys named at once, deletion unaffected",
        garbage
    ),
    row!(
        121,
        "name that starts with a digit, name and namespace of 63 characters: valid cloud names",
        names
    ),
];

async fn garbage(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let before = stage.holding_of(&service).await?.generations();
    // A map takes any text with a `=`, a name any word; a blank in the middle is wrong everywhere.
    let keys: Vec<_> = reference().map(|doc| doc.key).collect();
    ensure!(keys.len() > 10, "{keys:?}");
    let bad: Map<_, _> = keys
        .iter()
        .map(|key| ((*key).to_owned(), json!("? ?")))
        .collect();
    stage
        .patch("web", json!({"metadata": {"annotations": bad}}))
        .await?;
    let told = stage.condition("web", "Degraded", "True").await?;
    let unnamed: Vec<_> = keys
        .iter()
        .filter(|key| !told.message.contains(**key))
        .collect();
    ensure!(unnamed.is_empty(), "{unnamed:?} are not named in: {told}");
    stage.same(&service, &before).await?;
    stage.delete("web").await?;
    stage.gone("web").await
}

async fn names(stage: &mut Stage) -> Result<()> {
    // `-` and six digits are added.
    let long = stage.world.plane.namespace(&"n".repeat(56)).await?;
    ensure!(long.name().len() == 63, "{}", long.name());
    let short = std::mem::replace(&mut stage.namespace, long.name().to_owned());
    let checked = long_names(stage).await;
    let cleared = stage.clear(checked.is_ok()).await;
    stage.namespace = short;
    checked.and(cleared)
}

async fn long_names(stage: &Stage) -> Result<()> {
    let digit = stage.serve("1st-shop", json!({})).await?;
    let long = stage.serve(&"x".repeat(63), json!({})).await?;
    for service in [&digit, &long] {
        let holding = stage.holding_of(service).await?;
        let name = service.name_any();
        ensure!(
            holding.ports() == [8080].into() && !ips(service).is_empty(),
            "{name}: {holding:?}"
        );
    }
    ensure!(ips(&digit) != ips(&long), "both have {:?}", ips(&long));
    Ok(())
}
