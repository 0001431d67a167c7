//! A door through which kube-proxies in namespaces reach the API server. Writes: forwards bytes between two sockets.
//!
//! The API server keeps listening on loopback only; the door listens on the pool's own address and lives as long as the pool.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

pub(crate) struct ApiDoor {
    kubeconfig: Kubeconfig,
    _task: AbortOnDropHandle<()>,
}

impl ApiDoor {
    /// Listens on `address` for the API server of the kubeconfig's current context.
    pub(crate) async fn open(kubeconfig: &Kubeconfig, address: SocketAddr) -> anyhow::Result<Self> {
        let config =
            Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default())
                .await
                .context("kubeconfig")?;
        let uri = &config.cluster_url;
        let Some(host) = uri.host().map(|h| h.trim_matches(['[', ']']).to_owned()) else {
            bail!("kubeconfig: server {uri} names no host");
        };
        let target = (host.clone(), uri.port_u16().unwrap_or(443));
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let door = format!("https://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            loop {
                let Ok((mut inside, _)) = listener.accept().await else {
                    continue;
                };
                let target = target.clone();
                tokio::spawn(async move {
                    if let Ok(mut outside) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                    }
                });
            }
        });
        Ok(Self {
            kubeconfig: through(kubeconfig, &door, &host),
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// The kubeconfig that leads through the door.
    pub(crate) fn kubeconfig(&self) -> &Kubeconfig {
        &self.kubeconfig
    }
}

fn current_cluster(kubeconfig: &Kubeconfig) -> Option<&str> {
    let current = kubeconfig.current_context.as_deref()?;
    let context = kubeconfig.contexts.iter().find(|c| c.name == current)?;
    Some(&context.context.as_ref()?.cluster)
}

/// The same kubeconfig with another server; the certificate is still checked for the old host.
fn through(kubeconfig: &Kubeconfig, door: &str, host: &str) -> Kubeconfig {
    let mut changed = kubeconfig.clone();
    let name = current_cluster(kubeconfig).map(str::to_owned);
    for named in changed
        .clusters
        .iter_mut()
        .filter(|c| Some(&c.name) == name.as_ref())
    {
        if let Some(cluster) = &mut named.cluster {
            cluster.server = Some(door.to_owned());
            cluster
                .tls_server_name
                .get_or_insert_with(|| host.to_owned());
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_of_the_current_context_changes() {
        let text = r#"
            apiVersion: v1
            kind: Config
            current-context: here
            contexts: [{name: here, context: {cluster: a, user: u}}]
            clusters:
            - {name: a, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: QQ==}}
            - {name: b, cluster: {server: "https://127.0.0.1:7443"}}
            users: [{name: u, user: {token: t}}]
        "#;
        let kubeconfig = Kubeconfig::from_yaml(text).unwrap();
        let changed = through(&kubeconfig, "https://10.123.0.1:1234", "127.0.0.1");
        let servers: Vec<_> = changed
            .clusters
            .iter()
            .map(|c| c.cluster.as_ref().unwrap().server.as_deref())
            .collect();
        assert_eq!(
            servers,
            [
                Some("https://10.123.0.1:1234"),
                Some("https://127.0.0.1:7443")
            ]
        );
        let cluster = changed.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.tls_server_name.as_deref(), Some("127.0.0.1"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("QQ=="));
    }
}
