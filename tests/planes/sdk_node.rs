//! The Node.js SDK, as it is released, through the gateway.

use super::support::product::{Wishes, World};
use super::support::sdk::{ENFORCED, Report, Sdk, Setup};

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

fn revoke_all(world: &World) {
    let tokens = world.upstream.tokens();
    assert!(!tokens.is_empty());
    tokens.iter().for_each(|token| world.env.revoke(token));
}

#[test]
fn node_delivers_fails_after_revocation_and_recovers() {
    let world = World::start();
    let mut sdk = Sdk::node(&world, ENFORCED);
    assert_arrived(&world, &sdk.send("a", 250));
    // One more batch, so that the token that the SDK has settled on has been seen here.
    assert_arrived(&world, &sdk.send("b", 15));
    revoke_all(&world);
    let refused = sdk.send("c", 15);
    assert_eq!((refused.delivered, refused.failed), (0, 15));
    assert_eq!(refused.errors, ["401"]);
    let events = world.upstream.events();
    assert!(refused.failed_ids.iter().all(|id| !events.contains_key(id)));
    assert_arrived(&world, &sdk.send("d", 15));
    sdk.quit();
    world.serve.stop();
}

#[test]
fn node_loses_nothing_where_511_asks_for_a_new_token() {
    let world = World::with(&Wishes {
        reauthenticate_status: 511,
    });
    let mut sdk = Sdk::node(&world, ENFORCED);
    assert_arrived(&world, &sdk.send("a", 30));
    assert_arrived(&world, &sdk.send("b", 15));
    revoke_all(&world);
    assert_arrived(&world, &sdk.send("c", 250));
    sdk.quit();
    world.serve.stop();
}

#[test]
fn node_without_oauth_needs_an_unenforced_source() {
    let world = World::start();
    let plain = Setup {
        oauth: false,
        ..ENFORCED
    };
    let mut refused = Sdk::node(&world, plain);
    let report = refused.send("a", 15);
    assert_eq!(
        (report.failed, report.errors.as_slice()),
        (15, ["401".to_owned()].as_slice())
    );
    refused.quit();
    let mut sdk = Sdk::node(
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

#[test]
fn node_with_another_app_is_denied() {
    let world = World::start();
    let mut sdk = Sdk::node(
        &world,
        Setup {
            write_key: "OTHER_WRITE_KEY",
            ..ENFORCED
        },
    );
    let report = sdk.send("a", 15);
    assert_eq!(
        (report.failed, report.errors.as_slice()),
        (15, ["403".to_owned()].as_slice())
    );
    assert!(world.upstream.requests().is_empty());
    sdk.quit();
    world.serve.stop();
}
