//! What other services are asked: who one is, certificates, objects by their tags. Decides.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::asked::{Parameters as _, pairs};
use super::refusal::{Answer, refuse};
use super::turn::{Ask, Turn};

/// STS API reference, GetCallerIdentity.
pub(super) fn caller(ask: &Ask<'_>) -> Answer {
    let account = &ask.place.account;
    Ok(
        json!({"Account": account, "UserId": account, "Arn": format!("arn:aws:iam::{account}:root")}),
    )
}

/// STS API reference, AssumeRole: keys that differ from the caller's, and end.
pub(super) fn assume_role(turn: &mut Turn<'_>) -> Answer {
    let role = turn.asked.required("RoleArn");
    let session = turn.asked.required("RoleSessionName");
    let id = turn.ids.elb().to_uppercase();
    let seconds = turn.asked.number("DurationSeconds").unwrap_or(3600);
    Ok(json!({
        "Credentials": {
            "AccessKeyId": format!("ASIA{id}"),
            "SecretAccessKey": "secret",
            "SessionToken": "token",
            "Expiration": (turn.wall + jiff::SignedDuration::from_secs(seconds)).to_string(),
        },
        "AssumedRoleUser": {
            "AssumedRoleId": format!("AROA{id}:{session}"),
            "Arn": format!("{}/{session}", role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")),
        },
    }))
}

/// STS API reference, DecodeAuthorizationMessage, errors: InvalidAuthorizationMessage. Nothing here is encoded.
pub(super) fn decode_message(_: &Ask<'_>) -> Answer {
    Err(refuse(
        "InvalidAuthorizationMessageException",
        "Invalid token",
    ))
}

/// ACM API reference, RequestCertificate. It is issued at once.
pub(super) fn request_certificate(turn: &mut Turn<'_>) -> Answer {
    let (region, account) = (&turn.place.region, &turn.place.account);
    let arn = format!(
        "arn:aws:acm:{region}:{account}:certificate/{}",
        turn.ids.elb()
    );
    let name = turn.asked.required("DomainName").to_owned();
    turn.state.certificates.insert(arn.clone(), name);
    Ok(json!({"CertificateArn": arn}))
}

/// Resource Groups Tagging API reference, GetResources: objects that are or were tagged, by tags ("OR" within a filter, "AND" between them)
/// and types, in pages.
pub(super) fn resources(ask: &Ask<'_>) -> Answer {
    let ec2 = |kind: &str, id: &str| {
        let (region, account) = (&ask.place.region, &ask.place.account);
        format!("arn:aws:ec2:{region}:{account}:{kind}/{id}")
    };
    let state = ask.state;
    let mut all: BTreeMap<String, &BTreeMap<String, String>> = BTreeMap::new();
    all.extend(
        state
            .load_balancers
            .iter()
            .map(|(arn, one)| (arn.to_owned(), &one.tags)),
    );
    all.extend(
        state
            .listeners
            .iter()
            .map(|(arn, one)| (arn.to_owned(), &one.tags)),
    );
    all.extend(
        state
            .target_groups
            .iter()
            .map(|(arn, one)| (arn.to_owned(), &one.tags)),
    );
    all.extend(
        state
            .security_groups
            .iter()
            .map(|(id, one)| (ec2("security-group", id), &one.tags)),
    );
    all.extend(
        state
            .subnets
            .iter()
            .map(|(id, one)| (ec2("subnet", id), &one.tags)),
    );
    all.extend(
        state
            .instances
            .iter()
            .map(|(id, one)| (ec2("instance", id), &one.tags)),
    );
    let types = ask.asked.texts("ResourceTypeFilters");
    let is_type = |arn: &str| {
        let mut parts = arn.split(':').skip(2);
        let service = parts.next().unwrap_or_default();
        let resource = parts.nth(2).unwrap_or_default();
        let mut types = types
            .iter()
            .map(|kind| kind.split_once(':').unwrap_or((kind, "")));
        types.any(|(of, kind)| {
            of == service && (kind.is_empty() || resource.split('/').next() == Some(kind))
        })
    };
    let has = |tags: &BTreeMap<String, String>| {
        ask.asked.list("TagFilters").iter().all(|filter| {
            let values = filter.texts("Values");
            let value = tags.get(filter.required("Key"));
            value.is_some_and(|value| values.is_empty() || values.contains(&&**value))
        })
    };
    let size = ask
        .asked
        .number("ResourcesPerPage")
        .map_or(100, |size| usize::try_from(size).unwrap_or(100));
    let after = ask.asked.text("PaginationToken").unwrap_or_default();
    let wanted = all.iter().filter(|(arn, tags)| {
        !tags.is_empty() && has(tags) && (types.is_empty() || is_type(arn)) && arn.as_str() > after
    });
    let page: Vec<_> = wanted.take(size + 1).collect();
    let next = match page.len() > size {
        true => page[size - 1].0.as_str(),
        false => "",
    };
    let shown = page
        .iter()
        .take(size)
        .map(|(arn, tags)| json!({"ResourceARN": arn, "Tags": pairs(tags)}));
    Ok(json!({"ResourceTagMappingList": shown.collect::<Value>(), "PaginationToken": next}))
}
