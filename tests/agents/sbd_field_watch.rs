//! Our pills obeyed by the ClusterLabs daemon: `sbd watch`, which resets the machine it runs on.
//!
//! It runs as a child of the first process of a PID namespace of its own. There reboot(2) ends only that
//! namespace, by killing its first process: with SIGHUP for a reset, with SIGINT for a power-off. The
//! sysrq trigger and watchdogs of the machine are covered by /dev/null first, and the script refuses to
//! go on elsewhere.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use haft_tests::sbd_lab::SbdLab;

use crate::sbd::{admin, admin_done, start, until};

/// Its arguments: the disk and the node.
const NODE: &str = r#"
set -eu
[ $$ = 1 ] || { echo "not the first process of a PID namespace" >&2; exit 1; }
for device in /dev/watchdog* /proc/sysrq-trigger; do
    [ ! -e "$device" ] || mount --bind /dev/null "$device"
done
mount -t tmpfs none /run
SBD_WATCHDOG_DEV=/dev/null sbd -R -w /dev/null -S 0 -d "$1" -n "$2" watch
# Ends with the test, also when that is killed. Not by exec: this shell reaps what the daemon leaves.
cat >/dev/null
exit 0
"#;

/// A node under the field's watch, gone with the value.
struct Node(Child);

impl Node {
    fn start(disk: &Path) -> Self {
        let child = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", NODE, "node"])
            .arg(disk)
            .arg("a")
            .stdin(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Waits for the end of its namespace; the signal that reboot(2) ended it with.
    fn ended_by(&mut self) -> Option<i32> {
        let mut ended = None;
        until("the node's end", || {
            ended = self.0.try_wait().unwrap();
            ended.is_some()
        });
        // unshare repeats its child's signal, or tells it as a shell does.
        let status = ended?;
        status
            .signal()
            .or_else(|| status.code().map(|code| code - 128))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends `test` and waits until the watcher has cleared it, twice: a daemon that begins empties its mailbox once, and
/// is not watching yet. It may do so between our write and its verification; then it is sent again.
fn until_watched(disk: &Path) {
    for _ in 0..2 {
        until("a message", || {
            admin("message", &[disk], &["a", "test"]).0 == 0
        });
        until("a watcher", || {
            admin_done("list", &[disk], &[]) == "0\ta\tclear\t\n"
        });
    }
}

/// A disk with periods for a busy machine: the daemon must not end its node for being late itself, and the node
/// must be seen to end before the wait for it does.
fn patient(disk: &Path) {
    admin_done("create", &[disk], &["-1", "7", "-2", "1", "-4", "15"]);
    admin_done("allocate", &[disk], &["a"]);
}

#[test]
fn the_fields_watcher_obeys_our_pills_while_we_still_wait() {
    let mut lab = SbdLab::start();
    for (action, signal) in [("reboot", 1), ("off", 2)] {
        let disk = lab.plain_disk(512);
        patient(&disk);
        let mut node = Node::start(&disk);
        until_watched(&disk);
        let mut sender = start(action, &[&disk], "a");
        assert_eq!(node.ended_by(), Some(signal), "{action}");
        assert!(sender.try_wait().unwrap().is_none(), "msgwait is not over");
        let output = sender.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn the_fields_watcher_stops_in_good_order_at_our_exit() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    patient(&disk);
    let mut node = Node::start(&disk);
    until_watched(&disk);
    admin_done("message", &[&disk], &["a", "exit"]);
    // The daemon is gone when nobody clears a test any more; its namespace lives on.
    let first = node.0.id();
    let children = format!("/proc/{first}/task/{first}/children");
    let watchers = || {
        let init = std::fs::read_to_string(&children).unwrap();
        let below = format!("/proc/{0}/task/{0}/children", init.trim());
        let pids = std::fs::read_to_string(below).unwrap_or_default();
        pids.split_whitespace()
            .filter(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.trim() != "cat")
            })
            .count()
    };
    until("the end of the watch", || watchers() == 0);
    let ended = node.0.try_wait().unwrap();
    assert!(ended.is_none(), "it was reset: {ended:?}");
}
