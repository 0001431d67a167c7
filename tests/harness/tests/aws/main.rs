//! The AWS backends: what each promises is shown, and that it fails where it must. Requests that no SDK would send are written by hand.

mod emulators;
mod fake;
mod faults;
mod moto;
mod requests;
mod scene;

#[path = "."]
mod on_moto {
    use super::{Aws, Result};

    async fn backend() -> Result<Aws> {
        Aws::moto().await
    }

    mod alike;
}

#[path = "."]
mod on_fake {
    #![expect(clippy::duplicate_mod, reason = "the same tests on another backend")]

    use super::{Aws, Quotas, Result, Settings};

    async fn backend() -> Result<Aws> {
        // A page of AWS's is longer than an account's load balancers are many, unless it asks for more.
        let settings = Settings {
            quotas: Quotas::default().raised(1000),
            ..Settings::default()
        };
        Aws::fake(settings).await
    }

    mod alike;
}

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_harness::{
    aws::{Aws, Client},
    fake_aws::{Quotas, Settings},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long anything here may take on a machine that builds beside it.
const SOON: Duration = Duration::from_secs(60);

/// boto3 by way of the proxy, as an SDK under test would come.
fn through_proxy(aws: &Aws) -> Result<Client> {
    let address = aws.endpoint();
    let address: SocketAddr = address.trim_start_matches("http://").parse()?;
    Ok(aws.client().by_way_of(address, aws.access_key()))
}

/// Posts a form as it is, with a signature that nobody checks; returns status and body.
async fn post(aws: &Aws, signing_name: &str, form: &str) -> Result<(u16, String)> {
    let content = "Content-Type: application/x-www-form-urlencoded\r\n";
    send(
        aws,
        &format!("{}{content}", signature(aws, signing_name)),
        form,
    )
    .await
}

fn signature(aws: &Aws, signing_name: &str) -> String {
    let key = aws.access_key().id;
    let scope = format!(
        "{key}/20260101/{}/{signing_name}/aws4_request",
        aws.region()
    );
    format!(
        "X-Amz-Date: 20260101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n"
    )
}

/// Posts anything, with these headers.
async fn send(aws: &Aws, headers: &str, body: &str) -> Result<(u16, String)> {
    let address = aws.endpoint().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await?;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("the connection ended without a reply")?;
    let status = head
        .split_ascii_whitespace()
        .nth(1)
        .context("not HTTP")?
        .parse()?;
    Ok((status, body.to_owned()))
}

/// The form of `CreateTargetGroup` that AWS would take.
fn create_target_group(name: &str, vpc_id: &str) -> String {
    format!(
        "Action=CreateTargetGroup&Version=2015-12-01&Name={name}&Protocol=TCP&Port=80&VpcId={vpc_id}&TargetType=instance"
    )
}
