//! Fence devices in a real cluster of coordinators: what is refused when it is applied, and orders carried out by
//! the agents of the field, unmodified.
//!
//! The devices are `ipmi_sim` and a status file; nothing is powered. What the agents' words mean is tested in the
//! suite `agents`. Needs the Debian packages fence-agents, ipmitool and openipmi.

use std::os::unix::fs::PermissionsExt as _;
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
        ("fence_scsi", "", "reads no power state"),
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
