//! The samples of a text that Prometheus reads (Decides).

use std::collections::BTreeMap;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric's name.
    pub name: &'a str,
    /// Its labels by name.
    pub labels: BTreeMap<&'a str, String>,
    /// Its value.
    pub value: f64,
}

impl Sample<'_> {
    /// The value as a count: counters and gauges of whole things are below 2^53, and never negative.
    pub fn count(&self) -> u64 {
        whole(self.value)
    }

    /// A label; empty where it has none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A float as a count.
pub(super) fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float is made whole; negative becomes nothing"
    )]
    let whole = value as u64;
    whole
}

/// All samples of a text. What is none is passed over.
pub fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    // A time may follow.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name,
        labels,
        value,
    })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<&str, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        rest = loop {
            match characters.next()? {
                (at, '"') => break &after[at + 1..],
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name, value);
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_as_they_are_written() {
        let text = "# TYPE a counter\na_total 3\nb{x=\"1\",y=\"q\\\"\\\\\\n}\"} 2.5 1700000000\nnonsense\nc{x=\"1 2\nd{} -1\n# EOF\n";
        let read: Vec<_> = samples(text)
            .map(|sample| {
                let labels: Vec<_> = sample.labels.into_iter().collect();
                (sample.name, labels, sample.value)
            })
            .collect();
        let want = [
            ("a_total", vec![], 3.0),
            (
                "b",
                vec![("x", "1".to_owned()), ("y", "q\"\\\n}".to_owned())],
                2.5,
            ),
            ("d", vec![], -1.0),
        ];
        assert_eq!(read, want);
        assert_eq!((whole(2.9), whole(-1.0)), (2, 0));
    }
}
