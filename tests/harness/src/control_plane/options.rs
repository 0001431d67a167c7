//! What a control plane is to be like. Decides nothing yet: plain data.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::binaries::Kubernetes;
use crate::progress::Progress;

/// What a control plane is to be like; the default is what most tests need.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which Kubernetes: that of all tests, or an older one.
    pub kubernetes: Kubernetes,
    /// Runs kube-controller-manager with the endpoint slice, workload, namespace and garbage controllers. Default: yes.
    pub controller_manager: bool,
    /// An address of this machine under which clients in network namespaces reach the API server, such as one of a veth pair.
    /// The API server then listens on all addresses instead of 127.0.0.1 alone; the address may be added to the machine later.
    pub advertise_address: Option<IpAddr>,
    /// Cluster IPs of both families: `10.96.0.0/16` and `fd00:10:96::/112`. Default: IPv4 alone.
    pub dual_stack: bool,
    /// `--service-node-port-range`, such as `1024-32767`; upstream's 30000-32767 otherwise.
    pub node_port_range: Option<String>,
    /// Further arguments of kube-apiserver; of a flag named twice the last one holds.
    pub extra_apiserver_args: Vec<String>,
    /// Further arguments of kube-controller-manager.
    pub extra_controller_manager_args: Vec<String>,
    /// What [`super::ControlPlane::backup`] made: the control plane begins with all of it.
    pub restore: Option<PathBuf>,
    /// Where the logs go and stay. `EVENKEEL_LOGS` if not set; without either they go when the control plane goes.
    pub log_dir: Option<PathBuf>,
    /// Where to tell that programs are being built.
    pub progress: Progress,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kubernetes: Kubernetes::Current,
            controller_manager: true,
            advertise_address: None,
            dual_stack: false,
            node_port_range: None,
            extra_apiserver_args: Vec::new(),
            extra_controller_manager_args: Vec::new(),
            restore: None,
            log_dir: None,
            progress: Progress::new(),
        }
    }
}
