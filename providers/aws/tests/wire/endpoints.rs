//! Which hosts are asked, by which way, and whom they have to be. No host of AWS's is dialled: a proxy on loopback ends the TLS of all of them,
//! with certificates of an authority of its own.

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::aws::{Aws, Door, World, WorldOptions, everything};
use serde_json::{Value, json};

use super::{
    probe::{Answer, once},
    stage::{Stage, service, settled},
};

/// A corner in a region, with what is dialled in place of AWS's hosts.
struct Corner {
    aws: Aws,
    world: World,
    door: Door,
    key: [(&'static str, String); 4],
}

impl Corner {
    async fn new(region: &'static str) -> Result<Self> {
        let aws = Aws::moto_in(region).await?;
        let options = WorldOptions {
            nodes: 1,
            ..WorldOptions::default()
        };
        let world = World::build(aws.client(), &options).await?;
        let role = aws
            .create_role(aws.client(), "evenkeel", &everything())
            .await?;
        let session = aws.session(&role).await?;
        Ok(Self {
            door: Door::start(&aws).await?,
            key: [
                ("AWS_REGION", region.to_owned()),
                ("AWS_ACCESS_KEY_ID", session.id),
                ("AWS_SECRET_ACCESS_KEY", session.secret),
                ("AWS_SESSION_TOKEN", session.token),
            ],
            aws,
            world,
        })
    }

    /// Asks with the session's keys and more of an environment.
    async fn ask(&self, more: &[(&str, &str)], config: Value) -> Result<Answer> {
        let own = self.key.iter().map(|(name, value)| (*name, &**value));
        let environment: Vec<_> = own.chain(more.iter().copied()).collect();
        once(&environment, config).await
    }

    /// What finds the cluster and trusts the door's authority.
    fn config(&self) -> Result<Value> {
        let node = self.world.nodes.first().context("a node")?.provider_id();
        Ok(json!({"node": node, "authorities": self.door.authority()}))
    }
}

/// Each API's host in a partition.
struct Row {
    region: &'static str,
    fips: bool,
    dual_stack: bool,
    ec2: &'static str,
    elb: &'static str,
    sts: &'static str,
}

const fn row(
    region: &'static str,
    (fips, dual_stack): (bool, bool),
    ec2: &'static str,
    elb: &'static str,
    sts: &'static str,
) -> Row {
    Row {
        region,
        fips,
        dual_stack,
        ec2,
        elb,
        sts,
    }
}

/// AWS General Reference, "Service endpoints" of EC2, of Elastic Load Balancing and of STS.
const ROWS: [Row; 6] = [
    row(
        "eu-west-1",
        (false, false),
        "ec2.eu-west-1.amazonaws.com",
        "elasticloadbalancing.eu-west-1.amazonaws.com",
        "sts.eu-west-1.amazonaws.com",
    ),
    row(
        "us-east-1",
        (true, false),
        "ec2-fips.us-east-1.amazonaws.com",
        "elasticloadbalancing-fips.us-east-1.amazonaws.com",
        "sts-fips.us-east-1.amazonaws.com",
    ),
    row(
        "us-east-2",
        (false, true),
        "ec2.us-east-2.api.aws",
        "elasticloadbalancing.us-east-2.api.aws",
        "sts.us-east-2.api.aws",
    ),
    row(
        "us-gov-west-1",
        (false, false),
        "ec2.us-gov-west-1.amazonaws.com",
        "elasticloadbalancing.us-gov-west-1.amazonaws.com",
        "sts.us-gov-west-1.amazonaws.com",
    ),
    row(
        "us-gov-east-1",
        (true, false),
        "ec2.us-gov-east-1.amazonaws.com",
        "elasticloadbalancing.us-gov-east-1.amazonaws.com",
        "sts.us-gov-east-1.amazonaws.com",
    ),
    row(
        "cn-north-1",
        (false, false),
        "ec2.cn-north-1.amazonaws.com.cn",
        "elasticloadbalancing.cn-north-1.amazonaws.com.cn",
        "sts.cn-north-1.amazonaws.com.cn",
    ),
];

/// Every host is asked by way of `HTTPS_PROXY`, under its own name, and has to have a certificate of an authority that is trusted.
#[tokio::test]
async fn hosts_by_way_of_a_proxy() -> Result<()> {
    for Row {
        region,
        fips,
        dual_stack,
        ec2,
        elb,
        sts,
    } in ROWS
    {
        let corner = Corner::new(region).await?;
        let proxy = corner.door.proxy();
        let mut environment = vec![("HTTPS_PROXY", &*proxy)];
        if fips {
            environment.push(("AWS_USE_FIPS_ENDPOINT", "true"));
        }
        if dual_stack {
            environment.push(("AWS_USE_DUALSTACK_ENDPOINT", "true"));
        }
        let answer = corner.ask(&environment, corner.config()?).await?.good()?;
        let found = (region, &*corner.world.vpc_id);
        ensure!(answer.place() == found, "{answer:?}");
        let seen = corner.door.seen().await?;
        for host in [ec2, elb, sts] {
            let asked = seen.iter().find(|one| one.name.as_deref() == Some(host));
            let asked = asked.with_context(|| format!("{region}: {host}: {seen:#?}"))?;
            let target = format!("{host}:443");
            ensure!(asked.connect.as_deref() == Some(&*target), "{asked:?}");
            ensure!(asked.error.is_none(), "{asked:?}");
        }
        let names: Vec<_> = seen.iter().filter_map(|one| one.name.as_deref()).collect();
        ensure!(
            names.iter().all(|name| [ec2, elb, sts].contains(name)),
            "{names:?}"
        );
        for call in corner.aws.calls().all() {
            ensure!(call.region == region, "{call:?}");
        }
        corner.aws.check()?;
    }
    Ok(())
}

/// The option says so as the environment does.
#[tokio::test]
async fn fips_by_configuration() -> Result<()> {
    let corner = Corner::new("us-west-2").await?;
    let mut config = corner.config()?;
    config["fips"] = json!(true);
    let proxy = corner.door.proxy();
    corner
        .ask(&[("HTTPS_PROXY", &proxy)], config)
        .await?
        .good()?;
    let seen = corner.door.seen().await?;
    let named = |host: &str| seen.iter().any(|one| one.name.as_deref() == Some(host));
    ensure!(named("ec2-fips.us-west-2.amazonaws.com"), "{seen:?}");
    ensure!(
        named("elasticloadbalancing-fips.us-west-2.amazonaws.com"),
        "{seen:?}"
    );
    Ok(())
}

/// What `NO_PROXY` names is asked directly.
#[tokio::test]
async fn no_proxy() -> Result<()> {
    let corner = Corner::new("eu-west-2").await?;
    let other = Door::start(&corner.aws).await?;
    let (proxy, endpoint) = (other.proxy(), corner.door.endpoint());
    let through = [("HTTPS_PROXY", &*proxy), ("AWS_ENDPOINT_URL", &*endpoint)];
    let mut past = through.to_vec();
    past.push(("NO_PROXY", "127.0.0.1"));
    corner.ask(&past, corner.config()?).await?.good()?;
    let direct = corner.door.seen().await?;
    ensure!(direct.iter().any(|one| one.connect.is_none()), "{direct:?}");
    ensure!(other.seen().await?.is_empty());

    // The proxy ends TLS with its own authority, which nobody trusts here.
    let told = corner.ask(&through, corner.config()?).await?;
    ensure!(told.fault() == Some("Unreachable"), "{told:?}");
    let target = endpoint.trim_start_matches("https://");
    let asked = other.seen().await?;
    ensure!(
        asked
            .iter()
            .all(|one| one.connect.as_deref() == Some(target))
            && !asked.is_empty(),
        "{asked:?}"
    );
    Ok(())
}

/// An authority that is not trusted is told as such, with what to do; no call is made.
#[tokio::test]
async fn an_authority_of_ones_own() -> Result<()> {
    let corner = Corner::new("eu-west-3").await?;
    let endpoint = corner.door.endpoint();
    let environment = [("AWS_ENDPOINT_URL", &*endpoint)];
    corner.ask(&environment, corner.config()?).await?.good()?;
    let other = Door::start(&corner.aws).await?;
    let mark = corner.aws.calls().mark();
    let mut wrong = corner.config()?;
    wrong["authorities"] = json!(other.authority());
    let mut none = corner.config()?;
    none["authorities"] = Value::Null;
    for config in [wrong, none] {
        let told = corner.ask(&environment, config).await?;
        ensure!(told.fault() == Some("Unreachable"), "{told:?}");
        let said = told.error().unwrap_or_default();
        for part in ["certificate", "UnknownIssuer", "--ca-file"] {
            ensure!(said.contains(part), "{part}: {said}");
        }
    }
    ensure!(corner.aws.calls().since(mark).is_empty());
    // What is no certificate, or not there, is told before anything is dialled.
    let mut broken = corner.config()?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(
        &file,
        "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n",
    )?;
    broken["authorities"] = json!(file.path());
    let mut empty = broken.clone();
    let nothing = tempfile::NamedTempFile::new()?;
    empty["authorities"] = json!(nothing.path());
    let mut gone = broken.clone();
    gone["authorities"] = json!("/nowhere/authorities.pem");
    for config in [broken, empty, gone] {
        let file = config["authorities"].clone();
        let told = corner.ask(&environment, config).await?;
        ensure!(told.fault() == Some("Unreachable"), "{file}: {told:?}");
        let said = told.error().unwrap_or_default();
        ensure!(said.contains("in PEM with --ca-file"), "{file}: {said}");
    }
    Ok(())
}

/// Endpoints of a VPC that no name leads to: each API's own URL wins over the one for all.
#[tokio::test]
async fn urls_of_single_apis() -> Result<()> {
    let corner = Corner::new("eu-north-1").await?;
    let endpoint = corner.aws.endpoint();
    let environment = [
        // Nobody listens there.
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_EC2", &*endpoint),
        ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &*endpoint),
        ("AWS_ENDPOINT_URL_STS", &*endpoint),
    ];
    corner.ask(&environment, corner.config()?).await?.good()?;
    for missing in 1..environment.len() {
        let mut less = environment.to_vec();
        less.remove(missing);
        let told = corner.ask(&less, corner.config()?).await?;
        ensure!(told.fault() == Some("Unreachable"), "{missing}: {told:?}");
    }
    Ok(())
}

/// Names of another partition in what is made, read back and deleted.
#[tokio::test]
async fn a_life_in_another_partition() -> Result<()> {
    for (region, partition) in [
        ("cn-northwest-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
    ] {
        let mut stage = Stage::in_aws(Aws::moto_in(region).await?, WorldOptions::default()).await?;
        let intent = service("shop", &[80]);
        settled(&stage.serve(&intent).await.0);
        let state = stage.state().await?;
        let arn = state.load_balancers()[0]["LoadBalancerArn"].as_str();
        let begin = format!("arn:{partition}:elasticloadbalancing:{region}:");
        ensure!(arn.is_some_and(|arn| arn.starts_with(&begin)), "{state}");
        stage.restart().await?;
        let (report, asked) = stage.serve(&intent).await;
        settled(&report);
        ensure!(asked.writes == 0, "{asked}");
        let (report, _) = stage.release(&intent).await;
        ensure!(report.gone, "{report:#?}");
        stage.aws.check()?;
    }
    Ok(())
}
