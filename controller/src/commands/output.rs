//! What the commands print, and how (Writes: standard output).

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::view::ink::Ink;

/// Colour on a terminal, unless somebody does not want it (`NO_COLOR`, `CLICOLOR`, `TERM=dumb`).
pub(super) fn ink() -> Ink {
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => Ink::Plain,
        _ => Ink::Colour,
    }
}

/// Whether somebody looks.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints. A reader that has seen enough is no error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("standard output cannot be written to; write to somewhere else"),
    }
}

/// A document in JSON, with a line end.
pub(super) fn json(document: &impl Serialize) -> Result<String> {
    let mut text =
        serde_json::to_string_pretty(document).context("the document cannot be written")?;
    text.push('\n');
    Ok(text)
}

/// The same in YAML, as a document of its own.
pub(super) fn yaml(document: &impl Serialize) -> Result<String> {
    let text = serde_saphyr::to_string(document).context("the document cannot be written")?;
    Ok(format!("---\n{}\n", text.trim_end()))
}

/// Clears the screen of a terminal.
pub(super) const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
