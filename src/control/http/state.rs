//! What every handler is given.

use crate::control::plane::Control;
use axum::extract::State;
use std::sync::Arc;

/// What every handler is given.
pub(crate) type Shared = State<Arc<Control>>;
