//! Where credentials come from, as AWS's own tools find them: each way is gone in a process of its own, on real sessions whose
//! signatures are checked.

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::aws::{Aws, Call, Given, Metadata, Session, World, WorldOptions, everything};
use jiff::SignedDuration;
use serde_json::json;

use super::probe::{Answer, Probe, once};

/// A cluster's place, and a role in its account that may do everything.
struct Place {
    aws: Aws,
    world: World,
    role: String,
}

impl Place {
    async fn new() -> Result<Self> {
        let aws = Aws::moto().await?;
        let options = WorldOptions {
            nodes: 1,
            ..WorldOptions::default()
        };
        let world = World::build(aws.client(), &options).await?;
        let role = aws
            .create_role(aws.client(), "evenkeel", &everything())
            .await?;
        Ok(Self { aws, world, role })
    }

    /// What a controller knows that has nodes: one of them tells region and VPC.
    fn node(&self) -> Result<String> {
        Ok(self.world.nodes.first().context("a node")?.provider_id())
    }

    /// What an instance of the cluster is given.
    fn given(&self, session: Option<(Session, SignedDuration)>) -> Given {
        Given {
            region: self.aws.region().to_owned(),
            vpc: self.world.vpc_id.clone(),
            session,
            pod_token: "pod-token".to_owned(),
        }
    }

    /// A process that gets its keys from the agent as a pod does, and the file of its token.
    fn pod(&self, agent: &Metadata) -> Result<(Probe, tempfile::NamedTempFile)> {
        let token = tempfile::NamedTempFile::new()?;
        std::fs::write(&token, "pod-token")?;
        let environment = [
            ("AWS_ENDPOINT_URL", &*self.aws.endpoint()),
            ("AWS_REGION", self.aws.region()),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.pod()),
            (
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                &token.path().to_string_lossy(),
            ),
        ];
        let probe = Probe::start(&environment, json!({"node": self.node()?}))?;
        Ok((probe, token))
    }

    /// That this was found, and that every call but the first `unsigned` was signed with `key`.
    fn found(
        &self,
        answer: &Answer,
        key: &str,
        unsigned: usize,
        source: &str,
    ) -> Result<Vec<Call>> {
        let (region, vpc) = (self.aws.region(), &*self.world.vpc_id);
        ensure!(answer.place() == (region, vpc), "{answer:?}");
        let account = self.aws.account();
        let who = answer.identity();
        let begin = format!("account {account}, region {region}, VPC {vpc}, as arn:aws:");
        ensure!(who.starts_with(&begin), "{who}");
        ensure!(who.ends_with(&format!(", with keys of {source}")), "{who}");
        let calls = self.aws.calls().all();
        ensure!(calls.len() > unsigned + 4, "{calls:?}");
        for call in &calls[unsigned..] {
            ensure!(call.access_key == key, "{key}: {call:?}");
        }
        Ok(calls)
    }
}

/// Longer than a test, far from the time at which the SDK asks for new ones.
const AN_HOUR: SignedDuration = SignedDuration::from_hours(1);

/// So short that the SDK asks for the next at every call.
const A_MOMENT: SignedDuration = SignedDuration::from_secs(5);

#[tokio::test]
async fn keys_of_the_environment() -> Result<()> {
    let place = Place::new().await?;
    let key = place.aws.session(&place.role).await?;
    let environment = [
        ("AWS_ENDPOINT_URL", &*place.aws.endpoint()),
        ("AWS_REGION", place.aws.region()),
        ("AWS_ACCESS_KEY_ID", &key.id),
        ("AWS_SECRET_ACCESS_KEY", &key.secret),
        ("AWS_SESSION_TOKEN", &key.token),
    ];
    let answer = once(&environment, json!({"node": place.node()?})).await?;
    place.found(&answer.good()?, &key.id, 0, "the environment")?;
    place.aws.check()
}

/// Region, endpoint and keys by the files of AWS's command line.
#[tokio::test]
async fn a_profile() -> Result<()> {
    let place = Place::new().await?;
    let policy = everything();
    let key = place.aws.create_user_with_policy("laptop", &policy).await?;
    let home = tempfile::tempdir()?;
    let (config, keys) = (home.path().join("config"), home.path().join("credentials"));
    std::fs::write(
        &config,
        format!(
            "[default]\nregion = us-gov-east-1\n[profile test]\nregion = {}\nendpoint_url = {}\n",
            place.aws.region(),
            place.aws.endpoint()
        ),
    )?;
    std::fs::write(
        &keys,
        format!(
            "[test]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            key.id, key.secret
        ),
    )?;
    let environment = [
        ("AWS_PROFILE", "test"),
        ("AWS_CONFIG_FILE", &config.to_string_lossy()),
        ("AWS_SHARED_CREDENTIALS_FILE", &keys.to_string_lossy()),
    ];
    let answer = once(&environment, json!({"node": place.node()?})).await?;
    place.found(&answer.good()?, &key.id, 0, "a profile")?;
    place.aws.check()
}

/// IAM roles for service accounts: the pod's token is exchanged for keys, without a signature.
#[tokio::test]
async fn web_identity() -> Result<()> {
    let place = Place::new().await?;
    let home = tempfile::tempdir()?;
    let token = home.path().join("token");
    std::fs::write(&token, "header.payload.signature")?;
    let environment = [
        ("AWS_ENDPOINT_URL", &*place.aws.endpoint()),
        ("AWS_REGION", place.aws.region()),
        ("AWS_ROLE_ARN", &place.role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token.to_string_lossy()),
        ("AWS_ROLE_SESSION_NAME", "evenkeel-pod"),
    ];
    let answer = once(&environment, json!({"node": place.node()?})).await?;
    let calls = place.aws.calls().all();
    let key = &calls.get(1).context("a second call")?.access_key;
    let calls = place.found(
        &answer.good()?,
        key,
        1,
        "a web identity (IAM roles for service accounts)",
    )?;
    ensure!(calls[0].name() == "sts:AssumeRoleWithWebIdentity");
    for (parameter, value) in [
        ("WebIdentityToken", "header.payload.signature"),
        ("RoleArn", &place.role),
        ("RoleSessionName", "evenkeel-pod"),
    ] {
        ensure!(calls[0].parameters[parameter] == value, "{:?}", calls[0]);
    }
    place.aws.check()
}

/// The agent on each node gives keys to whoever shows the pod's token.
#[tokio::test]
async fn pod_identity() -> Result<()> {
    let place = Place::new().await?;
    let key = place.aws.session(&place.role).await?;
    let agent = Metadata::start(place.given(Some((key.clone(), AN_HOUR)))).await?;
    let home = tempfile::tempdir()?;
    let token = home.path().join("token");
    let (endpoint, pod, file) = (place.aws.endpoint(), agent.pod(), token.to_string_lossy());
    let environment = [
        ("AWS_ENDPOINT_URL", &*endpoint),
        ("AWS_REGION", place.aws.region()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*pod),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &*file),
    ];
    let config = json!({"node": place.node()?});
    std::fs::write(&token, "another pod's")?;
    let refused = once(&environment, config.clone()).await?;
    ensure!(refused.fault() == Some("CredentialsExpired"), "{refused:?}");
    ensure!(place.aws.calls().all().is_empty(), "{refused:?}");
    std::fs::write(&token, "pod-token")?;
    let answer = once(&environment, config).await?;
    place.found(
        &answer.good()?,
        &key.id,
        0,
        "an HTTP endpoint (EKS Pod Identity, ECS)",
    )?;
    place.aws.check()
}

/// The instance's role, by the metadata service's second version; region and VPC by the instance too, where no node tells them.
#[tokio::test]
async fn an_instance() -> Result<()> {
    let place = Place::new().await?;
    let key = place.aws.session(&place.role).await?;
    let instance = Metadata::start(place.given(Some((key.clone(), AN_HOUR)))).await?;
    let environment = [
        ("AWS_ENDPOINT_URL", &*place.aws.endpoint()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &instance.instance()),
    ];
    let answer = once(&environment, json!({})).await?;
    place.found(&answer.good()?, &key.id, 0, "the instance's role")?;
    let seen = instance.seen();
    ensure!(seen[0] == "PUT /latest/api/token", "{seen:?}");
    ensure!(
        seen.iter().any(|one| one.ends_with("/placement/region")),
        "{seen:?}"
    );
    ensure!(seen.iter().any(|one| one.ends_with("/vpc-id")), "{seen:?}");
    place.aws.check()
}

/// A role of another account: taken on with the pod's keys, and all that follows happens there.
#[tokio::test]
async fn another_account() -> Result<()> {
    let home = Place::new().await?;
    let there = home.aws.client().in_account("499999999999");
    let options = WorldOptions {
        nodes: 1,
        ..WorldOptions::default()
    };
    let world = World::build(&there, &options).await?;
    let role = home.aws.create_role(&there, "lb", &everything()).await?;
    ensure!(
        role.starts_with("arn:aws:iam::499999999999:role/lb"),
        "{role}"
    );
    let key = home.aws.session(&home.role).await?;
    let environment = [
        ("AWS_ENDPOINT_URL", &*home.aws.endpoint()),
        ("AWS_REGION", home.aws.region()),
        ("AWS_ACCESS_KEY_ID", &key.id),
        ("AWS_SECRET_ACCESS_KEY", &key.secret),
        ("AWS_SESSION_TOKEN", &key.token),
    ];
    let node = world.nodes.first().context("a node")?.provider_id();
    let config = json!({"node": node, "role": role, "external_id": "shop"});
    let answer = once(&environment, config).await?.good()?;
    // This VPC is that account's.
    ensure!(
        answer.place() == (home.aws.region(), &*world.vpc_id),
        "{answer:?}"
    );
    let calls = home.aws.calls().all();
    let (taken, rest) = calls.split_first().context("calls")?;
    ensure!(taken.name() == "sts:AssumeRole", "{taken:?}");
    ensure!(taken.access_key == key.id, "{taken:?}");
    for (parameter, value) in [
        ("RoleArn", &*role),
        ("RoleSessionName", "evenkeel"),
        ("ExternalId", "shop"),
    ] {
        ensure!(taken.parameters[parameter] == value, "{taken:?}");
    }
    ensure!(rest.len() > 4, "{rest:?}");
    for call in rest {
        ensure!(call.access_key != key.id, "{call:?}");
        ensure!(
            call.operation != "AssumeRole",
            "the keys are kept: {call:?}"
        );
    }
    home.aws.check()
}

/// Keys that end are fetched anew, without a restart and before anybody has to notice.
#[tokio::test]
async fn keys_that_are_renewed() -> Result<()> {
    let place = Place::new().await?;
    let first = place.aws.session(&place.role).await?;
    let agent = Metadata::start(place.given(Some((first.clone(), A_MOMENT)))).await?;
    let (mut probe, _token) = place.pod(&agent)?;
    probe.ask().await?.good()?;
    let second = place.aws.session(&place.role).await?;
    agent.give(Some((second.clone(), AN_HOUR)));
    let mark = place.aws.calls().mark();
    probe.ask().await?.good()?;
    let calls = place.aws.calls().since(mark);
    let last = calls.last().context("calls")?;
    ensure!(last.access_key == second.id, "{calls:?}");
    ensure!(calls.iter().all(|call| call.error.is_none()), "{calls:?}");
    // These are kept.
    let asked = agent.seen().len();
    probe.ask().await?.good()?;
    ensure!(agent.seen().len() == asked, "{:?}", agent.seen());
    place.aws.check()
}

/// When there are no more, every question says so in the same words, and the first after there are some again is answered.
#[tokio::test]
async fn keys_that_end_and_come_back() -> Result<()> {
    let place = Place::new().await?;
    let key = place.aws.session(&place.role).await?;
    let agent = Metadata::start(place.given(Some((key.clone(), A_MOMENT)))).await?;
    let (mut probe, _token) = place.pod(&agent)?;
    probe.ask().await?.good()?;
    agent.give(None);
    let told = probe.ask().await?;
    ensure!(told.fault() == Some("CredentialsExpired"), "{told:?}");
    let said = told.error().unwrap_or_default();
    for part in ["no credentials", "EKS Pod Identity", "a profile"] {
        ensure!(said.contains(part), "{part}: {said}");
    }
    for secret in [&key.secret, &key.token] {
        ensure!(!said.contains(&**secret), "{said}");
    }
    agent.give(Some((place.aws.session(&place.role).await?, AN_HOUR)));
    probe.ask().await?.good()?;
    place.aws.check()
}

/// What AWS itself no longer takes is told in the same way.
#[tokio::test]
async fn keys_that_are_taken_away() -> Result<()> {
    let place = Place::new().await?;
    let policy = everything();
    let key = place.aws.create_user_with_policy("gone", &policy).await?;
    let environment = [
        ("AWS_ENDPOINT_URL", &*place.aws.endpoint()),
        ("AWS_REGION", place.aws.region()),
        ("AWS_ACCESS_KEY_ID", &key.id),
        ("AWS_SECRET_ACCESS_KEY", &key.secret),
    ];
    let mut probe = Probe::start(&environment, json!({"node": place.node()?}))?;
    probe.ask().await?.good()?;
    let name = format!("gone-{}", place.aws.region());
    let which = json!({"UserName": name, "AccessKeyId": key.id});
    let client = place.aws.client();
    client.call("iam", "DeleteAccessKey", which).await?;
    let told = probe.ask().await?;
    ensure!(told.fault() == Some("CredentialsExpired"), "{told:?}");
    place.aws.check()
}

/// With nothing at all, the user is told what there could be.
#[tokio::test]
async fn nothing() -> Result<()> {
    let place = Place::new().await?;
    let environment = [
        ("AWS_ENDPOINT_URL", &*place.aws.endpoint()),
        ("AWS_REGION", place.aws.region()),
    ];
    let told = once(&environment, json!({"node": place.node()?})).await?;
    ensure!(told.fault() == Some("CredentialsExpired"), "{told:?}");
    let said = told.error().unwrap_or_default();
    ensure!(said.contains("IAM roles for service accounts"), "{said}");
    ensure!(place.aws.calls().all().is_empty());
    Ok(())
}
