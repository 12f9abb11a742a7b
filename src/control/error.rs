//! Errors of the control plane. Over HTTP each is a problem document (RFC 9457); the OAuth endpoints have errors of their
//! own (RFC 6749 section 5.2).

use super::bad_request::BadRequest;
use thiserror::Error;

use super::conflict::Conflict;
use super::limiter::Wait;

use crate::domain::role::Action;
use crate::store::StoreError;

/// Why the control plane rejected a request.
#[derive(Debug, Error)]
pub enum ControlError {
    #[error("{0} not found")]
    NotFound(&'static str),
    #[error("{field}: {problem}")]
    Invalid { field: String, problem: String },
    #[error("{0}")]
    Conflict(#[from] Conflict),
    #[error("send a valid API token as Authorization: Bearer pcl_..., or sign in")]
    Unauthenticated,
    /// One text for every cause, so that nobody learns who has an account.
    #[error("the e-mail address or the password is wrong")]
    SignInRefused,
    #[error(
        "this request does not come from a page of this server: a browser's session changes nothing without \
         Sec-Fetch-Site: same-origin, our Origin, or the session's token in X-CSRF-Token"
    )]
    CrossSite,
    #[error("this needs {}; ask a workspace owner for the role", .0.allowed_to())]
    Forbidden(Action),
    #[error("your roles changed while the request was in progress, and nothing was changed; send it again")]
    RolesChanged,
    #[error(
        "it changed since you read it, and has revision {revision} now; read it again and send its ETag as If-Match"
    )]
    Changed { revision: u64 },
    #[error("only the operator of this server may do this, with `portcullis admin`")]
    OperatorOnly,
    #[error(
        "signing keys sign for every workspace of this server, and you do not own all of them; ask the operator of this server"
    )]
    NotOwnerOfAll,
    #[error("use single sign-on; passwords are turned off on this server")]
    PasswordsOff,
    #[error("an API token cannot do this; sign in and use your session")]
    SessionRequired,
    #[error(
        "your e-mail address is not verified, so your account is for one workspace; sign on at the provider, or ask the operator of this server"
    )]
    AddressUnverified,
    #[error("{0}")]
    Request(#[from] BadRequest),
    #[error("too many requests; try again in {} s", .0.seconds())]
    TooMany(Wait),
    /// Sign-ins that failed are the cause.
    #[error("too many failed attempts; try again in {} seconds", .0.seconds())]
    TooManyFailures(Wait),
    #[error(
        "the change is stored as version {version} and will take effect, but the gateway did not confirm it in time"
    )]
    NotYetInForce { version: u64 },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the cryptographic library failed at {0}")]
    Crypto(&'static str),
    #[error(
        "this join token is invalid, was used or has expired; make a new one with `portcullis admin edges join-token`"
    )]
    JoinRefused,
    #[error("the report's signature could not be verified")]
    UnverifiedReport,
    #[error("the server is busy; retry shortly")]
    Busy,
    #[error("{0}")]
    Keys(#[from] UnreadableKey),
}

impl ControlError {
    /// An invalid value of `field`.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl ControlError {
    /// The text for the client where the fault is this server's.
    pub(super) const fn fault(&self) -> &'static str {
        match self {
            Self::Store(StoreError::Unavailable(_)) => {
                "the store does not respond; nothing was changed; retry shortly"
            }
            Self::Store(StoreError::Full(_)) => {
                "the store's disk is full; nothing was changed; ask the operator of this server to free space"
            }
            Self::Store(StoreError::Unconfirmed(_)) => {
                "the connection to the store broke during the commit, so the change may have been made or not; read before you repeat it"
            }
            _ => "request failed: internal error; nothing was changed",
        }
    }
}

impl From<Wait> for ControlError {
    fn from(wait: Wait) -> Self {
        Self::TooMany(wait)
    }
}

/// Why the signing keys in the store cannot be used.
#[derive(Debug, Error)]
pub enum UnreadableKey {
    #[error("store corrupted: invalid row in `signing_keys`")]
    Corrupted,
    #[error(
        "the signing keys in the store are encrypted with the key `{0}`, and none is configured; set control_plane.signing.key_encryption_key to it"
    )]
    NoKey(String),
    #[error(
        "the signing keys in the store are encrypted with the key `{sealed_with}`, and control_plane.signing.key_encryption_key is `{configured}`; configure the right one or, if it was replaced, give the old one as previous_key_encryption_key until the next start"
    )]
    OtherKey { sealed_with: String, configured: String },
}
