//! Who holds what a cluster has in a cloud (Decides; a [`Ledger`] Reads and Writes).
//!
//! A cluster that was restored from a backup has the identity of the one that was backed up. When both run, each takes the other's
//! load balancers for its own. What tells them apart is what they did since: whoever is about to write puts a mark of his own on
//! something that the cluster has in the cloud, and writes it into the cluster before. A mark in the cloud that is not written in the
//! cluster is another's. A restart or a change of the leader is none: the cluster knows the marks of every process that it had.

use async_trait::async_trait;

use crate::error::CloudError;

/// How many marks are remembered: a look may be late, and show the one before the last.
const MOST: usize = 16;

/// How a mark begins that says that two have claimed one thing: it is nobody's.
pub const CONTESTED: &str = "contested-by-";

/// What a cluster knows of its marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Those that it has put into the cloud, or was about to, oldest first.
    pub marks: Vec<String>,
    /// Another's mark that a person has this cluster take over from.
    pub taken_over: Option<String>,
}

/// Whose a mark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Nobody's, as far as can be told: there is none, or the cluster remembers none of its own.
    Nobodys,
    /// Of this cluster.
    Ours,
    /// Of another cluster with the same identity.
    Anothers,
}

impl Record {
    /// Whose a mark is that was seen in the cloud.
    #[must_use]
    pub fn whose(&self, seen: Option<&str>) -> Whose {
        let Some(seen) = seen else {
            return Whose::Nobodys;
        };
        let is = |mark: &String| mark == seen;
        if self.marks.iter().chain(&self.taken_over).any(is) {
            Whose::Ours
        } else if self.marks.is_empty() && !seen.starts_with(CONTESTED) {
            Whose::Nobodys
        } else {
            Whose::Anothers
        }
    }

    /// The same with one mark more. What a person allowed to take over from is known from then on, until that is over.
    #[must_use]
    pub fn with(&self, mark: &str) -> Self {
        let mut marks = self.marks.clone();
        marks.extend(self.taken_over.clone());
        marks.retain(|known| known != mark);
        marks.push(mark.to_owned());
        marks.drain(..marks.len().saturating_sub(MOST));
        Self {
            marks,
            taken_over: None,
        }
    }
}

/// Where a cluster remembers the marks that it has put into one cloud.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Which installation of the controller this is, of several that serve one cluster: each has marks of its own.
    fn installation(&self) -> &str;

    /// A mark that nobody has used.
    fn new_mark(&self) -> String;

    /// What a person does to have this cluster take over from this mark.
    fn way_out(&self, mark: &str) -> String;

    /// What is remembered, read now. None: nothing can be, for want of a right.
    ///
    /// # Errors
    /// When the cluster does not answer.
    async fn read(&self) -> Result<Option<Record>, CloudError>;

    /// Remembers these marks beside those that are remembered; the last is about to be put into the cloud. Returns whether anything can
    /// be remembered: not for want of a right.
    ///
    /// # Errors
    /// When it is not known to be remembered.
    async fn write(&self, record: &Record) -> Result<bool, CloudError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_mark_is() {
        let record = |marks: &[&str], taken_over: Option<&str>| Record {
            marks: marks.iter().map(ToString::to_string).collect(),
            taken_over: taken_over.map(str::to_owned),
        };
        let knows = record(&["a", "b"], None);
        for (name, record, seen, want) in [
            ("there is none", &knows, None, Whose::Nobodys),
            ("the last", &knows, Some("b"), Whose::Ours),
            ("a late look", &knows, Some("a"), Whose::Ours),
            ("a restored backup", &knows, Some("c"), Whose::Anothers),
            (
                "installed anew",
                &record(&[], None),
                Some("c"),
                Whose::Nobodys,
            ),
            (
                "contested",
                &record(&[], None),
                Some("contested-by-c"),
                Whose::Anothers,
            ),
            (
                "a person decides",
                &record(&["a"], Some("contested-by-c")),
                Some("contested-by-c"),
                Whose::Ours,
            ),
            (
                "a person decided about another",
                &record(&["a"], Some("c")),
                Some("d"),
                Whose::Anothers,
            ),
        ] {
            assert_eq!(record.whose(seen), want, "{name}");
        }
    }

    #[test]
    fn the_last_marks_are_remembered() {
        let mut record = Record {
            taken_over: Some("theirs".to_owned()),
            ..Record::default()
        };
        for number in 0..20 {
            record = record.with(&number.to_string());
        }
        assert_eq!(record.marks.len(), MOST);
        assert_eq!(record.whose(Some("19")), Whose::Ours);
        assert_eq!(record.whose(Some("3")), Whose::Anothers);
        assert_eq!(record.taken_over, None, "it was for once");
        assert_eq!(record.with("19"), record);
    }
}
