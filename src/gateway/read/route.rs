//! Which API a request belongs to: by host, path and method.

use http::HeaderMap;

use super::head::Head;
use super::spelling::is_spelt_alike;
use crate::config::{Api, ApiPath, ErrorForm, PathPattern};
use crate::domain::decision::DenyReason;

/// Headers by which some servers take another method than the request line's.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Where a request belongs.
#[derive(Clone, Copy, Debug)]
pub enum Route<'a> {
    /// To this API, which has this number in the config.
    Api(usize, &'a Api),
    /// To no API with its method; an API serves the path with others.
    OtherMethods(&'a ApiPath),
    Nowhere,
}

/// The API that a request belongs to: its host fits, its method belongs there, and of the paths that fit the most
/// specific wins; of two APIs that claim the same path, the API that names the host. Two that claim the same host, path and
/// method are no valid config.
///
/// # Errors
/// Compared without letter case, another API's path would fit more specifically. A server behind us that
/// compares so would do there what was decided for here.
pub fn route<'a>(apis: &'a [Api], head: &Head<'_>, method: &str) -> Result<Route<'a>, DenyReason> {
    let best = |fit: fn(&PathPattern, &str) -> Option<usize>| {
        let fit = move |api: &Api| {
            let paths = api.paths.iter().filter(|path| path.allows(method));
            paths.filter_map(|path| fit(&path.pattern, head.path)).max()
        };
        apis.iter()
            .enumerate()
            .filter(|(_, api)| fits_host(api, &head.host))
            .filter_map(|(at, api)| fit(api).map(|specific| (specific, at, api)))
            .max_by_key(|(specific, at, api)| (*specific, names_host(api, &head.host), usize::MAX - at))
    };
    let found = best(PathPattern::matches);
    let in_any_case = best(PathPattern::matches_in_any_case);
    match (found, in_any_case) {
        (Some((fits, at, _)), Some((fits_more, other, _))) if fits_more > fits && other != at => {
            Err(DenyReason::PathInvalid)
        }
        (Some((_, at, api)), _) => Ok(Route::Api(at, api)),
        (None, _) => Ok(with_other_methods(apis, head).map_or(Route::Nowhere, Route::OtherMethods)),
    }
}

/// A path that fits with another method than the request's.
fn with_other_methods<'a>(apis: &'a [Api], head: &Head<'_>) -> Option<&'a ApiPath> {
    let apis = apis.iter().filter(|api| fits_host(api, &head.host));
    let mut paths = apis.flat_map(|api| &api.paths);
    paths.find(|path| path.pattern.matches(head.path).is_some())
}

fn names_host(api: &Api, host: &str) -> bool {
    api.hosts.iter().any(|held| held == host)
}

fn fits_host(api: &Api, host: &str) -> bool {
    api.hosts.iter().any(|held| held == host || held == "*")
}

/// Whether a header names another method, by which a server behind us would find another API than `route` did.
#[must_use]
pub fn is_overridden(apis: &[Api], head: &Head<'_>, method: &str, headers: &HeaderMap) -> bool {
    let depends_on_method = |api: &Api| api.paths.iter().any(|path| !path.methods.is_empty());
    if !apis.iter().any(depends_on_method) {
        return false;
    }
    let number = |method: &str| match route(apis, head, method) {
        Ok(Route::Api(at, _)) => Some(at),
        _ => None,
    };
    let is_override = |name: &str| METHOD_OVERRIDES.iter().any(|held| is_spelt_alike(name, held));
    let mut named = headers.iter().filter(|(name, _)| is_override(name.as_str()));
    named.any(|(_, value)| {
        let other = value.to_str().unwrap_or_default().trim().to_ascii_uppercase();
        number(&other) != number(method)
    })
}

/// The form of errors on a host, before a request's API is known: that of the APIs which name the host, or else of
/// those for any host. Where they differ it is the form of most of this product's APIs.
#[must_use]
pub fn error_form(apis: &[Api], host: &str) -> ErrorForm {
    let form_of = |fits: &dyn Fn(&Api) -> bool| {
        let mut forms = apis.iter().filter(|api| fits(api)).map(|api| api.error_form);
        let first = forms.next()?;
        Some(match forms.all(|form| form == first) {
            true => first,
            false => ErrorForm::OAuth,
        })
    };
    form_of(&|api| names_host(api, host))
        .or_else(|| form_of(&|api| fits_host(api, host)))
        .unwrap_or(ErrorForm::OAuth)
}
