//! The SDKs, as they are released, through the gateway: the Node.js one and the Python one, in the same situations.

use super::support::product::{Wishes, World};
use super::support::recorder::Recorded;
use super::support::sdk::{ENFORCED, Report, Sdk, Setup};

/// How the SDK of a language is started.
type Start = fn(&World, Setup) -> Sdk;

/// Every event arrived, exactly once.
fn assert_arrived(world: &World, report: &Report) {
    assert_eq!(
        (report.delivered, report.failed),
        (report.sent, 0),
        "{:?}",
        report.errors
    );
    let events = world.upstream.events();
    let wrong = report.message_ids.iter().filter(|id| events.get(*id) != Some(&1));
    assert_eq!(wrong.count(), 0);
}

/// None of what was sent arrived, and the SDK knows why.
fn assert_refused(report: &Report, status: &str) {
    assert_eq!((report.delivered, report.failed), (0, report.sent));
    assert_eq!(report.errors, [status]);
}

fn revoke_all(world: &World) {
    let tokens = world.upstream.tokens();
    assert!(!tokens.is_empty());
    tokens.iter().for_each(|token| world.env.revoke(token));
}

fn loses_nothing_where_511_asks_for_a_new_token(start: Start) {
    let world = World::with(&Wishes {
        reauthenticate_status: 511,
    });
    let mut sdk = start(&world, ENFORCED);
    assert_arrived(&world, &sdk.send("a", 50));
    // One more batch, so that the token that the SDK has settled on has been seen here.
    assert_arrived(&world, &sdk.send("b", 15));
    revoke_all(&world);
    assert_arrived(&world, &sdk.send("c", 250));
    sdk.quit();
    world.serve.stop();
}

fn without_oauth_needs_an_unenforced_source(start: Start) {
    let world = World::start();
    let plain = Setup {
        oauth: false,
        ..ENFORCED
    };
    let mut refused = start(&world, plain);
    assert_refused(&refused.send("a", 15), "401");
    refused.quit();
    let mut sdk = start(
        &world,
        Setup {
            write_key: "UNENFORCED_WRITE_KEY",
            ..plain
        },
    );
    assert_arrived(&world, &sdk.send("b", 250));
    assert_eq!(world.upstream.events().len(), 250);
    sdk.quit();
    world.serve.stop();
}

fn with_another_app_is_denied(start: Start) {
    let world = World::start();
    let other = Setup {
        write_key: "OTHER_WRITE_KEY",
        ..ENFORCED
    };
    let mut sdk = start(&world, other);
    assert_refused(&sdk.send("a", 15), "403");
    assert!(world.upstream.requests().is_empty());
    sdk.quit();
    world.serve.stop();
}

#[test]
fn node_delivers_fails_after_revocation_and_recovers() {
    let world = World::start();
    let mut sdk = Sdk::node(&world, ENFORCED);
    assert_arrived(&world, &sdk.send("a", 250));
    assert_arrived(&world, &sdk.send("b", 15));
    revoke_all(&world);
    let refused = sdk.send("c", 15);
    assert_refused(&refused, "401");
    let events = world.upstream.events();
    assert!(refused.failed_ids.iter().all(|id| !events.contains_key(id)));
    assert_arrived(&world, &sdk.send("d", 15));
    sdk.quit();
    world.serve.stop();
}

#[test]
fn python_delivers_fails_after_revocation_and_recovers() {
    let world = World::start();
    let mut sdk = Sdk::python(&world, ENFORCED);
    assert_arrived(&world, &sdk.send("a", 250));
    revoke_all(&world);
    let refused = sdk.send("b", 20);
    // A slow machine may split the events into two batches, and the second then has a new token.
    assert!(refused.failed > 0 && refused.delivered + refused.failed == 20);
    assert_eq!(refused.errors, ["401"]);
    let events = world.upstream.events();
    assert!(refused.failed_ids.iter().all(|id| !events.contains_key(id)));
    assert!(refused.delivered_ids().iter().all(|id| events.contains_key(id)));
    assert_arrived(&world, &sdk.send("c", 100));
    sdk.quit();
    world.serve.stop();
}

#[test]
fn python_compresses_and_every_event_arrives() {
    let world = World::start();
    let compressing = Setup {
        gzip: true,
        ..ENFORCED
    };
    let mut sdk = Sdk::python(&world, compressing);
    assert_arrived(&world, &sdk.send("a", 250));
    let compressed = |request: &_| Recorded::header(request, "content-encoding") == Some("gzip");
    assert!(world.upstream.requests().iter().all(compressed));
    sdk.quit();
    world.serve.stop();
}

#[test]
fn node_loses_nothing_where_511_asks_for_a_new_token() {
    loses_nothing_where_511_asks_for_a_new_token(Sdk::node);
}

#[test]
fn python_loses_nothing_where_511_asks_for_a_new_token() {
    loses_nothing_where_511_asks_for_a_new_token(Sdk::python);
}

#[test]
fn node_without_oauth_needs_an_unenforced_source() {
    without_oauth_needs_an_unenforced_source(Sdk::node);
}

#[test]
fn python_without_oauth_needs_an_unenforced_source() {
    without_oauth_needs_an_unenforced_source(Sdk::python);
}

#[test]
fn node_with_another_app_is_denied() {
    with_another_app_is_denied(Sdk::node);
}

#[test]
fn python_with_another_app_is_denied() {
    with_another_app_is_denied(Sdk::python);
}
