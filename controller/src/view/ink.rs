//! Colour, where there is any, and text that cannot drive a terminal (Decides).

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// What a piece of text means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be, or something new.
    Good,
    /// Not as it should be yet, or something changed.
    Warn,
    /// Wrong, or something that goes.
    Bad,
    /// Beside the point.
    Faint,
    /// What the lines below are about.
    Strong,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// No.
    Plain,
    /// With the terminal's own sixteen colours.
    Colour,
}

impl Ink {
    /// The text in the colour of its meaning. Control characters are shown, not sent: some of what is printed was
    /// written by others.
    pub fn paint(self, tone: Tone, text: impl Display) -> String {
        let text = clean(&text.to_string());
        if self == Self::Plain || tone == Tone::Plain || text.is_empty() {
            return text;
        }
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Warn => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// The text in one line, without control characters.
pub fn clean(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let one = |c: char| match c {
        '\n' | '\t' => " ".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_drive_the_terminal() {
        for (text, want) in [
            ("plain", "plain"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("one\ntwo", "one two"),
            ("\r", "\\r"),
        ] {
            assert_eq!(Ink::Plain.paint(Tone::Bad, text), want);
        }
    }

    #[test]
    fn colour_is_put_around_and_taken_back() {
        assert_eq!(Ink::Colour.paint(Tone::Good, "+"), "\u{1b}[32m+\u{1b}[0m");
        assert_eq!(Ink::Colour.paint(Tone::Plain, "+"), "+");
    }
}
