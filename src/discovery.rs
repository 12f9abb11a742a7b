//! What an issuer says of itself: OpenID Connect Discovery 1.0 section 4, and RFC 8414 section 3.

use http::{HeaderMap, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::http_client::{Bounds, FetchError, HttpClient, shown};

/// Why an issuer's metadata cannot be used. The sentences quote nothing of it.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    #[error("the issuer is not a URL")]
    Issuer,
    #[error("{0}: {1}")]
    Fetch(String, FetchError),
    #[error("{0}: it is not the JSON metadata of an issuer")]
    Content(String),
    #[error("{0}: its `issuer` is not the configured one, character for character")]
    OtherIssuer(String),
}

/// The metadata of `issuer`: the OpenID document, or where there is none that of RFC 8414.
///
/// # Errors
/// [`DiscoveryError`]. The document must say that it is about exactly this issuer.
pub async fn metadata<T: DeserializeOwned>(
    client: &HttpClient,
    issuer: &str,
    bounds: Bounds,
) -> Result<T, DiscoveryError> {
    let [openid, oauth] = well_known(issuer).ok_or(DiscoveryError::Issuer)?;
    match fetch(client, issuer, &openid, bounds).await {
        Err(DiscoveryError::Fetch(_, FetchError::Status(status))) if is_absent(status) => {
            fetch(client, issuer, &oauth, bounds).await
        }
        found => found,
    }
}

/// Servers without the document answer 404, some of them 400 or 405.
fn is_absent(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(|status| status.is_client_error())
}

async fn fetch<T: DeserializeOwned>(
    client: &HttpClient,
    issuer: &str,
    uri: &Uri,
    bounds: Bounds,
) -> Result<T, DiscoveryError> {
    let body = client.get(uri, HeaderMap::new(), bounds).await;
    let body = body.map_err(|error| DiscoveryError::Fetch(shown(uri), error))?;
    let content = || DiscoveryError::Content(shown(uri));
    let document: Value = serde_json::from_slice(&body).map_err(|_| content())?;
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(DiscoveryError::OtherIssuer(shown(uri)));
    }
    serde_json::from_value(document).map_err(|_| content())
}

/// Where the two documents of an issuer are: OpenID appends to its path, RFC 8414 puts in front of it.
fn well_known(issuer: &str) -> Option<[Uri; 2]> {
    let uri: Uri = issuer.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let path = uri.path().trim_end_matches('/');
    let at = |path: String| format!("{scheme}://{authority}{path}").parse::<Uri>().ok();
    Some([
        at(format!("{path}/.well-known/openid-configuration"))?,
        at(format!("/.well-known/oauth-authorization-server{path}"))?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_documents_are_found_below_and_in_front_of_the_path() {
        for (issuer, openid, oauth) in [
            (
                "https://login.test",
                "https://login.test/.well-known/openid-configuration",
                "https://login.test/.well-known/oauth-authorization-server",
            ),
            (
                "https://login.test/",
                "https://login.test/.well-known/openid-configuration",
                "https://login.test/.well-known/oauth-authorization-server",
            ),
            (
                "https://login.test:8443/realms/one",
                "https://login.test:8443/realms/one/.well-known/openid-configuration",
                "https://login.test:8443/.well-known/oauth-authorization-server/realms/one",
            ),
        ] {
            let found = well_known(issuer).unwrap().map(|uri| uri.to_string());
            assert_eq!(found, [openid, oauth]);
        }
        for odd in ["", "login", "/path", "urn:issuer"] {
            assert!(well_known(odd).is_none(), "{odd}");
        }
    }
}
