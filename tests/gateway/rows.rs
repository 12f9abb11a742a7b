//! Every known bypass of another gateway, with the tests that show it fails here.
//!
//! Each row names tests by `file::function`. All use real sockets. They check the response, and that the
//! upstream received nothing, except for the few rows about requests that must be forwarded.

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

/// What people of this field ran into with other products, tried here: the input of each row has its right value.
const RAN_INTO_IN_THE_FIELD: &[(&str, &[&str])] = &[
    (
        "private key pasted into one line",
        &[
            "planes/named_files.rs::private_key_on_one_line_is_named_and_never_printed",
            "planes/named_files.rs::private_key_in_place_of_another_file_is_never_printed",
        ],
    ),
    (
        "retry that goes to the server that just failed",
        &[
            "gateway/upstreams.rs::retry_goes_to_another_server_whatever_others_draw",
            "gateway/upstreams.rs::third_server_is_tried_when_two_are_down",
        ],
    ),
    (
        "client without User-Agent",
        &[
            "gateway/fetching.rs::key_set_request_names_this_program",
            "control/tokens/leaked.rs::leaked_tokens_are_revoked_and_the_owner_notified",
        ],
    ),
    (
        "key file read once",
        &[
            "gateway/key_sets.rs::withdrawn_key_ends_whatever_else_the_set_holds",
            "gateway/key_sets.rs::missing_key_file_keeps_the_keys_and_its_return_is_seen",
        ],
    ),
    (
        "two keys with one kid",
        &[
            "gateway/key_sets.rs::duplicate_entries_are_one_key",
            "gateway/key_sets.rs::keys_of_two_kinds_may_share_an_id",
            "gateway/key_sets.rs::one_key_may_be_published_with_two_algorithms",
            "gateway/key_sets.rs::two_keys_with_one_id_are_both_tried_and_a_third_is_not",
        ],
    ),
    (
        "sets of 100 and 1000 keys",
        &["gateway/key_sets.rs::thousand_keys_are_used_among_any_number_that_cannot_be"],
    ),
    (
        "dates with fractions, exponents and microseconds",
        &[
            "gateway/tokens.rs::dates_with_fractions_are_accepted",
            "decide/tokens/claims.rs::dates_may_have_fractions_and_exponents",
        ],
    ),
    (
        "claims of Keycloak, Okta, Entra, Auth0, Cognito, Hydra, Google",
        &[
            "gateway/providers.rs::documented_token_of_every_provider_is_accepted",
            "gateway/providers.rs::one_fault_in_a_provider_token_is_refused",
        ],
    ),
    (
        "Ed25519 and EdDSA",
        &[
            "decide/tokens/claims.rs::ed25519_and_eddsa_are_one_algorithm",
            "control/tokens/assertions.rs::ed25519_is_a_name_of_eddsa",
        ],
    ),
    (
        "RSA keys without alg",
        &["gateway/key_sets.rs::one_key_may_be_published_with_two_algorithms"],
    ),
    (
        "keys skipped without a word",
        &[
            "gateway/key_sets.rs::unusable_entries_cost_the_others_nothing",
            "gateway/key_sets.rs::spellings_that_stand_for_one_key_are_taken",
        ],
    ),
    (
        "tokens of 8 to 30 KB",
        &["gateway/tokens.rs::long_tokens_are_accepted_up_to_token_bytes"],
    ),
    (
        "204 with Content-Length",
        &[
            "gateway/response_framing.rs::no_content_has_neither_length_nor_body",
            "gateway/response_framing.rs::not_modified_and_head_name_a_length_and_have_no_body",
        ],
    ),
    (
        "no 100 over HTTP/2",
        &["gateway/accepted_forms.rs::expect_over_http2_gets_its_100"],
    ),
    (
        "pipelined requests",
        &[
            "gateway/pipelining.rs::pipelined_requests_are_all_served_in_order",
            "gateway/pipelining.rs::pipelined_requests_may_be_cut_anywhere",
        ],
    ),
    (
        "absolute-form",
        &[
            "gateway/accepted_forms.rs::absolute_form_is_forwarded_in_origin_form",
            "gateway/accepted_forms.rs::absolute_form_is_decided_by_its_own_path_and_host",
        ],
    ),
    (
        "wrong reason given",
        &[
            "gateway/sentences.rs::credential_of_the_wrong_form_is_named",
            "gateway/sentences.rs::body_of_the_wrong_form_is_named",
            "gateway/sentences.rs::claim_bound_is_named",
        ],
    ),
    (
        "preflight denied",
        &["gateway/cors.rs::preflight_is_answered_before_source_and_token"],
    ),
    (
        "e-mail pixels",
        &["gateway/pixels.rs::source_is_read_from_a_pixel"],
    ),
    (
        "credential of another issuer",
        &["gateway/foreign_credentials.rs::foreign_credential_goes_upstream_where_nothing_is_enforced"],
    ),
    (
        "variables in lists, addresses and files written as elsewhere",
        &[
            "planes/agreement.rs::check_and_serve_refuse_the_same_configs",
            "planes/agreement.rs::check_and_serve_accept_the_same_configs",
            "planes/agreement.rs::policy_file_is_checked_alone",
        ],
    ),
    (
        "issuer behind a private CA",
        &[
            "gateway/fetching.rs::private_authority_is_trusted_through_ca_alone",
            "gateway/fetching.rs::gateway_fetches_keys_from_a_private_authority",
        ],
    ),
    (
        "egress by proxy only",
        &[
            "gateway/fetching.rs::https_goes_through_the_proxy_by_connect",
            "gateway/fetching.rs::plain_http_goes_through_the_proxy_with_the_whole_url",
        ],
    ),
    (
        "Host of a health check",
        &["gateway/upstreams.rs::health_check_sends_the_host_of_its_server"],
    ),
    (
        "type of an info metric",
        &["reference/metrics.rs::metrics_page_is_current"],
    ),
    (
        "HTTP/1.0 without Host",
        &["gateway/accepted_forms.rs::http10_without_host_is_served_where_any_host_is"],
    ),
    (
        "one unknown host name",
        &[
            "gateway/upstreams.rs::name_that_does_not_resolve_costs_its_own_api",
            "gateway/upstreams.rs::name_that_does_not_resolve_leaves_the_other_servers",
        ],
    ),
    (
        "client address behind a balancer",
        &[
            "gateway/addresses.rs::forwarding_headers_of_trusted_proxies_are_extended",
            "gateway/proxy_protocol.rs::header_of_either_version_names_the_client",
        ],
    ),
    (
        "keep-alive of the upstream shorter than ours",
        &[
            "gateway/upstreams.rs::keep_alive_timeout_of_the_server_bounds_the_reuse",
            "gateway/upstreams.rs::unused_connection_is_closed_before_its_server_does",
        ],
    ),
    (
        "bound token without proof",
        &["decide/tokens/claims.rs::token_with_cnf_is_refused_without_proof"],
    ),
    (
        "Authorization: DPoP",
        &["gateway/sentences.rs::dpop_is_401_with_a_challenge"],
    ),
    (
        "identity headers spelt with dots",
        &["gateway/identity/spoofed_headers.rs::identity_headers_of_a_client_are_replaced"],
    ),
    (
        "query that names another source than the body",
        &["gateway/other_places.rs::place_that_is_not_listed_must_not_name_another_source"],
    ),
    (
        "sub and client_id differ",
        &["decide/tokens/claims.rs::subject_of_our_own_token_is_its_client"],
    ),
    (
        "token request in UTF-16",
        &["control/tokens/assertions.rs::form_in_another_charset_is_rejected"],
    ),
    (
        "member removed from one of two workspaces",
        &["control/workspaces/members.rs::removed_member_loses_access_at_once"],
    ),
    (
        "four structural mistakes",
        &["planes/agreement.rs::four_structural_mistakes_are_reported_at_once"],
    ),
    (
        "Ctrl-C at a password prompt",
        &["planes/terminal.rs::interrupt_at_a_password_prompt_restores_the_terminal"],
    ),
    (
        "assertion of an hour, without kid, without jti",
        &[
            "control/tokens/assertions.rs::assertion_lifetime_max_is_configurable",
            "control/tokens/assertions.rs::kid_is_optional_and_every_key_of_the_app_is_tried",
            "control/tokens/assertions.rs::assertion_without_jti_is_accepted_once",
            "planes/clients.rs::node_libraries_get_and_verify_tokens",
            "planes/clients.rs::python_libraries_get_and_verify_tokens",
        ],
    ),
    (
        "verifiers that know only openid-configuration",
        &["control/tokens/metadata.rs::openid_configuration_is_the_metadata_without_id_tokens"],
    ),
    (
        "enforced key outside its API",
        &[
            "planes/enforced_everywhere.rs::quickstart_forwards_no_enforced_event_without_token",
            "planes/enforced_everywhere.rs::example_config_forwards_no_enforced_event_without_token",
            "gateway/stray_keys.rs::enforced_key_is_refused_on_every_path_of_a_token_api",
        ],
    ),
    (
        "RudderStack's Node.js SDK and the other SDKs of the family",
        &[
            "gateway/clients.rs::rudderstack_node_delivers_with_its_defaults",
            "gateway/clients.rs::node_sdks_deliver_with_their_defaults",
            "gateway/clients.rs::python_sdks_deliver_with_their_defaults",
        ],
    ),
    (
        "browser SDKs of another origin",
        &[
            "gateway/clients.rs::browser_sdk_delivers_from_another_origin_once",
            "gateway/cors.rs::denials_can_be_read_by_the_page",
        ],
    ),
    (
        "Public API SDK",
        &[
            "gateway/clients.rs::public_api_sdk_reads_its_workspace_and_errors",
            "gateway/methods.rs::errors_have_the_form_of_the_hosts_only_api",
        ],
    ),
    (
        "resource of RFC 8707, and a token of another gateway's",
        &[
            "control/tokens/resources.rs::resource_becomes_the_audience",
            "control/tokens/resources.rs::unknown_resource_is_invalid_target",
            "gateway/tokens.rs::token_of_another_gateways_resource_is_denied",
        ],
    ),
    (
        "300 token requests at once",
        &["control/http/connections.rs::three_hundred_requests_at_once_are_all_answered"],
    ),
    (
        "JWKS without ETag and CORS",
        &[
            "control/tokens/metadata.rs::known_etag_is_answered_304",
            "control/tokens/metadata.rs::scripts_of_any_origin_may_read_public_documents",
        ],
    ),
];

#[test]
fn every_row_names_tests_that_exist() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut missing = Vec::new();
    let rows = LET_THROUGH_BY_THE_SERVER_BELOW.iter().chain(FELL_IN_THE_FIELD);
    for (row, named) in rows.chain(RAN_INTO_IN_THE_FIELD) {
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
