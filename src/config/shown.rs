//! Values of a config in messages: as much of one as helps, and nothing that may be a secret.

use serde_saphyr::Spanned;

/// The longest part of a value that a message shows, in characters.
const SHOWN_MAX: usize = 80;

/// A value as it stands in the file, for a message: variables by their names, without user and password, and no
/// longer than a line.
pub(super) fn shown(raw: &Spanned<String>) -> String {
    shown_text(&raw.value)
}

/// The same of a text that has its place elsewhere.
pub(super) fn shown_text(text: &str) -> String {
    let (scheme, rest) = text
        .split_once("://")
        .map_or(("", text), |(scheme, rest)| (scheme, rest));
    let bare = rest.rsplit_once('@').map_or(rest, |(_, bare)| bare);
    let mut out = match (scheme.is_empty(), bare.len() == rest.len()) {
        (true, true) => bare.to_owned(),
        (true, false) => format!("…@{bare}"),
        (false, true) => format!("{scheme}://{bare}"),
        (false, false) => format!("{scheme}://…@{bare}"),
    };
    out = out
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if let Some((at, _)) = out.char_indices().nth(SHOWN_MAX) {
        out.truncate(at);
        out.push('…');
    }
    out
}

/// Whether a URL carries a user or a password. None is ever sent, and the URL stands in logs.
pub(super) fn has_user(uri: &http::Uri) -> bool {
    uri.authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
}
