//! What let a request in.

/// What a member's request was let in by, by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    ApiToken(String),
    Session(String),
}
