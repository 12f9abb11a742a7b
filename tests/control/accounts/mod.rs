//! Accounts: sign-in, sessions, sign-on, and what each credential reaches.

mod account_takeover;
mod credential_lifecycle;
mod credential_status;
mod password_sign_in;
mod passwords_off;
mod sessions;
mod sign_in_flood;
mod sign_on;
