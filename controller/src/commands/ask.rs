//! What the running controller knows: asked directly where it is near, else through the API server (Reads).

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use kube::Client;
use tokio::net::TcpStream;

use super::cluster::{Cluster, answer, failed};
use crate::view::{
    standing::{Scope, Standings},
    status::Figures,
    traffic::{self, Traffic},
};

/// How long an answer may take: the controller looks at a few targets for it.
const ANSWER: Duration = Duration::from_secs(10);

/// The largest answer that is read: ten thousand Services take some ten megabytes.
const MOST: usize = 256 << 20;

/// What a controller told.
pub(super) struct Told {
    /// Where it was asked.
    pub(super) place: String,
    pub(super) standings: Standings,
    /// None where its metrics cannot be read.
    pub(super) figures: Option<Figures>,
    /// What went through the load balancers, by namespace and name; only where their providers count it.
    pub(super) traffic: BTreeMap<(String, String), Traffic>,
}

/// The way to a controller.
enum Way {
    /// It listens on this machine, or wherever this address leads.
    Direct(SocketAddr),
    /// Its pod, through the API server.
    Proxy {
        namespace: String,
        pod: String,
        port: u16,
    },
}

/// Asks the controller what it knows.
///
/// # Errors
/// Why that is not known, with what to do next.
pub(super) async fn ask(cluster: &Cluster, scope: &Scope) -> Result<Told> {
    let way = way(cluster)?;
    let place = match &way {
        Way::Direct(address) => format!("http://{address}"),
        Way::Proxy {
            namespace,
            pod,
            port,
        } => {
            format!("the pod {namespace}/{pod}, port {port}, through the API server")
        }
    };
    let text = get(&cluster.client, &way, &scope.path())
        .await
        .with_context(|| match &cluster.found {
            Some(_) => format!("the controller does not answer at {place}"),
            None => format!("no controller was found, and none answers at {place}"),
        })?;
    let standings: Standings = serde_json::from_str(&text).map_err(|_| {
        anyhow!("what answers at {place} is no evenkeel of a version that this program knows")
    })?;
    if let Ok(identity) = &cluster.identity {
        ensure!(
            standings.cluster == *identity.uid,
            "the evenkeel that answers at {place} serves another cluster; run this command where the controller runs, or run the \
             controller in a pod"
        );
    }
    let metrics = get(&cluster.client, &way, "/metrics").await;
    Ok(Told {
        place,
        standings,
        traffic: metrics.as_deref().map(traffic::read).unwrap_or_default(),
        figures: metrics.ok().map(|text| Figures::read(&text)),
    })
}

fn way(cluster: &Cluster) -> Result<Way> {
    let Some(found) = &cluster.found else {
        // One that has not published itself may be on this machine all the same; the answer says whose it is.
        let listen = cluster.config.listen.context("no controller was found")?;
        return Ok(Way::Direct(listen));
    };
    let about = &found.object.about;
    let Some(listen) = &about.listen else {
        bail!("the controller listens nowhere; give it a --listen other than `off`");
    };
    let listen: SocketAddr = listen.parse().with_context(|| {
        format!("the controller says that it listens on {listen:?}, which is no address")
    })?;
    match &about.pod {
        Some(pod) => Ok(Way::Proxy {
            namespace: found.namespace.clone(),
            pod: pod.clone(),
            port: listen.port(),
        }),
        None => Ok(Way::Direct(reachable(listen))),
    }
}

/// Who listens everywhere is reached on this machine.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

async fn get(client: &Client, way: &Way, path: &str) -> Result<String> {
    match way {
        Way::Direct(address) => tokio::time::timeout(ANSWER, direct(*address, path))
            .await
            .context("it does not answer in time; see its log")?,
        Way::Proxy {
            namespace,
            pod,
            port,
        } => {
            let uri = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
            let request = http::Request::get(uri).body(Vec::new())?;
            answer(client.request_text(request))
                .await
                .map_err(|error| failed("get pods/proxy", &error))
        }
    }
}

async fn direct(address: SocketAddr, path: &str) -> Result<String> {
    let stream = TcpStream::connect(address).await.map_err(|error| {
        anyhow!("{error}; run this command where the controller runs, or run the controller in a pod, with a --listen that is not loopback")
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .body(Empty::<Bytes>::new())?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST).collect().await;
        let body = body.map_err(|error| anyhow!(error))?.to_bytes();
        anyhow::Ok((status, body))
    };
    // The connection ends when the exchange lets go of it.
    let ((status, body), _) = tokio::try_join!(exchange, async { Ok(connection.await?) })?;
    let text = String::from_utf8(body.to_vec()).context("it answers no text")?;
    ensure!(
        status == StatusCode::OK,
        "it answers {status}: {}",
        text.trim()
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use evenkeel_core::ids;
    use kube::client::Body;
    use tower::service_fn;

    use super::*;
    use crate::{
        args::RunArgs,
        commands::cluster::Found,
        config::{Config, Surroundings},
        controller_object::{About, ControllerObject},
    };

    /// A cluster whose API server answers as the pod would.
    fn cluster(uid: &str, about: About) -> Cluster {
        let server = service_fn(|request: http::Request<Body>| async move {
            let path = request.uri().path_and_query().map(ToString::to_string);
            let text = match path.as_deref() {
                Some(
                    "/api/v1/namespaces/kube-system/pods/evenkeel-0:10290/proxy/status?namespace=shop",
                ) => r#"{"cluster": "uid-1", "services": [{"name": "checkout"}]}"#,
                Some("/api/v1/namespaces/kube-system/pods/evenkeel-0:10290/proxy/metrics") => {
                    "evenkeel_queue_depth 7\n"
                }
                other => panic!("asked for {other:?}"),
            };
            anyhow::Ok(http::Response::new(Body::from(text.as_bytes().to_vec())))
        });
        let mut run = RunArgs::default();
        run.claim.provider = vec!["local".into()];
        Cluster {
            client: Client::new(server, "default"),
            identity: Ok(ids::Cluster::new(uid, "c")),
            found: Some(Found {
                namespace: "kube-system".into(),
                name: "evenkeel".into(),
                object: ControllerObject {
                    about,
                    ..ControllerObject::default()
                },
            }),
            config: Config::of_run(&run, None, &Surroundings::default()).expect("valid"),
            file: None,
            assumed: Vec::new(),
            namespace: "default".into(),
        }
    }

    fn in_a_pod() -> About {
        About {
            pod: Some("evenkeel-0".into()),
            listen: Some("0.0.0.0:10290".into()),
            ..About::default()
        }
    }

    fn shop() -> Scope {
        Scope {
            namespace: Some("shop".into()),
            ..Scope::default()
        }
    }

    #[tokio::test]
    async fn one_in_a_pod_is_asked_through_the_api_server() {
        let told = ask(&cluster("uid-1", in_a_pod()), &shop())
            .await
            .expect("an answer");
        assert_eq!(told.standings.services[0].name, "checkout");
        assert_eq!(told.figures.map(|figures| figures.queue_depth), Some(7));
        assert_eq!(
            told.place,
            "the pod kube-system/evenkeel-0, port 10290, through the API server"
        );
    }

    #[tokio::test]
    async fn why_nothing_is_known_is_said() {
        let silent = About {
            listen: None,
            ..in_a_pod()
        };
        for (uid, about, part) in [
            ("uid-2", in_a_pod(), "serves another cluster"),
            ("uid-1", silent, "listens nowhere"),
        ] {
            let error = ask(&cluster(uid, about), &shop()).await.err().expect(part);
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        for (listen, want) in [
            ("0.0.0.0:10290", "127.0.0.1:10290"),
            ("[::]:10290", "[::1]:10290"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.0.2.1:2", "192.0.2.1:2"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), want);
        }
    }
}
