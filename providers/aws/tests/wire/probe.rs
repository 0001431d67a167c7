//! A process of its own that asks AWS as its environment says: the environment is a process's, and tests share one.

use std::{collections::BTreeMap, io::Write as _, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use evenkeel_aws::{
    Aws, Context,
    client::{Client, Config, Role},
    limiter::Rates,
};
use evenkeel_core::{ids::Cluster, provider::Provider as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::stage::CLUSTER;

/// What the process is configured with.
const CONFIG: &str = "EVENKEEL_PROBE";

/// How long an answer may take on a machine that builds beside.
const DEADLINE: Duration = Duration::from_secs(60);

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer(Value);

impl Answer {
    /// The region and the VPC that were found out.
    pub(crate) fn place(&self) -> (&str, &str) {
        let text = |name: &str| self.0[name].as_str().unwrap_or_default();
        (text("region"), text("vpc"))
    }

    /// What the user would be told; None when all went well.
    pub(crate) fn error(&self) -> Option<&str> {
        self.0["error"].as_str()
    }

    /// Who asked, as people are told.
    pub(crate) fn identity(&self) -> &str {
        self.0["identity"].as_str().unwrap_or_default()
    }

    /// The fault of the provider.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.0["fault"].as_str()
    }

    /// That all went well.
    pub(crate) fn good(self) -> Result<Self> {
        anyhow::ensure!(self.error().is_none(), "{self:?}");
        Ok(self)
    }
}

/// The process.
pub(crate) struct Probe {
    _child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Probe {
    /// Starts it with this environment and no other.
    pub(crate) fn start(environment: &[(&str, &str)], config: Value) -> Result<Self> {
        let mut all = BTreeMap::from([
            // Not this machine's: whoever asks for it says where it is.
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ]);
        all.extend(environment.iter().copied());
        if all.contains_key("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            all.remove("AWS_EC2_METADATA_DISABLED");
        }
        // Named without its crate, as tests are.
        let (_, module) = module_path!().split_once("::").context("a module")?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", &format!("{module}::asks")])
            .args(["--ignored", "--nocapture"])
            .env_clear()
            .envs(all)
            .env(CONFIG, config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (ask, answers) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            _child: child,
            ask: ask.context("a pipe")?,
            answers: BufReader::new(answers.context("a pipe")?).lines(),
        })
    }

    /// Has it look at all that the cluster has.
    pub(crate) async fn ask(&mut self) -> Result<Answer> {
        self.ask.write_all(b"\n").await?;
        let answer = async {
            loop {
                let line = self.answers.next_line().await?.context("it has ended")?;
                // The test harness says something too.
                if let Some(at) = line.find('{')
                    && let Ok(answer) = serde_json::from_str(&line[at..])
                {
                    return Ok(Answer(answer));
                }
            }
        };
        tokio::time::timeout(DEADLINE, answer).await?
    }
}

/// One process, one question.
pub(crate) async fn once(environment: &[(&str, &str)], config: Value) -> Result<Answer> {
    Probe::start(environment, config)?.ask().await
}

/// The process: answers each line with a line.
#[tokio::test]
#[ignore = "the other half of these tests, which run it in a process with an environment of its own"]
async fn asks() -> Result<()> {
    let config = std::env::var(CONFIG).context("it is run by other tests, not by itself")?;
    let config: Value = serde_json::from_str(&config)?;
    let text = |name: &str| config[name].as_str();
    let client = Client::new(Config {
        region: text("region").map(Into::into),
        vpc: text("vpc").map(Into::into),
        node: text("node").map(Into::into),
        endpoint: text("endpoint").map(Into::into),
        role: text("role").map(|arn| Role {
            arn: arn.into(),
            external_id: text("external_id").map(Into::into),
        }),
        fips: config["fips"].as_bool(),
        authorities: text("authorities").map(|file| Path::new(file).into()),
        rates: Rates::unlimited(),
        ..Config::default()
    });
    let context = Context::new(Cluster::new(CLUSTER, "kestrel"));
    let aws = Aws::new(context, client);
    let mut identity = None;
    for line in std::io::stdin().lines() {
        line?;
        let found = async {
            aws.snapshot().await?;
            let client = aws.client();
            // Once: it is a call of its own.
            if identity.is_none() && config["identity"] != false {
                identity = Some(client.identity().await?);
            }
            Ok((client.region().await?, client.vpc().await?))
        };
        let found: Result<_, evenkeel_core::error::CloudError> = found.await;
        let answer = match found {
            Ok((region, vpc)) => json!({"region": &*region, "vpc": &*vpc, "identity": identity}),
            Err(error) => json!({
                "error": error.to_string(),
                "fault": error.of_provider.map(|fault| fault.as_str()),
            }),
        };
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}
