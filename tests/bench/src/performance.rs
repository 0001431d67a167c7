//! docs/performance.md: a part per bench, each with a heading of the first level (Decides; [`write()`] and [`committed`] touch the file).
//!
//! A bench writes its own part and leaves the others as they are, so that none must be run for another's sake.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance.md")
}

/// Puts a part into the page in place of the one that has its heading; returns where the page is.
///
/// # Errors
/// When the page cannot be read or written.
pub fn write(part: &str) -> Result<PathBuf> {
    let path = path();
    let page = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    std::fs::write(&path, put(&page, part))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The part of the committed page that has the heading of this one; empty where there is none.
///
/// # Panics
/// When there is no page.
#[must_use]
pub fn committed(part: &str) -> String {
    let path = path();
    let page = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let same = parts(&page)
        .into_iter()
        .find(|there| heading(there) == heading(part));
    same.map(|part| format!("{}\n", part.trim_end()))
        .unwrap_or_default()
}

/// The page with a part instead of the one that has its heading, or with one more at the end.
#[must_use]
pub fn put(page: &str, part: &str) -> String {
    let mut parts = parts(page);
    match parts
        .iter_mut()
        .find(|there| heading(there) == heading(part))
    {
        Some(there) => *there = part,
        None => parts.push(part),
    }
    let parts: Vec<_> = parts.iter().map(|part| part.trim_end()).collect();
    format!("{}\n", parts.join("\n\n"))
}

fn parts(page: &str) -> Vec<&str> {
    let mut begins: Vec<_> = page.match_indices("\n# ").map(|(at, _)| at + 1).collect();
    begins.insert(0, 0);
    let ends = begins[1..].iter().copied().chain([page.len()]);
    begins
        .iter()
        .zip(ends)
        .map(|(begin, end)| &page[*begin..end])
        .filter(|part| !part.trim().is_empty())
        .collect()
}

fn heading(part: &str) -> &str {
    part.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::put;

    #[test]
    fn a_part_replaces_its_own_and_no_other() {
        let page = "# A\n\none\n\n## Of A\ntwo\n\n# B\nthree\n";
        assert_eq!(put(page, "# A\n\nfour\n"), "# A\n\nfour\n\n# B\nthree\n");
        assert_eq!(
            put(page, "# B\n\nfour\n"),
            "# A\n\none\n\n## Of A\ntwo\n\n# B\n\nfour\n"
        );
        assert_eq!(
            put("# A\none\n", "# B\n\nfour\n"),
            "# A\none\n\n# B\n\nfour\n"
        );
        assert_eq!(put("", "# B\nfour\n"), "# B\nfour\n");
        assert_eq!(put(page, "# A\n\none\n\n## Of A\ntwo\n"), page);
    }
}
