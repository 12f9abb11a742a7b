//! Files that a config names: errors quote no byte of a secret, and a change of one is
//! taken over or said to need a restart.

use std::fs;
use std::path::Path;

use super::support::process::{Process, portcullis};
use super::support::product::{
    CONTROL_PLANE, NEW_CONTROL_PLANE, OBSERVABILITY, Serve, Wishes, gateway, gateway_to, quickstart_data,
};
use super::support::recorder::Recorder;
use super::support::scratch::Scratch;
use super::support::secrets;

/// A certificate, and a private key that belongs to it.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["one.test".to_owned()]).unwrap();
    let (cert, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    secrets::note(key.lines().filter(|line| !line.starts_with('-')));
    (cert, key)
}

/// What secret stores, templates and people make of a PEM text.
fn on_one_line(pem: &str) -> [(&'static str, String); 4] {
    let pem = pem.trim_end();
    [
        ("literal \\n", pem.replace('\n', "\\n")),
        ("lost newlines", pem.replace('\n', "")),
        ("newlines as spaces", pem.replace('\n', " ")),
        ("quoted", format!("\"{}\"", pem.replace('\n', "\\n"))),
    ]
}

/// Expects neither a line of the key nor its bytes as numbers.
fn assert_silent(what: &str, output: &str, key: &str) {
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        for part in line.as_bytes().chunks(12).filter(|part| part.len() == 12) {
            let part = String::from_utf8_lossy(part);
            assert!(
                !output.contains(&*part),
                "{what}: a part of the key is in the output"
            );
        }
    }
    assert!(
        !output.contains("[45, 45") && !output.contains("2d, 2d"),
        "{what}: bytes are in the output"
    );
    assert!(!output.contains("panicked"), "{what}: {output}");
}

fn run(words: [&str; 2], config: &Path) -> (Option<i32>, String) {
    let done = Process::run(portcullis(words).arg(config));
    (done.code, done.stdout + &done.stderr)
}

#[test]
fn private_key_on_one_line_is_named_and_never_printed() {
    let dir = Scratch::new();
    let (cert, key) = certificate();
    dir.write("good.pem", &cert);
    let tls = ", tls: {certificates: [{cert: good.pem, key: key.pem}]}}]";
    let text =
        gateway_to("127.0.0.1:1".parse().unwrap(), &Wishes::default()) + NEW_CONTROL_PLANE + OBSERVABILITY;
    let config = dir.write("tls.yaml", &text.replacen("}]", tls, 1));
    for (what, bad) in on_one_line(&key) {
        dir.write("key.pem", &bad);
        for words in [["check", "--"], ["serve", "--config"]] {
            let (code, output) = run(words, &config);
            assert_eq!(code, Some(1), "{what}: {output}");
            assert_silent(what, &output, &key);
            assert!(
                output.contains("the PEM is on one line; restore its line breaks"),
                "{what}: {output}"
            );
            assert!(output.len() < 1_200, "{what}: {output}");
        }
    }
    // And while it runs.
    dir.write("key.pem", &key);
    let serve = Serve::start(&config);
    for (round, (what, bad)) in on_one_line(&key).into_iter().enumerate() {
        dir.write("key.pem", &bad);
        serve.process.signal("HUP");
        serve.process.stderr.wait_for(what, |lines| {
            let refused = lines.iter().filter(|line| line.contains("certificates refused"));
            (refused.count() > round).then_some(())
        });
    }
    assert_silent("while it runs", &serve.process.stderr.so_far().join("\n"), &key);
    serve.stop();
}

#[test]
fn private_key_in_place_of_another_file_is_never_printed() {
    let dir = Scratch::new();
    let (cert, key) = certificate();
    dir.write("good.pem", &cert);
    dir.write("good.key", &key);
    let plain = gateway_to("127.0.0.1:1".parse().unwrap(), &Wishes::default()) + OBSERVABILITY;
    let listener = |tls: &str| plain.replacen("}]", tls, 1) + NEW_CONTROL_PLANE;
    let upstream =
        plain.replacen("servers: [", "tls: {sni: a.test, ca: bad.pem}, servers: [", 1) + NEW_CONTROL_PLANE;
    let issuer = format!(
        "{plain}policy: {{source: file, file: policy.yaml}}\nissuers:\n  - {{issuer: \"https://a.test\", audience: [a], jwks_file: bad.pem}}\n"
    );
    dir.write("policy.yaml", "sources: []\n");
    let pasted = key.trim_end().replace('\n', "\\n");
    for (what, text) in [
        (
            "cert",
            listener(", tls: {certificates: [{cert: bad.pem, key: good.key}]}}]"),
        ),
        (
            "client_ca",
            listener(", tls: {certificates: [{cert: good.pem, key: good.key}], client_ca: bad.pem}}]"),
        ),
        ("upstream ca", upstream),
        ("jwks_file", issuer),
        (
            "encryption key",
            plain.clone() + NEW_CONTROL_PLANE + "  signing: {key_encryption_key: \"file:bad.pem\"}\n",
        ),
        (
            "store",
            plain.clone() + &NEW_CONTROL_PLANE.replace("sqlite:portcullis.db", "file:bad.pem"),
        ),
    ] {
        let config = dir.write("other.yaml", &text);
        let json = format!("\"{pasted}\"");
        for bad in [&key, &pasted, &json] {
            dir.write("bad.pem", bad);
            for words in [["check", "--"], ["serve", "--config"]] {
                let (code, output) = run(words, &config);
                assert_eq!(code, Some(1), "{what}: {output}");
                assert_silent(what, &output, &key);
            }
        }
    }
}

#[test]
fn secret_in_the_wrong_place_of_a_config_is_never_printed() {
    let dir = Scratch::new();
    let secret = "sk4live9Qz8Secret7Value";
    secrets::note([secret]);
    let good = gateway(&Recorder::start(), &Wishes::default()) + OBSERVABILITY + NEW_CONTROL_PLANE;
    let login = |oidc: &str| format!("{good}  login: {{oidc: {oidc}}}\n");
    let issuer = |uri: &str| {
        format!("{good}issuers:\n  - {{issuer: \"https://a.test\", audience: [a], jwks_uri: \"{uri}\"}}\n")
    };
    for text in [
        // What no key was given to, is a key itself, or has no space behind its colon.
        login(&format!("\"{secret}\"")),
        login(&format!("[{secret}]")),
        format!("{good}  login:\n    oidc:\n      client_secret:{secret}\n      issuer: a\n"),
        format!("{good}  login:\n    oidc:\n      {secret}: x\n"),
        format!("{good}  login:\n    oidc:\n      {secret}: x\n      {secret}: x\n"),
        format!("{good}  login:\n    oidc: {{client_secret: \"{secret}\n"),
        format!("{good}  audit: {{retention: {secret}}}\n"),
        good.replace("workers: 2", &format!("workers: {secret}")),
        good.replace("workers: 2", &format!("workers: \"{secret}\"")),
        good.replace("sqlite:portcullis.db", &format!("postgres:/u:{secret}@h/db")),
        good.replace("sqlite:portcullis.db", &format!("mysql://u:{secret}@h/db")),
        good.replace(
            "listen: \"127.0.0.1:0\"",
            &format!("listen: \"https://u:{secret}@h\""),
        ),
        good.replace("servers: [\"", &format!("servers: [\"https://u:{secret}@h\", \"")),
        good.replace("hosts: [\"*\"]", &format!("hosts: [\"https://u:{secret}@h/\"]")),
        good.clone() + &format!("  public_url: \"https://u:{secret}@h\"\n"),
        good.clone() + &format!("  signing: {{key_encryption_key: \"{secret}\"}}\n"),
        good.clone() + &format!("  leaked_tokens: {{github: {{keys_url: \"https://u:{secret}@h/\"}}}}\n"),
        login(&format!(
            "{{issuer: \"https://u:{secret}@h\", client_id: a, client_secret: b}}"
        )),
        issuer(&format!("https://u:{secret}@h/jwks")),
        issuer(&format!("ftp://u:{secret}@h/jwks")),
    ] {
        let config = dir.write("secret.yaml", &text);
        for words in [["check", "--"], ["serve", "--config"]] {
            let (code, output) = run(words, &config);
            assert_eq!(code, Some(1), "{text}\n{output}");
            assert!(!output.contains(secret), "the secret is in: {output}");
            assert!(output.contains("secret.yaml:"), "{output}");
        }
    }
    let alone = gateway(&Recorder::start(), &Wishes::default());
    let config = dir.write(
        "file.yaml",
        &(alone + "policy: {source: file, file: policy.yaml}\n"),
    );
    for source in [
        format!("sources: [{secret}]\n"),
        format!("sources:\n  - write_key: {{{secret}: 1}}\n"),
        format!("sources:\n  - write_key:{secret}\n"),
        format!("sources:\n  - {{id: a, workspace: w, write_key: [{secret}], enforcement: \"off\"}}\n"),
        format!("sources:\n  - {{id: a, workspace: w, write_key: \"{secret} x\", enforcement: \"off\"}}\n"),
    ] {
        dir.write("policy.yaml", &source);
        let (code, output) = run(["check", "--"], &config);
        assert_eq!(code, Some(1), "{output}");
        assert!(!output.contains(secret), "the secret is in: {output}");
    }
}

/// The records with this message, once there are so many.
fn said(serve: &Serve, message: &str, count: usize) -> Vec<String> {
    serve.process.stderr.wait_for(message, |lines| {
        let found = lines.iter().filter(|line| line.contains(message));
        let found: Vec<String> = found.cloned().collect();
        (found.len() >= count).then_some(found)
    })
}

/// Waits until a reload has said that this key needs a restart.
fn said_of(serve: &Serve, key: &str) {
    serve.process.stderr.wait_for(key, |lines| {
        let mut records = lines.iter().filter(|line| line.contains("keep their old values"));
        records.any(|line| line.contains(key)).then_some(())
    });
}

#[test]
fn changed_secret_file_is_said_to_need_a_restart() {
    let dir = quickstart_data();
    let location = dir.write("store.txt", "sqlite:portcullis.db\n");
    let control = CONTROL_PLANE.replace("sqlite:portcullis.db", "file:store.txt")
        + "  login: {oidc: {issuer: \"https://127.0.0.1:1\", client_id: a, client_secret: \"file:client.txt\"}}\n";
    dir.write("client.txt", "the-first-client-secret");
    secrets::note(["the-first-client-secret", "the-second-client-secret"]);
    let text = gateway(&Recorder::start(), &Wishes::default()) + OBSERVABILITY + &control;
    let serve = Serve::start(&dir.write("portcullis.yaml", &text));
    dir.write("client.txt", "the-second-client-secret");
    serve.process.signal("HUP");
    said_of(&serve, "control_plane.login.oidc.client_secret");
    fs::write(location, "sqlite:other.db\n").unwrap();
    serve.process.signal("HUP");
    said_of(&serve, "control_plane.store");
    let key = fs::read_to_string(dir.join("signing-encryption.key")).unwrap();
    secrets::note([key.trim()]);
    dir.write("signing-encryption.key", &format!("{}\n", key.trim()));
    serve.process.signal("HUP");
    said_of(&serve, "control_plane.signing.key_encryption_key");
    serve.stop();
}

#[test]
fn changed_authority_of_an_upstream_is_taken_over() {
    let dir = quickstart_data();
    let (one, _) = certificate();
    let (two, _) = certificate();
    dir.write("ca.pem", &one);
    let text = gateway(&Recorder::start(), &Wishes::default()) + OBSERVABILITY + CONTROL_PLANE;
    let text = text.replacen("servers: [", "tls: {sni: a.test, ca: ca.pem}, servers: [", 1);
    let serve = Serve::start(&dir.write("portcullis.yaml", &text));
    dir.write("ca.pem", &two);
    // No signal: the file is looked at.
    let taken = said(&serve, "config reloaded", 1);
    assert!(taken[0].contains("gateway.upstreams.api.tls.ca"), "{taken:?}");
    // A damaged one changes nothing.
    dir.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    serve.process.signal("HUP");
    said(&serve, "config refused", 1);
    serve.stop();
}
