//! The components that pages are made of. Each renders its own HTML, escaped.

use askama::Template;
use askama::filters::HtmlSafe;

use super::paths::with_query;
use crate::control::signing_keys::rotation::KeyState;
use crate::domain::policy::Enforcement;
use crate::domain::time::UnixSeconds;
use crate::model::page::Page;
use crate::model::search::{Blocker, Found};

/// A field of a form: label, hint, control and problem.
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
    /// Whether a text area is short.
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

    /// Shows a problem next to the field, if there is one.
    pub fn problem(self, problem: Option<&str>) -> Self {
        Self {
            error: problem.map(sentence),
            first_at_fault: problem.is_some(),
            ..self
        }
    }
}

/// A group of choices: radio buttons or checkboxes.
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

/// One choice.
pub(crate) struct Choice {
    pub name: String,
    pub value: String,
    pub label: String,
    pub hint: String,
    pub chosen: bool,
}

impl Choices {
    /// Radio buttons.
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

    /// Checkboxes.
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

/// A state as a badge: of enforcement, of a signing key, or of a gateway.
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
            Enforcement::Observe => ("observe", "Observing"),
            Enforcement::On => ("on", "Enforced"),
        };
        Self { class, word }
    }

    /// The enforcement of a source, or that it denies every request.
    pub fn of_source(enforcement: Enforcement, blocker: Option<Blocker>) -> Self {
        if enforcement == Enforcement::On && blocker.is_some() {
            let (class, word) = ("bad", "Denies everything");
            return Self { class, word };
        }
        Self::of(enforcement)
    }

    /// The state of a signing key.
    pub fn of_key(state: KeyState) -> Self {
        let (class, word) = match state {
            KeyState::Next => ("observe", "Next"),
            KeyState::Active => ("on", "Signing"),
            KeyState::Retired => ("off", "Retired"),
        };
        Self { class, word }
    }
}

impl Badge {
    /// The state of a gateway, from the word of the API.
    pub fn of_gateway(state: &str) -> Self {
        let (class, word) = match state {
            "current" => ("on", "Current"),
            "behind" => ("observe", "Behind"),
            "unbounded" => ("observe", "Unbounded"),
            "refusing" => ("bad", "Refusing"),
            "lapsed" => ("bad", "Lapsed"),
            _ => ("off", "Not connected"),
        };
        Self { class, word }
    }
}

/// A value to copy. With script it gets a button.
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

/// A time: exact for machines and on hover, in words for people.
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
    /// How long ago it was, or in how long it will be.
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

    /// How long it has been going on since then.
    pub fn lasting(since: UnixSeconds, now: UnixSeconds) -> Self {
        Self {
            words: span(now.since(since)),
            exact: exact(since),
        }
    }

    /// The time itself, in UTC.
    pub fn on(at: UnixSeconds) -> Self {
        Self {
            words: exact(at).replace('T', " ").replace('Z', " UTC"),
            exact: exact(at),
        }
    }
}

/// A time as RFC 3339 in UTC.
pub(crate) fn exact(at: UnixSeconds) -> String {
    let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| at.to_string(), |moment| moment.to_string())
}

/// A duration in its largest unit.
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

/// A problem of the control plane, which follows a field's name, as a sentence of its own.
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

/// Links to the first and the next page of a list.
#[derive(Template)]
#[template(path = "parts/pager.html")]
pub(crate) struct Pager {
    shown: usize,
    things: &'static str,
    first: Option<String>,
    next: Option<String>,
    /// Whether the search stopped before it had looked at everything.
    stopped: bool,
    /// How many names it had looked at.
    names: String,
}

impl HtmlSafe for Pager {}

/// Items of one page of the console.
pub(crate) const PAGE_ITEMS: u32 = 50;

impl Pager {
    /// Cuts `items` to one page. The caller asks the store for one item more than [`PAGE_ITEMS`].
    pub fn cut<T>(
        items: &mut Vec<T>,
        things: &'static str,
        list: &Listing<'_>,
        id: impl Fn(&T) -> &str,
    ) -> Self {
        let kept = usize::try_from(PAGE_ITEMS).unwrap_or(usize::MAX);
        let more = items.len() > kept;
        items.truncate(kept);
        let last = items.last().filter(|_| more);
        Self {
            shown: items.len(),
            things,
            first: (!list.after.is_empty()).then(|| with_query(&list.path, list.query)),
            next: last.map(|item| list.after(id(item))),
            stopped: false,
            names: String::new(),
        }
    }

    /// Continues the list behind this item, although the page is not full.
    pub fn continue_after(&mut self, list: &Listing<'_>, last: &str) {
        self.next = Some(list.after(last));
    }

    /// What follows "none found" when the search has not looked at everything.
    pub fn so_far(&self) -> &'static str {
        if self.stopped { " so far" } else { "" }
    }

    /// The same for a search, which may stop before it has looked at everything.
    pub fn of_search<T>(
        found: Found<T>,
        things: &'static str,
        list: &Listing<'_>,
        id: impl Fn(&T) -> &str,
    ) -> (Vec<T>, Self) {
        let mut items = found.items;
        let mut pager = Self::cut(&mut items, things, list, id);
        if let Some(to) = found.searched_to {
            pager.next = Some(list.after(&to));
            pager.stopped = true;
            pager.names = with_separator(found.names);
        }
        (items, pager)
    }
}

/// A list in pages: where it is, how it is filtered, and the cursor of the present page.
pub(crate) struct Listing<'a> {
    pub path: String,
    pub query: &'a [(&'a str, &'a str)],
    pub after: &'a str,
}

impl Listing<'_> {
    /// The page behind the cursor.
    fn after(&self, cursor: &str) -> String {
        let mut query = self.query.to_vec();
        query.push(("after", cursor));
        with_query(&self.path, &query)
    }

    /// What to ask the store for: one item more than a page shows.
    pub fn span(&self) -> Page<'_> {
        Page {
            after: self.after,
            limit: PAGE_ITEMS + 1,
        }
    }
}

/// A number of names, as people write it.
fn with_separator(number: u32) -> String {
    match (number / 1_000, number % 1_000) {
        (0, number) => number.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_their_largest_unit() {
        let at = |at, now| When::ago(UnixSeconds(at), UnixSeconds(now)).words;
        assert_eq!(at(100, 105), "just now");
        assert_eq!(at(100, 161), "1 minute ago");
        assert_eq!(at(100, 100 + 7_200), "2 hours ago");
        assert_eq!(at(100 + 86_400 * 3, 100), "in 3 days");
        assert_eq!(When::on(UnixSeconds(0)).words, "1970-01-01 00:00:00 UTC");
    }

    #[test]
    fn problems_are_shown_as_sentences() {
        assert_eq!(sentence("the name is empty"), "The name is empty.");
        assert_eq!(sentence(""), ".");
    }

    #[test]
    fn markup_in_a_field_is_escaped() {
        let field = Field::text("name", "Name")
            .value("\"><b>")
            .problem(Some("`<i>` is no name"));
        let html = field.render().unwrap();
        assert!(!html.contains("<b>") && !html.contains("<i>"), "{html}");
    }
}
