//! Nothing but the configured endpoints is asked, and only whom one trusts.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use evenkeel_azure::client::{Client, ClientConfig, Cloud, Credential, ResourcePath};
use evenkeel_core::{
    error::{ErrorClass, ProviderFault},
    ticket::Ticket,
};
use evenkeel_harness::{
    aws::Door,
    fake_azure::{FakeAzure, Settings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::task::AbortOnDropHandle;

use super::stage::{Stage, config};

/// Somebody who answers every request alike, and says what was asked.
struct Liar {
    url: String,
    asked: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Liar {
    async fn start(answer: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let asked = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
        let seen = std::sync::Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut chunk).await {
                        Ok(read @ 1..) => request.extend_from_slice(&chunk[..read]),
                        _ => break,
                    }
                }
                let text = String::from_utf8_lossy(&request);
                let line = text.lines().next().unwrap_or_default().to_owned();
                seen.lock().expect("a list").push(line);
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Self {
            url,
            asked,
            _task: AbortOnDropHandle::new(task),
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a list").clone()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A client whose Azure Resource Manager is somebody else.
fn client(azure: &FakeAzure, url: &str) -> Result<Client> {
    Ok(Client::new(ClientConfig {
        endpoint: Some(url.into()),
        write_timeout: Duration::from_millis(200),
        ..config(azure)
    })?)
}

#[tokio::test]
async fn links_to_elsewhere_are_not_followed() -> Result<()> {
    let azure = FakeAzure::start(Settings::default()).await?;
    let elsewhere = Liar::start(answer("200 OK", "", "{}")).await?;
    let path = |kind: &str| ResourcePath::collection("s", Some("g"), kind).context("a path");

    let next = format!(r#"{{"value": [], "nextLink": "{}/next"}}"#, elsewhere.url);
    let liar = Liar::start(answer("200 OK", "", &next)).await?;
    let list = client(&azure, &liar.url)?
        .list(&path("loadBalancers")?)
        .await;
    assert_eq!(
        list.expect_err("a link to elsewhere").class,
        ErrorClass::Transient
    );

    let moved = format!("location: {}/moved\r\n", elsewhere.url);
    let liar = Liar::start(answer("307 Temporary Redirect", &moved, "")).await?;
    let list = client(&azure, &liar.url)?
        .list(&path("loadBalancers")?)
        .await;
    list.expect_err("a redirection");

    let links = format!(
        "azure-asyncoperation: {0}/op\r\nlocation: {0}/result\r\n",
        elsewhere.url
    );
    let updating = r#"{"properties": {"provisioningState": "Updating"}}"#;
    let liar = Liar::start(answer("200 OK", &links, updating)).await?;
    let one = path("publicIPAddresses/a")?;
    let (client, ticket) = (client(&azure, &liar.url)?, Ticket::unlimited());
    let put = client.put(&one, "{}".to_owned(), None, &ticket);
    assert_eq!(
        put.await.expect_err("it never ends").class,
        ErrorClass::Conflict
    );
    // The resource itself was asked in place of the link.
    let asked = liar.asked();
    assert!(
        asked.len() > 1 && asked[1].starts_with("GET /subscriptions/s/"),
        "{asked:?}"
    );

    assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
    Ok(())
}

#[tokio::test]
async fn an_answer_that_nobody_understands_is_said_to_be_one() -> Result<()> {
    let azure = FakeAzure::start(Settings::default()).await?;
    let liar = Liar::start(answer("200 OK", "", "<html>Sign in</html>")).await?;
    let client = client(&azure, &liar.url)?;
    let one = ResourcePath::collection("s", Some("g"), "publicIPAddresses/a").context("a path")?;
    let error = client.get(&one).await.expect_err("no JSON");
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.message.contains("a proxy stands between"), "{error}");
    Ok(())
}

#[tokio::test]
async fn no_token_goes_without_tls_to_another_host() -> Result<()> {
    let azure = FakeAzure::start(Settings::default()).await?;
    let wrong = ClientConfig {
        endpoint: Some("http://management.azure.com".into()),
        authority: Some("http://10.0.0.1".into()),
        metadata: Some("nonsense".into()),
        ..config(&azure)
    };
    let error = Client::new(wrong).expect_err("three mistakes");
    assert_eq!(error.of_provider, Some(ProviderFault::Unreachable));
    for part in [
        "the URL of Azure Resource Manager is without TLS",
        "the URL of Microsoft Entra is without TLS",
        "the URL of the instance metadata service is no URL",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    Ok(())
}

/// An authority of one's own is trusted where it is named, and only there.
#[tokio::test]
async fn whom_to_trust() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let door = Door::before(&stage.azure.endpoint()).await?;
    let path = stage.path("loadBalancers/lb")?;
    let with = |authorities: Option<&std::path::Path>| {
        Client::new(ClientConfig {
            endpoint: Some(door.endpoint().into()),
            authority: Some(door.endpoint().into()),
            authorities: authorities.map(Into::into),
            ..config(&stage.azure)
        })
    };
    assert_eq!(with(Some(door.authority()))?.get(&path).await?, None);
    assert_eq!(stage.azure.calls().all().len(), 2);
    let error = with(None)?.get(&path).await.expect_err("nobody trusts it");
    assert_eq!(error.of_provider, Some(ProviderFault::Unreachable));
    assert!(error.message.contains("certificate"), "{error}");
    assert_eq!(stage.azure.calls().all().len(), 2);
    let file = tempfile::NamedTempFile::new()?;
    for file in [std::path::Path::new("/nowhere"), file.path()] {
        let error = with(Some(file))?
            .get(&path)
            .await
            .expect_err("no certificates");
        assert!(error.message.contains("--ca-file"), "{error}");
    }
    Ok(())
}

/// What the process that asks by a proxy is configured with: a cloud, a file of authorities, an id, and who it is.
const ASKS: &str = "EVENKEEL_ASKS";

/// Of each cloud its own hosts are asked, and no other: here by a proxy, which ends their TLS.
#[tokio::test]
async fn every_cloud_has_its_hosts() -> Result<()> {
    for (cloud, hosts) in [
        (
            Cloud::Public,
            ["login.microsoftonline.com:443", "management.azure.com:443"],
        ),
        (
            Cloud::China,
            [
                "login.chinacloudapi.cn:443",
                "management.chinacloudapi.cn:443",
            ],
        ),
        (
            Cloud::UsGovernment,
            [
                "login.microsoftonline.us:443",
                "management.usgovcloudapi.net:443",
            ],
        ),
    ] {
        let stage = Stage::new(Settings::default()).await?;
        let door = Door::before(&stage.azure.endpoint()).await?;
        let who = stage.azure.identities();
        let authority = door.authority().to_string_lossy().into_owned();
        let id = stage.id("loadBalancers/lb");
        let asks = [
            cloud.name(),
            &*authority,
            &*id,
            &*who.tenant,
            &*who.client,
            &*who.secret,
        ];
        let output = tokio::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "elsewhere::asks", "--ignored", "--nocapture"])
            .env_clear()
            .env("HTTPS_PROXY", door.proxy())
            .env(ASKS, asks.join("\n"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{cloud:?}: {said}");
        let seen = door.seen().await?;
        let asked: BTreeSet<_> = seen
            .iter()
            .filter_map(|seen| seen.connect.as_deref())
            .collect();
        assert_eq!(asked, BTreeSet::from(hosts), "{cloud:?}: {seen:?}");
        assert_eq!(stage.azure.calls().all().len(), 2);
    }
    Ok(())
}

/// The process: the environment is a process's, and tests share one.
#[tokio::test]
#[ignore = "the other half of a test, which runs it in a process with an environment of its own"]
async fn asks() -> Result<()> {
    let asks = std::env::var(ASKS).context("it is run by another test, not by itself")?;
    let [cloud, authority, id, tenant, client, secret] = asks.split('\n').collect::<Vec<_>>()[..]
    else {
        anyhow::bail!("{asks}");
    };
    let client = Client::new(ClientConfig {
        cloud: Cloud::named(cloud).context("a cloud")?,
        authorities: Some(std::path::Path::new(authority).into()),
        credential: Credential::Secret {
            tenant: tenant.into(),
            client: client.into(),
            secret: secret.into(),
        },
        ..ClientConfig::default()
    })?;
    let id = ResourcePath::parse(id).context("an id")?;
    assert_eq!(client.get(&id).await?, None);
    Ok(())
}
