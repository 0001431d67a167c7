//! To the cluster, with the very configuration that its controller runs with (Reads).
//!
//! The leader publishes it in a ConfigMap, so that a laptop plans what the cluster would do. Where there is none, the
//! defaults stand in, and what was taken for granted is said.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::CommandFactory as _;
use evenkeel_core::{error::chain, ids};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde_json::{Map, Value};

use super::{all_of, read_file};
use crate::{
    args::{Args, LookArgs, RunArgs},
    config::{Config, File, SELF_EVIDENT_PROVIDERS, Surroundings},
    connect,
    controller_object::{ControllerObject, LABELS},
    version::VERSION,
};

/// How long one answer of the API server may take.
const ANSWER: Duration = Duration::from_secs(15);

/// A cluster, and how it is looked at.
pub(super) struct Cluster {
    pub(super) client: Client,
    /// Who it is; or why that is not known.
    pub(super) identity: Result<ids::Cluster, String>,
    /// The controller's own object.
    pub(super) found: Option<Found>,
    /// What its controller runs with.
    pub(super) config: Config,
    /// Where that stands as text; None for defaults.
    pub(super) file: Option<File>,
    /// What was taken for granted.
    pub(super) assumed: Vec<String>,
    /// The namespace that was asked for, else the context's.
    pub(super) namespace: String,
}

/// The controller's own object.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) object: ControllerObject,
}

impl Cluster {
    /// What is taken for granted of the data plane by whoever asks it himself.
    pub(super) fn assume_socket(&mut self, args: &LookArgs) {
        let object = self.found.as_ref().map(|found| &found.object);
        let said = object.is_some_and(|object| object.configuration.contains_key("local-socket"));
        if args.config.is_none() && args.local_socket.is_none() && !said {
            self.assumed.push(format!(
                "the data plane's socket is {}; name another with --local-socket",
                self.config.local.socket.display()
            ));
        }
    }
}

impl Found {
    fn new(object: &ConfigMap) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            object: ControllerObject::from_config_map(object),
        }
    }

    /// `namespace/name`.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Connects, and finds the controller's configuration.
pub(super) async fn connect(args: &LookArgs) -> Result<Cluster> {
    let client = connect::client(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let mut assumed = Vec::new();
    let uid = identity(&client).await?;
    let found = find(&client, args.controller.as_deref(), &mut assumed).await?;
    let (config, file) = configure(args, found.as_ref(), &mut assumed)?;
    if let Some(found) = &found {
        let theirs = &found.object.about.version;
        let mine = env!("CARGO_PKG_VERSION");
        if !theirs.is_empty() && theirs.split(' ').next() != Some(mine) {
            assumed.push(format!(
                "the controller, version {theirs}, does what this program, version {VERSION}, would do"
            ));
        }
    }
    Ok(Cluster {
        identity: uid.map(|uid| ids::Cluster::new(uid, config.cluster_name.as_str())),
        namespace: args
            .namespace
            .clone()
            .unwrap_or_else(|| client.default_namespace().to_owned()),
        client,
        found,
        config,
        file,
        assumed,
    })
}

/// The cluster's UID; or why it may not be known. Without an answer at all there is no use in going on.
async fn identity(client: &Client) -> Result<Result<String, String>> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let asked = answer(namespaces.get("kube-system")).await;
    match asked {
        Ok(namespace) => Ok(namespace
            .metadata
            .uid
            .ok_or_else(|| "it has no UID".to_owned())),
        Err(kube::Error::Api(status)) if status.code != 401 => Ok(Err(status.message.clone())),
        Err(error) => Err(failed("the API server", &error)),
    }
}

/// The controller's own object: the named one, or the only one there is.
async fn find(
    client: &Client,
    named: Option<&str>,
    assumed: &mut Vec<String>,
) -> Result<Option<Found>> {
    if let Some(named) = named {
        let (namespace, name) = named
            .split_once('/')
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
            .with_context(|| format!("--controller: {named:?} must be NAMESPACE/NAME of a ConfigMap; leave it out to have it found"))?;
        let found =
            answer(Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name)).await;
        let found = found.map_err(|error| failed("--controller", &error))?;
        let object = found.with_context(|| {
            format!("--controller: there is no ConfigMap {named}; leave it out to have it found")
        })?;
        return Ok(Some(Found::new(&object)));
    }
    let labels = LABELS
        .map(|(key, value)| format!("{key}={value}"))
        .join(",");
    let parameters = ListParams::default().labels(&labels);
    let all = Api::<ConfigMap>::all(client.clone());
    let listed = match answer(all.list(&parameters)).await {
        Ok(listed) => listed.items,
        // Who may not look everywhere may look where it is by default.
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let home = Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
            match answer(home.list(&parameters)).await {
                Ok(listed) => listed.items,
                Err(_) => {
                    assumed.push(format!(
                        "no controller was looked for, because that is not allowed ({}); name its ConfigMap with --controller \
                         NAMESPACE/NAME, or its configuration with --config FILE",
                        status.message
                    ));
                    return Ok(None);
                }
            }
        }
        Err(error) => return Err(failed("the ConfigMap of the controller", &error)),
    };
    match listed.as_slice() {
        [] => {
            assumed.push(format!(
                "no controller was found (there is no ConfigMap with the labels {labels}): see that evenkeel runs"
            ));
            Ok(None)
        }
        [one] => Ok(Some(Found::new(one))),
        several => {
            let places: Vec<_> = several.iter().map(|one| Found::new(one).place()).collect();
            bail!(
                "there are {} controllers in this cluster: choose one with --controller {}",
                places.len(),
                places.join(" or --controller ")
            )
        }
    }
}

/// The configuration: of a file, of the controller, or of defaults.
fn configure(
    args: &LookArgs,
    found: Option<&Found>,
    assumed: &mut Vec<String>,
) -> Result<(Config, Option<File>)> {
    let mut run = RunArgs::default();
    run.local.local_socket.clone_from(&args.local_socket);
    let published = found.filter(|found| !found.object.configuration.is_empty());
    let (file, place) = match (&args.config, published) {
        (Some(path), _) => (read_file(Some(path))?, "--config".to_owned()),
        (None, Some(found)) => {
            let place = format!("the ConfigMap {}", found.place());
            (Some(published_file(found, assumed)), place)
        }
        (None, None) => {
            run.claim.provider = SELF_EVIDENT_PROVIDERS.map(str::to_owned).into();
            assumed.push(format!(
                "the configuration: providers {}, no default provider (Services without a class are left alone), no further classes",
                SELF_EVIDENT_PROVIDERS.join(", ")
            ));
            (None, "the defaults".to_owned())
        }
    };
    let config = Config::of_run(&run, file.as_ref(), &Surroundings::look())
        .map_err(|wrong| all_of(&wrong).context(format!("{place} cannot be used here")))?;
    Ok((config, file))
}

/// What a controller published, as a configuration file. Options that this program does not know are left out.
fn published_file(found: &Found, assumed: &mut Vec<String>) -> File {
    let command = Args::command();
    let run = command.find_subcommand("run");
    let known = |name: &str| {
        let options = run.into_iter().flat_map(clap::Command::get_arguments);
        options
            .filter(|option| option.get_long() == Some(name))
            .map(|option| matches!(option.get_action(), clap::ArgAction::Append))
            .next()
    };
    let mut options = Map::new();
    let mut unknown = Vec::new();
    for (name, values) in &found.object.configuration {
        match known(name) {
            Some(true) => {
                options.insert(name.clone(), values.clone().into());
            }
            Some(false) => {
                let value = values.last().cloned().map_or(Value::Null, Value::String);
                options.insert(name.clone(), value);
            }
            None => unknown.push(name.as_str()),
        }
    }
    if !unknown.is_empty() {
        assumed.push(format!(
            "options of the controller that this program does not know have no effect: {}",
            unknown.join(", ")
        ));
    }
    File {
        path: PathBuf::from(format!("the ConfigMap {}", found.place())),
        // JSON is YAML.
        text: Value::Object(options).to_string(),
    }
}

/// An answer of the API server, in time.
pub(super) async fn answer<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    tokio::time::timeout(ANSWER, call)
        .await
        .unwrap_or_else(|_| Err(kube::Error::Service("it does not answer in time".into())))
}

/// Why a call of the API server failed, with what to do next.
pub(super) fn failed(what: &str, error: &kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => {
            let next = match status.code {
                401 => "log in again, or choose another user with --context",
                403 => "have that allowed, or choose another user with --context",
                404 => "look for its name with kubectl get",
                _ => "change what it refuses, or try again",
            };
            anyhow!("{what}: {}; {next}", status.message.trim_end_matches('.'))
        }
        other => anyhow!(
            "{what}: {}; see that the cluster can be reached, or choose another with --context",
            chain(other).lines().next().unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(options: &[(&str, &[&str])]) -> Found {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Found {
            namespace: "kube-system".into(),
            name: "evenkeel".into(),
            object: ControllerObject {
                configuration: options
                    .iter()
                    .map(|(name, values)| ((*name).to_owned(), owned(values)))
                    .collect(),
                ..ControllerObject::default()
            },
        }
    }

    #[test]
    fn the_controllers_configuration_is_used() {
        let found = found(&[
            ("provider", &["local"]),
            ("default-provider", &["local"]),
            ("class", &["example.com/lb=local:lbc"]),
            ("local-socket", &["/run/its.sock"]),
            ("of-a-later-version", &["x"]),
        ]);
        let mut assumed = Vec::new();
        let args = LookArgs::default();
        let (config, _) = configure(&args, Some(&found), &mut assumed).expect("a configuration");
        assert!(config.rules.default_provider.is_some());
        assert!(config.rules.classes.contains_key("example.com/lb"));
        assert_eq!(config.local.socket, PathBuf::from("/run/its.sock"));
        assert_eq!(assumed.len(), 1, "{assumed:?}");
        assert!(assumed[0].contains("of-a-later-version"), "{assumed:?}");
    }

    #[test]
    fn an_option_that_is_typed_wins() {
        let found = found(&[
            ("provider", &["local"]),
            ("local-socket", &["/run/its.sock"]),
        ]);
        let args = LookArgs {
            local_socket: Some("/run/mine.sock".into()),
            ..LookArgs::default()
        };
        let mut assumed = Vec::new();
        let (config, _) = configure(&args, Some(&found), &mut assumed).expect("a configuration");
        assert_eq!(config.local.socket, PathBuf::from("/run/mine.sock"));
        assert_eq!(assumed, [""; 0]);
    }

    #[test]
    fn without_a_controller_the_defaults_are_said() {
        let mut assumed = Vec::new();
        let (config, _) =
            configure(&LookArgs::default(), None, &mut assumed).expect("a configuration");
        assert!(config.rules.default_provider.is_none());
        assert!(assumed[0].contains("no default provider"), "{assumed:?}");
    }

    #[test]
    fn a_configuration_that_cannot_be_used_says_whose_it_is() {
        let found = found(&[("provider", &["gcp"])]);
        let error =
            configure(&LookArgs::default(), Some(&found), &mut Vec::new()).expect_err("no gcp");
        let text = format!("{error:#}");
        assert!(
            text.contains("the ConfigMap kube-system/evenkeel"),
            "{text}"
        );
        assert!(text.contains("gcp"), "{text}");
    }
}
