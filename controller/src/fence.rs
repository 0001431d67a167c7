//! A client that only writes while its ticket is good (Writes to the API server through it).
//!
//! Who may not write any more may still read: watches go on. The fence stands around the whole client, so that nothing
//! that is written to the API server can forget to ask.

use std::time::Duration;

use evenkeel_core::{error::CloudError, ticket::Ticket};
use http::{Method, Request};
use kube::{Client, client::Body};
use tower::{BoxError, service_fn};

/// Why a write was not made, or not waited for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fenced {
    /// Somebody else may be writing.
    #[error("not written: {0}")]
    Ended(#[source] CloudError),
    /// The right to write ended before there was an answer.
    #[error("the API server has not answered within the {0:?} that the right to write lasted")]
    Overtaken(Duration),
}

/// The same client, with writes only while the ticket is good. None of them lasts longer than it.
pub(crate) fn fenced(client: &Client, ticket: Ticket) -> Client {
    let namespace = client.default_namespace().to_owned();
    let client = client.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (client, ticket) = (client.clone(), ticket.clone());
        async move {
            if matches!(*request.method(), Method::GET | Method::HEAD) {
                return client.send(request).await.map_err(BoxError::from);
            }
            let _writing = ticket.begin().map_err(Fenced::Ended)?;
            let Some(left) = ticket.remaining().map_err(Fenced::Ended)? else {
                return client.send(request).await.map_err(BoxError::from);
            };
            match tokio::time::timeout(left, client.send(request)).await {
                Ok(answer) => answer.map_err(BoxError::from),
                Err(_) => Err(Fenced::Overtaken(left).into()),
            }
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Instant,
    };

    use evenkeel_core::ticket::Term;
    use http::Response;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{
        Api,
        api::{DeleteParams, Patch, PatchParams, PostParams},
    };

    use super::*;

    /// An API server that counts what it is asked and answers with one and the same object; or never.
    fn server(asked: &Arc<AtomicUsize>, answers: bool) -> Client {
        let asked = asked.clone();
        let service = service_fn(move |_: Request<Body>| {
            asked.fetch_add(1, Ordering::SeqCst);
            async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                let object = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
                Ok::<_, Infallible>(Response::new(Body::from(object.to_vec())))
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn without_the_right_to_write_only_reads_go_through() {
        let asked = Arc::new(AtomicUsize::new(0));
        let term = Term::new();
        let client = fenced(&server(&asked, true), term.ticket());
        let maps = Api::<ConfigMap>::default_namespaced(client);
        let patch = Patch::Merge(serde_json::json!({}));
        for (right, through) in [("not yet", 1), ("has it", 4), ("no more", 1)] {
            match right {
                "has it" => term.renew(Instant::now() + Duration::from_secs(60)),
                "no more" => term.revoke(),
                _ => {}
            }
            asked.store(0, Ordering::SeqCst);
            maps.get("a").await.expect("a read always goes through");
            let writes = [
                maps.create(&PostParams::default(), &ConfigMap::default())
                    .await
                    .map(drop),
                maps.patch("a", &PatchParams::default(), &patch)
                    .await
                    .map(drop),
                maps.delete("a", &DeleteParams::default()).await.map(drop),
            ];
            assert_eq!(asked.load(Ordering::SeqCst), through, "{right}");
            for write in writes {
                assert_eq!(write.is_ok(), through > 1, "{right}: {write:?}");
                if let Err(error) = write {
                    assert!(error.to_string().contains("right to write"), "{error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn no_write_outlasts_the_right() {
        let asked = Arc::new(AtomicUsize::new(0));
        let term = Term::new();
        term.renew(Instant::now() + Duration::from_millis(50));
        let client = fenced(&server(&asked, false), term.ticket());
        let maps = Api::<ConfigMap>::default_namespaced(client);
        let parameters = DeleteParams::default();
        let write = maps.delete("a", &parameters);
        let answer = tokio::time::timeout(Duration::from_secs(10), write).await;
        let error = answer.expect("it is given up").expect_err("no answer");
        assert!(error.to_string().contains("has not answered"), "{error}");
        tokio::time::timeout(Duration::from_secs(10), term.idle())
            .await
            .expect("it is not under way any more");
    }
}
