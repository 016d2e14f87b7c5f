//! Fence devices in a real cluster of coordinators: what is refused when it is applied, and orders carried out by
//! the agents of the field, unmodified.
//!
//! The devices are `ipmi_sim` and a status file; nothing is powered. What the agents' words mean is tested in the
//! suite `agents`. Needs the Debian packages fence-agents, ipmitool and openipmi.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use haft_tests::coordinators::{Coordinators, succeeded};
use haft_tests::ipmi_sim::{IpmiSim, PASSWORD, Power, USER};

use crate::stderr;

fn device(name: &str, agent: &str, target: &str, more: &str) -> String {
    format!(
        "apiVersion: haft/v1\nkind: FenceDevice\nmetadata: {{ name: {name} }}\nspec:\n  agent: {agent}\n  \
         targets: {{ {target}: \"\" }}\n{more}---\n"
    )
}

fn apply(cluster: &Coordinators, text: &str) -> std::process::Output {
    let path = cluster.folder.path().join("devices.yaml");
    std::fs::write(&path, text).unwrap();
    cluster.ctl(&["apply", "-f", path.to_str().unwrap()])
}

#[test]
fn what_cannot_switch_off_is_refused_when_it_is_applied() {
    let mut cluster = Coordinators::prepare();
    let config = cluster.config("n1");
    let config = config.to_str().unwrap();
    succeeded(&cluster.ctl(&["cluster", "init", "--config", config, "--node", "n1"]));
    cluster.start("n1");
    cluster.wait_for("a leader", |status| status["quorum"] == true);
    for (agent, more, reason) in [
        ("/usr/bin/true", "", "no resource-agent element"),
        ("fence_ack_manual", "", "gave no metadata"),
        ("fence_absent", "", "is not in"),
        (
            "fence_dummy",
            "  parameters: { method: cycle }\n",
            "before the machine is off",
        ),
        ("fence_sbd", "", "reads no power state"),
        // Fabric agents: they close a port, and the machine behind it runs on.
        ("fence_brocade", "", "reads no power state"),
        ("fence_scsi", "", "has to be run on the node"),
    ] {
        let refused = apply(&cluster, &device("d", agent, "n1", more));
        let told = stderr(&refused);
        assert!(!refused.status.success(), "{agent}");
        assert!(
            told.contains(reason) && told.contains("fix:"),
            "{agent}: {told}"
        );
    }
    succeeded(&apply(&cluster, &device("d", "fence_dummy", "n1", "")));
}

#[test]
fn orders_are_carried_out_by_agents_of_the_field() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    let (sim, folder) = (IpmiSim::start(), cluster.folder.path().to_owned());
    let (password, power) = (folder.join("password"), folder.join("power"));
    std::fs::write(&password, PASSWORD).unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&power, "on").unwrap();
    let bmc = format!(
        "  parameters: {{ ip: 127.0.0.1, ipport: {}, username: {USER}, lanplus: true, cipher: 3, power_wait: 0 }}\n  \
         secretFiles: {{ password: {} }}\n",
        sim.port(),
        password.display()
    );
    let dummy = format!("  parameters: {{ status_file: {} }}\n", power.display());
    let objects = [
        device("bmc2", "fence_ipmilan", "n2", &bmc),
        device("file3", "fence_dummy", "n3", &dummy),
    ];
    succeeded(&apply(&cluster, &objects.concat()));
    let dummy_off = || std::fs::read_to_string(&power).unwrap() == "off";
    until(&cluster, "n2", "fence_ipmilan", &|| {
        sim.power() == Power::Off
    });
    until(&cluster, "n3", "fence_dummy", &dummy_off);
}

/// An agent of the older kind: its metadata knows `port` alone. It notes what it is told in `$0.told`.
const OLD_AGENT: &str = r#"#!/bin/sh
words=$(cat)
case $words in
*action=metadata*)
    echo '<resource-agent name="fence_old" shortdesc="old"><parameters><parameter name="port"/></parameters>'
    echo '<actions><action name="on"/><action name="off"/><action name="status"/><action name="monitor"/></actions>'
    echo '</resource-agent>'
    ;;
*action=off*) echo "$words" >"$0.told" ;;
*action=status*) [ ! -e "$0.told" ] || exit 2 ;;
esac
exit 0
"#;

#[test]
fn an_agent_gets_the_machine_by_the_parameter_that_its_metadata_names() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    let agent = cluster.folder.path().join("fence_old");
    std::fs::write(&agent, OLD_AGENT).unwrap();
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    let object =
        device("old", agent.to_str().unwrap(), "n3", "").replace("{ n3: \"\" }", "{ n3: outlet7 }");
    succeeded(&apply(&cluster, &object));
    let shown = cluster.json(&["get", "fencedevice/old"]).unwrap();
    assert_eq!(shown["spec"]["hostArgument"], "port", "{shown}");
    // The same again says nothing of it, and changes nothing.
    succeeded(&apply(&cluster, &object));
    let again = cluster.json(&["get", "fencedevice/old"]).unwrap();
    assert_eq!(
        again["metadata"]["resourceVersion"], shown["metadata"]["resourceVersion"],
        "{again}"
    );
    let told = agent.with_extension("told");
    until(&cluster, "n3", "fence_old", &|| told.exists());
    let told = std::fs::read_to_string(&told).unwrap();
    assert!(told.contains("port=outlet7"), "{told}");
    assert!(told.contains("nodename=n3"), "{told}");
    assert!(!told.contains("plug="), "{told}");
}

#[test]
fn a_device_that_stops_answering_is_told_of_and_recovers() {
    let mut cluster = Coordinators::prepare();
    for node in ["n1", "n2", "n3"] {
        let path = cluster.config(node);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text + "fence: { probe_every_ms: 1000 }\n").unwrap();
    }
    cluster.form();
    let mut sim = IpmiSim::start();
    let password = cluster.folder.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let bmc = format!(
        "  deadline: 3s\n  parameters: {{ ip: 127.0.0.1, ipport: {}, username: {USER}, timeout: 2 }}\n  \
         secretFiles: {{ password: {} }}\n",
        sim.port(),
        password.display()
    );
    let agent = haft_tests::built::executable("haft-fence-ipmi", "fence_haft_ipmi");
    let object = device("bmc2", agent.to_str().unwrap(), "n2", &bmc);
    succeeded(&apply(&cluster, &object));
    health(&cluster, "Healthy");
    sim.kill();
    let failing = health(&cluster, "Failing");
    assert_ne!(failing["detail"], "", "{failing}");
    let told = cluster.json(&["cluster", "status"]).unwrap();
    assert!(
        told["warnings"]
            .to_string()
            .contains("bmc2 fails its probes"),
        "{told}"
    );
    let why = cluster.ctl(&["why", "node/n2"]);
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(
        why.contains("its only fence device bmc2 fails its probes"),
        "{why}"
    );
    sim.revive();
    health(&cluster, "Healthy");
    let events = cluster.ctl(&["events"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    for reason in ["FencePathDegraded", "FencePathRestored"] {
        assert!(events.contains(reason), "{events}");
    }
}

/// An agent of the field's contract in a few lines of shell: its machine is a file, every call is written to a
/// journal, and what it does when asked for `off` and for `on` is the test's choice.
fn scripted(folder: &Path, name: &str, at_off: &str, at_on: &str) -> PathBuf {
    let path = folder.join(format!("fence_{name}"));
    let text = format!(
        r#"#!/bin/sh
state="{folder}/{name}.state"
action=
while IFS= read -r line; do
    case "$line" in action=*) action=${{line#action=}} ;; esac
done
echo "{name} $action" >> "{folder}/journal"
case "$action" in
metadata)
    cat <<END
<?xml version="1.0"?>
<resource-agent name="fence_{name}" shortdesc="a file"><longdesc>a file</longdesc>
<parameters></parameters>
<actions><action name="on"/><action name="off"/><action name="status"/><action name="monitor"/><action name="metadata"/></actions>
</resource-agent>
END
    ;;
off) {at_off} ;;
on) {at_on} ;;
status) if [ "$(cat "$state" 2>/dev/null)" = off ]; then exit 2; fi ;;
monitor) ;;
*) exit 1 ;;
esac
"#,
        folder = folder.display()
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What an agent of [`scripted`] runs to obey.
const OFF: &str = "echo off > \"$state\"";
const ON: &str = "echo on > \"$state\"";

fn topology(levels: &str) -> String {
    format!(
        "apiVersion: haft/v1\nkind: FenceTopology\nmetadata: {{ name: racks }}\nspec:\n  nodes: [n2]\n  levels:\n{levels}"
    )
}

#[test]
fn a_topology_falls_back_to_a_level_whose_devices_all_switch_off() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    let folder = cluster.folder.path().to_owned();
    let object = |name: &str, at_off: &str, at_on: &str| {
        let agent = scripted(&folder, name, at_off, at_on);
        device(name, agent.to_str().unwrap(), "n2", "")
    };
    // The first level's only device says that it cannot, the second's says nothing; `unused` would obey, and is not
    // in the topology.
    let objects = [
        object("bmc", "echo the BMC is dead >&2; exit 1", ON),
        object("hung", "echo $$ > \"$state\"; sleep 600", ON),
        object("pdu-a", OFF, ON),
        object("pdu-b", OFF, "echo the fuse is gone >&2; exit 1"),
        object("unused", OFF, ON),
    ];
    succeeded(&apply(&cluster, &objects.concat()));
    let absent = apply(&cluster, &topology("    - devices: [bmc, pdu-c]\n"));
    assert!(!absent.status.success());
    assert!(
        stderr(&absent).contains("names pdu-c, and no fence device is called so"),
        "{}",
        stderr(&absent)
    );
    let racks = topology(
        "    - devices: [bmc]\n      delay: 100ms\n    - devices: [hung]\n      timeout: 3s\n    - devices: [pdu-b, pdu-a]\n      timeout: 15s\n",
    );
    succeeded(&apply(&cluster, &racks));
    let kept = cluster.ctl(&["delete", "fencedevice/pdu-a"]);
    assert!(!kept.status.success());
    assert!(
        stderr(&kept).contains("DeviceInTopology") && stderr(&kept).contains("fencetopology/racks"),
        "{}",
        stderr(&kept)
    );
    let before = std::fs::read_to_string(folder.join("journal"))
        .unwrap()
        .len();
    succeeded(&cluster.ctl(&["fence", "n2", "--force", "--reason", "a test"]));
    let off = order(&cluster, "n2", &|order| order["phase"] == "Confirmed");
    let detail = off["detail"].as_str().unwrap();
    assert!(
        detail.contains("pdu-b: ") && detail.contains("; pdu-a: "),
        "{off}"
    );
    assert_eq!(off["attempts"], 3, "{off}");
    let hung = std::fs::read_to_string(folder.join("hung.state")).unwrap();
    let killed = !Path::new("/proc").join(hung.trim()).exists();
    assert!(killed, "an agent outlived its level's timeout");
    let journal = std::fs::read_to_string(folder.join("journal")).unwrap();
    let offs: Vec<&str> = journal[before..]
        .lines()
        .filter_map(|line| line.strip_suffix(" off"))
        .collect();
    assert_eq!(offs, ["bmc", "hung", "pdu-b", "pdu-a"], "{journal}");
    let shown = cluster.json(&["get", "fencetopology/racks"]).unwrap();
    assert_eq!(shown["spec"]["levels"][2]["devices"][0], "pdu-b", "{shown}");
    let why = cluster.ctl(&["why", "node/n2"]);
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(
        why.contains("not used for n2, since fencetopology/racks does not name it: unused"),
        "{why}"
    );
    switches_on_what_it_can(&cluster);
    succeeded(&cluster.ctl(&["delete", "fencetopology/racks"]));
    succeeded(&cluster.ctl(&["delete", "fencedevice/pdu-a"]));
}

/// One supply that stays dark keeps nobody from switching on the other; the order says which it was.
fn switches_on_what_it_can(cluster: &Coordinators) {
    succeeded(&apply(
        cluster,
        &topology("    - devices: [pdu-b, pdu-a]\n"),
    ));
    succeeded(&cluster.ctl(&["fence", "n2", "--on", "--reason", "a test"]));
    order(cluster, "n2", &|order| {
        let detail = order["detail"].as_str().unwrap_or_default();
        let told = detail.contains("the fuse is gone") && detail.contains("pdu-a: power on");
        order["action"] == "on" && order["phase"] != "Confirmed" && told
    });
}

#[test]
fn a_device_that_was_given_to_another_machine_meanwhile_is_not_called() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    let folder = cluster.folder.path().to_owned();
    let agent = scripted(&folder, "bmc", OFF, ON);
    let of = |node: &str| device("bmc", agent.to_str().unwrap(), node, "  delay: 20s\n");
    succeeded(&apply(&cluster, &of("n2")));
    succeeded(&cluster.ctl(&["fence", "n2", "--force", "--reason", "a test"]));
    order(&cluster, "n2", &|order| order["phase"] == "Running");
    succeeded(&apply(&cluster, &of("n3")));
    order(&cluster, "n2", &|order| {
        let detail = order["detail"].as_str().unwrap_or_default();
        detail.contains("the device no longer targets the node")
    });
    let journal = std::fs::read_to_string(folder.join("journal")).unwrap();
    assert!(!journal.contains("bmc off"), "{journal}");
}

/// A strip of outlets: notes what it switches in `$0.log`, and is at it until `$0.go` is there.
const STRIP: &str = r#"#!/bin/sh
words=$(cat)
plug=$(echo "$words" | sed -n 's/^plug=//p')
case $words in
*action=metadata*)
    echo '<resource-agent name="fence_strip" shortdesc="strip"><parameters><parameter name="plug"/></parameters>'
    echo '<actions><action name="on"/><action name="off"/><action name="status"/><action name="monitor"/></actions>'
    echo '</resource-agent>'
    ;;
*action=off* | *action=on*)
    echo "$words" | sed -n "s/^action=/outlet $plug /p" >>"$0.log"
    turns=0
    while [ ! -e "$0.go" ] && [ $turns -lt 600 ]; do turns=$((turns + 1)); sleep 0.1; done
    ;;
*action=status*) ! grep -qx "outlet $plug off" "$0.log" 2>/dev/null || exit 2 ;;
esac
exit 0
"#;

#[test]
fn an_order_that_waited_for_its_device_calls_it_only_for_what_it_targets_then() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    let agent = cluster.folder.path().join("fence_strip");
    std::fs::write(&agent, STRIP).unwrap();
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    let beside = |ending: &str| agent.with_file_name(format!("fence_strip.{ending}"));
    let strip = |targets: &str| {
        let more = "  deadline: 60s\n";
        device("strip", agent.to_str().unwrap(), "n2", more)
            .replace("{ n2: \"\" }", &format!("{{ {targets} }}"))
    };
    succeeded(&apply(&cluster, &strip("n2: a, n3: b")));
    succeeded(&cluster.ctl(&["fence", "n2", "--on", "--reason", "a test"]));
    let switched = || std::fs::read_to_string(beside("log")).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !switched().contains("outlet a on") {
        assert!(Instant::now() < deadline, "n2 was not switched on");
        std::thread::yield_now();
    }
    succeeded(&cluster.ctl(&["fence", "n3", "--force", "--reason", "a test"]));
    order(&cluster, "n3", &|order| order["phase"] == "Running");
    // Outlet b feeds another machine from now on, and the order against n3 still waits for the strip.
    succeeded(&apply(&cluster, &strip("n2: a")));
    std::fs::write(beside("go"), "").unwrap();
    order(&cluster, "n3", &|order| {
        let detail = order["detail"].as_str().unwrap_or_default();
        detail.contains("the device no longer targets the node")
            || detail.contains("no fence device covers the node")
    });
    assert_eq!(switched(), "outlet a on\n");
}

/// Waits until the newest order against the node is as wanted.
fn order(
    cluster: &Coordinators,
    node: &str,
    wanted: &dyn Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut found = Err("not asked yet".to_owned());
    while Instant::now() < deadline {
        found = cluster.json(&["get", &format!("node/{node}")]);
        let orders = found
            .as_ref()
            .ok()
            .and_then(|node| node["status"]["orders"].as_array());
        if let Some(order) = orders.and_then(|orders| orders.last())
            && wanted(order)
        {
            return order.clone();
        }
        std::thread::yield_now();
    }
    panic!("no such order against {node}: {found:?}");
}

/// Waits until haftctl says this of the device, and gives its status.
fn health(cluster: &Coordinators, wanted: &str) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut found = Err("not asked yet".to_owned());
    while Instant::now() < deadline {
        found = cluster.json(&["get", "fencedevice/bmc2"]);
        if let Ok(device) = &found
            && device["status"]["health"] == wanted
        {
            return device["status"].clone();
        }
        std::thread::yield_now();
    }
    panic!("bmc2 is not {wanted}: {found:?}");
}

/// Orders a node fenced and waits until its device says off and the order's evidence names the agent.
fn until(cluster: &Coordinators, node: &str, agent: &str, off: &dyn Fn() -> bool) {
    succeeded(&cluster.ctl(&["fence", node, "--force", "--reason", "a test"]));
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut told = String::new();
    while Instant::now() < deadline {
        told = ["n1", "n2", "n3"]
            .map(|each| cluster.log_text(each))
            .concat();
        let evidence = format!("{agent}: status says off twice");
        if off() && told.contains(&evidence) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("{node} was not fenced by {agent}; logs:\n{told}");
}
