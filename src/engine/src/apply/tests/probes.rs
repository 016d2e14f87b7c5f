//! Findings of probes: recorded when they are news, and without any effect but that.

use super::*;
use crate::command::{PathFault, PathHealth};
use crate::state::{Probed, Severity};

fn failing(fault: PathFault, why: &str) -> PathHealth {
    PathHealth::Failing {
        fault,
        why: why.to_owned(),
    }
}

fn probed(generation: u64, health: PathHealth) -> Command {
    Command::DeviceProbed {
        device: DeviceName::from("bmc"),
        generation: Generation(generation),
        health,
    }
}

#[test]
fn a_finding_is_recorded_when_it_is_news_and_warns_when_it_is_bad() {
    let mut cluster = Cluster::new();
    cluster.refused(probed(1, PathHealth::Healthy), "NotFound");
    cluster.apply(put_device(device(&["n1"])));
    let generation = cluster.index;
    cluster.refused(
        probed(generation - 1, PathHealth::Healthy),
        "GenerationChanged",
    );
    let bmc = DeviceName::from("bmc");
    assert_eq!(cluster.state.devices[&bmc].probed, None);
    let silent = failing(PathFault::NoAnswer, "no answer");
    let steps = [
        (PathHealth::Healthy, 1_000, 1_000, None),
        (silent.clone(), 2_000, 2_000, Some("FencePathDegraded")),
        (
            failing(PathFault::Failed, "refused"),
            3_000,
            2_000,
            Some("FencePathDegraded"),
        ),
        (PathHealth::Healthy, 4_000, 4_000, Some("FencePathRestored")),
    ];
    for (health, stamp, since_unix_ms, event) in steps {
        cluster.stamp = stamp;
        let before = cluster.state.events.len();
        let command = probed(generation, health.clone());
        assert_eq!(cluster.apply(command.clone()), Outcome::Done);
        let recorded = cluster.state.devices[&bmc].probed.clone();
        let expected = Probed {
            health: health.clone(),
            since_unix_ms,
        };
        assert_eq!(recorded, Some(expected));
        let told = cluster.state.events.iter().skip(before);
        let told: Vec<&str> = told.map(|event| event.reason.as_str()).collect();
        assert_eq!(told, event.into_iter().collect::<Vec<_>>());
        cluster.refused(command, "NothingNew");
    }
    let warned = cluster.state.events.iter().rev().nth(1);
    assert_eq!(warned.map(|event| event.severity), Some(Severity::Warning));
    cluster.refused(probed(generation, PathHealth::Healthy), "NothingNew");
}

#[test]
fn other_words_for_the_same_fault_are_no_news_and_a_changed_device_is_unprobed() {
    let mut cluster = Cluster::new();
    cluster.apply(put_device(device(&["n1"])));
    let generation = cluster.index;
    cluster.apply(probed(generation, failing(PathFault::Failed, "after 3 ms")));
    let again = probed(generation, failing(PathFault::Failed, "after 4 ms"));
    cluster.refused(again, "NothingNew");
    let changed = FenceDeviceSpec {
        level: 2,
        ..device(&["n1"])
    };
    cluster.apply(put_device(changed));
    let bmc = DeviceName::from("bmc");
    assert_eq!(cluster.state.devices[&bmc].probed, None);
}
