//! Tokens: of every kind of identity, kept, renewed, and said to nobody.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use evenkeel_azure::client::{Client, Credential};
use evenkeel_core::error::{CloudError, ErrorClass, ProviderFault};
use evenkeel_harness::fake_azure::{At, FakeAzure, Fault, Settings};
use futures::future::join_all;
use tempfile::NamedTempFile;

use super::stage::{Stage, config};

const TOKEN: &str = "TOKEN";

/// A file with the cluster's token as it is taken now.
fn token_file(azure: &FakeAzure) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    writeln!(file, "{}", azure.identities().assertions.join(""))?;
    Ok(file)
}

fn workload(azure: &FakeAzure, file: &NamedTempFile) -> Credential {
    let who = azure.identities();
    Credential::WorkloadIdentity {
        tenant: who.tenant.into(),
        client: who.client.into(),
        token_file: file.path().into(),
    }
}

/// A stage whose client shows itself so.
async fn stage(credential: impl FnOnce(&FakeAzure) -> Credential) -> Result<Stage> {
    let mut stage = Stage::new(Settings::default()).await?;
    let mut config = config(&stage.azure);
    config.credential = credential(&stage.azure);
    stage.client = Client::new(config)?;
    Ok(stage)
}

async fn look(stage: &Stage) -> Result<(), CloudError> {
    let path = stage.path("loadBalancers/lb").expect("an id");
    stage
        .client
        .get(&path)
        .await
        .map(|found| assert!(found.is_none()))
}

fn tokens(stage: &Stage) -> usize {
    let calls = stage.azure.calls().all();
    calls.iter().filter(|call| call.kind == TOKEN).count()
}

#[tokio::test]
async fn every_kind_of_identity_has_one_token_for_many_calls() -> Result<()> {
    let mut file = None;
    for kind in ["workload", "system", "user", "secret"] {
        let stage = stage(|azure| match kind {
            "workload" => {
                let file = file.insert(token_file(azure).expect("a file"));
                workload(azure, file)
            }
            "system" => Credential::ManagedIdentity { client: None },
            "user" => Credential::ManagedIdentity {
                client: Some(azure.identities().client.into()),
            },
            _ => config(azure).credential,
        })
        .await?;
        for _ in 0..3 {
            look(&stage).await.with_context(|| kind.to_owned())?;
        }
        assert_eq!(tokens(&stage), 1, "{kind}");
        let who = stage.client.identity().await?;
        let by = [
            "workload identity",
            "managed identity",
            "a service principal's secret",
        ];
        assert!(by.iter().any(|by| who.ends_with(by)), "{who}");
        assert!(who.starts_with(&stage.azure.endpoint()), "{who}");
        assert!(!who.contains("a secret of the harness"), "{who}");
        assert_eq!(tokens(&stage), 1, "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn many_at_once_ask_for_one_token() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    for result in join_all((0..20).map(|_| look(&stage))).await {
        result?;
    }
    assert_eq!(tokens(&stage), 1);
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_not_taken_any_more_is_asked_for_anew_once() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    look(&stage).await?;
    stage.azure.expire_tokens();
    look(&stage).await?;
    assert_eq!(tokens(&stage), 2);
    stage.azure.expire_tokens();
    stage.put("a").await?;
    assert_eq!((tokens(&stage), stage.tag().as_deref()), (3, Some("a")));
    // Where no token helps, that is said.
    let fault = Fault::answer(
        401,
        "InvalidAuthenticationToken",
        "The access token is invalid.",
    );
    let at = At::first("GET loadBalancers").times(2);
    let broken = stage.azure.inject(&at, fault);
    let error = look(&stage).await.expect_err("no token is taken");
    broken.check(2)?;
    assert_eq!(error.class, ErrorClass::Denied);
    assert_eq!(error.of_provider, Some(ProviderFault::CredentialsExpired));
    Ok(())
}

/// The kubelet writes the file anew.
#[tokio::test]
async fn the_clusters_token_is_read_each_time() -> Result<()> {
    let mut file = None;
    let stage = stage(|azure| {
        let file = file.insert(token_file(azure).expect("a file"));
        workload(azure, file)
    })
    .await?;
    look(&stage).await?;
    stage
        .azure
        .set_identities(|who| who.assertions = vec!["another".to_owned()]);
    stage.azure.expire_tokens();
    let error = look(&stage).await.expect_err("the old one is not taken");
    assert_eq!(error.of_provider, Some(ProviderFault::CredentialsExpired));
    assert!(error.message.contains("AADSTS700024"), "{error}");
    assert!(error.message.contains("federated credential"), "{error}");
    let file = file.context("a file")?;
    std::fs::write(file.path(), "another\n")?;
    look(&stage).await?;
    file.close()?;
    stage.azure.expire_tokens();
    let error = look(&stage).await.expect_err("there is no file");
    assert!(
        error.message.contains("azure.workload.identity/use"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn who_is_not_known_is_told_what_to_do() -> Result<()> {
    let secret = |azure: &FakeAzure, secret: &str, tenant: Option<&str>| {
        let who = azure.identities();
        Credential::Secret {
            tenant: tenant.unwrap_or(&who.tenant).into(),
            client: who.client.into(),
            secret: secret.into(),
        }
    };
    let wrong = stage(|azure| secret(azure, "hunter2", None)).await?;
    let foreign = stage(|azure| secret(azure, "hunter2", Some("../x"))).await?;
    let other = stage(|_| Credential::ManagedIdentity {
        client: Some("somebody".into()),
    })
    .await?;
    for (stage, expected) in [
        (&wrong, "AADSTS7000215"),
        (&foreign, "AADSTS90002"),
        (&other, "Identity not found"),
    ] {
        let error = look(stage).await.expect_err(expected);
        assert_eq!(error.class, ErrorClass::Denied, "{error}");
        assert_eq!(error.of_provider, Some(ProviderFault::CredentialsExpired));
        assert!(error.message.contains(expected), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        let asked = stage.azure.calls().all();
        assert!(asked.iter().all(|call| call.kind == TOKEN), "{asked:?}");
    }
    let asked = foreign.azure.calls().all();
    assert_eq!(asked[0].path, "/../x/oauth2/v2.0/token");
    Ok(())
}

#[tokio::test]
async fn while_a_token_holds_nobody_needs_the_next() -> Result<()> {
    let stage = stage(|_| Credential::ManagedIdentity { client: None }).await?;
    // It holds for an hour, and the next one may be asked for at once.
    stage.azure.set_identities(|who| who.refresh = Some(0));
    look(&stage).await?;
    look(&stage).await?;
    assert_eq!(tokens(&stage), 2);
    let broken = stage
        .azure
        .inject(&At::first(TOKEN).times(9), Fault::ErrorBefore);
    for _ in 0..3 {
        look(&stage).await?;
    }
    // After a failure it is not asked for at every call.
    broken.check(1)?;
    Ok(())
}

#[tokio::test]
async fn where_tokens_come_from_may_be_down() -> Result<()> {
    for fault in [
        Fault::Reset,
        Fault::ErrorBefore,
        Fault::ReplyLost,
        Fault::answer(503, "temporarily_unavailable", "Try again."),
    ] {
        let stage = Stage::new(Settings::default()).await?;
        let broken = stage.azure.inject(&At::first(TOKEN), fault.clone());
        // All who wait share the failure of one asking.
        let found = join_all((0..5).map(|_| look(&stage))).await;
        broken.check(1)?;
        for error in found.into_iter().map(|found| found.expect_err("no token")) {
            assert_eq!(error.class, ErrorClass::Transient, "{fault:?}: {error}");
            assert_eq!(error.of_provider, Some(ProviderFault::Unreachable));
        }
        assert_eq!(tokens(&stage), 1);
        look(&stage).await?;
    }
    Ok(())
}

/// All that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_numbers_of_requests_and_no_secrets() -> Result<()> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Of all tests: one that is heard by a thread alone misses what others met first.
    tracing::subscriber::set_global_default(subscriber)?;
    let stage = Stage::new(Settings::default()).await?;
    stage.put("a").await?;
    stage.azure.expire_tokens();
    let path = stage.path("loadBalancers/lb")?;
    assert!(stage.client.get(&path).await?.is_some());
    let text = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let text = String::from_utf8(text)?;
    let numbers = stage.azure.calls().all().into_iter();
    for number in numbers.filter_map(|call| call.request_id) {
        assert!(text.contains(&number), "{number}: {text}");
    }
    for secret in ["token-", "a secret of the harness", "Bearer"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    Ok(())
}
