//! An app with its keys and its connected sources.

use crate::domain::ids::SourceId;
use crate::model::app::App;
use crate::model::app::AppKey;

/// An app with its keys and its connected sources.
#[derive(Clone, Debug)]
pub struct AppDetails {
    pub app: App,
    pub keys: Vec<AppKey>,
    pub sources: Vec<SourceId>,
}
