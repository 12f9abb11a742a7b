//! Two faults at once: the check that the contract lists first gives the reason.

use portcullis::domain::decision::{DenyReason, Mode};

use crate::model::{Answer, App, Issuer, Revoked, Source, World};
use crate::request::{Credential, Fault, Named, Request, Token};

const NOW: u64 = 1_795_000_000;
const ISSUER: &str = "https://auth.test";

/// Something wrong with a request that is otherwise permitted.
struct Wrong {
    reason: DenyReason,
    make: fn(&mut World, &mut Request),
}

const fn wrong(reason: DenyReason, make: fn(&mut World, &mut Request)) -> Wrong {
    Wrong { reason, make }
}

/// What can be wrong, in the order in which `decide` looks for it.
///
/// Of two that touch the same thing the earlier is made last, so that it stays: a request without a
/// token has no token that is also expired.
const IN_ORDER: [Wrong; 27] = [
    // 1. one credential at most
    wrong(DenyReason::CredentialsConflict, |_, request| {
        request.credential = Credential::Conflicting;
    }),
    // 2. the source is known
    wrong(DenyReason::BodyInvalid, |_, request| {
        request.source = Named::Unreadable(DenyReason::BodyInvalid);
    }),
    wrong(DenyReason::SourceUnknown, |_, request| {
        request.source = Named::WriteKey("wk-nobody".to_owned());
    }),
    // 3. the policy is fresh
    wrong(DenyReason::PolicyStale, |world, _| world.confirmed_at = 1),
    // 4. the token is there and verified
    wrong(DenyReason::TokenMissing, |_, request| {
        request.credential = Credential::Missing;
    }),
    wrong(DenyReason::TokenMalformed, |_, request| {
        request.credential = Credential::Opaque;
    }),
    wrong(DenyReason::TokenMalformed, |_, request| {
        request.credential = Credential::Faulty(Fault::Claim);
    }),
    wrong(DenyReason::TokenTypeWrong, |_, request| {
        request.credential = Credential::Faulty(Fault::Type);
    }),
    wrong(DenyReason::KeysUnavailable, |_, request| {
        request.credential = Credential::Faulty(Fault::KeysUnavailable);
    }),
    wrong(DenyReason::TokenSignatureInvalid, |_, request| {
        request.credential = Credential::Faulty(Fault::SignatureInvalid);
    }),
    wrong(DenyReason::ProofMissing, |_, request| {
        request.credential = Credential::Faulty(Fault::ProofMissing);
    }),
    // 5. its issuer and its key are still trusted, its audience is ours
    wrong(DenyReason::TokenIssuerUntrusted, |world, _| world.issuers.clear()),
    wrong(DenyReason::TokenKeyUnknown, |world, _| {
        issuer(world).keys = vec!["ed-2".to_owned()];
    }),
    wrong(DenyReason::TokenAudienceMismatch, |world, _| {
        issuer(world).audiences = vec!["https://other.test".to_owned()];
    }),
    // 6. it is within its time
    wrong(DenyReason::TokenExpired, |_, request| {
        token(request, |token| token.expires_at = NOW - 60);
    }),
    wrong(DenyReason::TokenNotYetValid, |_, request| {
        token(request, |token| token.not_before = Some(NOW + 60));
    }),
    wrong(DenyReason::TokenNotYetValid, |_, request| {
        token(request, |token| token.issued_at = NOW + 60);
    }),
    // 7. it is not revoked
    wrong(DenyReason::TokenRevoked, |world, _| {
        world.revoked.push(Revoked {
            issuer: ISSUER.to_owned(),
            token_id: "token-1".to_owned(),
        });
    }),
    // 8. its app exists, is the issuer's, and is connected to the source
    wrong(DenyReason::AppUnknown, |world, _| world.apps.clear()),
    wrong(DenyReason::AppUnknown, |world, _| {
        app(world, |app| app.issuer = "https://other.test".to_owned());
    }),
    wrong(DenyReason::TokenRevoked, |world, _| {
        app(world, |app| app.keys.clear());
    }),
    wrong(DenyReason::TokenRevoked, |world, _| {
        app(world, |app| app.not_issued_before = NOW);
    }),
    wrong(DenyReason::TokenRevoked, |world, _| {
        app(world, |app| {
            app.keys_not_issued_before.insert("app-key-1".to_owned(), NOW);
        });
    }),
    wrong(DenyReason::TokenRevoked, |world, _| {
        world.workspaces.insert("ws-1".to_owned(), NOW);
    }),
    wrong(DenyReason::AppNotConnected, |world, _| {
        for source in world.sources.values_mut() {
            source.app = None;
        }
    }),
    // 9. the scope covers the route
    wrong(DenyReason::ScopeInsufficient, |world, _| {
        app(world, |app| app.scopes.clear());
    }),
    wrong(DenyReason::ScopeInsufficient, |_, request| {
        token(request, |token| token.scopes.clear());
    }),
];

/// How many of them come before the judgement that `observe` makes harmless.
const BEFORE_JUDGEMENT: usize = 3;

fn issuer(world: &mut World) -> &mut Issuer {
    world.issuers.entry(ISSUER.to_owned()).or_insert_with(trusted)
}

fn app(world: &mut World, change: fn(&mut App)) {
    world.apps.values_mut().for_each(change);
}

fn token(request: &mut Request, change: fn(&mut Token)) {
    request.token_mut().into_iter().for_each(change);
}

fn trusted() -> Issuer {
    Issuer {
        bundled: true,
        audiences: vec!["https://gateway.test".to_owned()],
        leeway_s: 5,
        keys: vec!["ed-1".to_owned()],
        keys_fetched: true,
        lifetime_max_s: None,
        any_type: false,
    }
}

/// A world and a request that is permitted in it.
fn good(enforcement: &str) -> (World, Request) {
    let app = App {
        issuer: ISSUER.to_owned(),
        scopes: vec!["tracking_api:write".to_owned()],
        keys: vec!["app-key-1".to_owned()],
        not_issued_before: 0,
        keys_not_issued_before: [].into(),
        workspace: "ws-1".to_owned(),
    };
    let source = Source {
        id: "src-orders".to_owned(),
        enforcement: enforcement.to_owned(),
        app: Some("orders".to_owned()),
    };
    let world = World {
        confirmed_at: NOW,
        max_age_s: 86_400,
        when_stale: "deny".to_owned(),
        issuers: [(ISSUER.to_owned(), trusted())].into(),
        apps: [("orders".to_owned(), app)].into(),
        workspaces: [].into(),
        sources: [("wk-orders".to_owned(), source)].into(),
        revoked: Vec::new(),
    };
    let token = Token {
        issuer: ISSUER.to_owned(),
        signer: "ed-1".to_owned(),
        app: "orders".to_owned(),
        audiences: vec!["https://gateway.test".to_owned()],
        scopes: vec!["tracking_api:write".to_owned()],
        issued_at: NOW - 10,
        not_before: None,
        expires_at: NOW + 3_600,
        token_id: "token-1".to_owned(),
        client_key: Some("app-key-1".to_owned()),
    };
    let request = Request {
        now: NOW,
        scope: "tracking_api:write".to_owned(),
        forward_unknown_sources: false,
        forward_without_token: false,
        source: Named::WriteKey("wk-orders".to_owned()),
        credential: Credential::Token(token),
    };
    (world, request)
}

fn answer_with(enforcement: &str, wrongs: &[usize]) -> Answer {
    let (mut world, mut request) = good(enforcement);
    for at in wrongs {
        (IN_ORDER[*at].make)(&mut world, &mut request);
    }
    request.decide(&world.policy())
}

#[test]
fn nothing_wrong_is_permitted() {
    assert!(answer_with("on", &[]).is_permit());
}

#[test]
fn one_fault_gives_its_reason() {
    for (at, wrong) in IN_ORDER.iter().enumerate() {
        assert_eq!(answer_with("on", &[at]), Answer::Deny(wrong.reason), "fault {at}");
    }
}

#[test]
fn the_earlier_of_two_faults_gives_the_reason() {
    for (first, wrong) in IN_ORDER.iter().enumerate() {
        for second in first + 1..IN_ORDER.len() {
            assert_eq!(
                answer_with("on", &[second, first]),
                Answer::Deny(wrong.reason),
                "faults {first} and {second}"
            );
        }
    }
}

#[test]
fn observed_source_has_the_reason_of_an_enforced_one() {
    for (first, wrong) in IN_ORDER.iter().enumerate() {
        for second in first..IN_ORDER.len() {
            let expected = if first < BEFORE_JUDGEMENT {
                Answer::Deny(wrong.reason)
            } else {
                Answer::Permit {
                    mode: Mode::Observed,
                    source: Some("src-orders".to_owned()),
                    app: None,
                    would_deny: Some(wrong.reason),
                }
            };
            assert_eq!(
                answer_with("observe", &[second, first]),
                expected,
                "faults {first} and {second}"
            );
        }
    }
}

#[test]
fn unenforced_source_checks_only_credentials_and_key() {
    for (first, wrong) in IN_ORDER.iter().enumerate() {
        let answer = answer_with("off", &[first]);
        if first < BEFORE_JUDGEMENT {
            assert_eq!(answer, Answer::Deny(wrong.reason));
        } else {
            assert!(answer.is_permit(), "fault {first}: {answer:?}");
        }
    }
}
