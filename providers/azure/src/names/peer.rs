//! The names that the cloud provider of Azure gives (Decides). Ours are others: these are for recognising what can be adopted.

use evenkeel_core::ids::ServiceUid;

/// Names are cut here, so that a suffix of five still fits into Azure's 80 characters.
const LONGEST: usize = 75;

/// What the names of a Service's objects begin with.
pub fn base(uid: &ServiceUid) -> String {
    let name = format!("a{}", uid.as_str().replace('-', ""));
    name.chars().take(32).collect()
}

/// A frontend; in a subnet of its own the subnet is in its name.
pub fn frontend(base: &str, subnet: Option<&str>) -> String {
    let Some(subnet) = subnet else {
        return base.to_owned();
    };
    let whole = format!("{base}-{subnet}");
    let mut name: String = whole.chars().take(LONGEST).collect();
    if whole.len() > LONGEST
        && let Some(last) = name.pop()
    {
        name.push(if last.is_ascii_alphabetic() {
            last
        } else {
            '_'
        });
    }
    name
}

/// A rule, and the probe of its port: `TCP`, 443.
pub fn rule(base: &str, subnet: Option<&str>, protocol: &str, port: u16) -> String {
    let Some(subnet) = subnet else {
        return format!("{base}-{protocol}-{port}");
    };
    let end = format!("{protocol}-{port}");
    let room = LONGEST.saturating_sub(base.len() + end.len() + 2);
    let subnet: String = subnet.chars().take(room).collect();
    format!("{base}-{subnet}-{end}")
}

/// A public IP address of the cluster of this name.
pub fn public_ip(cluster: &str, base: &str, prefix: Option<&str>) -> String {
    let whole = match prefix {
        None => format!("{cluster}-{base}"),
        Some(prefix) => format!("{cluster}-{base}-{prefix}"),
    };
    whole.chars().take(LONGEST).collect()
}
