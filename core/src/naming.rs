//! Deterministic names for cloud objects (Decides).
//!
//! A name is `fixed-readable-hash`: `ek-1a2b3c4d-shop-checkout-x5k2m7qd3a`. The readable parts are for people and
//! are cut where room is short; the hash is never cut. It covers every field whole, each with its length before it, so that
//! different fields give different names even where all that can be read of them is the same, and no field can
//! imitate the border between two.

use sha2::{Digest as _, Sha256};

#[cfg(test)]
mod tests;

/// RFC 4648's alphabet in lower case: letters and digits that every cloud takes in a name.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// All the base32 digits that a SHA-256 has.
const LONGEST_HASH: usize = 52;

/// The characters a cloud takes in a name; every other one becomes a hyphen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Lower-case letters, digits, hyphens; capitals become lower case.
    Lower,
    /// Letters of both cases, digits, hyphens.
    Mixed,
}

/// A cloud's rules for one kind of name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naming {
    max: usize,
    charset: Charset,
    hash: usize,
    letter_first: bool,
}

impl Naming {
    /// Names of at most `max` characters, that end in `hash` base32 digits (five bits each).
    ///
    /// # Panics
    /// When there is no room for the hash, one letter before it and a hyphen; in a constant that is a compile error.
    pub const fn new(max: usize, charset: Charset, hash: usize) -> Self {
        assert!(
            hash >= 1 && hash <= LONGEST_HASH,
            "a hash has 1 to 52 digits"
        );
        assert!(hash + 2 <= max, "a name has room for its hash");
        Self {
            max,
            charset,
            hash,
            letter_first: false,
        }
    }

    /// The same with a letter at the start of every name.
    #[must_use]
    pub const fn letter_first(mut self) -> Self {
        self.letter_first = true;
        self
    }

    /// The name of something.
    ///
    /// `fixed` stands first and is cut last; `readable` follows and is cut first, the longest part before the
    /// others; `identity` is not shown. The hash covers all three. The name is never empty, never starts or ends with a hyphen, and is the same
    /// in every run.
    pub fn name(&self, fixed: &[&str], readable: &[&str], identity: &[&str]) -> String {
        let hash = hash(&[fixed, readable, identity], self.hash);
        let clean =
            |parts: &[&str]| -> Vec<String> { parts.iter().map(|part| self.clean(part)).collect() };
        let (mut fixed, mut readable) = (clean(fixed), clean(readable));

        // One character is kept for a letter in front, even where none is needed in the end: whether one is needed
        // can change with every cut.
        let room = self.max - self.hash - usize::from(self.letter_first);
        shrink(&mut readable, room.saturating_sub(length(&fixed)));
        shrink(&mut fixed, room - length(&readable));

        let mut name: String = fixed
            .iter()
            .chain(&readable)
            .filter(|part| !part.is_empty())
            .fold(String::with_capacity(self.max), |name, part| {
                name + part + "-"
            });
        name.push_str(&hash);
        if self.letter_first && !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            name.insert(0, 'x');
        }
        name
    }

    /// The part in characters that are allowed, without hyphens at its ends or side by side.
    fn clean(&self, part: &str) -> String {
        let mut clean = String::with_capacity(part.len());
        for char in part.chars() {
            match char {
                'A'..='Z' if self.charset == Charset::Lower => {
                    clean.push(char.to_ascii_lowercase())
                }
                _ if char.is_ascii_alphanumeric() => clean.push(char),
                _ if !clean.is_empty() && !clean.ends_with('-') => clean.push('-'),
                _ => {}
            }
        }
        clean.truncate(clean.trim_end_matches('-').len());
        clean
    }
}

/// The room that parts take, each with the hyphen after it.
fn length(parts: &[String]) -> usize {
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| part.len() + 1)
        .sum()
}

/// Cuts the longest part, the last of equals, until all fit; a part of which nothing is left takes no room.
fn shrink(parts: &mut [String], room: usize) {
    while length(parts) > room
        && let Some(longest) = parts.iter_mut().max_by_key(|part| part.len())
    {
        longest.pop();
        longest.truncate(longest.trim_end_matches('-').len());
    }
}

/// The first `digits` base32 digits of the SHA-256 over groups of fields, each field with its length before it.
pub fn hash(groups: &[&[&str]], digits: usize) -> String {
    let mut sha = Sha256::new();
    for group in groups {
        sha.update((group.len() as u64).to_be_bytes());
        for field in *group {
            sha.update((field.len() as u64).to_be_bytes());
            sha.update(field.as_bytes());
        }
    }
    base32(&sha.finalize(), digits)
}

/// The first digits of `bytes` in base32, at most as many as the bytes hold whole.
fn base32(bytes: &[u8], digits: usize) -> String {
    let bit = |index: usize| {
        bytes
            .get(index / 8)
            .is_some_and(|byte| byte >> (7 - index % 8) & 1 == 1)
    };
    let digit = |index: usize| {
        (0..5).fold(0, |value, offset| {
            value << 1 | usize::from(bit(index * 5 + offset))
        })
    };
    (0..digits.min(LONGEST_HASH))
        .map(|index| char::from(BASE32[digit(index)]))
        .collect()
}
