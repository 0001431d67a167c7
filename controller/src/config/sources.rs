//! Options as text, with the place each came from (Decides).
//!
//! One vocabulary: the name of a flag is the name of its key in the file.

use std::{collections::BTreeMap, path::PathBuf};

use evenkeel_core::problem::Problems;

use super::file;
use crate::args::{
    AwsArgs, AzureArgs, ClaimArgs, CloudArgs, ClusterArgs, DataplaneArgs, LocalArgs, LogArgs,
    ProcessArgs, RunArgs,
};

/// Every option, and whether it can have several values.
pub(super) const OPTIONS: [(&str, bool); 54] = [
    ("kubeconfig", false),
    ("context", false),
    ("namespace", false),
    ("instance", false),
    ("cluster-name", false),
    ("provider", true),
    ("default-provider", false),
    ("class", true),
    ("listen", false),
    ("leader-election", false),
    ("lease-duration", false),
    ("workers", false),
    ("node-debounce", false),
    ("resync", false),
    ("log", false),
    ("log-format", false),
    ("ca-file", false),
    ("fips", false),
    ("aws-region", false),
    ("aws-vpc-id", false),
    ("aws-endpoint", false),
    ("aws-assume-role", false),
    ("aws-external-id", false),
    ("aws-tag", true),
    ("aws-ssl-policy", false),
    ("aws-node-ports", false),
    ("aws-rate", true),
    ("aws-quota", true),
    ("azure-config", false),
    ("azure-cloud", false),
    ("azure-endpoint", false),
    ("azure-authority", false),
    ("azure-tenant-id", false),
    ("azure-client-id", false),
    ("azure-subscription-id", false),
    ("azure-resource-group", false),
    ("azure-location", false),
    ("azure-vnet", false),
    ("azure-vnet-resource-group", false),
    ("azure-vnet-subscription-id", false),
    ("azure-subnet", false),
    ("azure-node-prefix", true),
    ("azure-security-group", false),
    ("azure-security-group-resource-group", false),
    ("azure-load-balancer", false),
    ("azure-outbound", false),
    ("azure-shared-probe", false),
    ("azure-tag", true),
    ("azure-rate", true),
    ("azure-limit", true),
    ("local-socket", false),
    ("local-state-dir", false),
    ("local-pool", true),
    ("local-start-dataplane", false),
];

/// Of these each value may have options after commas: `192.0.2.0/28,name=office`.
pub(super) const RECORDS: [&str; 1] = ["local-pool"];

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it was.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// One value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// Where it stands, for people: `--workers`, `workers in evenkeel.yaml`.
    pub(super) place: String,
    /// The value, without spaces around it.
    pub(super) text: String,
}

/// The values of all options that were given, by their names. None of them is blank.
#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<&'static str, Vec<Given>>);

impl Sources {
    pub(super) fn of_run(args: &RunArgs, file: Option<&File>, problems: &mut Problems) -> Self {
        let RunArgs {
            config: _,
            cluster,
            claim,
            process,
            log,
            cloud,
            aws,
            azure,
            local,
        } = args;
        let mut typed = Self::default();
        typed.cluster(cluster);
        typed.claim(claim);
        typed.process(process);
        typed.log(log);
        typed.cloud(cloud);
        typed.aws(aws);
        typed.azure(azure);
        typed.local(local);
        typed.over(file, problems)
    }

    pub(super) fn of_dataplane(
        args: &DataplaneArgs,
        file: Option<&File>,
        problems: &mut Problems,
    ) -> Self {
        let DataplaneArgs {
            config: _,
            socket,
            state_dir,
            pool,
            take_over: _,
            log,
        } = args;
        let mut typed = Self::default();
        typed.log(log);
        typed.flag_as("local-socket", "--socket", socket);
        typed.flag_as("local-state-dir", "--state-dir", state_dir);
        typed.flag_as("local-pool", "--pool", pool);
        typed.over(file, problems)
    }

    fn cluster(&mut self, args: &ClusterArgs) {
        let ClusterArgs {
            kubeconfig,
            context,
            namespace,
            instance,
            cluster_name,
        } = args;
        self.flag("kubeconfig", kubeconfig);
        self.flag("context", context);
        self.flag("namespace", namespace);
        self.flag("instance", instance);
        self.flag("cluster-name", cluster_name);
    }

    fn claim(&mut self, args: &ClaimArgs) {
        let ClaimArgs {
            provider,
            default_provider,
            class,
        } = args;
        self.flag("provider", provider);
        self.flag("default-provider", default_provider);
        self.flag("class", class);
    }

    fn process(&mut self, args: &ProcessArgs) {
        let ProcessArgs {
            listen,
            leader_election,
            lease_duration,
            workers,
            node_debounce,
            resync,
        } = args;
        self.flag("listen", listen);
        self.flag("leader-election", leader_election);
        self.flag("lease-duration", lease_duration);
        self.flag("workers", workers);
        self.flag("node-debounce", node_debounce);
        self.flag("resync", resync);
    }

    fn log(&mut self, args: &LogArgs) {
        let LogArgs { log, log_format } = args;
        self.flag("log", log);
        self.flag("log-format", log_format);
    }

    fn cloud(&mut self, args: &CloudArgs) {
        let CloudArgs { ca_file, fips } = args;
        self.flag("ca-file", ca_file);
        self.flag("fips", fips);
    }

    fn aws(&mut self, args: &AwsArgs) {
        let AwsArgs {
            aws_region,
            aws_vpc_id,
            aws_endpoint,
            aws_assume_role,
            aws_external_id,
            aws_tag,
            aws_ssl_policy,
            aws_node_ports,
            aws_rate,
            aws_quota,
        } = args;
        self.flag("aws-region", aws_region);
        self.flag("aws-vpc-id", aws_vpc_id);
        self.flag("aws-endpoint", aws_endpoint);
        self.flag("aws-assume-role", aws_assume_role);
        self.flag("aws-external-id", aws_external_id);
        self.flag("aws-tag", aws_tag);
        self.flag("aws-ssl-policy", aws_ssl_policy);
        self.flag("aws-node-ports", aws_node_ports);
        self.flag("aws-rate", aws_rate);
        self.flag("aws-quota", aws_quota);
    }

    fn azure(&mut self, args: &AzureArgs) {
        let AzureArgs {
            azure_config,
            azure_cloud,
            azure_endpoint,
            azure_authority,
            azure_tenant_id,
            azure_client_id,
            azure_subscription_id,
            azure_resource_group,
            azure_location,
            azure_vnet,
            azure_vnet_resource_group,
            azure_vnet_subscription_id,
            azure_subnet,
            azure_node_prefix,
            azure_security_group,
            azure_security_group_resource_group,
            azure_load_balancer,
            azure_outbound,
            azure_shared_probe,
            azure_tag,
            azure_rate,
            azure_limit,
        } = args;
        self.flag("azure-config", azure_config);
        self.flag("azure-cloud", azure_cloud);
        self.flag("azure-endpoint", azure_endpoint);
        self.flag("azure-authority", azure_authority);
        self.flag("azure-tenant-id", azure_tenant_id);
        self.flag("azure-client-id", azure_client_id);
        self.flag("azure-subscription-id", azure_subscription_id);
        self.flag("azure-resource-group", azure_resource_group);
        self.flag("azure-location", azure_location);
        self.flag("azure-vnet", azure_vnet);
        self.flag("azure-vnet-resource-group", azure_vnet_resource_group);
        self.flag("azure-vnet-subscription-id", azure_vnet_subscription_id);
        self.flag("azure-subnet", azure_subnet);
        self.flag("azure-node-prefix", azure_node_prefix);
        self.flag("azure-security-group", azure_security_group);
        self.flag(
            "azure-security-group-resource-group",
            azure_security_group_resource_group,
        );
        self.flag("azure-load-balancer", azure_load_balancer);
        self.flag("azure-outbound", azure_outbound);
        self.flag("azure-shared-probe", azure_shared_probe);
        self.flag("azure-tag", azure_tag);
        self.flag("azure-rate", azure_rate);
        self.flag("azure-limit", azure_limit);
    }

    fn local(&mut self, args: &LocalArgs) {
        let LocalArgs {
            local_socket,
            local_state_dir,
            local_pool,
            local_start_dataplane,
        } = args;
        self.flag("local-socket", local_socket);
        self.flag("local-state-dir", local_state_dir);
        self.flag("local-pool", local_pool);
        self.flag("local-start-dataplane", local_start_dataplane);
    }

    fn flag<'a>(&mut self, name: &'static str, values: impl IntoIterator<Item = &'a String>) {
        self.flag_as(name, &format!("--{name}"), values);
    }

    fn flag_as<'a>(
        &mut self,
        name: &'static str,
        place: &str,
        values: impl IntoIterator<Item = &'a String>,
    ) {
        for value in values {
            self.add(name, place, value);
        }
    }

    /// Adds a value; of a list, all its parts. A blank value is none: templates write one where a setting is absent.
    pub(super) fn add(&mut self, name: &'static str, place: &str, value: &str) {
        let many = OPTIONS
            .iter()
            .any(|(option, many)| *option == name && *many);
        let parts = if RECORDS.contains(&name) {
            records(value)
        } else if many {
            value.split(',').collect()
        } else {
            vec![value]
        };
        for part in parts {
            let text = part.trim();
            if !text.is_empty() {
                self.0.entry(name).or_default().push(Given {
                    place: place.to_owned(),
                    text: text.to_owned(),
                });
            }
        }
    }

    fn over(mut self, file: Option<&File>, problems: &mut Problems) -> Self {
        if let Some(file) = file {
            for (name, values) in file::read(file, problems).0 {
                self.0.entry(name).or_insert(values);
            }
        }
        self
    }

    /// The one value of an option.
    pub(super) fn given(&self, name: &'static str) -> Option<&Given> {
        debug_assert!(
            OPTIONS.iter().any(|(option, _)| *option == name),
            "no option {name}"
        );
        self.0.get(name)?.last()
    }

    /// Its text.
    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.given(name).map(|given| given.text.as_str())
    }

    /// All values of an option.
    pub(super) fn texts(&self, name: &'static str) -> &[Given] {
        debug_assert!(
            OPTIONS.iter().any(|(option, _)| *option == name),
            "no option {name}"
        );
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The records of a list. What has a `=` is an option of the record before it.
fn records(list: &str) -> Vec<&str> {
    let mut records = Vec::new();
    let mut begin = 0;
    let mut end = 0;
    for part in list.split_inclusive(',') {
        if end > begin && !part.contains('=') {
            records.push(list[begin..end].trim_end_matches(','));
            begin = end;
        }
        end += part.len();
    }
    records.push(&list[begin..end]);
    records
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn options_stay_with_their_record() {
        for (list, want) in [
            ("a", &["a"][..]),
            ("a,b", &["a", "b"]),
            (
                "a,name=x,shared=true,b,name=y",
                &["a,name=x,shared=true", "b,name=y"],
            ),
            ("name=x,a", &["name=x", "a"]),
            ("a, name = x , b", &["a, name = x ", " b"]),
            ("", &[""]),
        ] {
            assert_eq!(records(list), want, "{list}");
        }
    }
}
