//! Whether the values of a request lie in their ranges. Decides: no IO.
//!
//! The wire types say what a field is; this says what it may hold. The first wrong value is reported, with its
//! field, its value and what is allowed. Rules that need other objects are in `store`.

use std::{collections::HashSet, fmt::Display, net::IpAddr, ops::RangeInclusive};

use super::pool::unusable;
use crate::api::{
    ApiError, BackendSetSpec, Family, HealthCheck, HealthCheckKind, LeaseSpec, ListenerSpec, Marks,
    code,
};

/// Most entries of a list: far above what one machine can serve, low enough to bound the work of one request.
const MAX_LIST: usize = 10_000;
/// Longest mark: two Kubernetes names of 253 characters and a slash fit.
const MAX_MARK: usize = 512;
const MAX_LABELS: usize = 16;
const MAX_PATH: usize = 1_024;

/// Checks an object's name.
pub(crate) fn name(field: &str, name: &str) -> Result<(), ApiError> {
    let fine = (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    require(
        fine,
        field,
        shorten(name),
        "1 to 128 characters of a-z, 0-9 and -",
    )
}

/// Checks an owner's marks.
pub(crate) fn marks(marks: &Marks) -> Result<(), ApiError> {
    let Marks {
        cluster,
        group,
        service,
        member,
        retain: _,
        labels,
    } = marks;
    for (field, value) in [
        ("cluster", cluster),
        ("group", group),
        ("service", service),
        ("member", member),
    ] {
        let fine = (1..=MAX_MARK).contains(&value.len()) && !value.chars().any(char::is_control);
        require(
            fine,
            &format!("marks.{field}"),
            shorten(value),
            "1 to 512 bytes of visible text",
        )?;
    }
    require(
        labels.len() <= MAX_LABELS,
        "marks.labels",
        format!("{} entries", labels.len()),
        "at most 16 entries",
    )?;
    for (key, value) in labels {
        let key_fine = (1..=128).contains(&key.len()) && !key.chars().any(char::is_control);
        require(
            key_fine,
            "marks.labels",
            shorten(key),
            "keys of 1 to 128 bytes without control characters",
        )?;
        let value_fine = value.len() <= 1_024 && !value.chars().any(char::is_control);
        let field = format!("marks.labels.{}", shorten(key));
        require(
            value_fine,
            &field,
            shorten(value),
            "at most 1024 bytes without control characters",
        )?;
    }
    Ok(())
}

/// Checks what a lease asks.
pub(crate) fn lease(spec: &LeaseSpec) -> Result<(), ApiError> {
    if let Some(address) = spec.address {
        require(
            Family::of(address) == spec.family,
            "spec.address",
            address,
            &format!("an address of the family {}", spec.family),
        )?;
    }
    if let Some(pool) = &spec.pool {
        let fine = (1..=63).contains(&pool.len()) && !pool.chars().any(char::is_control);
        require(
            fine,
            "spec.pool",
            shorten(pool),
            "the name of a pool, of 1 to 63 characters",
        )?;
    }
    list("spec.ports", spec.ports.len())?;
    for (index, port) in spec.ports.iter().enumerate() {
        range(
            &format!("spec.ports[{index}].port"),
            port.port,
            1..=u16::MAX,
        )?;
    }
    Ok(())
}

/// Checks what a backend set asks.
pub(crate) fn backend_set(spec: &BackendSetSpec) -> Result<(), ApiError> {
    list("spec.targets", spec.targets.len())?;
    range("spec.drain_seconds", spec.drain_seconds, 0..=86_400)?;
    if let Some(seconds) = spec.affinity_seconds {
        range("spec.affinity_seconds", seconds, 1..=86_400)?;
    }
    let mut seen = HashSet::with_capacity(spec.targets.len());
    for (index, target) in spec.targets.iter().enumerate() {
        let at = |field: &str| format!("spec.targets[{index}].{field}");
        let node = !target.node.is_empty()
            && target.node.len() <= 253
            && !target.node.chars().any(char::is_control);
        require(
            node,
            &at("node"),
            shorten(&target.node),
            "a node's name of 1 to 253 bytes",
        )?;
        usable(&at("address"), target.address)?;
        range(&at("port"), target.port, 1..=u16::MAX)?;
        require(
            seen.insert((target.address, target.port)),
            &format!("spec.targets[{index}]"),
            format!("{} port {}", target.address, target.port),
            "each address and port once",
        )?;
    }
    spec.health_check.as_ref().map_or(Ok(()), health_check)
}

fn health_check(check: &HealthCheck) -> Result<(), ApiError> {
    let HealthCheck {
        kind,
        port,
        interval_ms,
        timeout_ms,
        rise,
        fall,
    } = check;
    range("spec.health_check.interval_ms", *interval_ms, 100..=300_000)?;
    range("spec.health_check.timeout_ms", *timeout_ms, 50..=60_000)?;
    range("spec.health_check.rise", *rise, 1..=10)?;
    range("spec.health_check.fall", *fall, 1..=10)?;
    if let Some(port) = port {
        range("spec.health_check.port", *port, 1..=u16::MAX)?;
    }
    match kind {
        HealthCheckKind::Tcp => Ok(()),
        HealthCheckKind::Http { path } => {
            let fine = path.starts_with('/')
                && path.len() <= MAX_PATH
                && path.bytes().all(|byte| byte.is_ascii_graphic())
                && path.parse::<http::Uri>().is_ok();
            require(
                fine,
                "spec.health_check.kind.path",
                shorten(path),
                "an absolute path of visible ASCII, for example /healthz",
            )
        }
    }
}

/// Checks what a listener asks.
pub(crate) fn listener(spec: &ListenerSpec) -> Result<(), ApiError> {
    name("spec.lease", &spec.lease)?;
    name("spec.backend_set", &spec.backend_set)?;
    range("spec.port", spec.port, 1..=u16::MAX)?;
    list(
        "spec.source_ranges",
        spec.source_ranges.as_ref().map_or(0, Vec::len),
    )?;
    if let Some(most) = spec.max_connections {
        range("spec.max_connections", most, 1..=1_000_000)?;
    }
    match spec.idle_timeout_seconds {
        Some(seconds) => range("spec.idle_timeout_seconds", seconds, 1..=604_800),
        None => Ok(()),
    }
}

fn usable(field: &str, address: IpAddr) -> Result<(), ApiError> {
    match unusable(address) {
        Some(what) => require(
            false,
            field,
            format!("{address} ({what})"),
            "the address of a node",
        ),
        None => Ok(()),
    }
}

fn list(field: &str, length: usize) -> Result<(), ApiError> {
    require(
        length <= MAX_LIST,
        field,
        format!("{length} entries"),
        "at most 10000 entries",
    )
}

fn range<T: PartialOrd + Display + Copy>(
    field: &str,
    value: T,
    allowed: RangeInclusive<T>,
) -> Result<(), ApiError> {
    require(
        allowed.contains(&value),
        field,
        value,
        &format!("a number from {} to {}", allowed.start(), allowed.end()),
    )
}

fn require(fine: bool, field: &str, value: impl Display, allowed: &str) -> Result<(), ApiError> {
    if fine {
        return Ok(());
    }
    Err(ApiError::new(
        code::INVALID,
        format!("{field}: `{value}` is not allowed; set it to {allowed}"),
    )
    .at(field))
}

/// A value as an error message may carry it.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut short: String = text
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
