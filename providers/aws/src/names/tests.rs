//! Lists of fields as tags.

use super::*;

#[test]
fn lists_of_fields_come_back_whole() {
    let long: Vec<String> = (0..9).map(|n| format!("{n}{}", "x".repeat(100))).collect();
    for fields in [
        vec![],
        vec!["tcp.idle_timeout.seconds"],
        vec!["@", "@_", "a b", "cost center", "user@example.org"],
        long.iter().map(String::as_str).collect(),
    ] {
        let tags = list(tag::TAGS, fields.iter().copied());
        assert!(
            tags.values().all(|value| value.len() <= TAG_VALUE),
            "{tags:?}"
        );
        let want: BTreeSet<Arc<str>> = fields.into_iter().map(Arc::from).collect();
        assert_eq!(listed(&tags, tag::TAGS), want);
    }
}
