//! The protection of the console: headers, cookies, the origin of forms, and escaped input.

use super::support::product::{Env, Quickstart, quickstart_data};
use super::support::web::Answer;
use super::visitor::{Visitor, hidden, text};

const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

struct Console {
    product: Quickstart,
    _data: super::support::scratch::Scratch,
}

impl Console {
    fn start() -> Self {
        let data = quickstart_data();
        Self {
            product: Quickstart::start(data.path()),
            _data: data,
        }
    }

    fn env(&self) -> &Env {
        &self.product.env
    }

    fn at(&self) -> String {
        format!("/console/w/{}", self.env().get("WORKSPACE_ID"))
    }
}

/// A page may say nothing in a script or a style of its own.
fn assert_no_inline(page: &Answer, path: &str) {
    let page = text(page);
    for mark in [
        "<style",
        " style=",
        "javascript:",
        " onclick",
        " onload",
        " onerror",
        "<script>",
    ] {
        assert!(!page.contains(mark), "{path} has {mark}");
    }
    let scripts = page.matches("<script").count();
    assert_eq!(
        scripts,
        page.matches("<script type=\"module\" src=\"/console/assets/")
            .count(),
        "{path}"
    );
}

fn assert_guarded(page: &Answer, path: &str) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        let found: Vec<_> = page
            .headers
            .iter()
            .filter(|(held, _)| held.eq_ignore_ascii_case(name))
            .collect();
        assert_eq!(found.len(), 1, "{name} of {path}");
        assert_eq!(found[0].1, value, "{name} of {path}");
    }
}

#[test]
fn every_page_is_guarded_and_small() {
    let console = Console::start();
    let mut owner = Visitor::owner(console.env());
    let at = console.at();
    let app = format!("{at}/apps/{}", console.env().get("CLIENT_ID"));
    let mut assets = 0;
    for path in [
        "",
        "/apps",
        "/sources",
        "/nothing",
        "/apps/new",
        "/apps/app_unknown",
    ] {
        let path = format!("{at}{path}");
        let page = owner.get(&path);
        assert_guarded(&page, &path);
        assert_no_inline(&page, &path);
        if assets == 0 {
            assets = size_of_assets(&mut owner, &text(&page));
        }
        assert!(
            page.body.len() + assets < 100_000,
            "{path}: {} bytes",
            page.body.len() + assets
        );
    }
    let nowhere = owner.get("/console/nothing/here");
    assert_eq!(nowhere.status(), 404);
    assert!(text(&nowhere).contains("<h1>Page not found</h1>"));
    for path in ["/console/sign-in", app.as_str(), "/", "/console", "/console/"] {
        let page = owner.get(path);
        assert_guarded(&page, path);
        assert_no_inline(&page, path);
    }
}

/// The bytes of what a page refers to. Nothing of it refers to anything further.
fn size_of_assets(visitor: &mut Visitor, page: &str) -> usize {
    let mut total = 0;
    let paths: Vec<&str> = page
        .split('"')
        .filter(|word| word.starts_with("/console/assets/"))
        .collect();
    assert_eq!(paths.len(), 3, "style sheet, icon and script");
    for path in paths {
        let asset = visitor.get(path);
        assert_eq!(asset.status(), 200, "{path}");
        assert_eq!(
            asset.header("cache-control"),
            Some("public, max-age=31536000, immutable")
        );
        assert!(
            !text(&asset).contains("url(") && !text(&asset).contains("@import"),
            "{path}"
        );
        total += asset.body.len();
    }
    total
}

#[test]
fn a_form_of_another_site_changes_nothing() {
    let console = Console::start();
    let mut owner = Visitor::owner(console.env());
    let path = format!("{}/sources/new", console.at());
    let csrf = owner.csrf(&path);
    let fields = [("csrf", csrf.as_str()), ("name", "Planted"), ("kind", "nodejs")];
    for headers in [
        [("Origin", "https://evil.example")],
        [("Origin", "null")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
    ] {
        assert_eq!(
            owner.post_from(&path, &fields, &headers).status(),
            403,
            "{headers:?}"
        );
    }
    let without = [("name", "Planted"), ("kind", "nodejs")];
    assert_eq!(owner.post(&path, &without).status(), 403);
    let wrong = [("csrf", "x"), ("name", "Planted"), ("kind", "nodejs")];
    assert_eq!(owner.post(&path, &wrong).status(), 403);
    let listed = text(&owner.get(&format!("{}/sources", console.at())));
    assert!(!listed.contains("Planted"));
    assert_eq!(owner.post(&path, &fields).status(), 303);
}

#[test]
fn whatever_is_typed_stays_text() {
    let console = Console::start();
    let mut owner = Visitor::owner(console.env());
    let path = format!("{}/sources/new", console.at());
    let csrf = owner.csrf(&path);
    let markup = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;";
    let mut made = Vec::new();
    for name in [markup, "مصدر إلى اليمين", "{{ 7*7 }}"] {
        let answer = owner.post(&path, &[("csrf", &csrf), ("name", name), ("kind", "nodejs")]);
        assert_eq!(answer.status(), 303, "{name}");
        made.push(answer.header("location").unwrap().to_owned());
    }
    for path in made
        .iter()
        .map(String::as_str)
        .chain([format!("{}/sources", console.at()).as_str()])
    {
        let page = text(&owner.get(path.split('?').next().unwrap()));
        assert!(!page.contains("<script>") && !page.contains("<img"), "{path}");
        assert!(!page.contains(">49<"));
    }
    let searched = owner.get(&format!("{}/sources?q=%3Cscript%3E%22%3E", console.at()));
    assert!(text(&searched).contains("&#60;script&#62;") && !text(&searched).contains("<script>\""));
    // What reads from right to left does not turn the text around it.
    let listed = text(&owner.get(&format!("{}/sources", console.at())));
    assert!(listed.contains("<bdi>مصدر إلى اليمين</bdi>"));
    for name in ["\u{202e}gnirts", "a\u{7}b", "x".repeat(10_000).as_str()] {
        let answer = owner.post(&path, &[("csrf", &csrf), ("name", name), ("kind", "nodejs")]);
        assert_eq!(answer.status(), 422);
        let page = text(&answer);
        assert!(page.contains("aria-invalid=\"true\"") && page.contains("id=\"name-error\""));
        assert!(
            page.contains("value=\"nodejs\" checked"),
            "what was chosen is kept"
        );
    }
    // No keyboard types this one, so no form is shown again.
    let nul = owner.post(&path, &[("csrf", &csrf), ("name", "a\u{0}b"), ("kind", "nodejs")]);
    assert_eq!(nul.status(), 403);
}

#[test]
fn errors_stand_beside_the_field_and_no_private_key_comes_back() {
    let console = Console::start();
    let mut owner = Visitor::owner(console.env());
    let path = format!("{}/apps/new", console.at());
    let csrf = owner.csrf(&path);
    let private = std::fs::read_to_string(console.env().get("PRIVATE_KEY_FILE")).unwrap();
    let fields = [
        ("csrf", csrf.as_str()),
        ("name", "Typed name"),
        ("pem", private.as_str()),
        ("key_name", "Typed key"),
        ("token_lifetime", "3w"),
        ("scope.functions:write", "on"),
    ];
    let answer = owner.post(&path, &fields);
    assert_eq!(answer.status(), 422);
    let page = text(&answer);
    assert!(page.contains("id=\"pem-error\""));
    for kept in [
        "value=\"Typed name\"",
        "value=\"Typed key\"",
        "value=\"3w\" checked",
        "scope.functions:write\" value=\"on\" checked",
    ] {
        assert!(page.contains(kept), "{kept} is lost");
    }
    assert!(!page.contains("PRIVATE KEY"));
    for line in private.lines().skip(1).filter(|line| line.len() > 16) {
        assert!(!page.contains(line), "a line of the private key came back");
    }
}

#[test]
fn sign_in_leads_only_into_the_console() {
    let console = Console::start();
    let env = console.env();
    for next in [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "/console/../\\evil",
        "javascript:alert(1)",
        "/console/%0d%0aSet-Cookie:x=1",
        "\r\nLocation: https://evil.example",
        "/api/v1",
        "@evil.example",
    ] {
        let answer = Visitor::new(env).sign_in(env.get("OWNER_EMAIL"), env.get("OWNER_PASSWORD"), next);
        assert_eq!(answer.status(), 303, "{next}");
        let to = answer.header("location").unwrap().to_owned();
        assert!(
            to == "/console" || to.starts_with("/console/"),
            "{next} leads to {to}"
        );
        assert!(
            !to.contains("evil") || to.starts_with("/console/"),
            "{next} leads to {to}"
        );
    }
    let deep = format!("{}/apps", console.at());
    let mut stranger = Visitor::new(env);
    let sent = stranger.get(&deep);
    assert_eq!(sent.status(), 303);
    let form = text(&stranger.get(sent.header("location").unwrap()));
    assert_eq!(hidden(&form, "next"), deep);
    let answer = stranger.sign_in(env.get("OWNER_EMAIL"), env.get("OWNER_PASSWORD"), &deep);
    assert_eq!(answer.header("location"), Some(deep.as_str()));
}

#[test]
fn a_session_is_new_at_each_sign_in_and_its_cookie_is_kept_from_scripts() {
    let console = Console::start();
    let env = console.env();
    let planted = "A".repeat(43);
    let mut owner = Visitor::new(env);
    owner.set_cookie("portcullis-on-http", &planted);
    let answer = owner.sign_in(env.get("OWNER_EMAIL"), env.get("OWNER_PASSWORD"), "");
    assert_eq!(answer.status(), 303);
    let cookies: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert!(
        cookies
            .iter()
            .any(|cookie| cookie.starts_with("portcullis-on-http="))
    );
    for cookie in cookies {
        assert!(
            cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Lax") && cookie.contains("; Path=/")
        );
        assert!(!cookie.contains(&planted));
    }
    let mut thief = Visitor::new(env);
    thief.set_cookie("portcullis-on-http", &planted);
    assert_eq!(thief.get(&console.at()).status(), 303);
    // Signing out ends the session itself, not only the cookie.
    let kept = owner.cookie_header();
    let csrf = owner.csrf(&console.at());
    assert_eq!(
        owner.post("/console/sign-out", &[("csrf", "wrong")]).status(),
        403
    );
    assert_eq!(owner.post("/console/sign-out", &[("csrf", &csrf)]).status(), 303);
    let (name, value) = kept.split("; ").find_map(|pair| pair.split_once('=')).unwrap();
    thief.set_cookie(name, value);
    assert_eq!(thief.get(&console.at()).status(), 303);
}

#[test]
fn nobody_learns_from_a_sign_in_who_has_an_account() {
    let console = Console::start();
    let env = console.env();
    let refusal = |email: &str| {
        let answer = Visitor::new(env).sign_in(email, "not the password of anybody", "");
        (answer.status(), text(&answer).replace(email, "SOMEBODY"))
    };
    assert_eq!(
        refusal(env.get("OWNER_EMAIL")),
        refusal("nobody@quickstart.example")
    );
}
