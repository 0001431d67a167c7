//! What the policy that we ship allows, and what a missing permission is told as. Resources and conditions are judged too.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use evenkeel_aws::client::{Config, Keys};
use evenkeel_core::{
    error::{CloudError, ErrorClass, ProviderFault},
    intent::{Intent, SourceRanges},
    nodes::NodeSet,
    provider::Provider as _,
};
use evenkeel_harness::aws::{AccessKey, Aws, Kind, World, WorldOptions};
use serde_json::{Value, json};

use super::stage::{CLUSTER, Stage, as_it_is, config, provider, service, settled};

const POLICY: &str = include_str!("../../../../deploy/aws/iam-policy.json");

/// What no life of a Service at the wire calls.
const NOT_HERE: [&str; 7] = [
    // What AWS asks for on our behalf.
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeInternetGateways",
    "ec2:GetSecurityGroupsForVpc",
    "iam:CreateServiceLinkedRole",
    // What only makes messages better: when a security group was in use for long, and what a denial was about.
    "ec2:DescribeNetworkInterfaces",
    "sts:DecodeAuthorizationMessage",
];

/// The policy as an operator fills it in.
fn policy(world: &World) -> Result<Value> {
    let filled = POLICY
        .replace("CLUSTER_UID", CLUSTER)
        .replace("CLUSTER_NAME", &world.cluster);
    Ok(serde_json::from_str(&filled)?)
}

/// All actions of the policy's statements.
fn actions(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().into_iter().flatten();
    let of = |statement: &Value| match &statement["Action"] {
        Value::String(one) => vec![one.clone()],
        many => many
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    };
    statements.flat_map(of).collect()
}

/// The policy without one action.
fn without(policy: &Value, action: &str) -> Result<Value> {
    let mut less = policy.clone();
    let mut found = false;
    for statement in less["Statement"].as_array_mut().into_iter().flatten() {
        let names = &mut statement["Action"];
        if names == action {
            *names = json!([]);
            found = true;
        } else if let Some(names) = names.as_array_mut() {
            found |= names.iter().any(|name| name == action);
            names.retain(|name| name != action);
        }
    }
    ensure!(found, "the policy does not have {action}");
    // A statement without an action is none.
    if let Some(statements) = less["Statement"].as_array_mut() {
        statements.retain(|statement| statement["Action"] != json!([]));
    }
    Ok(less)
}

fn with_key(stage: &Stage, key: AccessKey) -> Config {
    Config {
        keys: Some(Keys {
            id: key.id.into(),
            secret: key.secret.into(),
            token: None,
        }),
        ..config(&stage.aws, &stage.world)
    }
}

/// From now on a user of this policy works here, who remembers nothing.
async fn as_user(stage: &mut Stage, name: &str, policy: &Value) -> Result<()> {
    let key = stage.aws.create_user_with_policy(name, policy).await?;
    stage.engine = as_it_is(provider(&stage.world, with_key(stage, key)));
    Ok(())
}

fn annotated(mut intent: Intent, pairs: &[(&str, &str)]) -> Intent {
    for (key, value) in pairs {
        let key = format!("service.beta.kubernetes.io/aws-load-balancer-{key}");
        intent.annotations.insert(key.into(), (*value).into());
    }
    intent
}

async fn certificate(stage: &Stage) -> Result<String> {
    let asked = json!({"DomainName": "api.example.org"});
    let client = stage.aws.client();
    let made = client.call("acm", "RequestCertificate", asked).await?;
    let arn = made["CertificateArn"].as_str().context("an ARN")?;
    Ok(arn.to_owned())
}

async fn prefix_list(stage: &Stage) -> Result<String> {
    let asked = json!({
        "PrefixListName": "offices",
        "MaxEntries": 2,
        "AddressFamily": "IPv4",
        "Entries": [{"Cidr": "192.0.2.0/24"}],
    });
    let client = stage.aws.client();
    let made = client.call("ec2", "CreateManagedPrefixList", asked).await?;
    let id = made["PrefixList"]["PrefixListId"].as_str();
    Ok(id.context("an id")?.to_owned())
}

/// Takes away the tags that say what subnets are for.
async fn without_roles(stage: &Stage) -> Result<()> {
    let World {
        public_subnets,
        private_subnets,
        ..
    } = &stage.world;
    let roles = ["elb", "internal-elb"];
    let roles = roles.map(|role| json!({"Key": format!("kubernetes.io/role/{role}")}));
    let subnets = [&public_subnets[..], private_subnets].concat();
    let asked = json!({"Resources": subnets, "Tags": roles});
    stage.aws.client().call("ec2", "DeleteTags", asked).await?;
    Ok(())
}

/// Served as often as it takes.
async fn until_settled(stage: &Stage, intent: &Intent) {
    let mut report = stage.serve(intent).await.0;
    for _ in 0..4 {
        if report.settled() {
            break;
        }
        report = stage.look(intent).await.0;
    }
    settled(&report);
}

/// Everything that a Service may ask for is made, changed and taken away by one who has the shipped policy and nothing else, and
/// nothing in that policy is there for nobody.
#[tokio::test]
async fn the_shipped_policy_is_enough_and_not_too_much() -> Result<()> {
    let mut stage = Stage::on(WorldOptions {
        nodes: 2,
        dual_stack: true,
        ..WorldOptions::default()
    })
    .await?;
    let policy = policy(&stage.world)?;
    as_user(&mut stage, "evenkeel", &policy).await?;
    let (certificate, other) = (
        stage.world.certificate_arn.clone(),
        certificate(&stage).await?,
    );
    let prefix_list = prefix_list(&stage).await?;
    let mark = stage.aws.calls().mark();

    let (all, two) = {
        let subnets = &stage.world.public_subnets;
        (subnets.join(","), subnets[..2].join(","))
    };
    let tls = [
        ("ssl-cert", &*certificate),
        ("ssl-ports", "443"),
        ("subnets", &two),
    ];
    let plain = annotated(service("shop", &[80, 443]), &tls);
    until_settled(&stage, &plain).await;

    let both = format!("{certificate},{other}");
    let mut rich = annotated(
        plain.clone(),
        &[
            ("ssl-cert", &both),
            (
                "ssl-negotiation-policy",
                "ELBSecurityPolicy-TLS13-1-3-2021-06",
            ),
            ("attributes", "load_balancing.cross_zone.enabled=true"),
            (
                "target-group-attributes",
                "deregistration_delay.timeout_seconds=60",
            ),
            ("listener-attributes.TCP-80", "tcp.idle_timeout.seconds=600"),
            ("healthcheck-interval", "15"),
            ("additional-resource-tags", "team=shop"),
            ("security-group-prefix-lists", &prefix_list),
        ],
    );
    rich.source_ranges = SourceRanges::Only(vec!["10.0.0.0/8".parse()?]);
    until_settled(&stage, &rich).await;
    until_settled(&stage, &plain).await;
    let plain = annotated(plain, &[("subnets", &all)]);
    let moved = annotated(
        plain.clone(),
        &[
            ("ip-address-type", "dualstack"),
            ("security-groups", &stage.world.node_security_group),
        ],
    );
    until_settled(&stage, &moved).await;
    until_settled(&stage, &plain).await;

    stage.join(1).await?;
    until_settled(&stage, &plain).await;
    let fewer = stage.nodes.nodes()[1..].to_vec();
    stage.nodes = Arc::new(NodeSet::new(fewer));
    until_settled(&stage, &plain).await;
    until_settled(&stage, &service("shop", &[80])).await;
    let (report, _) = stage.release(&plain).await;
    ensure!(report.gone, "{report:#?}");

    // Where no subnet has a role, routes tell which are public.
    without_roles(&stage).await?;
    as_user(&mut stage, "another", &policy).await?;
    let found = service("found", &[80]);
    until_settled(&stage, &found).await;
    let (report, _) = stage.release(&found).await;
    ensure!(report.gone, "{report:#?}");

    let calls = stage.aws.calls().since(mark);
    let refused: Vec<_> = calls.iter().filter(|call| call.error.is_some()).collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    let called: BTreeSet<_> = calls
        .iter()
        .map(|call| call.name().replace("elbv2:", "elasticloadbalancing:"))
        .collect();
    let allowed = actions(&policy);
    let idle: Vec<_> = allowed.difference(&called).map(String::as_str).collect();
    ensure!(idle == sorted(NOT_HERE), "not called: {idle:#?}");
    stage.aws.check()
}

fn sorted<const N: usize>(mut names: [&str; N]) -> Vec<&str> {
    names.sort_unstable();
    names.to_vec()
}

/// What a user does not get without an action.
struct Row {
    /// The action that is taken out of the policy.
    action: &'static str,
    /// What the resource's ARN begins with, behind region and account.
    on: &'static str,
    /// When it is needed.
    when: When,
}

/// When a permission is needed.
#[derive(Clone, Copy)]
enum When {
    /// A Service is new.
    New,
    /// This annotation is added to one.
    Annotated(&'static str, &'static str),
    /// A node leaves.
    Left,
    /// A Service goes.
    Gone,
}

const fn row(action: &'static str, on: &'static str, when: When) -> Row {
    Row { action, on, when }
}

use When::{Annotated, Gone, Left, New};

const ROWS: [Row; 17] = [
    row("ec2:CreateSecurityGroup", "security-group/*", New),
    row("ec2:CreateTags", "security-group/*", New),
    row(
        "ec2:AuthorizeSecurityGroupIngress",
        "security-group/sg-",
        New,
    ),
    row(
        "elasticloadbalancing:CreateTargetGroup",
        "targetgroup/",
        New,
    ),
    row("elasticloadbalancing:RegisterTargets", "targetgroup/", New),
    row(
        "elasticloadbalancing:CreateLoadBalancer",
        "loadbalancer/net/",
        New,
    ),
    row(
        "elasticloadbalancing:CreateListener",
        "loadbalancer/net/",
        New,
    ),
    row("elasticloadbalancing:AddTags", "", New),
    row(
        "elasticloadbalancing:ModifyLoadBalancerAttributes",
        "loadbalancer/net/",
        Annotated("attributes", "load_balancing.cross_zone.enabled=true"),
    ),
    row(
        "elasticloadbalancing:ModifyTargetGroup",
        "targetgroup/",
        Annotated("healthcheck-interval", "15"),
    ),
    row(
        "elasticloadbalancing:ModifyTargetGroupAttributes",
        "targetgroup/",
        Annotated(
            "target-group-attributes",
            "deregistration_delay.timeout_seconds=60",
        ),
    ),
    row(
        "elasticloadbalancing:ModifyListenerAttributes",
        "listener/net/",
        Annotated("listener-attributes.TCP-80", "tcp.idle_timeout.seconds=600"),
    ),
    row(
        "ec2:DeleteTags",
        "security-group/sg-",
        Annotated("additional-resource-tags", ""),
    ),
    row(
        "elasticloadbalancing:DeregisterTargets",
        "targetgroup/",
        Left,
    ),
    row(
        "elasticloadbalancing:DeleteLoadBalancer",
        "loadbalancer/net/",
        Gone,
    ),
    row(
        "elasticloadbalancing:DeleteTargetGroup",
        "targetgroup/",
        Gone,
    ),
    row("ec2:DeleteSecurityGroup", "security-group/sg-", Gone),
];

/// The text of a denial is the same whether AWS says what it denied, or only a decoded message does.
#[tokio::test]
async fn a_missing_permission_is_named_with_its_resource() -> Result<()> {
    let mut stage = Stage::with_nodes(3).await?;
    let policy = policy(&stage.world)?;
    // What all Services share is there.
    settled(&stage.serve(&service("first", &[80])).await.0);
    for (number, Row { action, on, when }) in ROWS.iter().enumerate() {
        let name = format!("s{number}");
        let mut intent = service(&name, &[80]);
        if matches!(when, Annotated("additional-resource-tags", _)) {
            intent = annotated(intent, &[("additional-resource-tags", "team=shop")]);
        }
        stage.restart().await?;
        if !matches!(when, New) {
            settled(&stage.serve(&intent).await.0);
        }
        let nodes = Arc::clone(&stage.nodes);
        as_user(&mut stage, &name, &without(&policy, action)?).await?;
        let (report, _) = match when {
            New => stage.serve(&intent).await,
            Annotated(_, "") => stage.serve(&service(&name, &[80])).await,
            Annotated(key, value) => {
                stage
                    .serve(&annotated(intent.clone(), &[(key, value)]))
                    .await
            }
            Left => {
                stage.nodes = Arc::new(NodeSet::new(nodes.nodes()[1..].to_vec()));
                stage.look(&intent).await
            }
            Gone => stage.release(&intent).await,
        };
        ensure!(!report.failures.is_empty(), "{action}: {report:#?}");
        let (account, region) = (stage.aws.account(), stage.aws.region());
        let service = action.split(':').next().context("a service")?;
        // All that fails, fails for want of it.
        for failure in &report.failures {
            let said = &failure.message;
            for part in [
                format!("not allowed: {action} on arn:aws:{service}:{region}:{account}:{on}"),
                format!(" for arn:aws:iam::{account}:user/{name}-{region}"),
                "allow it in the policy of the role that evenkeel runs as".to_owned(),
            ] {
                ensure!(said.contains(&part), "{action}: {part}: {said}");
            }
            let class = (failure.class, failure.of_provider);
            ensure!(class == (ErrorClass::Denied, None), "{action}: {failure:?}");
        }

        // Granted, it goes on; and away.
        stage.restart().await?;
        stage.nodes = nodes;
        until_settled(&stage, &intent).await;
        let (report, _) = stage.release(&intent).await;
        ensure!(report.gone, "{action}: {report:#?}");
    }
    let state = stage.state().await?;
    ensure!(state.load_balancers().len() == 1, "{state}");
    stage.aws.check()
}

/// What nobody may read is the controller's fault, and names the action.
#[tokio::test]
async fn what_may_not_be_read_is_the_providers_fault() -> Result<()> {
    let mut stage = Stage::with_nodes(1).await?;
    let policy = policy(&stage.world)?;
    for (number, action) in [
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeTargetGroups",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
    ]
    .into_iter()
    .enumerate()
    {
        as_user(
            &mut stage,
            &format!("reader{number}"),
            &without(&policy, action)?,
        )
        .await?;
        let mark = stage.aws.calls().mark();
        let (report, asked) = stage.serve(&service("shop", &[80])).await;
        let [failure] = &report.failures[..] else {
            anyhow::bail!("{action}: one failure: {report:#?}");
        };
        ensure!(
            failure.of_provider == Some(ProviderFault::PermissionDenied),
            "{action}: {failure:?}"
        );
        let named = format!("not allowed: {action}");
        ensure!(failure.message.contains(&named), "{action}: {failure:?}");
        ensure!(asked.writes == 0, "{:#?}", stage.aws.calls().since(mark));
    }
    stage.aws.check()
}

/// Without the right to have a message decoded, a denial still names the action, and how to learn more.
#[tokio::test]
async fn what_stays_hidden_is_said() -> Result<()> {
    let mut stage = Stage::with_nodes(1).await?;
    let less = without(&policy(&stage.world)?, "ec2:CreateSecurityGroup")?;
    let less = without(&less, "sts:DecodeAuthorizationMessage")?;
    as_user(&mut stage, "blind", &less).await?;
    let (report, asked) = stage.serve(&service("shop", &[80])).await;
    let failure = report.failures.first().context("it failed")?;
    for part in [
        "not allowed: ec2:CreateSecurityGroup;",
        "allow sts:DecodeAuthorizationMessage",
    ] {
        ensure!(failure.message.contains(part), "{part}: {failure:?}");
    }
    let decode = asked.of_operation("sts:DecodeAuthorizationMessage");
    ensure!(decode > 0, "{asked}");
    stage.aws.check()
}

/// Keys that AWS does not take: one fault of the provider's, told once, whatever is asked.
#[tokio::test]
async fn keys_that_are_wrong() -> Result<()> {
    for kind in [Kind::Moto, Kind::MinistackWithAuth] {
        let aws = Aws::on(kind).await?;
        let world = World::build(aws.client(), &WorldOptions::default()).await?;
        let all = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
        });
        let key = aws.create_user_with_policy("evenkeel", &all).await?;
        let refused = async |key: AccessKey| -> Result<Option<CloudError>> {
            let keys = Keys {
                id: key.id.into(),
                secret: key.secret.into(),
                token: None,
            };
            let config = Config {
                keys: Some(keys),
                vpc: Some(world.vpc_id.as_str().into()),
                ..config(&aws, &world)
            };
            Ok(provider(&world, config).snapshot().await.err())
        };
        let right = refused(key.clone()).await?;
        ensure!(right.is_none(), "{kind:?}: {right:?}");
        let mut forged = key.clone();
        forged.secret.push('x');
        let mut unknown = key.clone();
        unknown.id = format!("AKIA{}", "Z".repeat(16));
        for (key, codes) in [
            (forged, ["SignatureDoesNotMatch", "AuthFailure"]),
            (unknown, ["InvalidClientTokenId", "AuthFailure"]),
        ] {
            let error = refused(key.clone()).await?.context("it was refused")?;
            ensure!(
                error.of_provider == Some(ProviderFault::CredentialsExpired),
                "{kind:?}: {error}"
            );
            let code = error.code.as_deref().unwrap_or_default();
            ensure!(codes.contains(&code), "{kind:?}: {error}");
            ensure!(
                error
                    .message
                    .contains("give the controller credentials that are valid"),
                "{kind:?}: {error}"
            );
            ensure!(!error.to_string().contains(&key.secret), "{error}");
        }
        aws.check()?;
    }
    Ok(())
}
