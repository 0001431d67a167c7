//! Columns, as kubectl sets them (Decides).

use super::ink::{Ink, Tone, clean};

/// Between two columns.
const GAP: usize = 3;

/// One field of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A field with a meaning. Nothing is shown as `<none>`: a row can be cut at its spaces.
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        let text = clean(&text.into());
        if text.is_empty() {
            return Self {
                text: "<none>".to_owned(),
                tone: Tone::Faint,
            };
        }
        Self { text, tone }
    }

    /// A field without.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(Tone::Plain, text)
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under a header.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(header: impl IntoIterator<Item = &'static str>) -> Self {
        let header = header.into_iter().map(|name| Cell::new(Tone::Strong, name));
        Self {
            rows: vec![header.collect()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(Some(cells.len()), self.rows.first().map(Vec::len));
        self.rows.push(cells);
    }

    /// The text: each column as wide as its widest field, no space at the end of a line.
    pub fn render(&self, ink: Ink) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widest = |column| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(Cell::width)
                .max()
        };
        let widths: Vec<_> = (0..columns)
            .map(|column| widest(column).unwrap_or(0))
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                text.push_str(&ink.paint(cell.tone, &cell.text));
                if column + 1 < row.len() {
                    let space = widths[column] - cell.width() + GAP;
                    text.extend(std::iter::repeat_n(' ', space));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_field_whatever_its_colour() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(vec![Cell::plain("a"), Cell::new(Tone::Good, "Active")]);
        table.row(vec![Cell::plain("länger"), Cell::plain("")]);
        assert_eq!(
            table.render(Ink::Plain),
            "NAME     STATE\na        Active\nlänger   <none>\n"
        );
        let coloured = table.render(Ink::Colour);
        assert!(
            coloured.contains("a        \u{1b}[32mActive\u{1b}[0m\n"),
            "{coloured:?}"
        );
    }
}
