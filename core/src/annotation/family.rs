//! Families of keys: one line of a table for `….{n}`, a key for each port (Decides).
//!
//! In a table's key `{n}` stands for a port number and `{P}` for a protocol as the cloud spells it, `TCP_UDP`. Every other key is
//! a family of itself alone.

/// What stands for the placeholders of `family` in `key`, in their order; None when it is not one of that family.
pub(super) fn parts<'k>(family: &str, key: &'k str) -> Option<Vec<&'k str>> {
    let mut parts = Vec::new();
    let (mut family, mut key) = (family, key);
    while let Some((start, placeholder)) = first_placeholder(family) {
        key = key.strip_prefix(&family[..start])?;
        let end = key
            .bytes()
            .position(|byte| !placeholder.takes(byte))
            .unwrap_or(key.len());
        let part = &key[..end];
        if !placeholder.allows(part) {
            return None;
        }
        parts.push(part);
        key = &key[end..];
        family = &family[start + PLACEHOLDER_LENGTH..];
    }
    (family == key).then_some(parts)
}

/// Whether a table's key stands for several.
pub fn is_family(key: &str) -> bool {
    first_placeholder(key).is_some()
}

/// `{n}` and `{P}` are equally long.
const PLACEHOLDER_LENGTH: usize = 3;

#[derive(Clone, Copy)]
enum Placeholder {
    Port,
    Protocol,
}

impl Placeholder {
    fn takes(self, byte: u8) -> bool {
        match self {
            Self::Port => byte.is_ascii_digit(),
            Self::Protocol => byte.is_ascii_uppercase() || byte == b'_',
        }
    }

    fn allows(self, part: &str) -> bool {
        match self {
            Self::Port => !part.starts_with('0') && part.parse::<u16>().is_ok(),
            Self::Protocol => !part.is_empty(),
        }
    }
}

fn first_placeholder(family: &str) -> Option<(usize, Placeholder)> {
    [("{n}", Placeholder::Port), ("{P}", Placeholder::Protocol)]
        .into_iter()
        .filter_map(|(text, placeholder)| Some((family.find(text)?, placeholder)))
        .min_by_key(|(start, _)| *start)
}
