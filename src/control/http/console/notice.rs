//! What a page says after a form did what it was sent for.
//!
//! A redirect carries the notice in a cookie of its own, which the next page shows and takes away: reloading does not
//! repeat it, and no link can put it on a page.

use crate::control::http::cookies::{Cookie, Cookies};
use http::{HeaderMap, HeaderValue};

/// How long a browser keeps a notice that no page has shown, in seconds.
const KEPT_S: u64 = 60;

macro_rules! notices {
    ($($notice:ident $word:literal $sentence:literal;)*) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Notice { $($notice,)* }

        impl Notice {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$notice,)*];

            const fn word(self) -> &'static str {
                match self { $(Self::$notice => $word,)* }
            }

            const fn sentence(self) -> &'static str {
                match self { $(Self::$notice => $sentence,)* }
            }

            fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$notice),)*
                    _ => None,
                }
            }
        }
    };
}

notices! {
    // apps
    AppCreated "app-created" "OAuth app created. Next: connect it to a source.";
    AppSaved "app-saved" "Changes saved and in force.";
    AppDeleted "app-deleted" "OAuth app and its keys deleted.";
    KeyAdded "key-added" "Public key added. Clients can use it now.";
    KeyDeleted "key-deleted" "Public key deleted. Its tokens no longer work.";
    TokenRevoked "token-revoked" "Token revoked. Gateways reject it from now on.";
    TokenExpired "token-expired" "This token had already expired. Nothing was revoked.";
    // sources
    SourceCreated "source-created" "Source created. Next: connect an OAuth app to it.";
    SourceSaved "source-saved" "Changes saved.";
    SourceDeleted "source-deleted" "Source deleted. Requests with its write key now come from an unknown source.";
    AppConnected "connected" "OAuth app connected. Next: start observing.";
    AppReplaced "app-changed" "OAuth app changed.";
    AppDisconnected "disconnected" "OAuth app disconnected.";
    Observing "observing" "Observing: requests are checked and counted, never denied.";
    ObservationRestarted "observation-restarted" "Counting from now.";
    Enforced "enforced" "OAuth enabled: requests without a valid token are denied from now on.";
    EnforcementOff "enforcement-off" "Enforcement is off: requests need no token.";
    // members
    MemberSaved "member-saved" "Roles saved and in force.";
    MemberRemoved "member-removed" "Member removed. Their API tokens for this workspace are revoked, and their sessions no longer open it.";
    InvitationWithdrawn "invitation-withdrawn" "Invitation withdrawn. Its link no longer works.";
    Joined "joined" "You have joined. Sign in with your password.";
    Welcome "welcome" "Welcome. You have joined the workspace.";
    // account
    ApiTokenRevoked "api-token-revoked" "API token revoked. It no longer works.";
    SessionSignedOut "session-signed-out" "Session signed out.";
    SignedOutEverywhere "signed-out-everywhere" "You are signed out everywhere.";
    PasswordChanged "password-changed" "Password changed. All your other sessions are signed out.";
    SignedOut "signed-out" "You are signed out.";
    SessionExpired "session-expired" "Your session has expired. Sign in to continue.";
    FormNotSaved "form-not-saved" "Your session has expired, so the form was not saved. Sign in, then send it again.";
    // security
    SigningKeyRotated "signing-key-rotated" "The next signing key is published and takes over automatically.";
    SigningKeyRevoked "signing-key-revoked" "Signing key revoked. Gateways reject every token that it signed.";
    SigningKeysRevoked "signing-keys-revoked" "All signing keys revoked. Gateways reject every token issued before.";
    EdgeRevoked "edge-revoked" "Edge revoked. Its connections have ended, and its policy is no longer renewed.";
    TokensRevoked "tokens-revoked" "All tokens revoked. Gateways reject every token issued before now.";
    LeakDismissed "leak-dismissed" "Notice dismissed. The token stays revoked.";
}

/// A notice as a page shows it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flash {
    notice: Notice,
    /// How many API tokens were revoked with it, where that could be.
    api_tokens: Option<u64>,
}

impl From<Notice> for Flash {
    fn from(notice: Notice) -> Self {
        Self {
            notice,
            api_tokens: None,
        }
    }
}

impl Flash {
    pub fn with_api_tokens(notice: Notice, revoked: u64) -> Self {
        Self {
            notice,
            api_tokens: Some(revoked),
        }
    }

    /// The notice of a request, if the page before it left one.
    pub fn of(cookies: Cookies, headers: &HeaderMap) -> Option<Self> {
        Self::parse(cookies.get(Cookie::Notice, headers)?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (word, count) = text.split_once('.').unwrap_or((text, ""));
        Some(Self {
            notice: Notice::parse(word)?,
            api_tokens: count.parse().ok(),
        })
    }

    fn text(self) -> String {
        let word = self.notice.word();
        self.api_tokens
            .map_or_else(|| word.to_owned(), |count| format!("{word}.{count}"))
    }

    /// The `Set-Cookie` that hands it to the next page.
    pub fn to_cookie(self, cookies: Cookies) -> Option<HeaderValue> {
        cookies.set(Cookie::Notice, &self.text(), KEPT_S)
    }

    /// The notice in words.
    pub fn words(self) -> String {
        let sentence = self.notice.sentence();
        match self.api_tokens {
            None => sentence.to_owned(),
            Some(0) => format!("{sentence} No API tokens were revoked."),
            Some(1) => format!("{sentence} 1 API token was revoked."),
            Some(count) => format!("{sentence} {count} API tokens were revoked."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_survive_the_cookie() {
        for notice in Notice::ALL {
            for api_tokens in [None, Some(0), Some(3)] {
                let flash = Flash {
                    notice: *notice,
                    api_tokens,
                };
                assert_eq!(Flash::parse(&flash.text()), Some(flash));
            }
        }
        assert_eq!(Flash::parse("You won a prize"), None);
        assert_eq!(Flash::parse(""), None);
    }
}
