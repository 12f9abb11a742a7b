//! Which API a request belongs to.

use super::head::Head;
use crate::config::{Api, PathPattern};
use crate::domain::decision::DenyReason;

/// The API that a request belongs to: its host fits, and of the paths that fit the most specific wins; of two that
/// claim the same path, the one that names the host. Two that claim the same host and path are no valid config.
///
/// # Errors
/// Compared without letter case, another API's path would fit more specifically. A server behind us that
/// compares so would do there what was decided for here.
pub fn route<'a>(apis: &'a [Api], head: &Head<'_>) -> Result<Option<(usize, &'a Api)>, DenyReason> {
    let names_host = |api: &Api| api.hosts.contains(&head.host);
    let fits_host = |api: &Api| names_host(api) || api.hosts.iter().any(|host| host == "*");
    let best = |fit: fn(&PathPattern, &str) -> Option<usize>| {
        let fit = move |api: &Api| api.paths.iter().filter_map(|path| fit(path, head.path)).max();
        apis.iter()
            .enumerate()
            .filter(|(_, api)| fits_host(api))
            .filter_map(|(at, api)| fit(api).map(|specific| (specific, at, api)))
            .max_by_key(|(specific, at, api)| (*specific, names_host(api), usize::MAX - at))
    };
    let found = best(PathPattern::matches);
    let in_any_case = best(PathPattern::matches_in_any_case);
    match (found, in_any_case) {
        (Some((fits, at, _)), Some((fits_more, other, _))) if fits_more > fits && other != at => {
            Err(DenyReason::PathInvalid)
        }
        (found, _) => Ok(found.map(|(_, at, api)| (at, api))),
    }
}
