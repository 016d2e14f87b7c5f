//! A machine made of namespaces, with a shell in it that a test drives.
//!
//! Network, mounts, process ids, host name and IPC are private, `/run`, logs and Pacemaker's own
//! directories are empty, and `/usr/sbin` holds the machine's programs plus the agents under test, so
//! nothing is installed on the host and nothing of it is reached. A reboot from inside ends only the jail;
//! the trigger for the kernel's own (`/proc/sysrq-trigger`) is covered. Everything dies with the value.
//! It knows nothing of clusters; needs root.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::UnshareFlags;

/// How long one command may take. Pacemaker's own waits are under a minute.
const PATIENCE: Duration = Duration::from_secs(120);
/// Lines kept of a talkative command before it has to wait for its reader.
const LINES_AHEAD: usize = 10_000;
/// What stands before the exit code at the end of a command's output.
const END: &str = "-- end of command, exit ";

/// A running jail.
pub struct Jail {
    name: String,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    init: u32,
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its stdout and stderr.
    pub text: String,
}

impl Said {
    /// The text of a command that must have succeeded.
    ///
    /// # Panics
    /// When it did not.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.text);
        self.text
    }
}

/// Whether a jail gets a network of its own or shares that of the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A new one, empty.
    Own,
    /// The calling thread's, see [`in_private_network`].
    Callers,
}

/// Prepares the directories; `$1` is the host name, the other arguments are agents.
const SETUP: &str = r#"
set -e
hostname "$1"; shift
mount -t tmpfs run /run
mkdir -p /run/crm /run/lock /run/sbin /run/resource-agents
mount -t tmpfs shm /dev/shm
mount -t tmpfs log /var/log
mkdir -p /var/log/pacemaker /var/log/corosync /var/log/cluster
mount -t tmpfs pacemaker /var/lib/pacemaker
mkdir -p /var/lib/pacemaker/cib /var/lib/pacemaker/pengine /var/lib/pacemaker/cores /var/lib/pacemaker/blackbox
chown -R hacluster:haclient /run/crm /var/lib/pacemaker
mount -t tmpfs corosync /var/lib/corosync
mount -t tmpfs corosync /etc/corosync
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger
mount --bind /usr/sbin /run/sbin
mount -t tmpfs sbin /usr/sbin
ln -s /run/sbin/* /usr/sbin/
for agent in "$@"; do rm -f "/usr/sbin/${agent##*/}"; cp "$agent" /usr/sbin/; done
ip link set lo up
set +e
"#;

impl Jail {
    /// Makes a jail of this host name whose `/usr/sbin` also holds copies of `agents`.
    ///
    /// # Panics
    /// Not root, or a mount that fails.
    pub fn start(name: &str, network: Network, agents: &[PathBuf]) -> Self {
        let mut unshare = Command::new("unshare");
        match network {
            Network::Own => {
                unshare.arg("--net");
            }
            Network::Callers => {}
        }
        let mut child = unshare
            .args(["--mount", "--pid", "--uts", "--ipc", "--fork"])
            .args(["--kill-child", "--mount-proc", "--propagation", "private"])
            .args(["sh", "-s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its last word on a killed child is a complaint of its own; the shell's stderr is its stdout.
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare is installed (Debian package util-linux)");
        let stdin = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = sync_channel(LINES_AHEAD);
        std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut jail = Self {
            name: name.to_owned(),
            child,
            stdin,
            lines,
            init: 0,
        };
        let mut words = vec![name.to_owned()];
        words.extend(agents.iter().map(|agent| agent.display().to_string()));
        jail.sh(&format!("exec 2>&1\nset -- {}\n{SETUP}", words.join(" ")))
            .ok();
        jail.init = only_child(jail.child.id());
        jail
    }

    /// Runs shell text and waits for its end. What it starts with `&` must have its output elsewhere.
    ///
    /// # Panics
    /// When the jail is gone, or after two minutes.
    pub fn sh(&mut self, command: &str) -> Said {
        write!(
            self.stdin,
            "{{\n{command}\n}} </dev/null\necho \"{END}$?\"\n"
        )
        .unwrap();
        self.stdin.flush().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut text = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!(
                    "{}: no end of {command:?} (is this root?); so far: {text}",
                    self.name
                );
            };
            match line.split_once(END) {
                Some((before, code)) => {
                    text.push_str(before);
                    let code = code.trim().parse().unwrap();
                    return Said { code, text };
                }
                None => {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
    }

    /// Repeats a command until its text satisfies `enough`, and returns that text.
    ///
    /// # Panics
    /// After two minutes, with what it said last.
    pub fn until(&mut self, command: &str, enough: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The pause leaves the processor to those whose state is awaited.
            let said = self.sh(&format!("{command}\nsleep 0.1"));
            if enough(&said.text) {
                return said.text;
            }
            assert!(
                Instant::now() < deadline,
                "{}: waited in vain on {command:?}: {}",
                self.name,
                said.text
            );
        }
    }

    /// Process id of the jail's init in the caller's process-id namespace.
    pub fn init(&self) -> u32 {
        self.init
    }

    /// The host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Cuts the power: every process in it is gone when this returns.
    pub fn kill(&mut self) {
        // Its init, so that `unshare` reaps it; without one yet, `unshare` itself.
        let init = Pid::from_raw(self.init.cast_signed());
        let killed = init.map(|init| kill_process(init, Signal::KILL));
        if killed.is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        self.kill();
    }
}

fn only_child(parent: u32) -> u32 {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(path).unwrap();
    children.trim().parse().expect("unshare has one child")
}

/// Runs `work` in a thread with an empty network of its own, loopback up. What it starts is in there, too.
///
/// # Panics
/// Not root; and the panics of `work`.
pub fn in_private_network<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            leave_network();
            let up = Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(up.unwrap().success(), "loopback is up");
            work()
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[expect(
    unsafe_code,
    reason = "unshare is the only way to a namespace of one's own"
)]
fn leave_network() {
    // SAFETY: the calling thread was made for this, shares no file descriptors by way of the flags, and
    // ends right after.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .expect("root may make a network namespace");
}
