//! Query parameters and pages of lists.

use super::list::ListPage;
use crate::control::error::ControlError;
use crate::control::form::Form;
use crate::control::http::memory::Reservation;
use crate::domain::decimal::digits;
use crate::domain::ids::ID_BYTES_MAX;
use axum::extract::FromRequestParts;
use http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// Items on one page of a list, unless `limit` asks for another number.
pub(crate) const PAGE_ITEMS: u32 = 50;

/// The most items on one page.
pub(crate) const PAGE_ITEMS_MAX: u32 = 200;

/// Which page of a list is asked for: `?limit=&after=`.
pub struct PageQuery {
    limit: u32,
    after: String,
    /// What the request may hold, its page too.
    reservation: Option<Arc<Reservation>>,
}

impl<S: Sync> FromRequestParts<S> for PageQuery {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        Self::of(&query(parts, &["limit", "after"])?, parts)
    }
}

impl PageQuery {
    /// The page that a query asks for.
    pub fn of(query: &Form, parts: &Parts) -> Result<Self, ControlError> {
        let limit = query.get("limit").map_or(Some(PAGE_ITEMS), digits);
        let limit = limit
            .filter(|limit| (1..=PAGE_ITEMS_MAX).contains(limit))
            .ok_or_else(|| {
                ControlError::invalid(
                    "limit",
                    format!("the limit is a number from 1 to {PAGE_ITEMS_MAX}"),
                )
            })?;
        let after = query.get("after").unwrap_or_default();
        if after.len() > ID_BYTES_MAX {
            return Err(ControlError::invalid("after", "this is no cursor of a list"));
        }
        Ok(Self {
            limit,
            after: after.to_owned(),
            reservation: parts.extensions.get().cloned(),
        })
    }

    /// The page, to be written.
    pub fn page(&self) -> ListPage {
        ListPage::new(self.limit, &self.after, self.reservation.clone())
    }
}

/// One page of a list. `next` is the `after` of the page that follows.
#[derive(Serialize, JsonSchema)]
pub struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> List<T> {
    /// A list that is never longer than one page.
    pub const fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// `?name=true` or `?name=false`, and no other parameter. False unless given.
pub fn flag(parts: &Parts, name: &'static str) -> Result<bool, ControlError> {
    match query(parts, &[name])?.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ControlError::invalid(name, "this is neither true nor false")),
    }
}

/// The query's parameters, all of them among `known`.
pub fn query(parts: &Parts, known: &[&str]) -> Result<Form, ControlError> {
    let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .map_err(|error| ControlError::invalid("query", error.to_string()))?;
    let refused = |name: &str, problem| {
        let name: String = name.chars().take(40).collect();
        Err(ControlError::invalid(name, problem))
    };
    match (query.unknown(known), query.without_value()) {
        (Some(name), _) => refused(name, "there is no such parameter"),
        // The first page has no cursor.
        (None, Some(name)) if name != "after" => refused(name, "the parameter has no value"),
        (None, _) => Ok(query),
    }
}
