//! The samples of the pages run as they are.

use std::fs;
use std::process::Command;

use super::support::process::Process;
use super::support::product::{Quickstart, quickstart_data};
use super::support::secrets;
use super::visitor::{Visitor, text};

#[test]
fn command_line_sample_fetches_a_token() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let path = format!(
        "/console/w/{}/apps/{}/client",
        env.get("WORKSPACE_ID"),
        env.get("CLIENT_ID")
    );
    let page = text(&owner.get(&path));
    let sample = page.split("id=\"sample-curl\"").nth(1).unwrap();
    let sample = sample.split_once('>').unwrap().1.split("</pre>").next().unwrap();
    let sample = sample
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#38;", "&");
    fs::copy(env.get("PRIVATE_KEY_FILE"), data.join("private.pem")).unwrap();
    let sample = format!("{sample}\nprintf '%s' \"$ACCESS_TOKEN\"");
    fs::write(data.join("sample.sh"), sample).unwrap();
    let mut shell = Command::new("sh");
    shell
        .arg("sample.sh")
        .current_dir(data.path())
        .env("no_proxy", "*");
    let finished = Process::run(&mut shell);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let token = finished.stdout.as_str();
    secrets::note([token]);
    assert_eq!(token.split('.').count(), 3, "no token");
    assert_eq!(env.event("WRITE_KEY").bearer(token).send().status(), 200);
    product.stop();
}
