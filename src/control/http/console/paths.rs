//! Where the pages of the console are. Each path is written once, here: the router takes the pattern, and links,
//! forms and redirects take the function that fills it in.

use std::fmt::{Display, Write as _};

use http::Uri;

/// The console. Leads to the workspace of a session, or to the sign-in page.
pub(crate) const HOME: &str = "/console";
/// The same, as people type it.
pub(crate) const HOME_SLASH: &str = "/console/";
pub(crate) const SIGN_IN: &str = "/console/sign-in";
pub(crate) const SIGN_OUT: &str = "/console/sign-out";
pub(crate) const WORKSPACES: &str = "/console/workspaces";
pub(crate) const JOIN: &str = "/console/join";
/// Where the style sheet, the script and the icon are, as a pattern.
pub(crate) const ASSET: &str = "/console/assets/{name}";
/// What the pages of all workspaces begin with.
const WORKSPACE: &str = "/console/w/";
/// The same, as a pattern.
pub(crate) const IN_WORKSPACE: &str = "/console/w/{ws}";
/// Everything else below the console, as a pattern.
pub(crate) const ELSEWHERE: &str = "/console/{*path}";

/// The longest path that a redirect leads back to, in bytes.
const NEXT_BYTES_MAX: usize = 2_048;

/// The sign-in page, which leads to `next` afterwards.
pub(crate) fn sign_in_to(next: &str) -> String {
    with_query(SIGN_IN, &[("next", next)])
}

/// Where a single sign-on begins, which leads to `next` afterwards.
pub(crate) fn single_sign_on(next: &str) -> String {
    with_query("/login/oidc", &[("next", next)])
}

/// The next page of the list of one's workspaces.
pub(crate) fn workspaces_after(last: &str) -> String {
    with_query(WORKSPACES, &[("after", last)])
}

/// `next` if it is a page of this console, else the console's front.
pub(crate) fn inside(next: &str) -> &str {
    // Browsers read `//host` and `/\host` as another site's address.
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let ours = next.starts_with("/console/") && !next.contains("/..");
    if plain && ours && next.len() <= NEXT_BYTES_MAX {
        next
    } else {
        HOME
    }
}

/// The path and query of a `Referer` that is a page of this console.
pub(crate) fn page_of_referer(referer: &str) -> Option<String> {
    let uri: Uri = referer.parse().ok()?;
    let path = uri.path_and_query()?.as_str();
    (inside(path) == path).then(|| path.to_owned())
}

/// The id of the workspace that a page belongs to.
pub(crate) fn workspace_of(page: &str) -> Option<&str> {
    page.strip_prefix(WORKSPACE)?.split(['/', '?', '#']).next()
}

/// A path with a query. Parameters without a value are left out.
pub(crate) fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut text = path.to_owned();
    let mut mark = '?';
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        text.push(mark);
        text.extend([name, "=", &encoded(value)]);
        mark = '&';
    }
    text
}

/// A value for a query or a segment of a path (RFC 3986 section 2.3).
pub(crate) fn encoded(value: &str) -> String {
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

/// Where the pages of one workspace are.
#[derive(Clone)]
pub(crate) struct WorkspacePaths {
    root: String,
}

impl WorkspacePaths {
    pub fn of(workspace: impl Display) -> Self {
        Self {
            root: format!("{WORKSPACE}{workspace}"),
        }
    }

    /// A pattern with its parameters filled in, in their order.
    fn fill(&self, pattern: &str, parameters: &[&dyn Display]) -> String {
        let mut path = self.root.clone();
        let mut parameters = parameters.iter();
        for segment in pattern.split('/').filter(|segment| !segment.is_empty()) {
            path.push('/');
            match parameters.as_slice() {
                [next, ..] if segment.starts_with('{') => {
                    path.push_str(&encoded(&next.to_string()));
                    parameters.next();
                }
                _ => path.push_str(segment),
            }
        }
        path
    }

    /// The export of the audit trail in the management API. The format is to be added.
    pub fn audit_export(workspace: impl Display) -> String {
        format!("/api/v1/workspaces/{workspace}/audit-events/export")
    }
}

/// The pages of a workspace: the pattern for the router, and the function for links.
macro_rules! pages {
    ($($pattern:ident $name:ident($($parameter:ident),*) $path:literal;)*) => {
        /// The patterns of the pages below a workspace, for the router.
        pub(crate) mod pattern {
            $(pub(crate) const $pattern: &str = $path;)*
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[&str] = &[$($path),*];
        }

        impl WorkspacePaths {
            $(pub fn $name(&self $(, $parameter: impl Display)*) -> String {
                self.fill($path, &[$(&$parameter),*])
            })*
        }
    };
}

pages! {
    OVERVIEW overview() "/";
    APPS apps() "/apps";
    NEW_APP new_app() "/apps/new";
    APP app(id) "/apps/{id}";
    APP_SETTINGS app_settings(id) "/apps/{id}/settings";
    APP_CLIENT app_client(id) "/apps/{id}/client";
    REVOKE_TOKEN revoke_token(id) "/apps/{id}/revoke";
    DELETE_APP delete_app(id) "/apps/{id}/delete";
    REVOKE_APP_TOKENS revoke_app_tokens(id) "/apps/{id}/revoke-all";
    REVOKE_KEY_TOKENS revoke_key_tokens(id, kid) "/apps/{id}/keys/{kid}/revoke";
    NEW_KEY new_key(id) "/apps/{id}/keys/new";
    DELETE_KEY delete_key(id, kid) "/apps/{id}/keys/{kid}/delete";
    SOURCES sources() "/sources";
    NEW_SOURCE new_source() "/sources/new";
    SOURCE source(id) "/sources/{id}";
    SOURCE_SETTINGS source_settings(id) "/sources/{id}/settings";
    DELETE_SOURCE delete_source(id) "/sources/{id}/delete";
    SOURCE_OAUTH source_oauth(id) "/sources/{id}/oauth";
    CONNECT_APP connect_app(id) "/sources/{id}/oauth/connect";
    DISCONNECT_APP disconnect_app(id) "/sources/{id}/oauth/disconnect";
    RESTART_OBSERVATION restart_observation(id) "/sources/{id}/oauth/restart";
    SET_ENFORCEMENT set_enforcement(id, mode) "/sources/{id}/oauth/{mode}";
    MEMBERS members() "/members";
    INVITE invite() "/members/invite";
    MEMBER member(id) "/members/{id}";
    REMOVE_MEMBER remove_member(id) "/members/{id}/remove";
    AUDIT audit() "/audit";
    ACCOUNT account() "/account";
    NEW_API_TOKEN new_api_token() "/account/tokens/new";
    REVOKE_API_TOKEN revoke_api_token(id) "/account/tokens/{id}/delete";
    PASSWORD password() "/account/password";
    SIGN_OUT_EVERYWHERE sign_out_everywhere() "/account/sessions/end";
    SIGN_OUT_SESSION sign_out_session(id) "/account/sessions/{id}/end";
    EDGES edges() "/edges";
    REVOKE_EDGE revoke_edge(id) "/edges/{id}/revoke";
    SIGNING_KEYS signing_keys() "/signing-keys";
    ROTATE_SIGNING_KEYS rotate_signing_keys() "/signing-keys/rotate";
    REVOKE_SIGNING_KEYS revoke_signing_keys() "/signing-keys/end";
    REVOKE_SIGNING_KEY revoke_signing_key(kid) "/signing-keys/{kid}/end";
    LEAKED_TOKENS leaked_tokens() "/leaked-tokens";
    REVOKE_CREDENTIAL revoke_credential() "/leaked-tokens/revoke";
    REVOKE_ALL_TOKENS revoke_all_tokens() "/leaked-tokens/revoke-all";
    API_TOKENS api_tokens() "/api-tokens";
    REVOKE_MEMBER_TOKEN revoke_member_token(id) "/api-tokens/{id}/revoke";
    DISMISS_LEAK dismiss_leak(id) "/leaked-tokens/{id}/dismiss";
}

impl WorkspacePaths {
    /// The list of sources, filtered. Empty values do not filter.
    pub fn sources_where(&self, name: &str, value: impl Display) -> String {
        with_query(&self.sources(), &[(name, &value.to_string())])
    }

    /// The events of one resource in the audit trail.
    pub fn audit_of(&self, resource: impl Display) -> String {
        with_query(&self.audit(), &[("resource", &resource.to_string())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_fill_their_segments_in_order() {
        let to = WorkspacePaths::of("ws_1");
        assert_eq!(to.overview(), "/console/w/ws_1");
        assert_eq!(to.new_app(), "/console/w/ws_1/apps/new");
        assert_eq!(
            to.delete_key("app_1", "key_2"),
            "/console/w/ws_1/apps/app_1/keys/key_2/delete"
        );
        assert_eq!(
            to.source("a/../b?c"),
            "/console/w/ws_1/sources/a%2F..%2Fb%3Fc",
            "a parameter stays one segment"
        );
    }

    #[test]
    fn no_two_pages_have_one_pattern() {
        let mut all = pattern::ALL.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), pattern::ALL.len());
    }

    #[test]
    fn query_parameters_are_encoded_and_empty_ones_left_out() {
        let filtered = with_query("/x", &[("q", "a&b"), ("kind", ""), ("after", "é")]);
        assert_eq!(filtered, "/x?q=a%26b&after=%C3%A9");
        assert_eq!(with_query("/x", &[("q", "")]), "/x");
    }

    #[test]
    fn referer_leads_back_only_into_the_console() {
        assert_eq!(
            page_of_referer("https://cp.example/console/w/ws_1/apps?q=1").as_deref(),
            Some("/console/w/ws_1/apps?q=1")
        );
        assert_eq!(page_of_referer("https://cp.example/api/v1"), None);
        assert_eq!(page_of_referer("nonsense"), None);
    }
}
