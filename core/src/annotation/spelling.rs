//! What was probably meant (Decides).

/// How alike two words must be to be taken for one another: `interal` and `internal` are, `public` and `internal`
/// are not.
const ALIKE: f64 = 0.6;

/// Longer words are not compared: the work grows with the product of the lengths, and a user may write anything.
const LONGEST: usize = 128;

/// The candidate that is most like `word`, whatever its case, if any is like it. The earlier of two equals.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    let mut best = None;
    let mut best_score = ALIKE;
    for candidate in candidates {
        let score = strsim::normalized_damerau_levenshtein(&word, &candidate.to_lowercase());
        if score > best_score {
            best = Some(candidate);
            best_score = score;
        }
    }
    best
}
