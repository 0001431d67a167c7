//! What the user typed: flags and environment variables, as text (Reads).
//!
//! Options of the controller are text here and optional, so that [`crate::config`] can find all mistakes at once; what a
//! value means and which default holds without it is decided there.

use std::{ffi::OsString, path::PathBuf};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "evenkeel",
    version = crate::version::VERSION,
    about = "A real load balancer for every Kubernetes Service of type LoadBalancer",
    arg_required_else_help = true
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The name by which kubectl finds the program as its plugin.
const PLUGIN: &str = "kubectl-evenkeel";

impl Args {
    /// Reads a command line. Under the name `kubectl-evenkeel` the program is kubectl's plugin, and says so in its usage.
    ///
    /// # Errors
    /// What is wrong with it; or the text of `--help` or `--version`, which is no error.
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let line: Vec<_> = line.into_iter().collect();
        let name = line.first().map(PathBuf::from);
        let name = name.as_deref().and_then(|path| path.file_stem());
        let mut command = Self::command();
        if name.is_some_and(|name| name == PLUGIN) {
            command = command.bin_name("kubectl evenkeel");
        }
        Self::from_arg_matches(&command.try_get_matches_from_mut(line)?)
            .map_err(|error| error.format(&mut command))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the Services that evenkeel serves: addresses, targets, what is waited for and why, what to do next
    Status(StatusArgs),
    /// Rehearses what the controller would do, and writes nothing. Exit code 0: nothing to do, 2: changes, 1: an error
    Plan(PlanArgs),
    /// Writes cluster and clouds down as facts, for `plan --offline`; reads only
    Facts(FactsArgs),
    /// Runs the controller: watches Services and nodes, and keeps their load balancers true
    Run(Box<RunArgs>),
    /// Runs the data plane of the `local` provider
    Dataplane(DataplaneArgs),
    /// Prints a script that completes commands and options in a shell
    Completions(CompletionsArgs),
    /// Prints the version, and the commit it was built from
    Version,
    /// Writes the generated pages of the book
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// Options of `evenkeel run`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RunArgs {
    /// YAML file with any of these options as keys; flags and variables win over it
    #[arg(long, env = "EVENKEEL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Which Services.
    #[command(flatten)]
    pub claim: ClaimArgs,
    /// How the process works.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// What is logged.
    #[command(flatten)]
    pub log: LogArgs,
    /// How clouds are reached.
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// The `aws` provider.
    #[command(flatten)]
    pub aws: AwsArgs,
    /// The `azure` provider.
    #[command(flatten)]
    pub azure: AzureArgs,
    /// The `local` provider.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// Which cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClusterArgs {
    /// File that says where the API server is [default: as kubectl, else the pod's service account]
    #[arg(long, env = "EVENKEEL_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, env = "EVENKEEL_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the controller's own objects: its Lease and its ConfigMap [default: the pod's, else kube-system]
    #[arg(long, env = "EVENKEEL_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Name of these objects; one name for all replicas, another for another installation [default: evenkeel]
    #[arg(long, env = "EVENKEEL_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,
    /// Name of the cluster, for people; its identity is the UID of the namespace kube-system [default: kubernetes]
    #[arg(long, env = "EVENKEEL_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,
}

/// Which Services are served, and by whom.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClaimArgs {
    /// Provider to run; repeatable, or a list with commas [known: aws, azure, local]
    #[arg(long, env = "EVENKEEL_PROVIDER", value_name = "NAME")]
    pub provider: Vec<String>,
    /// Provider of Services without a class, and whose defaults they get [default: none, such Services are left alone]
    #[arg(long, env = "EVENKEEL_DEFAULT_PROVIDER", value_name = "NAME[:PROFILE]")]
    pub default_provider: Option<String>,
    /// One more class: CLASS=PROVIDER, or CLASS=PROVIDER:PROFILE with neutral, ccm, lbc or azure; repeatable
    #[arg(long, env = "EVENKEEL_CLASS", value_name = "CLASS=PROVIDER[:PROFILE]")]
    pub class: Vec<String>,
}

/// How the process works.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ProcessArgs {
    /// Address for health, readiness and metrics, or `off` [default: 127.0.0.1:10290]
    #[arg(long, env = "EVENKEEL_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Whether replicas agree on one that writes: `on` or `off` [default: on]
    #[arg(long, env = "EVENKEEL_LEADER_ELECTION", value_name = "WHETHER")]
    pub leader_election: Option<String>,
    /// How long a leader that is not heard of stays leader, 5s at least [default: 15s]
    #[arg(long, env = "EVENKEEL_LEASE_DURATION", value_name = "DURATION")]
    pub lease_duration: Option<String>,
    /// How many load balancers are worked on at a time [default: 8]
    #[arg(long, env = "EVENKEEL_WORKERS", value_name = "N")]
    pub workers: Option<String>,
    /// How long changes of nodes are gathered; never longer than five times that [default: 2s]
    #[arg(long, env = "EVENKEEL_NODE_DEBOUNCE", value_name = "DURATION")]
    pub node_debounce: Option<String>,
    /// How often each load balancer is looked at though nothing changed, give or take a fifth [default: 10m]
    #[arg(long, env = "EVENKEEL_RESYNC", value_name = "DURATION")]
    pub resync: Option<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LogArgs {
    /// Level, or a filter such as `info,evenkeel=debug` [default: info]
    #[arg(long, env = "EVENKEEL_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// `text` or `json` [default: text]
    #[arg(long, env = "EVENKEEL_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// How clouds are reached. Proxies are those of HTTPS_PROXY and NO_PROXY.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CloudArgs {
    /// File with certificates in PEM of authorities that may sign for a cloud's endpoints, or for the proxy before them, beside the system's
    /// [default: none; for aws the file in AWS_CA_BUNDLE]
    #[arg(long, env = "EVENKEEL_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<String>,
    /// Whether clouds are asked at endpoints validated under FIPS 140: `on` or `off` [default: as their own tools, AWS_USE_FIPS_ENDPOINT]
    #[arg(long, env = "EVENKEEL_FIPS", value_name = "WHETHER")]
    pub fips: Option<String>,
}

/// The `aws` provider. Credentials and profiles are read as AWS's own tools read them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AwsArgs {
    /// Region of the load balancers [default: AWS_REGION, else the profile's, else the one of the nodes]
    #[arg(long, env = "EVENKEEL_AWS_REGION", value_name = "REGION")]
    pub aws_region: Option<String>,
    /// VPC of the load balancers [default: the one of the nodes]
    #[arg(long, env = "EVENKEEL_AWS_VPC_ID", value_name = "ID")]
    pub aws_vpc_id: Option<String>,
    /// URL of all of AWS's APIs, for emulators [default: AWS itself]
    #[arg(long, env = "EVENKEEL_AWS_ENDPOINT", value_name = "URL")]
    pub aws_endpoint: Option<String>,
    /// ARN of a role to assume, for load balancers in another account
    #[arg(long, env = "EVENKEEL_AWS_ASSUME_ROLE", value_name = "ARN")]
    pub aws_assume_role: Option<String>,
    /// External id that the assumed role's trust policy asks for
    #[arg(long, env = "EVENKEEL_AWS_EXTERNAL_ID", value_name = "ID")]
    pub aws_external_id: Option<String>,
    /// Tag of every object made in AWS; repeatable, or a list with commas
    #[arg(long, env = "EVENKEEL_AWS_TAG", value_name = "KEY=VALUE")]
    pub aws_tag: Vec<String>,
    /// Security policy of TLS listeners where a Service names none [default: ELBSecurityPolicy-TLS13-1-2-2021-06]
    #[arg(long, env = "EVENKEEL_AWS_SSL_POLICY", value_name = "NAME")]
    pub aws_ssl_policy: Option<String>,
    /// The API server's --service-node-port-range [default: 30000-32767]
    #[arg(long, env = "EVENKEEL_AWS_NODE_PORTS", value_name = "FIRST-LAST")]
    pub aws_node_ports: Option<String>,
    /// Calls a second, and at once, that AWS is asked for at most, by its buckets; repeatable, or a list with commas
    /// [default: elb=6:20,register=2.4:10,modify=1.8:10,ec2-read=12:50,ec2-write=3:25]
    #[arg(long, env = "EVENKEEL_AWS_RATE", value_name = "BUCKET=RATE[:BURST]")]
    pub aws_rate: Vec<String>,
    /// A quota of the account that is not AWS's default, by name (`load-balancers`, `targets-per-zone`, ...); repeatable, or a list with commas
    #[arg(long, env = "EVENKEEL_AWS_QUOTA", value_name = "NAME=NUMBER")]
    pub aws_quota: Vec<String>,
}

/// The `azure` provider. Secrets are read from the environment or from azure.json.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AzureArgs {
    /// The cloud's own controller's configuration, `azure.json`: what it says need not be said again, and every option goes before it
    #[arg(long, env = "EVENKEEL_AZURE_CONFIG", value_name = "FILE")]
    pub azure_config: Option<String>,
    /// Which of Microsoft's clouds: AzurePublicCloud, AzureChinaCloud or AzureUSGovernmentCloud [default: AzurePublicCloud]
    #[arg(long, env = "EVENKEEL_AZURE_CLOUD", value_name = "NAME")]
    pub azure_cloud: Option<String>,
    /// URL of Azure Resource Manager, for private links and emulators [default: the cloud's own]
    #[arg(long, env = "EVENKEEL_AZURE_ENDPOINT", value_name = "URL")]
    pub azure_endpoint: Option<String>,
    /// URL of Microsoft Entra [default: AZURE_AUTHORITY_HOST, else the cloud's own]
    #[arg(long, env = "EVENKEEL_AZURE_AUTHORITY", value_name = "URL")]
    pub azure_authority: Option<String>,
    /// Tenant of the identity, where it is a workload identity or a service principal [default: AZURE_TENANT_ID]
    #[arg(long, env = "EVENKEEL_AZURE_TENANT_ID", value_name = "ID")]
    pub azure_tenant_id: Option<String>,
    /// Client id of the identity; with AZURE_FEDERATED_TOKEN_FILE a workload identity, with AZURE_CLIENT_SECRET a service principal, else a managed
    /// identity of the machine [default: AZURE_CLIENT_ID, else the machine's only one]
    #[arg(long, env = "EVENKEEL_AZURE_CLIENT_ID", value_name = "ID")]
    pub azure_client_id: Option<String>,
    /// Subscription of the load balancers
    #[arg(long, env = "EVENKEEL_AZURE_SUBSCRIPTION_ID", value_name = "ID")]
    pub azure_subscription_id: Option<String>,
    /// Resource group of the load balancers, and of public IP addresses where no annotation names another
    #[arg(long, env = "EVENKEEL_AZURE_RESOURCE_GROUP", value_name = "NAME")]
    pub azure_resource_group: Option<String>,
    /// Region, as westeurope
    #[arg(long, env = "EVENKEEL_AZURE_LOCATION", value_name = "REGION")]
    pub azure_location: Option<String>,
    /// Virtual network that the nodes are in
    #[arg(long, env = "EVENKEEL_AZURE_VNET", value_name = "NAME")]
    pub azure_vnet: Option<String>,
    /// Its resource group [default: that of the load balancers]
    #[arg(long, env = "EVENKEEL_AZURE_VNET_RESOURCE_GROUP", value_name = "NAME")]
    pub azure_vnet_resource_group: Option<String>,
    /// Its subscription [default: that of the load balancers]
    #[arg(long, env = "EVENKEEL_AZURE_VNET_SUBSCRIPTION_ID", value_name = "ID")]
    pub azure_vnet_subscription_id: Option<String>,
    /// Subnet of internal load balancers where no annotation names another
    #[arg(long, env = "EVENKEEL_AZURE_SUBNET", value_name = "NAME")]
    pub azure_subnet: Option<String>,
    /// Prefix of the nodes' addresses, to which security rules let packets pass that arrive there; repeatable, or a list with commas
    /// [default: any address of the virtual network]
    #[arg(long, env = "EVENKEEL_AZURE_NODE_PREFIX", value_name = "CIDR")]
    pub azure_node_prefix: Vec<String>,
    /// Network security group of the nodes, in which Services get rules [default: none, and nothing is written to any]
    #[arg(long, env = "EVENKEEL_AZURE_SECURITY_GROUP", value_name = "NAME")]
    pub azure_security_group: Option<String>,
    /// Its resource group [default: that of the load balancers]
    #[arg(
        long,
        env = "EVENKEEL_AZURE_SECURITY_GROUP_RESOURCE_GROUP",
        value_name = "NAME"
    )]
    pub azure_security_group_resource_group: Option<String>,
    /// Name of a load balancer to use; the internal one has `-internal` after it [default: one of our own of each kind]
    #[arg(long, env = "EVENKEEL_AZURE_LOAD_BALANCER", value_name = "NAME")]
    pub azure_load_balancer: Option<String>,
    /// Whether rules give nodes connections to the Internet: `on` or `off`, where something else does [default: on]
    #[arg(long, env = "EVENKEEL_AZURE_OUTBOUND", value_name = "WHETHER")]
    pub azure_outbound: Option<String>,
    /// Whether one probe of kube-proxy's health serves all Services of policy Cluster, whatever they ask for: `on` or `off` [default: off]
    #[arg(long, env = "EVENKEEL_AZURE_SHARED_PROBE", value_name = "WHETHER")]
    pub azure_shared_probe: Option<String>,
    /// Tag of every public IP address and load balancer made in Azure; repeatable, or a list with commas
    #[arg(long, env = "EVENKEEL_AZURE_TAG", value_name = "KEY=VALUE")]
    pub azure_tag: Vec<String>,
    /// Calls a second, and at once, that Azure is asked for at most, by its buckets; repeatable, or a list with commas
    /// [default: reads=20:200,writes=8:150,deletes=8:150,network-writes=2.5:750]
    #[arg(long, env = "EVENKEEL_AZURE_RATE", value_name = "BUCKET=RATE[:BURST]")]
    pub azure_rate: Vec<String>,
    /// A limit of the subscription that is not Azure's default, by name (`rules`, `frontends`, `security-rules`); repeatable, or a list with commas
    #[arg(long, env = "EVENKEEL_AZURE_LIMIT", value_name = "NAME=NUMBER")]
    pub azure_limit: Vec<String>,
}

/// The `local` provider.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LocalArgs {
    /// Socket of the data plane [default: /run/evenkeel/dataplane.sock as root, else in XDG_RUNTIME_DIR]
    #[arg(long, env = "EVENKEEL_LOCAL_SOCKET", value_name = "PATH")]
    pub local_socket: Option<String>,
    /// Directory of what the data plane must not forget [default: /var/lib/evenkeel as root, else in XDG_STATE_HOME]
    #[arg(long, env = "EVENKEEL_LOCAL_STATE_DIR", value_name = "DIRECTORY")]
    pub local_state_dir: Option<String>,
    /// Addresses to hand out: prefixes, ranges and addresses joined by `+`, or `host`; options follow after commas (`add-to=eth0` adds them
    /// to an interface while they are held); repeatable
    /// [default: 127.77.0.0/24]
    #[arg(long, env = "EVENKEEL_LOCAL_POOL", value_name = "POOL")]
    pub local_pool: Vec<String>,
    /// Whether a data plane is started when none answers: `auto` (also in the place of one of an older build), `missing` or `never` [default: auto]
    #[arg(long, env = "EVENKEEL_LOCAL_START_DATAPLANE", value_name = "WHEN")]
    pub local_start_dataplane: Option<String>,
}

/// Options of `evenkeel dataplane`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DataplaneArgs {
    /// YAML file with any of the options of `run` as keys; flags and variables win over it
    #[arg(long, env = "EVENKEEL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Socket to answer on [default: /run/evenkeel/dataplane.sock as root, else in XDG_RUNTIME_DIR]
    #[arg(long, env = "EVENKEEL_LOCAL_SOCKET", value_name = "PATH")]
    pub socket: Option<String>,
    /// Directory of what must not be forgotten [default: /var/lib/evenkeel as root, else in XDG_STATE_HOME]
    #[arg(long, env = "EVENKEEL_LOCAL_STATE_DIR", value_name = "DIRECTORY")]
    pub state_dir: Option<String>,
    /// Addresses to hand out: prefixes, ranges and addresses joined by `+`, or `host`; options follow after commas (`add-to=eth0` adds them
    /// to an interface while they are held); repeatable
    /// [default: 127.77.0.0/24]
    #[arg(long, env = "EVENKEEL_LOCAL_POOL", value_name = "POOL")]
    pub pool: Vec<String>,
    /// Has the data plane that runs hand over its ports and end once its connections have; without one, starts as always
    #[arg(long)]
    pub take_over: bool,
    /// What is logged.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where to look, and with which configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LookArgs {
    /// File that says where the API server is [default: as kubectl]
    #[arg(long, env = "EVENKEEL_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, env = "EVENKEEL_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the Services [default: the context's]
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// ConfigMap of the controller whose configuration is used, as NAMESPACE/NAME [default: the only one in the cluster]
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub controller: Option<String>,
    /// Configuration file to use in place of what the controller published
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Socket of the `local` data plane on this machine [default: the controller's]
    #[arg(long, value_name = "PATH")]
    pub local_socket: Option<String>,
}

/// Options of `evenkeel status`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StatusArgs {
    /// Only this Service: NAME or NAMESPACE/NAME
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "service"])]
    pub all_namespaces: bool,
    /// How it is shown [default: a table]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub output: Option<StatusFormat>,
    /// Goes on, and shows each change, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// Where to look.
    #[command(flatten)]
    pub look: LookArgs,
}

/// How `evenkeel status` shows what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// A table with more columns
    Wide,
    /// A document
    Json,
    /// The same in YAML
    Yaml,
}

/// Options of `evenkeel plan`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PlanArgs {
    /// Services to plan for: NAME or NAMESPACE/NAME [default: all of the namespace]
    #[arg(value_name = "SERVICE", conflicts_with_all = ["file", "all"])]
    pub services: Vec<String>,
    /// File with Services as they are to be, a directory with such files, or `-` for standard input; repeatable. Other kinds in it
    /// are passed over
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with = "all")]
    pub file: Vec<PathBuf>,
    /// Also the files in the directories of these directories
    #[arg(short = 'R', long, requires = "file")]
    pub recursive: bool,
    /// Asks neither a cluster nor a cloud, but the files of --facts; needs no credentials and no network. Exit code 1 also where a
    /// Service or a port of it would be rejected, or something would be refused
    #[arg(
        long,
        requires = "facts",
        conflicts_with_all = ["kubeconfig", "context", "controller", "config", "local_socket"]
    )]
    pub offline: bool,
    /// File with the facts to plan with, as `evenkeel facts` writes it; repeatable, one for each provider
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub facts: Vec<PathBuf>,
    /// All Services of all namespaces, and what is left over in the clouds
    #[arg(
        long,
        short = 'A',
        visible_alias = "all-namespaces",
        conflicts_with = "namespace"
    )]
    pub all: bool,
    /// How it is shown [default: text]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub output: Option<PlanFormat>,
    /// Where to look.
    #[command(flatten)]
    pub look: LookArgs,
}

/// Options of `evenkeel facts`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FactsArgs {
    /// File to write, `-` for standard output [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where to look.
    #[command(flatten)]
    pub look: LookArgs,
}

/// How `evenkeel plan` shows what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// A page for people
    Text,
    /// A document
    Json,
    /// The same in YAML
    Yaml,
}

/// Options of `evenkeel completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Options of `evenkeel generate`.
#[derive(Clone, Debug, clap::Args)]
pub struct GenerateArgs {
    /// Only checks that the pages are up to date
    #[arg(long)]
    pub check: bool,
    /// Where the pages are
    #[arg(long, value_name = "DIRECTORY", default_value = "docs")]
    pub directory: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Args, clap::Error> {
        Args::read(line.iter().map(OsString::from))
    }

    fn said(line: &[&str]) -> String {
        read(line).expect_err("says something").to_string()
    }

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn as_a_plugin_the_usage_is_kubectls() {
        for (name, want) in [
            ("/usr/bin/evenkeel", "Usage: evenkeel status"),
            (
                "/usr/bin/kubectl-evenkeel",
                "Usage: kubectl evenkeel status",
            ),
        ] {
            let text = said(&[name, "status", "--help"]);
            assert!(text.contains(want), "{text}");
        }
    }

    #[test]
    fn a_wrong_format_is_answered_with_those_there_are_and_the_nearest() {
        for (line, parts) in [
            (
                &["evenkeel", "status", "-o", "jsn"],
                ["wide, json, yaml", "'json'"],
            ),
            (&["evenkeel", "plan", "-o", "yml"], ["json, yaml", "'yaml'"]),
        ] {
            let text = said(line);
            for part in parts {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            &["evenkeel", "status", "-A", "-n", "shop"][..],
            &["evenkeel", "plan", "--all", "-f", "a.yaml"],
            &["evenkeel", "plan", "shop/a", "--all"],
            &["evenkeel", "plan", "shop/a", "-f", "a.yaml"],
        ] {
            assert!(said(line).contains("cannot be used with"), "{line:?}");
        }
    }

    #[test]
    fn the_version_says_the_commit() {
        let text = said(&["evenkeel", "--version"]);
        assert!(
            text.starts_with(concat!("evenkeel ", env!("CARGO_PKG_VERSION"), " (commit ")),
            "{text}"
        );
    }
}
