//! Whom haftctl asks, and how each answer ends.

use crate::stand_in::{Mood, StandIn, vip};

#[tokio::test]
async fn every_refusal_has_its_exit_code_its_reason_and_its_fix() {
    let (_coordinator, lab) = StandIn::alone().await;
    let rows = [
        ("missing", 3, "NotFound"),
        ("denied", 5, "NotAllowed"),
        ("invalid", 2, "BadAddress"),
        ("stale", 4, "Stale"),
        ("taken", 4, "AddressInUse"),
        ("unsafe", 7, "NodeLive"),
        ("internal", 1, "Bug"),
    ];
    for (name, code, reason) in rows {
        for verb in ["get", "delete"] {
            let ran = lab.haftctl(&[verb, "vip", name]).await;
            assert_eq!(ran.code, Some(code), "{verb} {name}: {}", ran.stderr);
            assert_eq!(ran.stdout, "", "{verb} {name}");
            let expected = format!("error[{reason}]: {name} is {name}\n  fix: type this instead\n");
            assert_eq!(ran.stderr, expected, "{verb} {name}");
        }
    }
}

#[tokio::test]
async fn a_follower_names_the_leader_and_the_user_sees_nothing_of_it() {
    let (follower, lab) = StandIn::alone().await;
    let leader = StandIn::another(&lab);
    leader.script().vips = vec![vip("web", "Active", "n1")];
    follower.script().mood = Mood::Follows(Some(leader.endpoint.clone()));
    let ran = lab.haftctl(&["get", "vip/web", "-o", "json"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(ran.json()["status"]["owner"], "n1");
}

#[tokio::test]
async fn the_next_endpoint_is_asked_when_the_first_is_gone() {
    let (coordinator, lab) = StandIn::alone().await;
    coordinator.script().vips = vec![vip("web", "Active", "n1")];
    let ran = lab
        .haftctl(&[
            "get",
            "vip/web",
            "-o",
            "name",
            "--endpoint",
            "127.0.0.1:1",
            "--endpoint",
            &coordinator.endpoint,
        ])
        .await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "vip/web\n"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn no_leader_until_the_timeout_exits_6() {
    let (coordinator, lab) = StandIn::alone().await;
    for mood in [Mood::NoQuorum, Mood::Follows(None)] {
        coordinator.script().mood = mood;
        let ran = lab.haftctl(&["get", "vip", "--timeout", "300ms"]).await;
        assert_eq!(ran.code, Some(6), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error[NoQuorum]"), "{}", ran.stderr);
    }
    assert!(
        coordinator.script().calls > 2,
        "it asks again while there is time"
    );
}

#[tokio::test]
async fn silence_is_a_timeout_for_a_read_and_an_unknown_outcome_for_a_change() {
    let (coordinator, lab) = StandIn::alone().await;
    coordinator.script().mood = Mood::Silent;
    let read = lab.haftctl(&["get", "vip/web", "--timeout", "300ms"]).await;
    assert_eq!(read.code, Some(8), "{}", read.stderr);
    let change = lab
        .haftctl(&["move", "vip/web", "--to", "n2", "--timeout", "300ms"])
        .await;
    assert_eq!(change.code, Some(75), "{}", change.stderr);
    assert!(
        change.stderr.starts_with("error[OutcomeUnknown]"),
        "{}",
        change.stderr
    );
}

#[tokio::test]
async fn a_change_that_the_cluster_cannot_vouch_for_exits_75() {
    let (_coordinator, lab) = StandIn::alone().await;
    let ran = lab
        .haftctl(&["fence", "unknown", "--timeout", "300ms"])
        .await;
    assert_eq!(ran.code, Some(75), "{}", ran.stderr);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_request_id() {
    let (coordinator, lab) = StandIn::alone().await;
    coordinator.script().mood = Mood::LosesOneAnswer;
    let ran = lab.haftctl(&["move", "vip/web", "--to", "n2"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let mutations = coordinator.script().mutations.clone();
    assert_eq!(mutations.len(), 2);
    assert_eq!(mutations[0].len(), 16);
    assert_eq!(mutations[0], mutations[1]);
}

#[tokio::test]
async fn status_without_quorum_shows_the_local_view_loudly_and_exits_6() {
    let (coordinator, lab) = StandIn::alone().await;
    coordinator.script().vips = vec![vip("web", "Active", "n1")];
    let ran = lab.haftctl(&["cluster", "status", "-o", "json"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.json()["quorum"], true);
    assert_eq!(ran.json()["virtualIps"][0]["metadata"]["name"], "web");
    coordinator.script().mood = Mood::NoQuorum;
    let ran = lab
        .haftctl(&["cluster", "status", "-o", "json", "--timeout", "300ms"])
        .await;
    assert_eq!(ran.code, Some(6));
    assert!(
        ran.stderr
            .starts_with("warning: no quorum. This is the view of n1 alone, 4200 ms old"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.json()["linearizable"], false);
    let table = lab
        .haftctl(&["cluster", "status", "--timeout", "300ms"])
        .await;
    assert!(
        table.stdout.contains("quorum NO, leader none"),
        "{}",
        table.stdout
    );
    assert!(
        table
            .stdout
            .contains("WARNING: vip/web has no fence device"),
        "{}",
        table.stdout
    );
}
