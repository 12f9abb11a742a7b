//! The whole suite once more, on `PostgreSQL`.

use std::process::Command;

use super::support::on_postgres;

/// The variable that says which database the tests of a process use.
pub const STORE: &str = "PORTCULLIS_TEST_STORE";

#[test]
fn whole_suite() {
    if on_postgres() {
        // This is the second run.
        return;
    }
    let me = std::env::current_exe().unwrap();
    let done = Command::new(me)
        .args(["--show-output", "--skip", "on_postgres::"])
        .env(STORE, "postgres")
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&done.stdout));
    println!("{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "a test fails on PostgreSQL: see above");
}
