//! The console's style sheet, script and icon: compiled in, and named after their content.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, header};

use super::paths::ASSET;
use crate::domain::digest::sha256;

/// The name changes with the content, so the file may be cached forever.
const CACHE_FOREVER: &str = "public, max-age=31536000, immutable";

/// A file of the console.
pub(crate) struct Asset {
    /// Where it is.
    pub path: String,
    kind: &'static str,
    content: &'static [u8],
}

impl Asset {
    fn new(name: &str, ending: &str, kind: &'static str, content: &'static [u8]) -> Self {
        let hash = URL_SAFE_NO_PAD.encode(sha256(content));
        let hash: String = hash.chars().take(12).collect();
        Self {
            path: ASSET.replace("{name}", &format!("{name}-{hash}.{ending}")),
            kind,
            content,
        }
    }
}

pub(crate) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_bytes!("assets/console.css");
    Asset::new("console", "css", "text/css; charset=utf-8", content)
});

pub(crate) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_bytes!("assets/console.js");
    Asset::new("console", "js", "text/javascript; charset=utf-8", content)
});

pub(crate) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_bytes!("assets/icon.svg")));

/// `GET /console/assets/{name}`.
pub(crate) async fn serve(Path(name): Path<String>) -> Response {
    let all = [&*STYLE, &*SCRIPT, &*ICON];
    let asked = all
        .into_iter()
        .find(|asset| asset.path.rsplit('/').next() == Some(&name));
    match asked {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(asset) => (
            [
                (header::CONTENT_TYPE, asset.kind),
                (header::CACHE_CONTROL, CACHE_FOREVER),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
            ],
            asset.content,
        )
            .into_response(),
    }
}
