//! What the quickstart prints: where everything listens, and commands to paste.

use std::net::SocketAddr;
use std::path::Path;

use super::addresses::Addresses;
use super::args::QuickstartArgs;
use super::config::PUBLIC_HOST;
use super::env_file::quoted;
use super::sample_data::OWNER_EMAIL;

/// Prints where everything listens, and commands to try.
pub(super) fn print_what_to_paste(
    args: &QuickstartArgs,
    env: &Path,
    addresses: &Addresses,
    upstream: SocketAddr,
    took: std::time::Duration,
) {
    let program =
        std::env::current_exe().map_or_else(|_| "portcullis".to_owned(), |path| path.display().to_string());
    // The other terminal may stand in another folder.
    let word = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        quoted(&path.display().to_string()).to_string()
    };
    let (program, dir, env) = (quoted(&program), word(&args.dir), word(env));
    let program = program.as_str();
    let Addresses {
        gateway,
        control,
        observability,
        ..
    } = addresses;
    println!(
        r#"portcullis is ready after {:.0} ms. Ctrl-C ends it; the data stays in {dir}.

  gateway         http://{gateway}
  Public API      http://{PUBLIC_HOST}:{}   (the same gateway, under a host of its own)
  console         http://{control}/   (sign in as {OWNER_EMAIL}; the password is OWNER_PASSWORD in {env})
  control plane   http://{control}   (token endpoint, management API)
  metrics         http://{observability}/metrics
  sample upstream http://{upstream}   (writes what it gets to {dir}/upstream.jsonl)
  config          {dir}/portcullis.yaml   (to go on: copy it in that folder, put your own upstream in, and run
                  {program} serve --config COPY)

Paste into another terminal:

# 1. Get an access token, as a client would: a signed assertion for a token.
. {env}
TOKEN=$({program} token --env {env})
(umask 077; printf 'Authorization: Bearer %s\n' "$TOKEN" > {dir}/token.header)

# 2. Send an event with it: allowed.
event() {{ printf '{{"event":"Hello","userId":"u1","writeKey":"%s"}}' "$WRITE_KEY"; }}
event | curl -sSi -w '\n' "$GATEWAY_URL/v1/track" -H @{dir}/token.header -H 'Content-Type: application/json' -d @-

# 3. Send one without a token: denied, and the answer says why.
event | curl -sSi -w '\n' "$GATEWAY_URL/v1/track" -H 'Content-Type: application/json' -d @-

# 4. Revoke the token, and send again: denied from this moment on.
(umask 077; printf 'Authorization: Bearer %s\n' "$OWNER_API_TOKEN" > {dir}/owner.header)
printf '{{"token":"%s"}}' "$TOKEN" | curl -sSi -w '\n' "$API_URL/workspaces/$WORKSPACE_ID/apps/$CLIENT_ID/tokens/revoke" \
  -H @{dir}/owner.header -H 'Content-Type: application/json' -d @-
event | curl -sSi -w '\n' "$GATEWAY_URL/v1/track" -H @{dir}/token.header -H 'Content-Type: application/json' -d @-

# 5. The same and more in a browser: the page, and what to sign in with.
printf '%s\n' "$CONSOLE_URL" "$OWNER_EMAIL" "$OWNER_PASSWORD"
"#,
        took.as_secs_f64() * 1_000.0,
        gateway.port()
    );
    if !addresses.edges.is_empty() {
        print_edges(addresses, program, &dir, &env);
    }
}

/// What to try with edges.
fn print_edges(addresses: &Addresses, program: &str, dir: &str, env: &str) {
    let edges: Vec<String> = addresses
        .edges
        .iter()
        .map(|edge| format!("  edge            http://{edge}"))
        .collect();
    println!(
        r#"# 6. The edges: further gateways, each a process of its own ({dir}/edge-N.yaml, edge-N.log, edge-N.pid).
#{}
. {env}
TOKEN=$({program} token --env {env})
(umask 077; printf 'Authorization: Bearer %s\n' "$TOKEN" > {dir}/token.header)
at_edges() {{ for url in $(printf '%s' "$EDGE_URLS" | tr , ' '); do
  event | curl -sS -o /dev/null -w "$url %{{http_code}}\n" "$url/v1/track" -H @{dir}/token.header -H 'Content-Type: application/json' -d @-; done; }}
at_edges

# 7. Revoke the token and wait for the edges: `complete` is true once no edge accepts it. Then try again.
printf '{{"token":"%s"}}' "$TOKEN" | curl -sSi -w '\n' \
  "$API_URL/workspaces/$WORKSPACE_ID/apps/$CLIENT_ID/tokens/revoke?wait=edges&timeout=5s" \
  -H @{dir}/owner.header -H 'Content-Type: application/json' -d @-
at_edges

# 8. Freeze the control plane, and watch the edges decide without it. Enforced sources go on for 5 minutes.
kill -STOP {pid}; at_edges; kill -CONT {pid}
"#,
        edges.join("\n#"),
        pid = std::process::id()
    );
}
