//! The small pieces that pages are put together from. Each writes its own HTML, escaped.

use askama::Template;
use askama::filters::HtmlSafe;

use crate::control::signing_keys::rotation::KeyState;
use crate::domain::policy::Enforcement;
use crate::domain::time::UnixSeconds;
use crate::model::search::{Found, SEARCHED_AT_ONCE};

/// One line of a form: label, hint, control, and what is wrong with what stands in it.
#[derive(Template)]
#[template(path = "parts/field.html")]
pub(crate) struct Field {
    name: &'static str,
    label: &'static str,
    kind: &'static str,
    hint: &'static str,
    value: String,
    error: Option<String>,
    autocomplete: &'static str,
    /// For a text area: whether it is a short one.
    short: bool,
    first_at_fault: bool,
}

impl HtmlSafe for Field {}

impl Field {
    pub fn text(name: &'static str, label: &'static str) -> Self {
        Self {
            name,
            label,
            kind: "text",
            hint: "",
            value: String::new(),
            error: None,
            autocomplete: "off",
            short: false,
            first_at_fault: false,
        }
    }

    pub fn area(name: &'static str, label: &'static str) -> Self {
        Self {
            kind: "textarea",
            ..Self::text(name, label)
        }
    }

    pub fn kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    pub fn short(self) -> Self {
        Self { short: true, ..self }
    }

    pub fn autocomplete(self, autocomplete: &'static str) -> Self {
        Self { autocomplete, ..self }
    }

    pub fn value(self, value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            ..self
        }
    }

    /// Puts what is wrong beside the field, if something is.
    pub fn problem(self, problem: Option<&str>) -> Self {
        Self {
            error: problem.map(sentence),
            first_at_fault: problem.is_some(),
            ..self
        }
    }
}

/// A group of which one is chosen, or several are.
#[derive(Template)]
#[template(path = "parts/choices.html")]
pub(crate) struct Choices {
    id: &'static str,
    legend: &'static str,
    hint: &'static str,
    kind: &'static str,
    row: bool,
    error: Option<String>,
    choices: Vec<Choice>,
}

impl HtmlSafe for Choices {}

/// One of them.
pub(crate) struct Choice {
    pub name: String,
    pub value: String,
    pub label: String,
    pub hint: String,
    pub chosen: bool,
}

impl Choices {
    /// Of these one is chosen.
    pub fn one(name: &'static str, legend: &'static str, choices: Vec<Choice>) -> Self {
        Self {
            id: name,
            legend,
            hint: "",
            kind: "radio",
            row: false,
            error: None,
            choices,
        }
    }

    /// Of these several may be chosen.
    pub fn several(id: &'static str, legend: &'static str, choices: Vec<Choice>) -> Self {
        Self {
            kind: "checkbox",
            ..Self::one(id, legend, choices)
        }
    }

    pub fn row(self) -> Self {
        Self { row: true, ..self }
    }

    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    pub fn problem(self, problem: Option<&str>) -> Self {
        Self {
            error: problem.map(sentence),
            ..self
        }
    }
}

/// What enforcement does or a signing key is for, as a badge.
#[derive(Template)]
#[template(source = r#"<span class="badge {{ class }}">{{ word }}</span>"#, ext = "html")]
pub(crate) struct Badge {
    class: &'static str,
    word: &'static str,
}

impl HtmlSafe for Badge {}

impl Badge {
    pub fn of(enforcement: Enforcement) -> Self {
        let (class, word) = match enforcement {
            Enforcement::Off => ("off", "Off"),
            Enforcement::Observe => ("observe", "Observe"),
            Enforcement::On => ("on", "Enforced"),
        };
        Self { class, word }
    }

    /// What a signing key is for.
    pub fn of_key(state: KeyState) -> Self {
        let (class, word) = match state {
            KeyState::Next => ("observe", "Next"),
            KeyState::Active => ("on", "Signing"),
            KeyState::Retired => ("off", "Retired"),
        };
        Self { class, word }
    }
}

/// A value that people carry elsewhere. With script it gets a button.
#[derive(Template)]
#[template(
    source = r#"<span class="copy"><code data-copy="{{ what }}">{{ value }}</code></span>"#,
    ext = "html"
)]
pub(crate) struct Copy {
    what: &'static str,
    value: String,
}

impl HtmlSafe for Copy {}

impl Copy {
    pub fn new(what: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        Self {
            what,
            value: value.to_string(),
        }
    }
}

/// A moment: exact for machines and on hover, in words for people.
#[derive(Template)]
#[template(
    source = r#"<time datetime="{{ exact }}" title="{{ exact }}" class="nowrap">{{ words }}</time>"#,
    ext = "html"
)]
pub(crate) struct When {
    exact: String,
    words: String,
}

impl HtmlSafe for When {}

impl When {
    /// How long ago it was, or will be.
    pub fn ago(at: UnixSeconds, now: UnixSeconds) -> Self {
        Self {
            exact: exact(at),
            words: if at <= now {
                match now.since(at) {
                    0..10 => "just now".to_owned(),
                    seconds => format!("{} ago", span(seconds)),
                }
            } else {
                format!("in {}", span(at.since(now)))
            },
        }
    }

    pub fn words(&self) -> &str {
        &self.words
    }

    /// The moment itself, in UTC.
    pub fn on(at: UnixSeconds) -> Self {
        Self {
            words: exact(at).replace('T', " ").replace('Z', " UTC"),
            exact: exact(at),
        }
    }
}

/// A moment as RFC 3339 in UTC.
pub(crate) fn exact(at: UnixSeconds) -> String {
    let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| at.to_string(), |moment| moment.to_string())
}

/// A span of time in its largest unit.
pub(crate) fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    counted(count, unit)
}

/// `1 source`, `2 sources`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// The control plane's problems continue a field's name. On their own line they are sentences.
pub(crate) fn sentence(problem: &str) -> String {
    let mut letters = problem.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let stop = if problem.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{first}{}{stop}", letters.as_str())
}

/// The way on through a list that is longer than a page.
#[derive(Template)]
#[template(path = "parts/pager.html")]
pub(crate) struct Pager {
    shown: usize,
    things: &'static str,
    first: Option<String>,
    next: Option<String>,
    /// Whether a search stopped before it had looked at everything.
    stopped: bool,
}

impl HtmlSafe for Pager {}

/// Items of one page of the console.
pub(crate) const PAGE_ITEMS: u32 = 50;

impl Pager {
    /// Cuts `items` down to a page, where one more than that was asked for. `path` has a query already.
    pub fn cut<T>(
        items: &mut Vec<T>,
        things: &'static str,
        path: &str,
        after: &str,
        id: impl Fn(&T) -> &str,
    ) -> Self {
        let kept = usize::try_from(PAGE_ITEMS).unwrap_or(usize::MAX);
        let more = items.len() > kept;
        items.truncate(kept);
        let last = items.last().filter(|_| more);
        Self {
            shown: items.len(),
            things,
            first: (!after.is_empty()).then(|| path.to_owned()),
            next: last.map(|item| format!("{path}&after={}", encoded(id(item)))),
            stopped: false,
        }
    }

    /// Says that the list goes on behind this item, although the page has room for more.
    pub fn go_on(&mut self, path: &str, last: &str) {
        self.next = Some(format!("{path}&after={}", encoded(last)));
    }

    /// What stands behind "none found".
    pub fn so_far(&self) -> &'static str {
        if self.stopped { " so far" } else { "" }
    }

    /// The same for what a search found, which may have stopped before it had looked at everything.
    pub fn of_search<T>(
        found: Found<T>,
        things: &'static str,
        path: &str,
        after: &str,
        id: impl Fn(&T) -> &str,
    ) -> (Vec<T>, Self) {
        let mut items = found.items;
        let mut pager = Self::cut(&mut items, things, path, after, id);
        if let Some(to) = found.searched_to {
            pager.next = Some(format!("{path}&after={}", encoded(&to)));
            pager.stopped = true;
        }
        (items, pager)
    }
}

/// Names that one search looks at, as people write the number.
fn looked_at() -> String {
    format!("{},{:03}", SEARCHED_AT_ONCE / 1_000, SEARCHED_AT_ONCE % 1_000)
}

/// A value for a query.
pub(crate) fn encoded(value: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_their_largest_unit() {
        let at = |at, now| When::ago(UnixSeconds(at), UnixSeconds(now)).words;
        assert_eq!(at(100, 105), "just now");
        assert_eq!(at(100, 161), "1 minute ago");
        assert_eq!(at(100, 100 + 7_200), "2 hours ago");
        assert_eq!(at(100 + 86_400 * 3, 100), "in 3 days");
        assert_eq!(When::on(UnixSeconds(0)).words, "1970-01-01 00:00:00 UTC");
    }

    #[test]
    fn problems_become_sentences() {
        assert_eq!(sentence("the name is empty"), "The name is empty.");
        assert_eq!(sentence(""), ".");
    }

    #[test]
    fn markup_in_a_field_is_text() {
        let field = Field::text("name", "Name")
            .value("\"><b>")
            .problem(Some("`<i>` is no name"));
        let html = field.render().unwrap();
        assert!(!html.contains("<b>") && !html.contains("<i>"), "{html}");
    }
}
