//! Changes: limits, preconditions, idempotency.

mod change_limits;
mod conditions;
mod idempotency;
mod no_op_changes;
