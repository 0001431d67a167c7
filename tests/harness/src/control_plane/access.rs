//! How to reach a running control plane: clients, kubeconfig files, addresses, directories. Reads the API server's certificate, Writes files.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use kube::{Client, Config};

use super::ControlPlane;
use super::credentials::{TLS_SERVER_NAME, kubeconfig, write_secret};
use crate::supervise::Janitor;

impl ControlPlane {
    /// A client of the administrator. Made anew at each call, because a client belongs to the runtime it was made on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_with_token(&self.token)
    }

    /// A client that shows `token`, for example one of a service account.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn client_with_token(&self, token: &str) -> Client {
        self.config_with_token(token)
            .and_then(|config| Ok(Client::try_from(config)?))
            .expect("the API server was ready, so its address and certificate are valid")
    }

    /// The configuration of [`ControlPlane::client`], for who wants to change it first.
    ///
    /// # Errors
    /// When the API server's certificate cannot be read.
    pub fn config(&self) -> Result<Config> {
        self.config_with_token(&self.token)
    }

    fn config_with_token(&self, token: &str) -> Result<Config> {
        let path = self.certificate();
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let certificates = pem::parse_many(text)
            .with_context(|| format!("cannot read {}", path.display()))?
            .into_iter()
            .map(pem::Pem::into_contents)
            .collect();
        let address: http::Uri = self.server_url().parse()?;
        let mut config = Config::new(address);
        config.root_cert = Some(certificates);
        config.tls_server_name = Some(TLS_SERVER_NAME.to_owned());
        config.auth_info.token = Some(token.to_owned().into());
        Ok(config)
    }

    /// A kubeconfig of the administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The administrator's token.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.token
    }

    /// Writes a kubeconfig of whom `token` belongs to.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig_for(&self, token: &str, path: &Path) -> Result<()> {
        let text = kubeconfig(&self.server_url(), &self.certificate(), token);
        write_secret(path, &text)
    }

    /// Writes a kubeconfig of the administrator for a client that reaches the API server under another address: a
    /// process in a network namespace. Needs [`Options::advertise_address`](super::Options::advertise_address).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig_at(&self, server: IpAddr, path: &Path) -> Result<()> {
        let server = SocketAddr::new(server, self.api_port);
        let text = kubeconfig(
            &format!("https://{server}"),
            &self.certificate(),
            &self.token,
        );
        write_secret(path, &text)
    }

    /// Where the API server is: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// Where etcd's clients go: `127.0.0.1:PORT`, gRPC and its JSON gateway, without TLS.
    #[must_use]
    pub fn etcd_address(&self) -> SocketAddr {
        SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), self.etcd_port)
    }

    /// The API server's port.
    #[must_use]
    pub fn server_port(&self) -> u16 {
        self.api_port
    }

    /// The temporary directory that goes with this control plane; there is room in it for others' files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the logs are.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// The janitor that removes the directory; processes that need the control plane's files may share it.
    #[must_use]
    pub fn janitor(&self) -> &Arc<Janitor> {
        &self.janitor
    }

    fn certificate(&self) -> PathBuf {
        self.directory.join("certificates/apiserver.crt")
    }
}
