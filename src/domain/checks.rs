//! The checks that `decide` makes, by name, and who may watch it make them.

use super::decision::DenyReason;
use super::facts::RequestFacts;
use super::policy::Policy;
use super::time::UnixSeconds;

/// One check of [`decide`](super::decide::decide).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// One credential at most.
    Credential,
    /// The source that the request names is known.
    Source,
    /// The policy is fresh.
    PolicyAge,
    /// An access token is there, and verified.
    Token,
    /// The token's issuer is trusted.
    Issuer,
    /// The key that signed the token is still one of its issuer's.
    Key,
    /// The token is meant for this gateway.
    Audience,
    /// The token is within its time.
    Time,
    /// The token is not revoked.
    Revocation,
    /// The token's app exists, and is its issuer's.
    App,
    /// The tokens of the app, its key and its workspace were not revoked all together.
    Cutoff,
    /// The app is connected to the source.
    Connection,
    /// Token and app have the scope of the route.
    Scope,
}

impl Check {
    /// Every check, in the order in which `decide` makes them.
    pub const ALL: [Self; 13] = [
        Self::Credential,
        Self::Source,
        Self::PolicyAge,
        Self::Token,
        Self::Issuer,
        Self::Key,
        Self::Audience,
        Self::Time,
        Self::Revocation,
        Self::App,
        Self::Cutoff,
        Self::Connection,
        Self::Scope,
    ];

    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Source => "source",
            Self::PolicyAge => "policy_age",
            Self::Token => "token",
            Self::Issuer => "issuer",
            Self::Key => "key",
            Self::Audience => "audience",
            Self::Time => "time",
            Self::Revocation => "revocation",
            Self::App => "app",
            Self::Cutoff => "cutoff",
            Self::Connection => "connection",
            Self::Scope => "scope",
        }
    }
}

/// What a decision rests on.
#[derive(Clone, Copy)]
pub struct Basis<'p, 'd> {
    pub policy: &'p Policy,
    pub facts: &'d RequestFacts<'d>,
    pub now: UnixSeconds,
}

/// Watches a decision. It changes nothing about it: the decision calls it, and ignores it.
///
/// The gateway decides with `()`, which compiles to nothing.
pub trait Observer {
    /// A decision begins.
    fn begin(&mut self, _on: &Basis<'_, '_>) {}

    /// A check was made. The error is the reason of the denial, or of what would be one.
    fn checked(&mut self, _on: &Basis<'_, '_>, _check: Check, _result: Result<(), DenyReason>) {}

    /// Reports the result of a check, and returns it.
    ///
    /// # Errors
    /// That of `result`.
    fn check<T>(
        &mut self,
        on: &Basis<'_, '_>,
        check: Check,
        result: Result<T, DenyReason>,
    ) -> Result<T, DenyReason> {
        self.checked(on, check, result.as_ref().map(drop).map_err(|reason| *reason));
        result
    }
}

impl Observer for () {}

impl<O: Observer> Observer for Option<O> {
    fn begin(&mut self, on: &Basis<'_, '_>) {
        if let Some(observer) = self {
            observer.begin(on);
        }
    }

    fn checked(&mut self, on: &Basis<'_, '_>, check: Check, result: Result<(), DenyReason>) {
        if let Some(observer) = self {
            observer.checked(on, check, result);
        }
    }
}
