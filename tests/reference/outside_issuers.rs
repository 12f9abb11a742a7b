//! docs/outside-issuers.md: each config in it is one that `check` accepts.

use std::path::Path;

use portcullis::config;
use portcullis::domain::claim_names::Profile;

use super::root;

const GATEWAY: &str = r#"version: 1
gateway:
  listeners: [{address: "127.0.0.1:8080"}]
  apis:
    tracking: {hosts: ["*"], paths: ["/v1/*"], scope: "tracking_api:write", identify: [basic, body], upstream: events}
  upstreams:
    events: {servers: ["127.0.0.1:8090"]}
policy: {source: file, file: policy.yaml}
"#;

#[test]
fn every_config_of_the_page_loads() {
    let page = std::fs::read_to_string(root().join("docs/outside-issuers.md")).unwrap();
    let mut profiles = Vec::new();
    for block in page.split("```yaml\n").skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        let loaded = config::load_text(Path::new("portcullis.yaml"), &format!("{GATEWAY}{block}"));
        let loaded = loaded.unwrap_or_else(|error| panic!("{error}\n{block}"));
        assert!(!loaded.issuers.is_empty(), "{block}");
        profiles.extend(loaded.issuers.iter().map(|issuer| issuer.claims.profile));
    }
    for profile in Profile::ALL {
        assert!(profiles.contains(&profile), "{} has a config", profile.as_str());
    }
}
