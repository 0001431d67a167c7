//! The command lines of etcd, kube-apiserver and kube-controller-manager. Decides.

use std::path::Path;

use super::backup::data_of;
use super::credentials::ServiceAccountKey;
use super::options::Options;

/// Where one control plane listens and keeps its files.
pub(super) struct Places<'a> {
    pub(super) directory: &'a Path,
    pub(super) etcd_client: u16,
    pub(super) etcd_peer: u16,
    pub(super) api: u16,
}

/// The controllers that tests need. Their names carry `-controller` since 1.27; an unknown name ends the process.
const CONTROLLERS: [&str; 7] = [
    "endpointslice-controller",
    "endpointslice-mirroring-controller",
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "namespace-controller",
    "garbage-collector-controller",
];

pub(super) fn etcd(places: &Places<'_>, options: &Options) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", places.etcd_client);
    let peer = format!("http://127.0.0.1:{}", places.etcd_peer);
    let mut args = vec![
        format!("--data-dir={}", data_of(places.directory).display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // The data do not outlive the test, let alone a power cut.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    if options.restore.is_some() {
        // What it was a member of is not its own.
        args.push("--force-new-cluster".to_owned());
    }
    args
}

pub(super) fn api_server(
    places: &Places<'_>,
    key: &ServiceAccountKey,
    options: &Options,
) -> Vec<String> {
    let (bind, advertise) = match options.advertise_address {
        Some(address) => ("0.0.0.0", address.to_string()),
        None => ("127.0.0.1", "127.0.0.1".to_owned()),
    };
    let services = match options.dual_stack {
        true => "10.96.0.0/16,fd00:10:96::/112",
        false => "10.96.0.0/16",
    };
    let path = |name: &str| places.directory.join(name).display().to_string();
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", places.etcd_client),
        format!("--secure-port={}", places.api),
        format!("--bind-address={bind}"),
        format!("--advertise-address={advertise}"),
        format!("--cert-dir={}", path("certificates")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", key.public.display()),
        format!(
            "--service-account-signing-key-file={}",
            key.private.display()
        ),
        format!("--service-cluster-ip-range={services}"),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", path("tokens.csv")),
        // Pods here need no service account, and nothing would make one for them.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ];
    if options.advertise_address.is_none() {
        // A loopback address may not stand in the endpoints of the Service `kubernetes`: do not try every ten seconds.
        args.push("--endpoint-reconciler-type=none".to_owned());
    }
    if let Some(range) = &options.node_port_range {
        args.push(format!("--service-node-port-range={range}"));
    }
    args.extend(options.extra_apiserver_args.iter().cloned());
    args
}

pub(super) fn controller_manager(kubeconfig: &Path, options: &Options) -> Vec<String> {
    let mut args = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        format!("--controllers={}", CONTROLLERS.join(",")),
    ];
    args.extend(options.extra_controller_manager_args.iter().cloned());
    args
}
