//! Why a text is not the JSON that it should be, without the text: it may hold keys and tokens.

use serde_json::error::Category;

/// What `serde_json` complains of, by kind and place. Its own sentence quotes the value at fault.
#[must_use]
pub fn json_problem(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Io => return "cannot be read".to_owned(),
        Category::Syntax => "is not JSON",
        Category::Eof => "is cut short",
        Category::Data => "has a member that is missing or of another type",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}
