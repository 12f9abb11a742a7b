//! The nearest spelling: what a mistyped word was probably meant to be.

/// The longest word that is compared, in bytes.
const WORD_MAX: usize = 40;

/// The known word nearest to `word`, where it is near enough to be meant.
pub(crate) fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_ascii_lowercase();
    let near = |known: &&str| {
        let distance = distance(word.as_bytes(), known.to_ascii_lowercase().as_bytes());
        // A third of the word may be wrong; of a short one, one letter.
        (distance <= (word.len().max(known.len()) / 3).max(1)).then_some(distance)
    };
    let near = known.into_iter().filter_map(|known| Some((near(&known)?, known)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Letters to insert, leave out, replace or swap with their neighbour; the length of the longer word where one is
/// too long to compare.
fn distance(one: &[u8], other: &[u8]) -> usize {
    if one.len() > WORD_MAX || other.len() > WORD_MAX {
        return one.len().max(other.len());
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.iter().enumerate() {
        let mut next = vec![at + 1];
        for (column, held) in other.iter().enumerate() {
            let cell = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let replaced = cell(&row, column) + usize::from(byte != held);
            let mut least = replaced
                .min(cell(&row, column + 1) + 1)
                .min(cell(&next, column) + 1);
            let is_swap =
                at > 0 && column > 0 && one.get(at - 1) == Some(held) && other.get(column - 1) == Some(byte);
            if is_swap {
                least = least.min(cell(&before, column - 1) + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_spelling_is_found_within_a_third() {
        let known = ["gateway", "policy", "servers", "address", "tls"];
        for (word, expected) in [
            ("gatway", Some("gateway")),
            ("gatewya", Some("gateway")),
            ("Gateway", Some("gateway")),
            ("server", Some("servers")),
            ("adress", Some("address")),
            ("ssl", None),
            ("tsl", Some("tls")),
            ("listeners", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        let long = "x".repeat(10_000);
        assert_eq!(nearest(&long, known), None);
    }
}
