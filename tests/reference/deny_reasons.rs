//! docs/reference/deny-reasons.md: every reason for which the gateway denies a request.

use portcullis::domain::decision::DenyReason;

use crate::{check_page, opening, row, table};

#[test]
fn deny_reasons_page_is_current() {
    let mut page = opening(
        "Deny reasons",
        "The gateway denies a request with one of these reasons. The reason is the member `reason` of the response, the label \
         `reason` of `portcullis_requests_total`, and a field of the access log.\n\n\
         - **Error**: the member `error` of the response. RFC 6750 section 3.1 defines `invalid_token`, `invalid_request` \
         and `insufficient_scope`.\n\
         - **Challenge**: the response has a `WWW-Authenticate` header (RFC 6750 section 3).\n\
         - **511**: with `reauthenticate_status: 511`, the status is 511 in place of 401. The Segment SDKs then fetch a new \
         token and send the batch again.",
    );
    page += &table(&["Reason", "Status", "Error", "Challenge", "511", "Description"]);
    for reason in DenyReason::ALL {
        let yes = |holds| if holds { "yes" } else { "" };
        page += &row(&[
            &format!("`{}`", reason.as_str()),
            &reason.status().to_string(),
            &format!("`{}`", reason.error()),
            yes(reason.challenges()),
            yes(reason.asks_for_new_token()),
            reason.description(),
        ]);
    }
    check_page("deny-reasons.md", &page);
}
