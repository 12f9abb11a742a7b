//! A panic in a critical task: the process drains, ends, and names the task.

use super::support::process::{Process, portcullis};
use super::support::product::{CONTROL_PLANE, OBSERVABILITY, Wishes, gateway, quickstart_data};
use super::support::recorder::Recorder;

#[test]
fn process_ends_when_a_task_has_fallen_that_all_rests_on() {
    let dir = quickstart_data();
    let upstream = Recorder::start();
    let text = gateway(&upstream, &Wishes::default()) + OBSERVABILITY + CONTROL_PLANE;
    let config = dir.write("portcullis.yaml", &text);
    for task in [
        "listener",
        "policy_feed",
        "tally",
        "upstream_pool",
        "control_plane",
        "policy_publisher",
        "observability",
    ] {
        let mut command = portcullis(["serve", "--config"]);
        command.arg(&config).env("PORTCULLIS_TEST_FALLING_TASK", task);
        let ended = Process::run(&mut command);
        assert_eq!(ended.code, Some(70), "{task}: {}", ended.stderr);
        let records = |what: &str| ended.stderr.lines().filter(|line| line.contains(what)).count();
        assert_eq!(records("a panic, which"), 1, "{}", ended.stderr);
        assert_eq!(records(&format!("\"task\":\"{task}\"")), 1, "{}", ended.stderr);
        assert!(
            ended
                .stderr
                .contains(&format!("portcullis: critical task `{task}` panicked")),
            "{}",
            ended.stderr
        );
    }
}
