//! The timing that the log holds, changed by haftctl on real coordinators: planned, refused, applied and shown.
//!
//! `haftctl cluster timing` and `cluster status` are read as a person reads them, and as a program does. One real
//! haft-agent, in a network of its own, has the session that follows. Whether sessions and addresses survive a change
//! under load is the lab's subject (`haft-lab mixtures`). Needs root.

use crate::calls::{credentials, runtime};
use crate::stderr;
use crate::unfencing::{Agent, until};
use haft_api::client::dial;
use haft_api::convert::timing_into;
use haft_api::pb::v1;
use haft_api::pb::v1::timing_service_client::TimingServiceClient;
use haft_engine::clock::Timing;
use haft_engine::timing::Interval;
use haft_tests::coordinators::{Coordinators, succeeded};
use haft_tests::jail::in_private_network;
use rustix::process::Signal;
use serde_json::Value;
use std::process::Output;
use std::time::Duration;

/// A budget whose sessions live so long that one that has been stopped is looked at in peace.
const UNHURRIED: &str = "60s";

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn shown(cluster: &Coordinators) -> Value {
    cluster.json(&["cluster", "timing"]).unwrap()
}

fn set(cluster: &Coordinators, words: &[&str]) -> Output {
    cluster.ctl(&[&["cluster", "timing", "set"], words].concat())
}

/// Refused as a usage error, with this reason and what to do; what was said.
fn refused(cluster: &Coordinators, words: &[String], reason: &str) -> String {
    let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
    all.push("--yes");
    let output = set(cluster, &all);
    let why = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {why}");
    assert!(
        why.starts_with(&format!("error[{reason}]")) && why.contains("fix:"),
        "{words:?}: {why}"
    );
    assert_eq!(stdout(&output), "", "{words:?}");
    why
}

#[test]
fn a_change_of_timing_is_planned_refused_and_shown() {
    in_private_network(|| {
        let mut cluster = Coordinators::prepare();
        cluster.form();
        seeded_by_the_file(&cluster);
        planned(&cluster);
        refused_at_every_bound(&cluster);
        refused_by_the_cluster_as_well(&cluster);
        applied(&cluster);
        followed(&cluster);
    });
}

/// The founder's file seeded it, and every file says the same.
fn seeded_by_the_file(cluster: &Coordinators) {
    let now = shown(cluster);
    for (key, value) in [
        ("beat_ms", 200),
        ("ttl_ms", 1_200),
        ("gated_closing_after_ms", 1_000),
    ] {
        assert_eq!(now["timing"][key], value, "{now}");
    }
    assert_eq!(now["olderSessions"], Value::Array(vec![]), "{now}");
    assert_eq!(now["differingFiles"], Value::Array(vec![]), "{now}");
    let table = stdout(&cluster.ctl(&["cluster", "timing"]));
    let first = format!("timing in force, generation {}\n", now["generation"]);
    assert!(table.starts_with(&first), "{table}");
    assert!(!table.contains("WARNING"), "{table}");
    let status = stdout(&cluster.ctl(&["cluster", "status"]));
    assert!(!status.contains("timing"), "{status}");
}

/// A dry run shows the plan; without a terminal nothing else goes without `--yes`.
fn planned(cluster: &Coordinators) {
    let before = shown(cluster);
    let dry = set(cluster, &["relaxed", "--dry-run"]);
    succeeded(&dry);
    assert_eq!(stdout(&dry), "nothing was changed (dry run)\n");
    let plan = stderr(&dry);
    let against = format!("plan, against generation {}:\n", before["generation"]);
    assert!(plan.starts_with(&against), "{plan}");
    let row = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows: Vec<String> = plan.lines().map(row).collect();
    for wanted in [
        "INTERVAL NOW THEN",
        "ttl_ms 1200 6000",
        "watchdog_ms 0 1000",
    ] {
        assert!(rows.iter().any(|row| row == wanted), "{wanted}: {plan}");
    }
    for said in [
        "raised: every session is judged by the longer ttl at once",
        "no session ends",
        "Raft's own timers",
    ] {
        assert!(plan.contains(said), "{said}: {plan}");
    }
    let lowered = stderr(&set(cluster, &["fast", "--dry-run"]));
    assert!(
        lowered.contains("lowered: each agent shortens its own lease first"),
        "{lowered}"
    );
    let kept = stderr(&set(cluster, &["--set", "stop_ms=600", "--dry-run"]));
    assert!(
        kept.contains("the ttl stays") && !kept.contains("ttl_ms "),
        "{kept}"
    );

    let unasked = set(cluster, &["relaxed"]);
    let why = stderr(&unasked);
    assert_eq!(unasked.status.code(), Some(2), "{why}");
    assert!(
        why.contains("error[NoTerminal]") && why.contains("add --yes, or --dry-run"),
        "{why}"
    );
    assert_eq!(shown(cluster), before);
}

/// One millisecond beyond each bound the bound is named; at the bound it is not, whatever the other sums say.
fn refused_at_every_bound(cluster: &Coordinators) {
    let before = shown(cluster);
    let bounds = Interval::ALL.map(|interval| {
        let (low, high) = interval.bounds();
        (interval.key(), low.as_millis(), high.as_millis())
    });
    type Choice = fn(u128, u128) -> Option<u128>;
    let beyond: [Choice; 3] = [
        |low, _| low.checked_sub(1),
        |_, high| Some(high + 1),
        |_, _| Some(u64::MAX.into()),
    ];
    for choose in beyond {
        let chosen = bounds.map(|(key, low, high)| (key, low, high, choose(low, high)));
        let why = refused(cluster, &every(&chosen), "ImpossibleTiming");
        for (key, low, high, value) in chosen {
            let sum = value.map(|value| format!("{key}: {low} <= {value} <= {high} (fix: "));
            assert!(sum.is_none_or(|sum| why.contains(&sum)), "{key}: {why}");
        }
    }
    let at: [Choice; 2] = [|low, _| Some(low), |_, high| Some(high)];
    for choose in at {
        let chosen = bounds.map(|(key, low, high)| (key, low, high, choose(low, high)));
        let why = refused(cluster, &every(&chosen), "ImpossibleTiming");
        for (key, low, ..) in chosen {
            assert!(!why.contains(&format!("{key}: {low} <= ")), "{key}: {why}");
        }
    }
    for budget in ["319ms", "301s"] {
        let why = refused(cluster, &[budget.to_owned()], "BadTiming");
        assert!(why.contains("is outside 320 ms to 300000 ms"), "{why}");
    }
    for text in [
        "ttl_ms",
        "ttl_ms=",
        "ttl_ms=-1",
        "ttl_ms=1.5",
        "ttl_ms=18446744073709551616",
        "ttl=900",
        "",
    ] {
        let why = refused(cluster, &["--set".to_owned(), text.to_owned()], "BadTiming");
        assert!(why.contains("is no interval in milliseconds"), "{why}");
    }
    assert_eq!(shown(cluster), before);
}

/// All of them in one command.
fn every(chosen: &[(&str, u128, u128, Option<u128>)]) -> Vec<String> {
    let values = chosen
        .iter()
        .filter_map(|(key, _, _, value)| Some((key, (*value)?)));
    values
        .flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")])
        .collect()
}

/// A caller that checks nothing is told the same by `apply`, and one that planned against another generation as well.
fn refused_by_the_cluster_as_well(cluster: &Coordinators) {
    let before = shown(cluster);
    let leader = cluster.json(&["cluster", "status"]).unwrap()["leader"].clone();
    let api = format!("{}:7400", cluster.host(leader.as_str().unwrap()));
    runtime().block_on(async {
        let channel = dial(&api, &credentials(cluster)).await.unwrap();
        let mut client = TimingServiceClient::new(channel);
        for interval in Interval::ALL {
            let (low, high) = interval.bounds();
            let tick = Duration::from_millis(1);
            let beyond = [
                low.checked_sub(tick),
                Some(high + tick),
                Some(Duration::MAX),
            ];
            for value in beyond.into_iter().flatten() {
                let mut timing = Timing::NORMAL;
                interval.put(&mut timing, value);
                let request = v1::SetTimingRequest {
                    timing: Some(timing_into(&timing)),
                    options: None,
                };
                let why = client.set_timing(request).await.unwrap_err();
                let said = why.message();
                assert!(said.contains("does not hold"), "{interval:?}: {why:?}");
            }
        }
        for rho_ppm in [0, u32::MAX] {
            let timing = Timing {
                rho_ppm,
                ..Timing::NORMAL
            };
            let request = v1::SetTimingRequest {
                timing: Some(timing_into(&timing)),
                options: None,
            };
            let why = client.set_timing(request).await.unwrap_err();
            assert!(why.message().contains("does not hold"), "{why:?}");
        }
        let stale = v1::SetTimingRequest {
            timing: Some(timing_into(&Timing::RELAXED)),
            options: Some(v1::MutationOptions {
                expected_resource_version: "1".to_owned(),
                ..v1::MutationOptions::default()
            }),
        };
        let why = client.set_timing(stale).await.unwrap_err();
        assert!(why.message().contains("stands at generation"), "{why:?}");
        let nothing = v1::SetTimingRequest::default();
        let why = client.set_timing(nothing).await.unwrap_err();
        assert_eq!(why.message(), "timing is missing");
    });
    assert_eq!(shown(cluster), before);
}

/// What is in force then is shown, and so is every file that says something else; asking for it again is no change.
fn applied(cluster: &Coordinators) {
    let before = shown(cluster);
    let done = set(cluster, &["relaxed", "--set", "stop_ms=800", "--yes"]);
    succeeded(&done);
    let now = shown(cluster);
    let generation = &now["generation"];
    assert!(generation.as_u64() > before["generation"].as_u64(), "{now}");
    assert_eq!(
        stdout(&done),
        format!("timing changed, generation {generation}; sessions follow by themselves\n")
    );
    assert_eq!(now["timing"]["ttl_ms"], 6_000, "{now}");
    assert_eq!(now["timing"]["stop_ms"], 800, "{now}");
    let events = cluster.json(&["events"]).unwrap().to_string();
    let noted = "sessions live 6000 ms, beats come every 1000 ms";
    assert!(
        events.contains("TimingChanged") && events.contains(noted),
        "{events}"
    );

    // Without agents the leader knows its own file only.
    let leader = cluster.json(&["cluster", "status"]).unwrap()["leader"].clone();
    let leader = leader.as_str().unwrap();
    assert_eq!(now["differingFiles"], serde_json::json!([leader]));
    names_files(cluster, leader);

    let again = ["relaxed", "--set", "stop_ms=800", "--yes"];
    let unchanged = set(cluster, &again);
    succeeded(&unchanged);
    assert_eq!(
        stdout(&unchanged),
        format!("nothing was changed: this timing is in force, generation {generation}\n")
    );
    let answer: Value =
        serde_json::from_slice(&set(cluster, &[&again[..], &["-o", "json"]].concat()).stdout)
            .unwrap();
    assert_eq!(answer["generation"], *generation, "{answer}");
    assert_eq!(answer["timing"], now["timing"], "{answer}");
    assert_eq!(shown(cluster), now);
}

/// `cluster status` and `cluster timing` name these nodes for their files.
fn names_files(cluster: &Coordinators, nodes: &str) {
    let status = stdout(&cluster.ctl(&["cluster", "status"]));
    let line = format!(
        "\nWARNING: `timing` in the file of {nodes} differs from the cluster's, which is used; see haftctl cluster timing\n"
    );
    assert!(status.contains(&line), "{status}");
    let table = stdout(&cluster.ctl(&["cluster", "timing"]));
    let line =
        format!("\nWARNING: the file says something else on {nodes}; what is in force is used\n");
    assert!(table.contains(&line), "{table}");
}

/// A session that does not follow is named, with what it is judged by, until it does.
fn followed(cluster: &Coordinators) {
    let agent = Agent::start(cluster, "n2");
    until(cluster, &["get", "node/n2"], |node| {
        node["status"]["state"] == "Online"
    });
    succeeded(&set(cluster, &[UNHURRIED, "--yes"]));
    let long = until(cluster, &["cluster", "timing"], |now| {
        now["olderSessions"] == Value::Array(vec![])
    });
    let life = cluster.json(&["get", "node/n2"]).unwrap()["status"]["incarnation"].clone();

    agent.signal(Signal::STOP);
    let changed = set(cluster, &["normal", "--yes", "-o", "json"]);
    succeeded(&changed);
    let now = shown(cluster);
    let ttl = &long["timing"]["ttl_ms"];
    let older =
        serde_json::json!([{ "node": "n2", "generation": long["generation"], "judgedByMs": ttl }]);
    assert_eq!(now["olderSessions"], older, "{now}");
    let status = stdout(&cluster.ctl(&["cluster", "status"]));
    assert!(
        status.contains("\nWARNING: sessions that count by an older timing: 1 (n2)\n"),
        "{status}"
    );
    let table = stdout(&cluster.ctl(&["cluster", "timing"]));
    let line = format!(
        "\nWARNING: the session of n2 counts by generation {} yet and is judged by {ttl} ms\n",
        long["generation"]
    );
    assert!(table.contains(&line), "{table}");

    agent.signal(Signal::CONT);
    until(cluster, &["cluster", "timing"], |now| {
        now["olderSessions"] == Value::Array(vec![])
    });
    let node = cluster.json(&["get", "node/n2"]).unwrap();
    assert_eq!(node["status"]["incarnation"], life, "{node}");
    let status = stdout(&cluster.ctl(&["cluster", "status"]));
    assert!(!status.contains("timing"), "{status}");
}
