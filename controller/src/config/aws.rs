//! Options of the `aws` provider (Decides).
//!
//! What AWS's own tools read from the environment (credentials, profiles, dual-stack endpoints) is read from there and has
//! no option here.

use std::ops::RangeInclusive;

use evenkeel_aws::{
    SSL_POLICY,
    desired::{too_many_tags, wrong_tag},
    limiter::Rates,
    model::Pairs,
    quotas::Quotas,
};
use evenkeel_core::problem::{Problem, Problems};

use super::{
    cloud::{self, Wrong, checked, endpoint},
    sources::{Given, Sources},
};

/// The API server's default of `--service-node-port-range`.
const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// What the `aws` provider runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsConfig {
    /// The region. None: as AWS's tools find it, else the one of the nodes.
    pub region: Option<String>,
    /// The VPC. None: the one of the nodes.
    pub vpc: Option<String>,
    /// `spec.providerID` of one of the nodes, once it was found; no option.
    pub node: Option<String>,
    /// Where all of AWS's APIs are, for emulators. None: where AWS says.
    pub endpoint: Option<String>,
    /// ARN of a role to assume, for load balancers in another account.
    pub role: Option<String>,
    /// The external id that the role's trust policy asks for. AWS holds it for no secret.
    pub external_id: Option<String>,
    /// Tags for every object.
    pub tags: Pairs,
    /// The security policy of TLS listeners where a Service names none.
    pub ssl_policy: String,
    /// The API server's `--service-node-port-range`.
    pub node_ports: RangeInclusive<u16>,
    /// How many calls a second AWS is asked for.
    pub rates: Rates,
    /// How many of everything the account may have.
    pub quotas: Quotas,
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self {
            region: None,
            vpc: None,
            node: None,
            endpoint: None,
            role: None,
            external_id: None,
            tags: Pairs::new(),
            ssl_policy: SSL_POLICY.to_owned(),
            node_ports: NODE_PORTS,
            rates: Rates::default(),
            quotas: Quotas::default(),
        }
    }
}

impl AwsConfig {
    pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Self {
        let text = |key| sources.text(key).map(str::to_owned);
        let external_id = checked(sources, "aws-external-id", problems, external_id);
        if let Some(Given { place, text }) = sources.given("aws-external-id")
            && sources.given("aws-assume-role").is_none()
        {
            problems.push(Problem::new(
                place,
                text,
                "is for a role to assume, and there is none",
                "Set aws-assume-role too, or leave it out.",
            ));
        }
        Self {
            region: checked(sources, "aws-region", problems, region),
            vpc: checked(sources, "aws-vpc-id", problems, vpc),
            node: None,
            endpoint: checked(sources, "aws-endpoint", problems, endpoint),
            role: checked(sources, "aws-assume-role", problems, role),
            external_id,
            tags: tags(sources.texts("aws-tag"), problems),
            ssl_policy: text("aws-ssl-policy").unwrap_or_else(|| SSL_POLICY.to_owned()),
            node_ports: node_ports(sources, problems),
            rates: rates(sources.texts("aws-rate"), problems),
            quotas: quotas(sources.texts("aws-quota"), problems),
        }
    }
}

fn region(text: &str) -> Option<Wrong> {
    let parts: Vec<&str> = text.split('-').collect();
    let lower = |part: &&str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let ends = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    let good = parts.len() >= 3 && parts.iter().all(lower) && parts.last().is_some_and(ends);
    (!good).then_some((
        "must be the name of a region",
        "Write it as eu-west-1; a zone (eu-west-1a) is none.",
    ))
}

fn vpc(text: &str) -> Option<Wrong> {
    let good = text
        .strip_prefix("vpc-")
        .is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (!good).then_some((
        "must be the id of a VPC",
        "Write it as vpc-0a1b2c3d4e5f60718, or leave it out for the VPC of the nodes.",
    ))
}

fn role(text: &str) -> Option<Wrong> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let good = matches!(&parts[..], ["arn", partition, "iam", "", account, name]
        if partition.starts_with("aws")
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && name.strip_prefix("role/").is_some_and(|name| !name.is_empty()));
    (!good).then_some((
        "must be the ARN of a role",
        "Write it as arn:aws:iam::123456789012:role/evenkeel.",
    ))
}

/// STS API reference, AssumeRole: 2 to 1224 characters, `[\w+=,.@:\/-]*`.
fn external_id(text: &str) -> Option<Wrong> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    let good = (2..=1_224).contains(&text.len()) && text.bytes().all(allowed);
    (!good).then_some((
        "must be 2 to 1224 letters, digits or characters of _+=,.@:/-",
        "Write it as the trust policy of the role has it in sts:ExternalId.",
    ))
}

/// Reads `Team=edge`.
fn tags(given: &[Given], problems: &mut Problems) -> Pairs {
    let mut tags = Pairs::new();
    for one in given {
        let Some((key, value)) = cloud::pair(one, problems) else {
            continue;
        };
        if let Some(wrong) = wrong_tag(key, value) {
            let advice = "Choose another key or value.";
            problems.push(Problem::new(&one.place, &one.text, wrong, advice));
        }
        tags.insert(key.into(), value.into());
    }
    if let (Some(wrong), Some(last)) = (too_many_tags(&tags), given.last()) {
        let number = tags.len().to_string();
        problems.push(Problem::new(&last.place, number, wrong, "Remove some."));
    }
    tags
}

/// Reads `30000-32767`.
fn node_ports(sources: &Sources, problems: &mut Problems) -> RangeInclusive<u16> {
    let Some(Given { place, text }) = sources.given("aws-node-ports") else {
        return NODE_PORTS;
    };
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first > 0 && first <= last).then_some(first..=last)
    });
    range.unwrap_or_else(|| {
        problems.push(Problem::new(
            place,
            text,
            "must be a range of ports, FIRST-LAST",
            "Write it as the API server's --service-node-port-range, whose default is 30000-32767.",
        ));
        NODE_PORTS
    })
}

/// Reads `elb=10` and `elb=10:40`.
fn rates(given: &[Given], problems: &mut Problems) -> Rates {
    let mut rates = Rates::default();
    for one in given {
        cloud::rate(one, &Rates::NAMES, |name| rates.named(name), problems);
    }
    rates
}

/// Reads `load-balancers=200`.
fn quotas(given: &[Given], problems: &mut Problems) -> Quotas {
    const ADVICE: &str = "Write it as load-balancers=200, with what Service Quotas of AWS shows for your account and region.";
    let mut quotas = Quotas::default();
    for Given { place, text } in given {
        if let Err(wrong) = quotas.read(text) {
            problems.push(Problem::new(place, text, wrong, ADVICE));
        }
    }
    if let (Some(wrong), Some(Given { place, text })) = (quotas.contradiction(), given.last()) {
        problems.push(Problem::new(place, text, wrong, ADVICE));
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_from_what_is_none() {
        type Form = fn(&str) -> Option<Wrong>;
        let table: [(Form, &[&str], &[&str]); 5] = [
            (
                region,
                &["eu-west-1", "us-gov-east-1", "cn-north-1", "us-iso-east-1"],
                &["eu-west-1a", "eu-west", "EU-WEST-1", "", "eu--1"],
            ),
            (vpc, &["vpc-0a1b2c3d"], &["vpc-", "subnet-0a", "vpc-xyz"]),
            (
                endpoint,
                &["http://127.0.0.1:5555", "https://vpce.example.com"],
                &["127.0.0.1:5555", "ftp://a", "http://"],
            ),
            (
                role,
                &[
                    "arn:aws:iam::123456789012:role/evenkeel",
                    "arn:aws-us-gov:iam::123456789012:role/path/name",
                ],
                &[
                    "evenkeel",
                    "arn:aws:iam::12:role/a",
                    "arn:aws:iam::123456789012:user/a",
                    "arn:aws:iam::123456789012:role/",
                ],
            ),
            (
                external_id,
                &["42", "shop:eu/7", "a_b+c=d,e.f@g-h"],
                &["7", "with space", "\u{e4}\u{e4}"],
            ),
        ];
        for (form, good, bad) in table {
            for text in good {
                assert_eq!(form(text), None, "{text}");
            }
            for text in bad {
                assert!(form(text).is_some(), "{text}");
            }
        }
    }
}
