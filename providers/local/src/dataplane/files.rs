//! What files that are replaced as a whole have in common. Writes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The path with this behind its name.
pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// Writes a file that only its owner can read, and forces it to disk. Renaming it over another replaces that at once. When it
/// fails there is no such file, so that a part of one takes no room on a disk that is full.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    let written = write(&mut writer).and_then(|()| {
        writer.flush()?;
        writer.get_ref().sync_all()
    });
    if written.is_err() {
        // What is left of the buffer would be written after all.
        drop(writer.into_parts());
        // What cannot be removed is written over the next time.
        let _ = fs::remove_file(path);
    }
    written
}
