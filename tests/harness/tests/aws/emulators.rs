//! The other emulators, and where all of them listen.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use evenkeel_harness::aws::{Aws, Emulator, Kind, Microburst};
use serde_json::json;

use crate::scene::{Scene, arn, with};
use crate::through_proxy;

/// What these tests rest on is ours: moto as it comes makes a second load balancer of the same name.
#[tokio::test]
async fn plain_moto_is_there_to_compare() -> Result<()> {
    let aws = Aws::on(Kind::PlainMoto).await?;
    let scene = Scene::build(aws.client()).await?;
    let again = scene.create_load_balancer();
    let again = arn(
        aws.client(),
        "CreateLoadBalancer",
        again,
        "/LoadBalancers/0/LoadBalancerArn",
    )
    .await?;
    assert_ne!(again, scene.load_balancer);
    assert!(again.contains(":loadbalancer/app/"), "{again}");
    Ok(())
}

#[tokio::test]
async fn ministack_is_a_second_opinion() -> Result<()> {
    let (aws, other) = (
        Aws::on(Kind::Ministack).await?,
        Aws::on(Kind::Ministack).await?,
    );
    let sdk = through_proxy(&aws)?;
    let scene = Scene::build(&sdk).await?;
    let taken = with(scene.create_load_balancer(), "Scheme", json!("internal"));
    let refused = sdk.refusal("elbv2", "CreateLoadBalancer", taken).await?;
    assert_eq!(refused.as_deref(), Some("DuplicateLoadBalancerName"));
    let state = aws.state().await?;
    assert_eq!(
        (state.load_balancers().len(), state.target_groups().len()),
        (1, 2),
        "{state}"
    );
    assert!(
        other.state().await?.load_balancers().is_empty(),
        "another account"
    );
    aws.check()
}

#[tokio::test]
async fn signatures_and_policies_are_checked_where_that_is_wanted() -> Result<()> {
    let aws = Aws::on(Kind::MinistackWithAuth).await?;
    let key = aws
        .create_user(
            "reader",
            &[
                "elasticloadbalancing:DescribeLoadBalancers",
                "ec2:DescribeVpcs",
            ],
        )
        .await?;
    let address = aws.endpoint().trim_start_matches("http://").parse()?;
    // By way of the proxy, which leaves signatures valid.
    let reader = aws.client().by_way_of(address, key.clone());
    assert_eq!(
        reader
            .refusal("elbv2", "DescribeLoadBalancers", json!({}))
            .await?,
        None
    );
    assert_eq!(
        reader.refusal("ec2", "DescribeVpcs", json!({})).await?,
        None
    );
    let denied = reader
        .refusal("elbv2", "DescribeTargetGroups", json!({}))
        .await?;
    assert_eq!(denied.as_deref(), Some("AccessDenied"));
    let denied = reader.refusal("ec2", "DescribeSubnets", json!({})).await?;
    assert_eq!(denied.as_deref(), Some("UnauthorizedOperation"));
    let mut wrong = key;
    wrong.secret.push('x');
    let forger = aws.client().by_way_of(address, wrong);
    let denied = forger
        .refusal("elbv2", "DescribeLoadBalancers", json!({}))
        .await?;
    assert_eq!(denied.as_deref(), Some("SignatureDoesNotMatch"));
    let last = aws.calls().all().pop().context("nothing was recorded")?;
    assert_eq!(
        (last.status, last.error.as_deref()),
        (Some(403), Some("SignatureDoesNotMatch"))
    );
    Ok(())
}

/// The addresses, of TCP sockets that listen, of a process: as `/proc/net/tcp` writes them.
fn listening(pid: u32) -> Result<Vec<String>> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd"))?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            Some(
                link.to_str()?
                    .strip_prefix("socket:[")?
                    .trim_end_matches(']')
                    .to_owned(),
            )
        })
        .collect::<Vec<_>>();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        for line in std::fs::read_to_string(format!("/proc/{pid}/net/{table}"))?
            .lines()
            .skip(1)
        {
            let columns: Vec<_> = line.split_whitespace().collect();
            // State 0A is LISTEN; the tenth column is the socket.
            if columns.len() > 9
                && columns[3] == "0A"
                && links.iter().any(|link| link == columns[9])
            {
                found.push(columns[1].to_owned());
            }
        }
    }
    Ok(found)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn every_process_listens_on_loopback_alone() -> Result<()> {
    let mut processes = Vec::new();
    for kind in [
        Kind::Moto,
        Kind::PlainMoto,
        Kind::Ministack,
        Kind::MinistackWithAuth,
    ] {
        let emulator = Emulator::shared(kind).await?;
        emulator.check()?;
        processes.push((format!("{kind:?}"), emulator.pid()));
    }
    processes.push(("microburst".to_owned(), Microburst::shared().await?.pid()));
    let loopback = u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets());
    for (name, pid) in processes {
        let addresses = listening(pid)?;
        assert_eq!(addresses.len(), 1, "{name}: {addresses:?}");
        assert!(
            addresses[0].starts_with(&format!("{loopback:08X}:")),
            "{name}: {addresses:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_emulator_ends_with_its_value() -> Result<()> {
    let emulator = Emulator::start(Kind::Ministack).await?;
    let (address, pid) = (emulator.address(), emulator.pid());
    assert!(std::net::TcpStream::connect(address).is_ok());
    drop(emulator);
    assert!(std::net::TcpStream::connect(address).is_err());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}
