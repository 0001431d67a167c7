//! Who may connect: one of three places says it (Decides).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceSpec;

use super::problems_of;
use crate::{
    annotation::{self, Reader, key, value},
    intent::SourceRanges,
    net::{Cidr, IpFamily},
    problem::{Problem, Problems, Warning, reason},
};

/// Who may connect: the field, else our annotation, else upstream's. They are never merged.
pub(super) fn source_ranges(
    spec: &ServiceSpec,
    annotations: &BTreeMap<String, String>,
    neutral: &Reader<'_>,
    families: &[IpFamily],
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) -> SourceRanges {
    let listed = spec
        .load_balancer_source_ranges
        .as_deref()
        .unwrap_or_default();
    let upstream = annotations
        .get(key::UPSTREAM_SOURCE_RANGES)
        .map(|ranges| ranges.trim());
    let (field, ranges) = if !listed.is_empty() {
        let field = "spec.loadBalancerSourceRanges".to_owned();
        (field, problems_of(listed_ranges(listed), problems))
    } else if neutral.raw(key::SOURCE_RANGES).is_some() {
        let ranges = problems.take(neutral.cidrs(key::SOURCE_RANGES));
        (annotation::field(key::SOURCE_RANGES), ranges.flatten())
    } else if let Some(ranges) = upstream.filter(|ranges| !ranges.is_empty()) {
        let ranges = value::cidrs(key::UPSTREAM_SOURCE_RANGES, ranges);
        (
            annotation::field(key::UPSTREAM_SOURCE_RANGES),
            problems.take(ranges),
        )
    } else {
        return SourceRanges::All;
    };
    let Some(ranges) = ranges else {
        return SourceRanges::All;
    };
    let ranges = normalised(ranges, families);
    if let SourceRanges::Only(ranges) = &ranges {
        warnings.extend(range_warnings(&field, ranges, families));
    }
    ranges
}

fn listed_ranges(listed: &[String]) -> Result<Vec<Cidr>, Problems> {
    let mut problems = Problems::none();
    let mut ranges = Vec::new();
    for (index, range) in listed.iter().enumerate() {
        if let Ok(range) = range.parse() {
            ranges.push(range);
            continue;
        }
        let advice = match value::single(range) {
            Some(single) => format!("Write a single address as {single}."),
            None => "Write it as address/length, such as 10.0.0.0/8.".to_owned(),
        };
        let field = format!("spec.loadBalancerSourceRanges[{index}]");
        problems.push(Problem::new(
            field,
            value::quote(range),
            "must be a CIDR",
            advice,
        ));
    }
    problems.check()?;
    Ok(ranges)
}

/// Sorted and each once. A `/0` opens its family whatever stands beside it, and everyone may connect once every
/// family of the Service is open.
fn normalised(mut ranges: Vec<Cidr>, families: &[IpFamily]) -> SourceRanges {
    let everything = |range: &Cidr| range.net().prefix_len() == 0;
    let open: Vec<_> = ranges
        .iter()
        .filter(|range| everything(range))
        .map(|range| range.family())
        .collect();
    if families.iter().all(|family| open.contains(family)) {
        return SourceRanges::All;
    }
    ranges.retain(|range| everything(range) || !open.contains(&range.family()));
    ranges.sort_unstable();
    ranges.dedup();
    SourceRanges::Only(ranges)
}

fn range_warnings(field: &str, ranges: &[Cidr], families: &[IpFamily]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |message| warnings.push(Warning::new(reason::INVALID_CONFIGURATION, message));
    let foreign: Vec<_> = ranges
        .iter()
        .filter(|range| !families.contains(&range.family()))
        .collect();
    if !foreign.is_empty() {
        let foreign: Vec<_> = foreign.iter().map(ToString::to_string).collect();
        warn(format!(
            "{field}: {} are of a family that is not in spec.ipFamilies and let nobody in. Add the family, or remove them.",
            foreign.join(", ")
        ));
    }
    for family in families {
        if !ranges.iter().any(|range| range.family() == *family) {
            warn(format!(
                "{field} has no {family} range, so nobody may connect over {family}. \
                 Add the {family} ranges that may, or remove the family from spec.ipFamilies.",
            ));
        }
    }
    warnings
}
