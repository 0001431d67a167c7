//! Golden rows: numbered situations, each in exactly one place of a provider's tests (Reads their sources).
//!
//! A row is a test `row_NNN_…`, or stands in a table with the reason why no test of it is as the row says: what is done otherwise on purpose
//! in `changed.md`, what cannot be shown yet in `open.md`. What a table tells may have tests too, `changed_NNN_…` or `open_NNN_…`.

use std::{collections::BTreeMap, fs, path::Path};

/// The rows of a provider.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// They are numbered from 1 to this.
    pub last: u32,
    /// The directory of a provider's tests: `tests` of its crate.
    pub tests: &'static str,
    /// The directories below it with the sources of the tests; the tables are in the first one.
    pub directories: &'static [&'static str],
    /// The tables: `changed` is `changed.md`, with tests `changed_NNN_…`.
    pub tables: &'static [&'static str],
}

impl Rows {
    /// Each row is in exactly one place.
    ///
    /// # Panics
    /// Where one is not, and where a file cannot be read.
    pub fn are_complete(&self) {
        let mut places: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for number in self.named("row_") {
            places.entry(number).or_default().push("a test");
        }
        for table in self.tables {
            for number in self.listed(table) {
                places.entry(number).or_default().push(table);
            }
        }
        let wrong: Vec<_> = (1..=self.last)
            .map(|number| (number, places.remove(&number).unwrap_or_default()))
            .filter(|(_, places)| places.len() != 1)
            .collect();
        assert_eq!(wrong, [], "rows that are not in exactly one place");
        assert_eq!(places, BTreeMap::new(), "rows that there are not");
    }

    /// A test of what a table tells is about one of its rows.
    ///
    /// # Panics
    /// Where one is not, and where a file cannot be read.
    pub fn agree_with_tables(&self) {
        for table in self.tables {
            let rows = self.listed(table);
            for number in self.named(&format!("{table}_")) {
                assert!(rows.contains(&number), "{number} is not in {table}.md");
            }
        }
    }

    /// The numbers of the tests whose names begin so, each as often as it stands in the files.
    fn named(&self, prefix: &str) -> Vec<u32> {
        let sources = self.directories.iter().flat_map(|name| {
            let directory = Path::new(self.tests).join(name);
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"))
        });
        let sources = sources.map(|file| file.expect("a file").path());
        let sources =
            sources.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        let mut numbers = Vec::new();
        for source in sources {
            let text = read(&source);
            let names = text.lines().filter_map(|line| {
                let name = line.trim_start().trim_start_matches("async ");
                name.strip_prefix("fn ")?.strip_prefix(prefix)
            });
            numbers.extend(names.map(|name| -> u32 {
                let digits = name.get(..3).and_then(|digits| digits.parse().ok());
                digits.unwrap_or_else(|| panic!("{prefix}{name} has no number of three digits"))
            }));
        }
        numbers
    }

    /// The numbers in the first column of a table.
    fn listed(&self, table: &str) -> Vec<u32> {
        let directory = self.directories.first().expect("a directory");
        let text = read(
            &Path::new(self.tests)
                .join(directory)
                .join(format!("{table}.md")),
        );
        text.lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.parse().ok())
            .collect()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}
