//! The map from what is known to have fallen elsewhere to the tests that hold it here.
//!
//! Each row names tests by `file::function`. All go through real sockets and say both what the client was
//! answered and that the upstream received nothing, but for the few rows about what must get through.

use std::path::Path;

/// What Pingora lets through, row by row.
const LET_THROUGH_BY_THE_SERVER_BELOW: &[(&str, &[&str])] = &[
    (
        "two Authorization headers",
        &[
            "gateway/strictness.rs::two_authorization_headers_are_refused",
            "gateway/torture.rs::header_lines_have_one_reading",
            "gateway/identity.rs::more_than_one_credential_is_a_conflict_everywhere",
        ],
    ),
    (
        "/a/../b, //v1, %2e%2e, %2f, backslash, ;x=1",
        &[
            "gateway/strictness.rs::paths_of_two_readings_are_refused",
            "gateway/strictness.rs::paths_of_two_readings_are_refused_over_http2",
            "gateway/torture.rs::request_lines_have_one_reading",
            "gateway/canonical.rs::what_the_upstream_understands_is_what_was_sent_and_decided",
        ],
    ),
    (
        "TE: gzip, chunked",
        &[
            "gateway/strictness/framing.rs::other_codings_than_chunked_are_refused",
            "gateway/torture.rs::framings_have_one_reading",
        ],
    ),
    (
        "CL + TE",
        &[
            "gateway/strictness/framing.rs::length_beside_transfer_encoding_is_refused",
            "gateway/torture.rs::framings_have_one_reading",
        ],
    ),
    (
        "no Host on 1.1; Host: a/b?c",
        &[
            "gateway/strictness.rs::missing_and_malformed_hosts_are_refused",
            "gateway/torture.rs::hosts_have_one_reading",
            "gateway/http2.rs::malformed_requests_are_refused_and_nothing_goes_on",
        ],
    ),
    (
        "X_Client_Id beside X-Client-Id",
        &[
            "gateway/identity/spoofed_headers.rs::identity_headers_of_a_client_are_replaced",
            "gateway/identity/spoofed_headers.rs::identity_is_stripped_from_requests_that_have_none",
            "gateway/canonical.rs::what_the_upstream_understands_is_what_was_sent_and_decided",
        ],
    ),
    (
        "200 KB to 900 KB of headers",
        &[
            "gateway/strictness.rs::headers_beyond_the_limits_are_refused",
            "gateway/torture.rs::header_lines_have_one_reading",
            "gateway/limits.rs::refusal_is_read_by_a_client_that_is_still_sending",
            "gateway/http2/floods.rs::header_list_beyond_the_limits_is_refused",
        ],
    ),
    (
        "Upgrade: websocket",
        &[
            "gateway/accepted_forms.rs::offers_to_upgrade_are_ignored",
            "gateway/accepted_forms.rs::bytes_behind_an_offer_to_upgrade_are_no_tunnel",
            "gateway/torture.rs::header_lines_have_one_reading",
        ],
    ),
    (
        "lower-case method, bare LF lines, NUL as %00",
        &[
            "gateway/strictness.rs::methods_that_are_none_of_an_apis_are_refused",
            "gateway/strictness.rs::bare_line_feeds_are_refused",
            "gateway/strictness.rs::paths_of_two_readings_are_refused",
            "gateway/torture.rs::request_lines_have_one_reading",
        ],
    ),
    (
        "first request slow; then keep-alive for ever",
        &[
            "gateway/limits.rs::stalled_head_gets_408_after_the_header_timeout",
            "gateway/limits.rs::head_that_trickles_is_timed_out_as_a_whole",
            "gateway/limits.rs::connection_that_says_nothing_is_closed",
            "gateway/limits.rs::silent_connection_is_closed_after_the_header_timeout",
            "gateway/limits.rs::body_that_trickles_is_timed_out_as_a_whole",
            "gateway/limits.rs::body_that_stops_is_timed_out_in_http2",
            "gateway/http2.rs::idle_http2_connection_is_closed_and_a_busy_one_is_not",
        ],
    ),
    (
        "half-close after the request",
        &["gateway/strictness/framing.rs::half_close_after_a_request_still_gets_its_answer"],
    ),
    (
        "different CLs, CL: +5, obs-fold, space before colon, TE on 1.0, two Host, CONNECT",
        &[
            "gateway/strictness/framing.rs::lengths_of_two_readings_are_refused",
            "gateway/strictness.rs::folded_and_misspelt_header_lines_are_refused",
            "gateway/strictness/framing.rs::transfer_encoding_on_http10_is_refused",
            "gateway/strictness.rs::two_hosts_are_refused",
            "gateway/torture.rs::framings_have_one_reading",
        ],
    ),
];

/// What fell in the field, class by class.
const FELL_IN_THE_FIELD: &[(&str, &[&str])] = &[
    (
        "claim type confusion",
        &[
            "gateway/denials/tokens.rs::malformed_token_is_denied",
            "gateway/tokens.rs::claims_of_another_type_are_refused",
        ],
    ),
    (
        "unknown crit",
        &["gateway/tokens.rs::headers_that_ask_for_more_than_a_signature_are_refused"],
    ),
    (
        "algorithm confusion, none",
        &[
            "gateway/tokens.rs::tokens_without_a_signature_are_refused",
            "gateway/tokens.rs::tokens_signed_with_our_public_key_as_a_secret_are_refused",
        ],
    ),
    (
        "embedded keys",
        &["gateway/tokens.rs::keys_that_a_token_brings_along_are_refused_and_never_fetched"],
    ),
    (
        "kid injection",
        &["gateway/tokens.rs::key_ids_are_looked_up_and_nothing_else"],
    ),
    (
        "psychic and oversized signatures",
        &["gateway/tokens.rs::signatures_of_another_length_are_refused"],
    ),
    (
        "verdict-cache collisions",
        &[
            "gateway/tokens.rs::tokens_that_begin_alike_are_told_apart",
            "gateway/policy.rs::removed_app_key_and_app_end_their_tokens_at_once",
            "gateway/policy.rs::revocation_is_in_force_once_it_is_acknowledged",
        ],
    ),
    (
        "key-set outage",
        &[
            "gateway/issuers.rs::last_good_keys_outlive_their_server",
            "gateway/issuers.rs::one_empty_answer_between_good_ones_ends_nothing",
            "gateway/issuers.rs::keys_that_are_withdrawn_end_their_tokens",
            "gateway/issuers.rs::issuer_down_at_start_is_unavailable_and_recovers",
            "gateway/issuers.rs::hanging_issuer_delays_only_its_own_requests",
            "gateway/issuers.rs::keys_of_one_issuer_do_not_verify_tokens_of_another",
        ],
    ),
    (
        "unknown-kid flood",
        &[
            "gateway/issuers.rs::flood_of_unknown_keys_causes_one_fetch_a_cooldown",
            "gateway/issuers.rs::flood_of_unknown_keys_after_the_cooldown_shares_one_fetch",
        ],
    ),
    (
        "path confusion",
        &[
            "gateway/strictness.rs::paths_of_two_readings_are_refused",
            "gateway/strictness.rs::paths_of_another_api_in_other_letter_case_are_refused",
            "gateway/strictness.rs::host_with_a_dot_behind_is_refused",
            "gateway/torture.rs::request_lines_have_one_reading",
            "gateway/canonical.rs::what_the_upstream_understands_is_what_was_sent_and_decided",
        ],
    ),
    (
        "trusted forwarded headers",
        &["gateway/identity.rs::what_a_client_claims_of_its_way_here_changes_nothing"],
    ),
    (
        "identity header spoofing",
        &[
            "gateway/identity/spoofed_headers.rs::identity_headers_of_a_client_are_replaced",
            "gateway/identity/spoofed_headers.rs::identity_is_stripped_from_requests_that_have_none",
        ],
    ),
    (
        "multi-value headers",
        &[
            "gateway/strictness.rs::two_authorization_headers_are_refused",
            "gateway/identity.rs::more_than_one_credential_is_a_conflict_everywhere",
            "gateway/identity.rs::basic_that_only_some_decoders_read_is_ambiguous",
            "gateway/strictness.rs::values_with_white_space_around_them_are_refused_over_http2",
        ],
    ),
    (
        "smuggling",
        &[
            "gateway/torture.rs::framings_have_one_reading",
            "gateway/torture.rs::it_makes_no_difference_where_the_bytes_are_cut",
            "gateway/strictness/framing.rs::second_request_is_not_smuggled_in_the_first_ones_body",
            "gateway/strictness/framing.rs::bytes_behind_a_body_are_never_read_as_its_request",
            "gateway/pipelining.rs::denied_request_does_not_shift_those_behind_it",
            "gateway/pipelining.rs::malformed_request_behind_others_ends_the_connection",
            "gateway/accepted_forms.rs::absolute_form_with_two_readings_is_rejected",
            "gateway/limits.rs::refused_body_that_never_comes_ends_the_connection",
            "gateway/limits.rs::rejected_body_is_discarded_and_the_connection_kept",
        ],
    ),
    (
        "HTTP/2 floods",
        &[
            "gateway/http2/floods.rs::rapid_resets_end_the_connection",
            "gateway/http2/floods.rs::resets_of_whole_requests_do_not_pile_up_work",
            "gateway/http2/floods.rs::made_resets_end_the_connection",
            "gateway/http2/floods.rs::flood_of_continuations_ends_the_connection",
            "gateway/http2/floods.rs::floods_of_control_frames_hold_nothing",
            "gateway/http2/floods.rs::header_bomb_is_refused",
            "gateway/http2/floods.rs::streams_at_once_are_bounded",
            "gateway/limits.rs::heads_over_http2_count_among_what_is_held",
        ],
    ),
    (
        "JSON parser differentials",
        &[
            "gateway/identity.rs::write_key_spellings_read_differently_are_ambiguous",
            "gateway/identity.rs::places_that_disagree_are_ambiguous",
            "gateway/identity.rs::body_in_a_media_type_of_another_reading_is_refused",
        ],
    ),
    (
        "decompression",
        &[
            "gateway/bodies.rs::gzip_body_that_inflates_beyond_belief_is_refused",
            "gateway/bodies.rs::gzip_body_that_inflates_beyond_the_size_is_refused",
            "gateway/bodies.rs::gzip_body_of_two_members_is_refused",
            "gateway/bodies.rs::other_codings_than_one_gzip_are_refused",
        ],
    ),
    (
        "assertion audience, replay",
        &[
            "control/tokens/rejected_requests.rs::assertion_is_used_once",
            "control/tokens/rejected_requests.rs::replay_is_rejected_after_a_restart",
            "control/tokens/rejected_requests.rs::invalid_assertion_claims_are_rejected",
        ],
    ),
];

#[test]
fn every_row_names_tests_that_exist() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut missing = Vec::new();
    for (row, named) in LET_THROUGH_BY_THE_SERVER_BELOW.iter().chain(FELL_IN_THE_FIELD) {
        assert!(!named.is_empty(), "{row} has no test");
        for name in *named {
            let (file, function) = name.split_once("::").unwrap_or((name, ""));
            let text = std::fs::read_to_string(tests.join(file)).unwrap_or_default();
            let is_there = text.lines().any(|line| {
                line.strip_prefix("async ")
                    .unwrap_or(line)
                    .starts_with(&format!("fn {function}("))
            });
            if !is_there {
                missing.push((row, name));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
