//! Lists of the management API: written item by item, and bounded in bytes as well as in items.
//!
//! A page is read from the store in small parts, so that nobody makes this server hold more rows than those at once.
//! It ends early, with its cursor, when it is as large as a page may be.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header;
use serde::Serialize;

use crate::control::bad_request::BadRequest;
use crate::control::error::ControlError;
use crate::control::http::memory::Reservation;
use crate::model::page::Page;

/// The largest page, in bytes. It has one item at least, which no bound on its fields lets come near to this.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Items read from the store at once.
const ITEMS_AT_ONCE: u32 = 32;

/// One page of a list while it is written: read [`Self::next_part`] from the store and [`Self::add`] it until there is no
/// next part.
pub struct ListPage {
    json: Vec<u8>,
    /// Items that may still be added.
    left: u32,
    /// The cursor of the last item.
    after: String,
    is_complete: bool,
    has_next: bool,
    reservation: Option<Arc<Reservation>>,
}

impl ListPage {
    /// A page of up to `limit` items behind the cursor `after`. What is written counts in `reservation`.
    pub fn new(limit: u32, after: &str, reservation: Option<Arc<Reservation>>) -> Self {
        Self {
            json: br#"{"items":["#.to_vec(),
            left: limit,
            after: after.to_owned(),
            is_complete: false,
            has_next: false,
            reservation,
        }
    }

    /// What to read next. One item more than fits says that there is a next page.
    pub fn next_part(&self) -> Option<Page<'_>> {
        (!self.is_complete).then(|| Page {
            after: &self.after,
            limit: self.asked(),
        })
    }

    fn asked(&self) -> u32 {
        self.left.saturating_add(1).min(ITEMS_AT_ONCE)
    }

    /// Adds what was read. `id` is the cursor of an item.
    ///
    /// # Errors
    /// [`BadRequest::Exhausted`]: there is no memory for the page.
    pub fn add<T, J: Serialize>(
        &mut self,
        part: Vec<T>,
        id: impl Fn(&T) -> &str,
        json: impl Fn(T) -> J,
    ) -> Result<(), ControlError> {
        let asked = usize::try_from(self.asked()).unwrap_or(usize::MAX);
        let goes_on = part.len() >= asked;
        self.add_part(part, goes_on, id, json)
    }

    /// The same of a part that may be shorter than what was asked for, although the list `goes_on` behind it.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_part<T, J: Serialize>(
        &mut self,
        part: Vec<T>,
        goes_on: bool,
        id: impl Fn(&T) -> &str,
        json: impl Fn(T) -> J,
    ) -> Result<(), ControlError> {
        for item in part {
            let cursor = id(&item).to_owned();
            let text = serde_json::to_vec(&json(item)).map_err(|_| ControlError::Crypto("writing a list"))?;
            let is_first = self.json.ends_with(b"[");
            if self.left == 0 || (!is_first && self.json.len() + text.len() > PAGE_BYTES_MAX) {
                self.is_complete = true;
                self.has_next = true;
                return Ok(());
            }
            if let Some(reservation) = &self.reservation {
                let grown = reservation.grow(text.len() + 1);
                grown.map_err(BadRequest::Exhausted)?;
            }
            if !is_first {
                self.json.push(b',');
            }
            self.json.extend_from_slice(&text);
            self.after = cursor;
            self.left -= 1;
        }
        self.is_complete = !goes_on;
        Ok(())
    }

    /// The page as a response.
    ///
    /// # Errors
    /// The cursor cannot be written.
    pub fn finish(mut self) -> Result<Response, ControlError> {
        let next = self.has_next.then_some(&self.after);
        let next = serde_json::to_vec(&next).map_err(|_| ControlError::Crypto("writing a list"))?;
        self.json.extend_from_slice(br#"],"next":"#);
        self.json.extend_from_slice(&next);
        self.json.push(b'}');
        self.json.shrink_to_fit();
        Ok(([(header::CONTENT_TYPE, "application/json")], self.json).into_response())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cursor(text: &str) -> &str {
        text.get(..4).unwrap()
    }

    /// The pages of a list of these texts, each read as a client does.
    async fn pages(limit: u32, texts: &[String]) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut after = String::new();
        loop {
            let mut page = ListPage::new(limit, &after, None);
            while let Some(part) = page.next_part() {
                let behind = texts.iter().filter(|text| cursor(text) > part.after);
                let read = behind.take(usize::try_from(part.limit).unwrap()).collect();
                page.add(read, |text: &&String| cursor(text), |text| json!(text))
                    .unwrap();
            }
            let response = page.finish().unwrap();
            let body = axum::body::to_bytes(response.into_body(), 2 * PAGE_BYTES_MAX).await;
            let list: Value = serde_json::from_slice(&body.unwrap()).unwrap();
            let items = list["items"].as_array().unwrap().iter();
            pages.push(items.map(|item| item.as_str().unwrap().to_owned()).collect());
            match list["next"].as_str() {
                Some(next) => next.clone_into(&mut after),
                None => return pages,
            }
        }
    }

    #[tokio::test]
    async fn list_pages_end_at_their_limit() {
        let texts: Vec<String> = (0..100).map(|at| format!("{at:04}")).collect();
        for limit in [1, 31, 32, 33, 50, 99, 100, 200] {
            let pages = pages(limit, &texts).await;
            let limit = usize::try_from(limit).unwrap();
            assert_eq!(pages.len(), 100_usize.div_ceil(limit), "{limit}");
            assert!(pages.iter().all(|page| page.len() <= limit));
            assert_eq!(pages.concat(), texts, "{limit}");
        }
        assert_eq!(pages(50, &[]).await, [Vec::<String>::new()]);
    }

    #[tokio::test]
    async fn list_pages_end_at_one_mebibyte() {
        let large = "x".repeat(100_000);
        let texts: Vec<String> = (0..25).map(|at| format!("{at:04}{large}")).collect();
        let pages = pages(200, &texts).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!(pages.concat(), texts);
    }
}
