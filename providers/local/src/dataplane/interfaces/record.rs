//! The file of addresses that were added to interfaces, beside the state file. Reads and writes.
//!
//! An address stands in it before it is added and until it is gone, so that a process that is killed at any moment leaves
//! nothing behind of which the next one does not know. What is written of another boot of the machine or another network
//! namespace is void: addresses that are there now somebody else has set.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::decide::InterfaceAddress;
use crate::dataplane::files::{suffixed, write_whole};

/// The version that is written and read. It grows when an older data plane could not read the file.
const VERSION: u64 = 1;

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Record {
    path: PathBuf,
    network: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    /// The network whose interfaces are meant.
    network: String,
    added: BTreeSet<InterfaceAddress>,
}

impl Record {
    /// The file that stands beside this state file.
    pub(super) fn beside(state: &Path) -> Self {
        Self {
            path: suffixed(state, ".addresses"),
            network: network(),
        }
    }

    /// What was added. Nothing where the file cannot be used, which the log says.
    pub(super) fn load(&self) -> BTreeSet<InterfaceAddress> {
        self.read().unwrap_or_else(|problem| {
            tracing::warn!(
                file = %self.path.display(), problem,
                "the file of added addresses is not used; take those away by hand that nobody needs (`ip address del`)"
            );
            BTreeSet::new()
        })
    }

    fn read(&self) -> Result<BTreeSet<InterfaceAddress>, String> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(error.to_string()),
        };
        let document: Document = serde_json::from_slice(&bytes)
            .map_err(|error| format!("it is damaged, or of a newer version: {error}"))?;
        if document.version != VERSION {
            let version = document.version;
            return Err(format!(
                "it has version {version}, this data plane reads version {VERSION}"
            ));
        }
        if document.network != self.network {
            return Ok(BTreeSet::new());
        }
        Ok(document.added)
    }

    /// Replaces the file.
    pub(super) fn save(&self, added: BTreeSet<InterfaceAddress>) -> io::Result<()> {
        let document = Document {
            version: VERSION,
            network: self.network.clone(),
            added,
        };
        let pending = suffixed(&self.path, ".new");
        write_whole(&pending, |writer| {
            serde_json::to_writer(&mut *writer, &document)?;
            writer.write_all(b"\n")
        })?;
        fs::rename(&pending, &self.path)
    }
}

/// The boot of the machine and the network namespace of this process. Added addresses live as long as both.
fn network() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::metadata("/proc/self/ns/net").map_or(0, |file| file.ino());
    format!("{}/{namespace}", boot.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_in_the_same_network_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state.json");
        let record = Record::beside(&state);
        assert_eq!(record.load(), BTreeSet::new());
        let added = BTreeSet::from([InterfaceAddress {
            address: "2001:db8::1".parse().expect("an address"),
            interface: "eth0".to_owned(),
        }]);
        record.save(added.clone()).expect("saved");
        assert_eq!(Record::beside(&state).load(), added);
        let elsewhere = Record {
            network: "after a reboot".to_owned(),
            ..record
        };
        assert_eq!(elsewhere.load(), BTreeSet::new());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_as_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let record = Record::beside(&directory.path().join("state.json"));
        record.save(BTreeSet::new()).expect("saved");
        let whole = fs::read_to_string(&record.path).expect("the file");
        for text in [
            &whole[..whole.len() / 2],
            &whole.replace("\"version\":1", "\"version\":2"),
            &whole.replace("\"added\"", "\"more\":1,\"added\""),
        ] {
            fs::write(&record.path, text).expect("written");
            record.read().expect_err(text);
            assert_eq!(record.load(), BTreeSet::new(), "{text}");
        }
    }
}
