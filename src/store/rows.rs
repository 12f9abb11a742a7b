//! Helpers for rows: times and numbers in columns, lists in statements.

use super::error::StoreError;
use crate::domain::cost;
use crate::domain::time::UnixSeconds;

/// Rows into what they stand for; the first that makes no sense is the error.
pub(crate) fn all<R, T: TryFrom<R, Error = StoreError>>(rows: Vec<R>) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(T::try_from).collect()
}

/// So many parameters, from `$first` on.
pub(crate) fn parameters(first: usize, count: usize) -> String {
    let numbers: Vec<String> = (first..first + count).map(|at| format!("${at}")).collect();
    numbers.join(", ")
}

/// A moment as the columns hold it. The year 292 billion is far enough.
pub(crate) fn seconds(moment: UnixSeconds) -> i64 {
    i64::try_from(moment.0).unwrap_or(i64::MAX)
}

pub(crate) fn moment(column: i64, table: &'static str) -> Result<UnixSeconds, StoreError> {
    number(column, table).map(UnixSeconds)
}

pub(crate) fn number(column: i64, table: &'static str) -> Result<u64, StoreError> {
    u64::try_from(column).map_err(|_| StoreError::Damaged(table))
}

pub(crate) const FIELD: &str = "\t";

pub(crate) const LINE: &str = "\n";

/// The texts that stand for a line's fields.
pub(crate) fn fields<'l, const N: usize>(
    line: &'l str,
    table: &'static str,
) -> Result<[&'l str; N], StoreError> {
    let mut parts = line.split(FIELD);
    let mut found = [""; N];
    for field in &mut found {
        *field = parts.next().ok_or(StoreError::Damaged(table))?;
    }
    match parts.next() {
        None => Ok(found),
        Some(_) => Err(StoreError::Damaged(table)),
    }
}

/// A name as it is searched in, and a text as it is searched for.
pub fn folded(name: &str) -> String {
    cost::count(name.len());
    name.to_lowercase()
}
