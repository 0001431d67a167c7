//! Pods that wait for the health of their targets, after each run (Reads).
//!
//! Nobody who waits keeps the group from being done: a group whose load balancer is as asked stays so, and only the health is read again.
//! The pauses grow with the time that the pod has waited, so that a rollout is not held up for long and one that never gets
//! healthy costs little.

use std::time::Duration;

use jiff::Timestamp;

use super::Report;
use crate::{
    converge::unreadable, digest::Digest, endpoints::EndpointSet, ids::GroupKey, provider::Provider,
};

/// The shortest and the longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Which part of the time that a pod has waited the next look may come late.
const PART: u32 = 4;

/// Has those judged that wait, and says when to do so again.
pub(super) async fn judge<P: Provider>(
    provider: &P,
    key: &GroupKey,
    endpoints: &EndpointSet,
    now: Timestamp,
    report: &mut Report,
) {
    // Who could not be asked for the rest is asked again with it.
    if report.gone || report.published.is_none() || !endpoints.has_waiting() {
        return;
    }
    match provider.judge(key, endpoints, now).await {
        Ok(judged) => {
            let waiting = judged.iter().filter(|judged| judged.lacks.is_some());
            report.judge_again = waiting.map(|judged| pause(judged.since, now)).min();
            report.judged = judged;
        }
        Err(error) => report
            .failures
            .push(unreadable(&error, Digest::of(&"judge"), now)),
    }
}

fn pause(since: Timestamp, now: Timestamp) -> Duration {
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    (waited / PART).clamp(PAUSE.0, PAUSE.1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        endpoints::{Endpoint, Use, Waiting},
        engine::{Engine, Request, next_look},
        error::ErrorClass,
        ids::ServiceUid,
        ports::{PortKey, Protocol},
        scripted::{Manners, Scripted, minute, request, run, serve},
    };

    #[test]
    fn pauses_grow_with_the_time_that_a_pod_has_waited() {
        for (waited, want) in [(-5, 5), (0, 5), (20, 5), (60, 15), (240, 60), (86_400, 60)] {
            let since = Timestamp::from_second(1_800_000_000).expect("a time");
            let now = Timestamp::from_second(1_800_000_000 + waited).expect("a time");
            assert_eq!(pause(since, now), Duration::from_secs(want), "{waited}");
        }
    }

    /// A Service with one endpoint, whose pod waits or not.
    fn with(waits: bool, now: Timestamp) -> Request {
        let endpoint = Endpoint {
            address: "10.1.0.1".parse().expect("an address"),
            port: 8080,
            use_: Use::Await,
            zone: None,
            pod: Some("web-1".into()),
            waits: waits.then(|| Waiting {
                uid: "u1".into(),
                since: minute(0),
            }),
        };
        let port = PortKey {
            port: 80,
            protocol: Protocol::Tcp,
        };
        let found = [(port, vec![endpoint])].into();
        Request {
            endpoints: Arc::new(EndpointSet::new([(ServiceUid::new("uid"), found)].into())),
            now,
            ..request(serve(&[("lb", "1")]))
        }
    }

    #[test]
    fn who_waits_is_judged_each_time_and_nothing_else_is_read() {
        let engine = Engine::new(Scripted::new(Manners::default()));
        run(&engine, with(false, minute(0)));
        assert_eq!(engine.provider().cloud().judged, 0);
        run(&engine, with(true, minute(0)));
        engine.provider().cloud().reads = 0;
        for (waited, pause) in [(1, 15), (2, 30), (9, 60)] {
            let report = run(&engine, with(true, minute(waited)));
            assert_eq!(next_look(&report), Some(Duration::from_secs(pause)));
            assert!(report.judged[0].lacks.is_some());
            // It keeps nothing from being done.
            assert!(report.settled() && report.applied.is_empty(), "{report:#?}");
        }
        engine.provider().cloud().healthy = true;
        let report = run(&engine, with(true, minute(10)));
        assert_eq!(next_look(&report), None);
        assert_eq!(report.judged[0].lacks, None);
        run(&engine, with(false, minute(11)));
        let cloud = engine.provider().cloud();
        assert_eq!((cloud.judged, cloud.reads), (5, 0));
    }

    #[test]
    fn a_cloud_that_cannot_be_asked_is_a_failure_and_says_nothing_of_pods() {
        let engine = Engine::new(Scripted::new(Manners::default()));
        run(&engine, with(true, minute(0)));
        engine.provider().cloud().unreadable = Some(ErrorClass::Transient);
        let report = run(&engine, with(true, minute(1)));
        assert_eq!((report.judged.len(), report.failures.len()), (0, 1));
        engine.provider().cloud().unreadable = None;
        let report = run(&engine, with(true, minute(2)));
        assert_eq!((report.judged.len(), report.failures.len()), (1, 0));
    }
}
