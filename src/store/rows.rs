//! Helpers for rows: times and numbers in columns, lists in statements.

use super::error::StoreError;
use crate::domain::cost;
use crate::domain::time::UnixSeconds;

/// Converts rows to entities; fails on the first corrupted one.
pub(crate) fn all<R, T: TryFrom<R, Error = StoreError>>(rows: Vec<R>) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(T::try_from).collect()
}

/// `count` parameters, starting with `$first`.
pub(crate) fn parameters(first: usize, count: usize) -> String {
    let numbers: Vec<String> = (first..first + count).map(|at| format!("${at}")).collect();
    numbers.join(", ")
}

/// A time as the columns store it. Times beyond the year 292 billion are clamped.
pub(crate) fn seconds(moment: UnixSeconds) -> i64 {
    i64::try_from(moment.0).unwrap_or(i64::MAX)
}

pub(crate) fn moment(column: i64, table: &'static str) -> Result<UnixSeconds, StoreError> {
    number(column, table).map(UnixSeconds)
}

pub(crate) fn number(column: i64, table: &'static str) -> Result<u64, StoreError> {
    u64::try_from(column).map_err(|_| StoreError::Corrupted(table))
}

pub(crate) const FIELD: &str = "\t";

pub(crate) const LINE: &str = "\n";

/// The fields of a line.
pub(crate) fn fields<'l, const N: usize>(
    line: &'l str,
    table: &'static str,
) -> Result<[&'l str; N], StoreError> {
    let mut parts = line.split(FIELD);
    let mut found = [""; N];
    for field in &mut found {
        *field = parts.next().ok_or(StoreError::Corrupted(table))?;
    }
    match parts.next() {
        None => Ok(found),
        Some(_) => Err(StoreError::Corrupted(table)),
    }
}

/// A name in the form it is searched in, and a text in the form it is searched for.
pub fn search_text(name: &str) -> String {
    cost::count(name.len());
    name.to_lowercase()
}
