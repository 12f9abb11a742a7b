//! Which claims of an issuer's access tokens name the app, the scope, the id and the audience.
//!
//! RFC 9068 fixes these names; identity providers had theirs before it. A [`Profile`] is the set of names and rules of
//! one provider. No profile accepts more than the documentation of its provider requires.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use smallvec::SmallVec;

use super::digest::sha256;
use super::ids::AppId;
use super::json::{Object, Value};
use super::scope::{SCOPES_MAX, Scope, ScopeSet};
use super::token_fault::TokenFault;
use super::token_id::TOKEN_ID_BYTES_MAX;

/// The most scopes of one token that count. Role lists of large organisations are long; the size of a token bounds
/// them further.
pub const TOKEN_SCOPES_MAX: usize = 1024;

/// The most names for one thing.
pub const NAMES_MAX: usize = 8;

/// An identity provider whose tokens have their own form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// RFC 9068: the JWT profile for access tokens.
    #[default]
    Rfc9068,
    /// Auth0, both token dialects: the app is `azp`, or `client_id`; classic tokens have no `jti`.
    Auth0,
    /// Okta custom authorization servers: the app is `cid`, the scope is the list `scp`; no `typ`.
    Okta,
    /// Microsoft Entra ID, v1.0 and v2.0: the app is `azp`, or `appid`; the scope is `scp`, or for app-only tokens
    /// the list `roles`; the id is `uti`.
    Entra,
    /// Amazon Cognito: no `aud`, no `typ`; `token_use` is `access`.
    Cognito,
    /// Keycloak: the app is `client_id`, or `azp`; the claim `typ` is `Bearer`.
    Keycloak,
    /// Google ID tokens of service accounts: the app is `azp`; no id, and no scope.
    Google,
}

impl Profile {
    /// Every profile, the default first.
    pub const ALL: [Self; 7] = [
        Self::Rfc9068,
        Self::Auth0,
        Self::Okta,
        Self::Entra,
        Self::Cognito,
        Self::Keycloak,
        Self::Google,
    ];

    /// The name in the config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rfc9068 => "rfc9068",
            Self::Auth0 => "auth0",
            Self::Okta => "okta",
            Self::Entra => "entra",
            Self::Cognito => "cognito",
            Self::Keycloak => "keycloak",
            Self::Google => "google",
        }
    }

    /// The profile with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == name)
    }

    /// The `typ` headers of the provider's access tokens.
    #[must_use]
    pub fn types(self) -> AcceptedTypes {
        let types = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match self {
            Self::Rfc9068 => AcceptedTypes::Listed(types(&["at+jwt"])),
            Self::Auth0 | Self::Keycloak => AcceptedTypes::Listed(types(&["JWT", "at+jwt"])),
            Self::Entra | Self::Google => AcceptedTypes::Listed(types(&["JWT"])),
            Self::Okta | Self::Cognito => AcceptedTypes::ListedOrNone(types(&["JWT", "at+jwt"])),
        }
    }

    /// The claims of the provider's access tokens.
    #[must_use]
    pub fn claims(self) -> ClaimNames {
        let app: &[&str] = match self {
            Self::Rfc9068 | Self::Cognito => &["client_id"],
            Self::Auth0 => &["azp", "client_id"],
            Self::Okta => &["cid"],
            Self::Entra => &["azp", "appid"],
            Self::Keycloak => &["client_id", "azp"],
            Self::Google => &["azp"],
        };
        let scope: &[&str] = match self {
            Self::Okta => &["scp"],
            Self::Entra => &["scp", "roles"],
            Self::Rfc9068 => &["scope", "scp"],
            _ => &["scope"],
        };
        let token_id: &[&str] = match self {
            Self::Entra => &["uti", "jti"],
            _ => &["jti"],
        };
        ClaimNames {
            profile: self,
            app: Names::of(app),
            scope: Some(Names::of(scope)),
            token_id: Some(Names::of(token_id)),
            audience: (self != Self::Cognito).then(|| Names::of(&["aud"])),
            is_own: false,
        }
    }

    /// Whether some tokens of the provider have no id. They are identified by what was signed.
    #[must_use]
    pub const fn may_lack_id(self) -> bool {
        matches!(self, Self::Auth0 | Self::Entra | Self::Google)
    }

    /// Whether the provider's tokens say no scope, so that `claims.scope` must be configured.
    #[must_use]
    pub const fn lacks_scope(self) -> bool {
        matches!(self, Self::Google)
    }

    /// Refuses tokens of the provider that are no access tokens, as far as their claims say so.
    fn check_kind(self, claims: &Object<'_>) -> Result<(), TokenFault> {
        let is_text = |name: &str, wanted: &str| {
            let value = claims.value(name);
            value.map(|value| matches!(value, Value::Text(text) if text == wanted))
        };
        let is_access_token = match self {
            Self::Rfc9068 | Self::Google => true,
            // OpenID Connect Core sections 2 and 3.3.2.11: what only ID tokens have.
            Self::Auth0 | Self::Okta | Self::Entra => {
                !["nonce", "at_hash", "c_hash"].iter().any(|name| claims.has(name))
            }
            Self::Cognito => is_text("token_use", "access") == Some(true),
            Self::Keycloak => is_text("typ", "Bearer") != Some(false) && !claims.has("at_hash"),
        };
        match is_access_token {
            true => Ok(()),
            false => Err(TokenFault::Type),
        }
    }
}

/// Which `typ` header an issuer's access tokens must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptedTypes {
    /// One of these; RFC 9068 says `at+jwt`.
    Listed(Vec<String>),
    /// One of these, or no `typ` at all.
    ListedOrNone(Vec<String>),
    /// Any or none: ID tokens pass as well.
    Any,
}

/// Names of claims, tried in order: the first that a token has is its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Names(SmallVec<[Box<str>; 2]>);

impl Names {
    /// These names. An empty list finds nothing.
    #[must_use]
    pub fn of<S: AsRef<str>>(names: &[S]) -> Self {
        Self(names.iter().map(|name| Box::from(name.as_ref())).collect())
    }

    /// The first of these claims that the token has, with its name.
    fn find<'c, 'a>(&'c self, claims: &'c Object<'a>) -> Option<(&'c str, &'c Value<'a>)> {
        self.0
            .iter()
            .find_map(|name| Some((&**name, claims.value(name)?)))
    }

    fn text<'c>(&'c self, claims: &'c Object<'_>) -> Result<Option<&'c str>, TokenFault> {
        match self.find(claims) {
            None => Ok(None),
            Some((_, Value::Text(text))) => Ok(Some(text)),
            Some((name, _)) => Err(TokenFault::ClaimType(name.into())),
        }
    }

    fn missing(&self) -> TokenFault {
        TokenFault::ClaimMissing(self.to_string().into())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            write!(f, "{}`{name}`", if at == 0 { "" } else { " or " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where an issuer's access tokens say what a decision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    pub profile: Profile,
    pub app: Names,
    /// `None`: tokens say no scope, and the scopes of the app count.
    pub scope: Option<Names>,
    /// `None`: tokens have no id, and are identified by what was signed.
    pub token_id: Option<Names>,
    /// `None`: tokens name no audience, and none is checked.
    pub audience: Option<Names>,
    /// Whether the issuer is our own, whose tokens have exactly one form.
    is_own: bool,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Profile::default().claims()
    }
}

impl ClaimNames {
    /// The claims of our own tokens: those of RFC 9068, with the scope in `scope` alone and `sub` equal to
    /// `client_id`.
    #[must_use]
    pub fn own() -> Self {
        Self {
            scope: Some(Names::of(&["scope"])),
            is_own: true,
            ..Self::default()
        }
    }

    /// The client id of the app that the token was issued to.
    ///
    /// # Errors
    /// The token is no access token of the profile, or does not name its app.
    pub(super) fn app<'c>(&'c self, claims: &'c Object<'_>) -> Result<&'c str, TokenFault> {
        self.profile.check_kind(claims)?;
        if self.profile == Profile::Rfc9068 {
            claims.text("sub").map_err(TokenFault::Claims)?;
        }
        self.app.text(claims)?.ok_or_else(|| self.app.missing())
    }

    /// The name of the claim that [`Self::app`] comes from.
    pub(super) fn app_claim<'c>(&'c self, claims: &Object<'_>) -> &'c str {
        let mut names = self.app.0.iter();
        names.find(|name| claims.has(name)).map_or("", |name| name)
    }

    /// RFC 9068 section 2.2: for client credentials, the only grant of our own issuer, `sub` names the client.
    pub(super) fn check_subject(&self, claims: &Object<'_>, app: &AppId) -> Result<(), TokenFault> {
        match self.is_own && claims.text("sub") != Ok(app.as_str()) {
            true => Err(TokenFault::Claim("sub".into())),
            false => Ok(()),
        }
    }

    /// The audiences, and whether `aud` is one text and no list. `None` where none is checked.
    pub(super) fn audiences<'c>(
        &'c self,
        claims: &'c Object<'_>,
    ) -> Result<(SmallVec<[&'c str; 1]>, bool), TokenFault> {
        let Some(names) = &self.audience else {
            return Ok((SmallVec::new(), true));
        };
        match names.find(claims) {
            None => Err(names.missing()),
            Some((_, Value::Text(text))) => Ok((SmallVec::from_iter([text.as_ref()]), true)),
            Some((_, Value::Texts(texts))) if !texts.is_empty() => {
                Ok((texts.iter().map(AsRef::as_ref).collect(), false))
            }
            Some((name, _)) => Err(TokenFault::ClaimType(name.into())),
        }
    }

    /// The scopes of the token, `None` where those of the app count.
    ///
    /// A text is a list of words (RFC 6749 section 3.3). Of a list of texts those are left out that no scope can be;
    /// a text with a space never counts as two.
    pub(super) fn scopes(&self, claims: &Object<'_>) -> Result<Option<ScopeSet>, TokenFault> {
        let Some(names) = &self.scope else {
            return Ok(None);
        };
        let most = if self.is_own { SCOPES_MAX } else { TOKEN_SCOPES_MAX };
        let scopes = match names.find(claims) {
            None => ScopeSet::default(),
            Some((name, Value::Text(text))) => {
                ScopeSet::parse_at_most(text, most).map_err(|_| TokenFault::Claim(name.into()))?
            }
            // `roles` of a user say what the user may do, not what the app may.
            Some(("roles", _)) if self.profile == Profile::Entra && is_for_user(claims) => {
                ScopeSet::default()
            }
            Some((name, Value::Texts(texts))) if !self.is_own => {
                if texts.len() > most {
                    return Err(TokenFault::Claim(name.into()));
                }
                texts.iter().filter_map(|text| Scope::parse(text).ok()).collect()
            }
            Some((name, _)) => return Err(TokenFault::ClaimType(name.into())),
        };
        Ok(Some(scopes))
    }

    /// The id by which the token can be revoked.
    ///
    /// # Errors
    /// The token has no id and the issuer's tokens must have one, or it is no text of 1 to 256 bytes.
    pub fn id_of(&self, claims: &Object<'_>, signing_input: &[u8]) -> Result<Box<str>, TokenFault> {
        let Some(names) = &self.token_id else {
            return Ok(content_id(signing_input));
        };
        match names.text(claims)? {
            Some(id) if (1..=TOKEN_ID_BYTES_MAX).contains(&id.len()) => Ok(id.into()),
            Some(_) => {
                let name = names.find(claims).map_or("jti", |(name, _)| name);
                Err(TokenFault::Claim(name.into()))
            }
            None if self.profile.may_lack_id() => Ok(content_id(signing_input)),
            None => Err(names.missing()),
        }
    }
}

/// Entra's optional claim `idtyp` says `app` in tokens without a user, and `user` in others.
fn is_for_user(claims: &Object<'_>) -> bool {
    match claims.value("idtyp") {
        None => false,
        Some(Value::Text(kind)) => kind != "app",
        Some(_) => true,
    }
}

/// The id of a token that says none: the SHA-256 of its signed content, `header.payload`. The signature is no part of
/// it: ECDSA signatures can be changed by anyone and stay valid.
#[must_use]
pub fn content_id(signing_input: &[u8]) -> Box<str> {
    format!("sha-256:{}", URL_SAFE_NO_PAD.encode(sha256(signing_input))).into()
}
