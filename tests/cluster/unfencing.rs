//! A device that closes ports: a node that has joined is granted nothing before `on` has opened its port, and an off
//! closes it beside the power.
//!
//! One real haft-agent, in a network of its own. The devices are scripts with the field's contract that note what
//! they are told; nothing is powered. Needs root.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use haft_tests::built::executable;
use haft_tests::coordinators::{Coordinators, succeeded};
use haft_tests::jail::in_private_network;
use rustix::process::{Pid, Signal, kill_process};

use crate::stderr;

/// `NAME`, the state file `$0.off`, the notes `$0.told`; while `$0.deaf` exists it does nothing.
const AGENT: &str = r#"#!/bin/sh
words=$(cat)
case $words in
*action=metadata*)
    echo '<resource-agent name="NAME" shortdesc="a script"><parameters><parameter name="plug"/></parameters>'
    echo '<actions><action name="on"ON/><action name="off"/><action name="status"/><action name="monitor"/></actions>'
    echo '</resource-agent>'
    exit 0
    ;;
esac
[ ! -e "$0.deaf" ] || exit 1
case $words in
*action=on*) rm -f "$0.off"; echo on >>"$0.told" ;;
*action=off*) touch "$0.off"; echo off >>"$0.told" ;;
*action=status*) [ ! -e "$0.off" ] || exit 2 ;;
esac
exit 0
"#;

const VIP: &str = "apiVersion: haft/v1\nkind: VirtualIP\nmetadata: { name: db }\nspec: { address: 10.9.9.9, interface: eth0, isolation: stonith, preference: [n2] }\n";

fn script(folder: &Path, name: &str, on: &str) -> PathBuf {
    let path = folder.join(name);
    let text = AGENT
        .replace("NAME", name)
        .replace("ON/", &format!("{on}/"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn device(name: &str, agent: &Path, observes: &str) -> String {
    format!(
        "apiVersion: haft/v1\nkind: FenceDevice\nmetadata: {{ name: {name} }}\nspec:\n  agent: {}\n  \
         observes: {observes}\n  targets: {{ n1: \"\", n2: \"\", n3: \"\" }}\n---\n",
        agent.display()
    )
}

pub(super) fn apply(cluster: &Coordinators, text: &str) -> std::process::Output {
    let path = cluster.folder.path().join("objects.yaml");
    std::fs::write(&path, text).unwrap();
    cluster.ctl(&["apply", "-f", path.to_str().unwrap()])
}

/// Ended with the value.
pub(super) struct Agent(Child);

impl Agent {
    pub(super) fn start(cluster: &Coordinators, node: &str) -> Self {
        let program = Command::new(executable("haft-agent", "haft-agent"));
        Agent::run(program, cluster, node)
    }

    /// The same behind the kernel's gate, pinned in a bpf file system that ends with the agent.
    pub(super) fn start_gated(cluster: &Coordinators, node: &str) -> Self {
        let home = cluster.folder.path().join("bpf");
        std::fs::create_dir(&home).unwrap();
        let config = cluster.config(node);
        let text = std::fs::read_to_string(&config).unwrap();
        let named = format!("gate: {{ bpf_fs: {} }}\n", home.display());
        std::fs::write(&config, text + &named).unwrap();
        let mut program = Command::new("unshare");
        program
            .args(["--mount", "sh", "-c"])
            .arg("mount -t bpf bpf \"$0\" && exec \"$@\"")
            .arg(home)
            .arg(executable("haft-agent", "haft-agent"));
        Agent::run(program, cluster, node)
    }

    fn run(mut program: Command, cluster: &Coordinators, node: &str) -> Self {
        let log = std::fs::File::create(cluster.folder.path().join("agent.log")).unwrap();
        let child = program
            .arg("--config")
            .arg(cluster.config(node))
            .args(["--node", node])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `haftctl OF -o json` satisfies `enough`.
pub(super) fn until(
    cluster: &Coordinators,
    of: &[&str],
    enough: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut last = String::new();
    while Instant::now() < deadline {
        match cluster.json(of) {
            Ok(found) if enough(&found) => return found,
            Ok(found) => last = found.to_string(),
            Err(why) => last = why,
        }
    }
    let log = std::fs::read_to_string(cluster.folder.path().join("agent.log"));
    panic!("{of:?}: {last}\nhaft-agent:\n{}", log.unwrap_or_default());
}

fn told(agent: &Path) -> String {
    std::fs::read_to_string(agent.with_extension("told")).unwrap_or_default()
}

#[test]
fn a_node_is_granted_nothing_before_its_port_is_open_and_an_off_closes_it() {
    in_private_network(|| {
        let link = "link add eth0 type veth peer name eth1";
        for words in [link, "link set eth0 up", "link set eth1 up"] {
            let done = Command::new("ip").args(words.split(' ')).status();
            assert!(done.unwrap().success(), "ip {words}");
        }
        story();
    });
}

fn story() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    let folder = cluster.folder.path().to_owned();
    let port = script(&folder, "fence_port", " automatic=\"1\"");
    let power = script(&folder, "fence_power", "");
    let refused = apply(&cluster, &device("port", &port, "power"));
    let why = stderr(&refused);
    assert!(
        why.contains("ObservesNoPower") && why.contains("storage"),
        "{why}"
    );
    std::fs::write(port.with_extension("deaf"), "").unwrap();
    succeeded(&apply(&cluster, &device("port", &port, "storage")));
    let refused = stderr(&apply(&cluster, VIP));
    assert!(
        refused.contains("NoFenceDevice"),
        "a port isolates nobody: {refused}"
    );
    succeeded(&apply(&cluster, &device("power", &power, "power")));
    succeeded(&apply(&cluster, VIP));

    let agent = Agent::start(&cluster, "n2");
    until(&cluster, &["get", "node/n2"], |node| {
        node["status"]["state"] == "Online"
            && node["status"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("ports"))
            && node["status"]["orders"]
                .to_string()
                .contains("\"attempts\":1")
    });
    let vip = cluster.json(&["get", "vip/db"]).unwrap();
    assert_eq!(vip["status"]["owner"], "", "{vip}");
    let why = cluster.ctl(&["why", "vip/db"]);
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("waits for the ports of its storage"), "{why}");

    std::fs::remove_file(port.with_extension("deaf")).unwrap();
    let vip = until(&cluster, &["get", "vip/db"], |vip| {
        vip["status"]["state"] == "Active"
    });
    assert_eq!(vip["status"]["owner"], "n2", "{vip}");
    assert_eq!(told(&port), "on\n");
    assert_eq!(told(&power), "", "a machine that has joined is on");

    succeeded(&cluster.ctl(&["fence", "n2", "--force", "--reason", "a test"]));
    contradicted(&cluster);
    assert!(told(&port).starts_with("on\noff\n"), "{}", told(&port));
    assert!(told(&power).starts_with("off\n"), "{}", told(&power));

    // Now it is as dark as the device says, and somebody has looked at that.
    drop(agent);
    cluster.kill("n2");
    succeeded(&apply(&cluster, &device("power", &power, "power")));
    until(&cluster, &["get", "vip/db"], |vip| {
        vip["status"]["evidence"]["proof"] == "Fenced"
    });
}

/// The script powers nothing: what it says is contradicted by the haftd and the haft-agent of n2, which live (R3a).
fn contradicted(cluster: &Coordinators) {
    until(cluster, &["get", "node/n2"], |node| {
        let orders = node["status"]["orders"].to_string();
        orders.contains("no fence device") && orders.contains("has answered a challenge of")
    });
    let events = cluster.json(&["events"]).unwrap().to_string();
    for reason in ["FenceLie", "FenceDeviceDistrusted"] {
        assert!(events.contains(reason), "{reason}: {events}");
    }
    let device = cluster.json(&["get", "fencedevice/power"]).unwrap();
    let told = device["status"]["message"].to_string();
    assert!(told.contains("distrusted"), "{told}");
    let vip = cluster.json(&["get", "vip/db"]).unwrap();
    assert_ne!(vip["status"]["evidence"]["proof"], "Fenced", "{vip}");
    assert_eq!(vip["status"]["owner"], "n2", "{vip}");
}
