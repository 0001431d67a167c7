//! The configuration as the controller publishes it: options by their names, from which the same comes out again
//! (Decides).
//!
//! A command on a laptop reads it to plan what the cluster would do. What only concerns the process itself is not in it:
//! how it reaches the API server, where it listens, what it logs, how much it does at a time, who leads.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_core::claim::{ClaimRules, ClassRule};
use jiff::SignedDuration;

use super::{AwsConfig, AzureConfig, Config, LocalConfig, PROFILES, Start};

impl Config {
    /// The options that say what load balancers get, with all their values, defaults too. Given as a configuration file,
    /// where an option that can have only one value is no list, they mean the same.
    pub fn published(&self) -> BTreeMap<String, Vec<String>> {
        let Self {
            kubeconfig: _,
            context: _,
            home,
            cluster_name,
            rules,
            listen: _,
            workers: _,
            node_debounce,
            node_debounce_longest: _,
            resync,
            log: _,
            cloud: _,
            aws,
            azure,
            local,
        } = self;
        let ClaimRules {
            enabled,
            classes,
            default_provider,
        } = rules;
        let LocalConfig {
            socket,
            state_dir,
            pools,
            start,
        } = local;
        let AwsConfig {
            region,
            vpc,
            node: _,
            endpoint,
            role,
            external_id,
            tags,
            ssl_policy,
            node_ports,
            rates: _,
            quotas,
        } = aws;
        let own = ClaimRules::new(enabled.iter().cloned());
        let added = classes
            .iter()
            .filter(|(class, rule)| own.classes.get(*class) != Some(rule));
        let start = match start {
            Start::Auto => "auto",
            Start::Missing => "missing",
            Start::Never => "never",
        };
        let one = |text: &str| vec![text.to_owned()];
        let options = [
            ("namespace", one(&home.namespace)),
            ("instance", one(&home.instance)),
            ("cluster-name", one(cluster_name)),
            (
                "provider",
                enabled.iter().map(ToString::to_string).collect(),
            ),
            (
                "default-provider",
                default_provider.iter().map(rule_text).collect(),
            ),
            (
                "class",
                added.map(|(class, rule)| class_text(class, rule)).collect(),
            ),
            ("node-debounce", vec![duration_text(*node_debounce)]),
            ("resync", vec![duration_text(*resync)]),
            ("aws-region", region.iter().cloned().collect()),
            ("aws-vpc-id", vpc.iter().cloned().collect()),
            ("aws-endpoint", endpoint.iter().cloned().collect()),
            ("aws-assume-role", role.iter().cloned().collect()),
            ("aws-external-id", external_id.iter().cloned().collect()),
            (
                "aws-tag",
                tags.iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect(),
            ),
            ("aws-ssl-policy", one(ssl_policy)),
            (
                "aws-node-ports",
                one(&format!("{}-{}", node_ports.start(), node_ports.end())),
            ),
            (
                "aws-quota",
                quotas
                    .changed()
                    .map(|(quota, most)| format!("{}={most}", quota.name()))
                    .collect(),
            ),
            ("local-socket", one(&socket.to_string_lossy())),
            ("local-state-dir", one(&state_dir.to_string_lossy())),
            ("local-pool", pools.clone()),
            ("local-start-dataplane", one(start)),
        ];
        let azure = azure.iter().flat_map(AzureConfig::published);
        options
            .into_iter()
            .chain(azure)
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| (name.to_owned(), values))
            .collect()
    }
}

fn rule_text(rule: &ClassRule) -> String {
    match profile_text(rule) {
        "neutral" => rule.provider.to_string(),
        profile => format!("{}:{profile}", rule.provider),
    }
}

fn class_text(class: &str, rule: &ClassRule) -> String {
    format!("{class}={}:{}", rule.provider, profile_text(rule))
}

fn profile_text(rule: &ClassRule) -> &'static str {
    PROFILES
        .iter()
        .find(|(_, profile)| *profile == rule.profile)
        .map_or("neutral", |(name, _)| name)
}

fn duration_text(time: Duration) -> String {
    format!("{:#}", SignedDuration::try_from(time).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;
    use crate::{
        args::RunArgs,
        config::{File, Surroundings},
    };

    fn read(yaml: &str) -> Config {
        // What is around a laptop is not what is around the cluster.
        let around = Surroundings {
            root: false,
            temporary: "/elsewhere".into(),
            ..Surroundings::default()
        };
        let file = File {
            path: PathBuf::from("published.yaml"),
            text: yaml.to_owned(),
        };
        Config::of_run(&RunArgs::default(), Some(&file), &around).expect("valid")
    }

    /// As a configuration file: an option of which there is one value is no list.
    fn as_file(published: &BTreeMap<String, Vec<String>>) -> Value {
        let one = |values: &Vec<String>| match values.as_slice() {
            [value] => Value::from(value.as_str()),
            values => Value::from(values),
        };
        let options = published.iter();
        Value::Object(
            options
                .map(|(name, values)| (name.clone(), one(values)))
                .collect(),
        )
    }

    #[test]
    fn what_is_published_means_the_same_when_it_is_read() {
        for yaml in [
            "{provider: local}",
            "{provider: local, default-provider: local, cluster-name: prod east}",
            "{provider: local, class: {a/b: 'local:lbc', service.k8s.aws/nlb: local, evenkeel.dev/local: 'local:ccm'}}",
            "{provider: local, class: 'example.com/x=local:azure', resync: 1h 30m, node-debounce: 2500ms}",
            "{provider: local, resync: 90s, node-debounce: 1ms, namespace: lb, instance: other}",
            "{provider: aws, default-provider: 'aws:ccm', aws-region: eu-west-1, aws-vpc-id: vpc-0a1b, aws-tag: {Team: edge}, aws-quota: {load-balancers: 200, rules: 100}}",
            "{provider: [aws, local], aws-endpoint: 'http://127.0.0.1:1', aws-assume-role: 'arn:aws:iam::123456789012:role/lb', aws-external-id: shop-7, aws-node-ports: 30000-31000}",
            "{provider: local, local-socket: /s/x.sock, local-state-dir: /d, local-pool: [127.1.0.0/24, 127.2.0.1], local-start-dataplane: never}",
        ] {
            let config = read(yaml);
            let published = config.published();
            let json = as_file(&published).to_string();
            let again = read(&json);
            assert_eq!(again, config, "{yaml} was published as {json}");
            assert_eq!(again.published(), published, "{yaml}");
        }
    }

    #[test]
    fn what_concerns_the_process_alone_is_not_published() {
        let config = read(
            "{provider: local, kubeconfig: /k, context: c, listen: off, workers: 3, log: debug, log-format: json, leader-election: off, \
             lease-duration: 20s}",
        );
        assert_eq!(config.published(), read("{provider: local}").published());
    }
}
