//! `explain` says of a request what the gateway does with it: the same bytes go to a gateway over a socket, and through
//! the code that explains.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::clock::Clock;
use portcullis::config::{Cors, Origins};
use portcullis::domain::facts::{UnknownSources, WithoutToken};
use portcullis::gateway::explain::explanation::{CheckResult, Explanation, Outcome};
use portcullis::gateway::offline::OfflineGateway;

use crate::client::H1;
use crate::forge::{self, write_key};
use crate::gateway::{ENFORCED, FORGE, OBSERVED, OTHER, SCOPELESS, Setup, UNENFORCED, snapshot, token};
use crate::upstream::StubUpstream;

/// Requests sent.
const REQUESTS: usize = 600;

/// Numbers that follow from a seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    fn is_rare(&mut self) -> bool {
        self.below(12) == 0
    }
}

fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a failure is repeated by its seed")]
    let given = std::env::var("PORTCULLIS_SEED").ok();
    given.map_or_else(
        || RandomState::new().build_hasher().finish(),
        |text| text.parse().unwrap(),
    )
}

fn offline(setup: &Setup) -> OfflineGateway {
    let clock = Clock::Manual(setup.clock.clone());
    let offline = OfflineGateway::new(&setup.config, &setup.issuers, clock).unwrap();
    offline.install(&snapshot(), setup.freshness).unwrap();
    offline
}

/// A token: good, of another app, or with something wrong.
fn credential(random: &mut Random) -> String {
    let source = [ENFORCED, ENFORCED, OTHER, OBSERVED, SCOPELESS][random.below(5)];
    let claims = |change: fn(&mut serde_json::Value)| {
        let mut claims = forge::claims(ENFORCED, "explained");
        change(&mut claims);
        format!("Bearer {}", FORGE.sign(&FORGE.header(), &claims))
    };
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    match random.below(14) {
        0..=4 => format!("Bearer {}", token(source)),
        5 => claims(|claims| claims["exp"] = claims["iat"].clone()),
        6 => claims(|claims| claims["aud"] = "https://else.test".into()),
        7 => claims(|claims| claims["iss"] = "https://stranger.test".into()),
        8 => claims(|claims| claims["jti"] = "revoked-0".into()),
        9 => format!("Bearer {}x", token(ENFORCED)),
        10 => "Bearer opaque".to_owned(),
        11 => basic(&format!("{}:", write_key(random.below(6)))),
        12 => random
            .one(&["DPoP abc", "Basic !!!", "Bearer:x", "", "Bearer a, Bearer b"])
            .to_owned(),
        _ => basic("nobody:"),
    }
}

fn request(random: &mut Random) -> Vec<u8> {
    let host = random.one(&[
        "tracking.test",
        "tracking.test",
        "functions.test",
        "public.test",
        "Tracking.TEST:80",
        "none.test",
    ]);
    let path = random.one(&[
        "/v1/track",
        "/v1/track",
        "/v1/batch",
        "/",
        "/sources",
        "/v1/../x",
        "/V1/track",
        "//v1",
    ]);
    let key = write_key(random.below(6));
    let query = match random.below(6) {
        0 => format!("?b={key}"),
        1 => format!("?writeKey={key}"),
        2 => random
            .one(&["?access_token=x", "?b=", "?b=1&b=2", "?x=%zz"])
            .to_owned(),
        _ => String::new(),
    };
    let other = write_key(random.below(6));
    let body = match random.below(8) {
        0 => String::new(),
        1 => random.one(&["[]", "{", "{\"a\":1,\"a\":2}", "text"]).to_owned(),
        2 => format!("{{\"writeKey\":\"{key}\",\"writeKey\":\"{other}\"}}"),
        3 => "{\"event\":\"Hello\"}".to_owned(),
        _ => format!("{{\"event\":\"Hello\",\"writeKey\":\"{key}\"}}"),
    };
    let method = if random.is_rare() {
        random.one(&["GET", "OPTIONS", "PUT", "TRACE", "post"])
    } else {
        "POST"
    };
    let mut head = format!("{method} {path}{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if random.below(4) != 0 {
        head += &format!("Authorization: {}\r\n", credential(random));
    }
    if random.is_rare() {
        head += &format!("Authorization: {}\r\n", credential(random));
    }
    let kind = random.one(&[
        "application/json",
        "application/json",
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
    ]);
    head += &format!("Content-Type: {kind}\r\n");
    if random.is_rare() {
        head += random.one(&[
            "Content-Encoding: br\r\n",
            "Expect: 200-ok\r\n",
            "X-HTTP-Method-Override: GET\r\n",
            "X : 1\r\n",
            "Host: b.test\r\n",
            "Origin: https://a.test\r\nAccess-Control-Request-Method: POST\r\n",
        ]);
    }
    if random.is_rare() {
        head += &format!("X-Segment-Source-Function-Token: {other}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    (head + &body).into_bytes()
}

/// What the gateway answered, as an outcome and a reason.
async fn served(gateway: &crate::gateway::TestGateway, bytes: &[u8]) -> (u16, String) {
    let mut client = H1::connect(gateway.address()).await;
    client.send(bytes).await;
    client.answer().await.verdict()
}

fn assert_same(explanation: &Explanation, served: &(u16, String), shown: &str) {
    let reason = explanation.reason.map_or("", |reason| reason.as_str());
    let (status, word) = served;
    match explanation.outcome {
        Outcome::Allow | Outcome::WouldDeny => {
            assert!((200..300).contains(status), "{served:?} {explanation:?} {shown}");
        }
        Outcome::Deny => assert_eq!(
            (*status >= 400, word.as_str()),
            (true, reason),
            "{explanation:?} {shown}"
        ),
    }
    let failed = explanation
        .checks
        .iter()
        .filter(|record| record.result == CheckResult::Fail);
    for record in failed {
        assert!(record.detail.starts_with(reason), "{record:?}");
    }
}

#[tokio::test]
async fn explain_agrees_with_the_gateway_on_random_requests() {
    let seed = seed();
    println!("PORTCULLIS_SEED={seed}");
    let upstream = StubUpstream::start();
    let mut outcomes = std::collections::BTreeMap::<String, usize>::new();
    for round in 0..3 {
        let mut setup = Setup::new(&upstream);
        if round == 1 {
            setup.config.apis[0].unknown_sources = UnknownSources::Forward;
            setup.config.apis[2].without_token = WithoutToken::Deny;
        }
        if round == 2 {
            setup.config.apis[0].cors = Some(Cors {
                origins: Origins::Any,
                credentials: false,
                max_age: std::time::Duration::from_secs(1),
            });
        }
        let offline = offline(&setup);
        let gateway = setup.start().await;
        let mut random = Random(seed.wrapping_add(round));
        for _ in 0..REQUESTS / 3 {
            let bytes = request(&mut random);
            let explanation = offline.explain(&bytes).await;
            let shown = format!("seed {seed}: {}", String::from_utf8_lossy(&bytes));
            assert_same(&explanation, &served(&gateway, &bytes).await, &shown);
            let word = explanation.reason.map_or("none", |reason| reason.as_str());
            *outcomes
                .entry(format!("{} {word}", explanation.outcome.as_str()))
                .or_default() += 1;
        }
    }
    // The requests are of many kinds.
    assert!(outcomes.len() >= 15, "{outcomes:?}");
}

#[tokio::test]
async fn explain_names_source_app_and_the_failed_check() {
    let upstream = StubUpstream::start();
    let setup = Setup::new(&upstream);
    let offline = offline(&setup);
    let send = |key: usize, token: String| {
        let body = format!("{{\"writeKey\":\"{}\"}}", write_key(key));
        format!(
            "POST /v1/track HTTP/1.1\r\nHost: tracking.test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let denied = offline.explain(send(ENFORCED, token(OTHER)).as_bytes()).await;
    assert_eq!(
        denied.reason.map(|reason| reason.as_str()),
        Some("app_not_connected")
    );
    assert_eq!(denied.api.as_deref(), Some("tracking"));
    assert_eq!(denied.policy_version, Some(1));
    assert!(denied.source.is_some() && denied.app.is_some());
    let observed = offline.explain(send(OBSERVED, token(OTHER)).as_bytes()).await;
    assert_eq!(observed.outcome, Outcome::WouldDeny);
    let open = offline.explain(send(UNENFORCED, token(OTHER)).as_bytes()).await;
    assert_eq!((open.outcome, open.reason), (Outcome::Allow, None));
    let skipped = open
        .checks
        .iter()
        .filter(|record| record.result == CheckResult::Skipped);
    assert_eq!(skipped.count(), 11);
    upstream.assert_untouched();
}

#[tokio::test]
async fn explain_marks_unverified_claims_and_shows_no_secret() {
    let upstream = StubUpstream::start();
    let setup = Setup::new(&upstream);
    let offline = offline(&setup);
    let mut claims = forge::claims(ENFORCED, "explained");
    claims["iss"] = "https://stranger.test".into();
    let token = FORGE.sign(&FORGE.header(), &claims);
    let key = write_key(ENFORCED);
    let body = format!("{{\"writeKey\":\"{key}\"}}");
    let request = format!(
        "POST /v1/track HTTP/1.1\r\nHost: tracking.test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let explanation = offline.explain(request.as_bytes()).await;
    let failed = explanation
        .checks
        .iter()
        .find(|record| record.result == CheckResult::Fail);
    let detail = &failed.unwrap().detail;
    assert!(
        detail.contains("the token says, unverified: ") && detail.contains("iss `https://stranger.test`"),
        "{detail}"
    );
    assert_eq!(explanation.app, None);
    let all = format!("{explanation:?}");
    let signature = token.rsplit('.').next().unwrap();
    assert!(!all.contains(&key) && !all.contains(signature), "{all}");
}
