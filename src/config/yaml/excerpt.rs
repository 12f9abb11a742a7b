//! The line of a file that a problem is on, without values that may be secret.

use super::complaint::is_word;
use super::tree::{Place, Tree};

/// The longest line shown, in characters.
const LINE_MAX: usize = 120;

/// Stands for a value that is not shown.
const MASK: char = '…';

/// A line of a file with a mark under the place of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    pub line: String,
    /// Characters before the mark.
    pub mark: usize,
}

/// The line at `place`: keys, punctuation, and those values that `message` names or that are a duration, a size, a
/// small number or a boolean.
pub(crate) fn excerpt(tree: &Tree, text: &str, place: Place, message: &str) -> Option<Excerpt> {
    let (number, column) = place;
    let line = text.lines().nth(usize::try_from(number.checked_sub(1)?).ok()?)?;
    let mut values: Vec<(u64, u64, &str, bool)> = Vec::new();
    for (node, value, is_key) in tree.scalars() {
        let ((first, from), (last, to)) = (node.place, node.end);
        if (first..=last).contains(&number) && (first, from) != (last, to) {
            let from = if first == number { from } else { 1 };
            let to = if last == number { to } else { u64::MAX };
            values.push((
                from,
                to,
                value,
                is_key && is_word(value) || !is_key && is_shown(value, message),
            ));
        }
    }
    let (mut shown, mut mark) = (String::new(), None);
    let mut masked = None;
    for (at, c) in (1_u64..).zip(line.chars()) {
        if at == column {
            mark = Some(shown.chars().count());
        }
        let value = values.iter().find(|(from, to, ..)| (*from..*to).contains(&at));
        match value {
            Some((.., true)) if !c.is_control() => shown.push(c),
            Some((from, ..)) => {
                let is_new = masked.replace(*from) != Some(*from);
                shown.extend(is_new.then_some(MASK));
            }
            // A comment may hold anything.
            None if c == '#' => break,
            None if c == '\t' => shown.push(' '),
            None if " {}[],:-?".contains(c) => shown.push(c),
            None => {}
        }
        if shown.chars().count() > LINE_MAX {
            return None;
        }
    }
    let line = shown.trim_end().to_owned();
    (!line.trim().is_empty()).then(|| Excerpt {
        mark: mark.unwrap_or(line.chars().count()),
        line,
    })
}

fn is_shown(value: &str, message: &str) -> bool {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let unit = value.get(digits..).unwrap_or_default();
    let is_quantity =
        (1..=6).contains(&digits) && ["", "ms", "s", "m", "h", "d", "B", "KiB", "MiB", "GiB"].contains(&unit);
    is_quantity
        || matches!(value, "true" | "false")
        || !value.is_empty() && message.contains(&format!("`{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_shows_no_value_that_the_message_does_not() {
        let text = "a: {key: hunter2, x: [abc, 5s]} # pw hunter2\nb: \"hunter2 é\"\nhunter-2: |\n  hunter2\n";
        let tree = Tree::parse(text).unwrap();
        let at = |place, message| {
            let found = excerpt(&tree, text, place, message).unwrap();
            (found.line, found.mark)
        };
        assert_eq!(at((1, 10), ""), ("a: {key: …, x: […, 5s]}".to_owned(), 9));
        assert_eq!(
            at((1, 23), "`abc` is wrong"),
            ("a: {key: …, x: [abc, 5s]}".to_owned(), 16)
        );
        assert_eq!(at((2, 4), ""), ("b: …".to_owned(), 3));
        assert_eq!(at((3, 1), ""), ("…:".to_owned(), 0));
        for line in 1..=5 {
            if let Some(found) = excerpt(&tree, text, (line, 1), "") {
                assert!(!found.line.contains("hunter2"), "{}", found.line);
            }
        }
    }
}
