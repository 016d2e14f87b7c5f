//! What the session proof (docs/session-proof.md) assumes of the real programs, where the simulator has a model:
//! that a coordinator that comes back stays silent, and that beats are answered by a thread that waits for nobody.

use crate::VIP;
use crate::unfencing::{Agent, apply, until};
use haft_tests::coordinators::{Coordinators, succeeded};
use haft_tests::jail::in_private_network;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// linux/sched.h.
const SCHED_RR: &str = "2";
/// Places in /proc/PID/stat (proc(5)) after the name, which may hold blanks: state is the first.
const POLICY: usize = 38;

/// The scheduling policy of the thread of this name, once there is one.
fn policy_of(process: &Path, thread: &str) -> Option<String> {
    let tasks = fs::read_dir(process.join("task")).ok()?;
    tasks.flatten().find_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let policy = fields.split_whitespace().nth(POLICY)?.to_owned();
        (name.trim_end() == thread).then_some(policy)
    })
}

fn locked_kib(process: &Path) -> u64 {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure.and_then(|figure| figure.parse().ok()).unwrap_or(0)
}

fn waits_for_nobody(process: u32, thread: &str) {
    let process = Path::new("/proc").join(process.to_string());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (policy, locked) = (policy_of(&process, thread), locked_kib(&process));
        if policy.as_deref() == Some(SCHED_RR) && locked > 0 {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{thread}: policy {policy:?}, {locked} kB locked"
        );
        std::thread::yield_now();
    }
}

/// Whether the packet filter lets the owner's address speak: its element goes when the lease is not renewed.
fn speaks() -> bool {
    let listed = Command::new("nft")
        .args(["list", "set", "inet", "haft", "held4"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&listed.stdout).contains("10.9.9.9")
}

#[test]
fn a_coordinator_that_comes_back_acknowledges_nothing_for_the_longest_lease() {
    in_private_network(|| {
        for words in [
            "link add eth0 type veth peer name eth1",
            "link set eth0 up",
            "link set eth1 up",
        ] {
            let done = Command::new("ip").args(words.split(' ')).status();
            assert!(done.unwrap().success(), "ip {words}");
        }
        let mut cluster = Coordinators::prepare();
        cluster.form();
        let agent = Agent::start(&cluster, "n2");
        until(&cluster, &["get", "node/n2"], |node| {
            node["status"]["state"] == "Online"
        });
        // B9, in both programs.
        waits_for_nobody(cluster.pid("n2"), "beats");
        waits_for_nobody(agent.pid(), "haft-lease");

        // Far longer than two coordinators take to start: a lease that they answered for at once would go on.
        succeeded(&cluster.ctl(&["cluster", "timing", "set", "10s", "--yes"]));
        until(&cluster, &["cluster", "timing"], |now| {
            now["olderSessions"] == serde_json::json!([])
        });
        succeeded(&apply(&cluster, VIP));
        let active = |vip: &serde_json::Value| vip["status"]["state"] == "Active";
        until(&cluster, &["get", "vip/web"], active);
        assert!(speaks());
        for node in ["n1", "n3"] {
            cluster.kill(node);
        }
        for node in ["n1", "n3"] {
            cluster.start(node);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while speaks() {
            assert!(
                Instant::now() < deadline,
                "coordinators that came back answered at once"
            );
        }
        until(&cluster, &["get", "vip/web"], active);
    });
}
