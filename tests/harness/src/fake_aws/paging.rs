//! Pages. Decides.
//!
//! A marker names the last item of its page, so that pages neither repeat nor skip what is there all the while.

use serde_json::{Value, json};

use super::asked::Parameters as _;
use super::refusal::{Answer, Refusal, bad_value, invalid, refuse};

const MARK: &str = "after:";

/// ELB API reference, `PageSize` of the Describe operations: 1 to 400, and 400 where none is given.
const ELB_PAGE: usize = 400;

/// One page of ELB's, with the marker of the next. `items` ascend by id.
pub(super) fn elb<'a, T: 'a>(
    asked: &Value,
    name: &str,
    items: impl Iterator<Item = (&'a str, T)>,
    show: impl Fn(T) -> Value,
) -> Answer {
    let size = match asked.number("PageSize") {
        Some(size) => usize::try_from(size).unwrap_or(ELB_PAGE),
        None => ELB_PAGE,
    };
    let after = after(asked.text("Marker"), |marker| {
        invalid(format!("'{marker}' is not a valid marker"))
    })?;
    let (page, next) = page(items, size, after, show);
    Ok(json!({name: page, "NextMarker": next}))
}

/// One page of EC2's, with the token of the next; all at once where no size is given.
///
/// EC2 API reference, `MaxResults` of DescribeInstances: "You cannot specify this parameter and the instance IDs parameter in the same
/// request."
pub(super) fn ec2<'a, T: 'a>(
    asked: &Value,
    ids: &str,
    name: &str,
    items: impl Iterator<Item = (&'a str, T)>,
    show: impl Fn(T) -> Value,
) -> Answer {
    let size = asked.number("MaxResults");
    if size.is_some() && !asked.list(ids).is_empty() {
        return Err(refuse(
            "InvalidParameterCombination",
            format!("The parameter {ids} cannot be used with the parameter MaxResults"),
        ));
    }
    let after = after(asked.text("NextToken"), |token| {
        bad_value(format!("Invalid value '{token}' for nextToken."))
    })?;
    let size = size.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(0));
    let (page, next) = page(items, size, after, show);
    Ok(json!({name: page, "NextToken": next}))
}

fn after(marker: Option<&str>, refusal: impl Fn(&str) -> Refusal) -> Result<Option<&str>, Refusal> {
    let Some(marker) = marker else {
        return Ok(None);
    };
    let after = marker.strip_prefix(MARK).ok_or_else(|| refusal(marker))?;
    Ok(Some(after))
}

fn page<'a, T: 'a>(
    items: impl Iterator<Item = (&'a str, T)>,
    size: usize,
    after: Option<&str>,
    show: impl Fn(T) -> Value,
) -> (Vec<Value>, Option<String>) {
    let mut items = items
        .skip_while(|(id, _)| after.is_some_and(|after| *id <= after))
        .peekable();
    let (mut page, mut last) = (Vec::new(), "");
    while page.len() < size
        && let Some((id, item)) = items.next()
    {
        page.push(show(item));
        last = id;
    }
    let next = items.peek().map(|_| format!("{MARK}{last}"));
    (page, next)
}
