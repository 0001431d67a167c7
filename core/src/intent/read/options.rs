//! What the neutral annotations ask, and the fields that they replace (Decides).

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::core::v1::ServiceSpec;

use crate::{
    annotation::{self, Reader, key, value},
    intent::{HealthCheckOptions, HealthCheckProtocol, Options, ReclaimPolicy, Scheme},
    net::IpFamily,
    problem::{Problem, Problems},
};

/// All options; the problems of those that cannot be read are added to `problems`.
pub(super) fn options(
    spec: &ServiceSpec,
    neutral: &Reader<'_>,
    families: &[IpFamily],
    problems: &mut Problems,
) -> Options {
    let schemes = [
        ("internal", Scheme::Internal),
        ("internet-facing", Scheme::InternetFacing),
    ];
    let policies = [
        ("Delete", ReclaimPolicy::Delete),
        ("Retain", ReclaimPolicy::Retain),
    ];
    let (addresses, address_names) = static_address(spec, neutral, families, problems);
    let health_check = health_check(neutral, problems);
    let mut take = Take(problems);
    Options {
        scheme: take.one(neutral.choice(key::SCHEME, &schemes)),
        address_of_field: !addresses.is_empty() && neutral.raw(key::STATIC_ADDRESS).is_none(),
        addresses,
        address_names,
        health_check,
        proxy_protocol: take
            .one(neutral.choice(key::PROXY_PROTOCOL, &[("v2", true), ("off", false)])),
        idle_timeout_seconds: take.one(neutral.number(key::IDLE_TIMEOUT)),
        drain_seconds: take.one(neutral.number(key::DRAIN)),
        group: take.one(neutral.text(key::GROUP)),
        reclaim_policy: take
            .one(neutral.choice(key::RECLAIM_POLICY, &policies))
            .unwrap_or_default(),
        tags: take.one(neutral.map(key::TAGS)).unwrap_or_default(),
        approve: take.one(neutral.text(key::APPROVE)),
        paused: take.one(neutral.bool(key::PAUSED)).unwrap_or_default(),
    }
}

fn health_check(neutral: &Reader<'_>, problems: &mut Problems) -> HealthCheckOptions {
    let protocols = [
        ("tcp", HealthCheckProtocol::Tcp),
        ("http", HealthCheckProtocol::Http),
        ("https", HealthCheckProtocol::Https),
    ];
    let mut take = Take(problems);
    HealthCheckOptions {
        protocol: take.one(neutral.choice(key::HEALTH_CHECK_PROTOCOL, &protocols)),
        port: take.one(neutral.port(key::HEALTH_CHECK_PORT)),
        path: take.one(neutral.text(key::HEALTH_CHECK_PATH)),
        interval_seconds: take.one(neutral.number(key::HEALTH_CHECK_INTERVAL)),
        timeout_seconds: take.one(neutral.number(key::HEALTH_CHECK_TIMEOUT)),
        healthy_threshold: take.one(neutral.number(key::HEALTH_CHECK_HEALTHY_THRESHOLD)),
        unhealthy_threshold: take.one(neutral.number(key::HEALTH_CHECK_UNHEALTHY_THRESHOLD)),
    }
}

/// Keeps what could be read and collects the problems of the rest.
struct Take<'a>(&'a mut Problems);

impl Take<'_> {
    fn one<T>(&mut self, read: annotation::Read<T>) -> Option<T> {
        self.0.take(read).flatten()
    }
}

/// Addresses and names from our annotation; the field, which upstream deprecated, counts only without it.
fn static_address(
    spec: &ServiceSpec,
    neutral: &Reader<'_>,
    families: &[IpFamily],
    problems: &mut Problems,
) -> (Vec<IpAddr>, Vec<Arc<str>>) {
    let field = spec
        .load_balancer_ip
        .as_deref()
        .map(str::trim)
        .unwrap_or_default();
    let (place, addresses, names) = if neutral.raw(key::STATIC_ADDRESS).is_some() {
        let all = Take(problems)
            .one(neutral.addresses(key::STATIC_ADDRESS))
            .unwrap_or_default();
        (
            annotation::field(key::STATIC_ADDRESS),
            all.addresses,
            all.names,
        )
    } else if field.is_empty() {
        return (Vec::new(), Vec::new());
    } else {
        let place = "spec.loadBalancerIP".to_owned();
        let Ok(address) = field.parse() else {
            let advice =
                "Write it as 192.0.2.10 or 2001:db8::10, or remove the field for any free address.";
            problems.push(Problem::new(
                place,
                value::quote(field),
                "must be an IP address",
                advice,
            ));
            return (Vec::new(), Vec::new());
        };
        (place, vec![address], Vec::new())
    };
    for address in &addresses {
        let family = IpFamily::of(*address);
        if !families.contains(&family) {
            let message = format!("is {family}, which is not in spec.ipFamilies");
            let advice = format!(
                "Use an address of the Service's family, or add {family} to spec.ipFamilies."
            );
            problems.push(Problem::new(&place, address.to_string(), message, advice));
        }
    }
    (addresses, names)
}
