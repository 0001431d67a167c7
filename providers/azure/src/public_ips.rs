//! Public IP addresses in Azure's words, and back (Decides).

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::net::IpFamily;
use serde_json::{Value, json};

use crate::{
    Context,
    model::{NewPublicIp, Pairs, Phase, SeenPublicIp},
    names::tag,
    shared::json::Document,
};

/// What Azure sent of one, with its id.
pub(crate) fn read(document: &Document) -> Option<(Arc<str>, SeenPublicIp)> {
    let id = text(document.field("id")?)?;
    let property = |name: &str| -> Value {
        let raw = document.property(name);
        raw.and_then(|raw| serde_json::from_str(raw).ok())
            .unwrap_or_default()
    };
    let v6 = property("publicIPAddressVersion") == "IPv6";
    let sku = document.field("sku").unwrap_or_default();
    let standard = sku["name"].as_str().unwrap_or_default();
    let seen = SeenPublicIp {
        family: if v6 { IpFamily::V6 } else { IpFamily::V4 },
        address: property("ipAddress")
            .as_str()
            .and_then(|ip| ip.parse().ok()),
        standard: standard.eq_ignore_ascii_case("Standard"),
        phase: match property("provisioningState").as_str() {
            Some("Updating") => Phase::Updating,
            Some("Deleting") => Phase::Deleting,
            Some("Failed") => Phase::Failed,
            _ => Phase::Ready,
        },
        tags: tags(document),
        dns_label: text(property("dnsSettings")["domainNameLabel"].take()),
        attached: text(property("ipConfiguration")["id"].take()),
    };
    Some((id, seen))
}

fn text(value: Value) -> Option<Arc<str>> {
    value.as_str().map(Arc::from)
}

fn tags(document: &Document) -> Pairs {
    let tags = document.field("tags").unwrap_or_default();
    let tags = tags.as_object().into_iter().flatten();
    tags.filter_map(|(key, value)| Some((Arc::from(&**key), text(value.clone())?)))
        .collect()
}

/// One that is not there yet.
pub(crate) fn made(context: &Context, new: &NewPublicIp) -> Document {
    let mut document = Document::new(&[
        ("location", json!(&*context.location)),
        ("sku", json!({ "name": "Standard", "tier": "Regional" })),
        ("tags", words(&new.tags)),
    ]);
    let version = match new.family {
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    };
    document.set_property("publicIPAllocationMethod", &json!("Static"));
    document.set_property("publicIPAddressVersion", &json!(version));
    document.set_property("dnsSettings", &label(new));
    if let Some(id) = &new.prefix {
        document.set_property("publicIPPrefix", &json!({ "id": **id }));
    }
    if !new.ip_tags.is_empty() {
        let tags = new.ip_tags.iter();
        let tags: Value = tags
            .map(|(kind, tag)| json!({ "ipTagType": **kind, "tag": **tag }))
            .collect();
        document.set_property("ipTags", &tags);
    }
    document
}

/// One that is there, as it shall be: tags that somebody else set stay, as does all that cannot be changed.
pub(crate) fn changed(mut there: Document, new: &NewPublicIp) -> Document {
    let mut all = tags(&there);
    let once = all.get(tag::TAGS).cloned().unwrap_or_default();
    all.retain(|name, _| {
        !name.starts_with(tag::PREFIX) && !once.split(' ').any(|once| *once == **name)
    });
    all.extend(new.tags.clone());
    there.set_field("tags", &words(&all));
    let now = there.property("dnsSettings");
    let now: Value = now
        .and_then(|raw| serde_json::from_str(raw).ok())
        .unwrap_or_default();
    if text(now["domainNameLabel"].clone()) != new.dns_label {
        there.set_property("dnsSettings", &label(new));
    }
    there
}

fn label(new: &NewPublicIp) -> Value {
    let label = new.dns_label.as_deref();
    label.map_or(Value::Null, |label| json!({ "domainNameLabel": label }))
}

fn words(tags: &Pairs) -> Value {
    let tags: BTreeMap<&str, &str> = tags.iter().map(|(key, value)| (&**key, &**value)).collect();
    json!(tags)
}

/// The name of an address in words that know no case.
pub(crate) fn folded(id: &str) -> String {
    id.to_ascii_lowercase()
}
