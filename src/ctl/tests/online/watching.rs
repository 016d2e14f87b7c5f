//! Waiting and watching.

use crate::stand_in::{StandIn, event, vip};
use std::time::Duration;

#[tokio::test]
async fn wait_outlasts_an_object_that_does_not_exist_yet_and_one_that_changes() {
    let (coordinator, lab) = StandIn::alone().await;
    let waiting = tokio::spawn({
        let lab = lab.clone();
        async move {
            lab.haftctl(&[
                "wait",
                "vip/web",
                "--for",
                "state=Active",
                "--for",
                "owner=n2",
                "--timeout",
                "20s",
            ])
            .await
        }
    });
    asked_again(&coordinator).await;
    coordinator.script().vips = vec![vip("web", "Granted", "n2")];
    asked_again(&coordinator).await;
    assert!(!waiting.is_finished());
    coordinator.script().vips = vec![vip("web", "Active", "n2")];
    let ran = waiting.await.unwrap();
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "vip/web is Active on n2\n"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn wait_says_what_it_saw_last_and_exits_8() {
    let (coordinator, lab) = StandIn::alone().await;
    coordinator.script().vips = vec![vip("web", "Orphaned", "n1")];
    let ran = lab
        .haftctl(&[
            "wait",
            "vip/web",
            "--for",
            "state=Active",
            "--timeout",
            "300ms",
        ])
        .await;
    assert_eq!(ran.code, Some(8), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("last seen: vip/web is Orphaned on n1"),
        "{}",
        ran.stderr
    );
    let gone = lab
        .haftctl(&["wait", "vip/other", "--for", "deleted", "--timeout", "5s"])
        .await;
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
}

#[tokio::test]
async fn a_watch_shows_every_event_once_and_in_order_across_lost_streams() {
    let (coordinator, lab) = StandIn::alone().await;
    coordinator.script().events = (1..=7).map(event).collect();
    let ran = lab
        .haftctl(&[
            "events",
            "vip/web",
            "--watch",
            "-o",
            "json",
            "--timeout",
            "3s",
        ])
        .await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let indexes: Vec<u64> = ran
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["index"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(indexes, [1, 2, 3, 4, 5, 6, 7]);
    assert!(
        ran.stderr.contains("resuming after event 3"),
        "{}",
        ran.stderr
    );
}

/// Polls, within a deadline, until haftctl has asked twice more, so that it has seen the present script.
async fn asked_again(coordinator: &StandIn) {
    let wanted = coordinator.script().calls + 2;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while coordinator.script().calls < wanted {
        assert!(
            tokio::time::Instant::now() < deadline,
            "haftctl stopped asking"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
