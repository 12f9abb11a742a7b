//! docs/reference/problem-types.md: every error of the management API and of the OAuth endpoints.
//!
//! Each page entry is a real response: one error of each kind is made and answered. The matches below cover every
//! kind, so the compiler asks for an example when one is added.

use std::collections::BTreeMap;

use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use portcullis::control::bad_request::Exhausted;
use portcullis::control::limiter::Wait;
use portcullis::control::{BadRequest, Conflict, ControlError, TokenError, Unproven};
use portcullis::domain::client_assertion::AssertionError;
use portcullis::domain::role::Action;
use portcullis::store::StoreError;
use serde_json::Value;

use crate::{check_page, opening, row, table};

fn unavailable() -> sqlx::Error {
    sqlx::Error::PoolTimedOut
}

/// The example to show after this one.
fn control_error_after(error: &ControlError) -> Option<ControlError> {
    use ControlError as E;
    Some(match error {
        E::Unauthenticated => E::SessionRequired,
        E::SessionRequired => E::AddressUnverified,
        E::AddressUnverified => E::PasswordsOff,
        E::PasswordsOff => E::SignInRefused,
        E::SignInRefused => E::CrossSite,
        E::CrossSite => E::Forbidden(Action::EditWorkspace),
        E::Forbidden(_) => E::OperatorOnly,
        E::OperatorOnly => E::NotOwnerOfAll,
        E::NotOwnerOfAll => E::RolesChanged,
        E::RolesChanged => E::UnverifiedReport,
        E::UnverifiedReport => E::JoinRefused,
        E::JoinRefused => E::NotFound("app"),
        E::NotFound(_) => E::Invalid {
            field: "name".to_owned(),
            problem: "what is wrong with the value of the member or parameter in `field`".to_owned(),
        },
        E::Invalid { .. } => E::Changed { revision: 7 },
        E::Changed { .. } => E::Request(BadRequest::TooLarge),
        E::Request(fault) => match bad_request_after(*fault) {
            Some(next) => E::Request(next),
            None => E::Conflict(Conflict::TwoKeys),
        },
        E::Conflict(conflict) => match conflict_after(conflict) {
            Some(next) => E::Conflict(next),
            None => E::TooMany(Wait::SHORTEST),
        },
        E::TooMany(_) => E::TooManyFailures(Wait::SHORTEST),
        E::TooManyFailures(_) => E::Busy,
        E::Busy => E::NotYetInForce { version: 42 },
        E::NotYetInForce { .. } => E::Store(StoreError::Unavailable(unavailable())),
        E::Store(StoreError::Unavailable(_)) => E::Store(StoreError::Full(unavailable())),
        E::Store(StoreError::Full(_)) => E::Store(StoreError::Unconfirmed(unavailable())),
        E::Store(StoreError::Unconfirmed(_)) => E::Crypto("signing"),
        // The same response as to a failure of the cryptographic library.
        E::Crypto(_) | E::Store(_) | E::Keys(_) => return None,
    })
}

fn bad_request_after(error: BadRequest) -> Option<BadRequest> {
    use BadRequest as B;
    Some(match error {
        B::TooLarge => B::ReportTooLarge,
        B::ReportTooLarge => B::Broken,
        B::Broken => B::Timeout,
        B::Timeout => B::NotJson,
        B::NotJson => B::Charset,
        B::Charset => B::Malformed,
        B::Malformed => B::Path,
        B::Path => B::IfMatch,
        B::IfMatch => B::IdempotencyKey,
        B::IdempotencyKey => B::Method,
        B::Method => B::Exhausted(Exhausted::Client),
        B::Exhausted(Exhausted::Client) => B::Exhausted(Exhausted::Server),
        B::Exhausted(Exhausted::Server) => return None,
    })
}

fn conflict_after(error: &Conflict) -> Option<Conflict> {
    use Conflict as C;
    Some(match error {
        C::TwoKeys => C::KeyRepeated,
        C::KeyRepeated => C::AppConnected("Orders, Returns".to_owned()),
        C::AppConnected(_) => C::NotConnected,
        C::NotConnected => C::Enforced,
        C::Enforced => C::ScopeMissing {
            kind: "http_api",
            scope: "tracking_api:write",
        },
        C::ScopeMissing { .. } => C::WriteKeyTaken,
        C::WriteKeyTaken => C::MemberExists,
        C::MemberExists => C::NotEmpty,
        C::NotEmpty => C::SeveralMemberships("ws_1, ws_2".to_owned()),
        C::SeveralMemberships(_) => C::LastOwner,
        C::LastOwner => C::LastKey,
        C::LastKey => C::ApiTokens,
        C::ApiTokens => C::RevokedIds,
        C::RevokedIds => C::RetriedMeanwhile,
        C::RetriedMeanwhile => C::RetriedTooLate,
        C::RetriedTooLate => C::RetriedForSecret,
        C::RetriedForSecret => C::RetryKeys,
        C::RetryKeys => C::SigningKeys,
        C::SigningKeys => C::EdgeName,
        C::EdgeName => C::Edges,
        C::Edges => return None,
    })
}

fn token_error_after(error: &TokenError) -> Option<TokenError> {
    use TokenError as T;
    Some(match error {
        T::Request(_) => T::GrantType,
        T::GrantType => T::Scope("the scope `functions:write` is not held by the OAuth app".to_owned()),
        T::Scope(_) => T::Resource("https://elsewhere.example.com".to_owned()),
        T::Resource(_) => T::Credentials("the parameter client_assertion is missing"),
        T::Credentials(_) => T::ClientIdMismatch,
        T::ClientIdMismatch => T::Assertion(AssertionError::Audience("https://auth.example.com".to_owned())),
        T::Assertion(AssertionError::Audience(_)) => T::Assertion(AssertionError::Lifetime(3_600)),
        T::Assertion(AssertionError::Lifetime(_)) => T::Assertion(AssertionError::Expired),
        T::Assertion(AssertionError::Expired) => T::Assertion(AssertionError::UsedBeforeIssued),
        // The others say in the same form what is wrong with the assertion.
        T::Assertion(_) => T::Unproven(Unproven::Signature),
        T::Unproven(_) => T::KeyExpired,
        T::KeyExpired => T::Replayed,
        T::Replayed => T::Authorization,
        T::Authorization => T::Bearer,
        T::Bearer => T::TooMany(Wait::SHORTEST),
        T::TooMany(_) => T::Unreadable(BadRequest::TooLarge),
        T::Unreadable(BadRequest::TooLarge) => T::Unreadable(BadRequest::Broken),
        T::Unreadable(BadRequest::Broken) => T::Unreadable(BadRequest::Timeout),
        T::Unreadable(BadRequest::Timeout) => T::Unreadable(BadRequest::Method),
        // The OAuth endpoints read no JSON and none of these headers.
        T::Unreadable(_) => T::MediaType,
        T::MediaType => T::Charset,
        T::Charset => T::Control(ControlError::Busy),
        T::Control(_) => return None,
    })
}

/// A status, and the members of the JSON body.
fn answer(response: Response) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let status = response.status().as_u16();
    let body = runtime
        .block_on(response.into_body().collect())
        .unwrap()
        .to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap()
}

fn problems() -> String {
    let mut out = table(&["Type", "Status", "Title", "Detail, for example"]);
    let mut seen: BTreeMap<String, (u16, String)> = BTreeMap::new();
    let mut next = Some(ControlError::Unauthenticated);
    while let Some(error) = next {
        next = control_error_after(&error);
        let (status, body) = answer(error.into_response());
        let kind = text(&body, "type")
            .strip_prefix("urn:portcullis:problem:")
            .unwrap();
        let title = text(&body, "title").to_owned();
        let first = seen.entry(kind.to_owned()).or_insert((status, title.clone()));
        assert_eq!(
            *first,
            (status, title.clone()),
            "`{kind}` has two statuses or titles"
        );
        out += &row(&[
            &format!("`{kind}`"),
            &status.to_string(),
            &title,
            text(&body, "detail"),
        ]);
    }
    out
}

fn oauth_errors() -> String {
    let mut out = table(&["Error", "Status", "Description, for example"]);
    let mut next = Some(TokenError::Request(
        "the parameter grant_type is missing".to_owned(),
    ));
    while let Some(error) = next {
        next = token_error_after(&error);
        let (status, body) = answer(error.into_response());
        out += &row(&[
            &format!("`{}`", text(&body, "error")),
            &status.to_string(),
            text(&body, "error_description"),
        ]);
    }
    out
}

#[test]
fn problem_types_page_is_current() {
    let mut page = opening(
        "Problem types",
        "How the control plane says that a request failed. The gateway's own responses are in [deny reasons](deny-reasons.md).",
    );
    page += "## Management API\n\n\
             An error is a problem document (RFC 9457) with the members `type`, `title`, `status` and `detail`, and `field` where \
             one member or parameter is at fault. `type` is `urn:portcullis:problem:` and the word below. Match on `type`; \
             `title` and `detail` are for people and may change. A type with several rows has several causes.\n\n";
    page += &problems();
    page += "\n## OAuth endpoints\n\n\
             `/token` (RFC 6749 section 5.2), `/revoke` (RFC 7009) and `/introspect` (RFC 7662) answer with the members `error` \
             and `error_description`. `slow_down` and `too-many-requests` have `Retry-After` and `X-RateLimit-Reset`, in \
             seconds.\n\n";
    page += &oauth_errors();
    check_page("problem-types.md", &page);
}
