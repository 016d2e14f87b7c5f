//! Network namespaces for tests: made here, gone when the last handle is dropped.
//!
//! Nothing outside them is touched. Needs root; says so and fails without it.

use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

/// A deadline for states that come within milliseconds: far beyond what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One network namespace, alive as long as this handle.
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    /// Makes a namespace with its loopback up.
    pub(crate) fn new() -> Namespace {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes network namespaces and must run as root"
        );
        let file = std::thread::spawn(|| {
            unshare_network();
            File::open("/proc/thread-self/ns/net").expect("a thread can open its own namespace")
        })
        .join()
        .expect("the namespace was made");
        let namespace = Namespace { file };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` in a thread inside the namespace; its panic is the caller's.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(
                    self.file.as_fd(),
                    Some(LinkNameSpaceType::Network),
                )
                .expect("root may enter a namespace");
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip ARGS` inside.
    pub(crate) fn ip(&self, args: &str) -> String {
        self.command("ip", args)
    }

    /// Runs a program inside and returns what it printed.
    pub(crate) fn command(&self, program: &str, args: &str) -> String {
        let output = self.run(|| {
            Command::new(program)
                .args(args.split_whitespace())
                .output()
                .unwrap_or_else(|failed| panic!("cannot run {program}: {failed}"))
        });
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{program} {args}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Runs a program inside, which may fail.
    pub(crate) fn try_command(&self, program: &str, args: &[&str]) {
        self.run(|| drop(Command::new(program).args(args).output().unwrap()));
    }

    /// A path under which other programs of this process's user find the namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

#[expect(
    unsafe_code,
    reason = "unshare is the only way to a namespace of one's own"
)]
fn unshare_network() {
    // SAFETY: the calling thread was made for this, shares no file descriptors by way of the
    // flags, and ends right after.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .expect("root may make a network namespace");
}

/// An owner with interface `own0` (10.9.0.1/24, fd09::1/64) and a client with `cli0` (10.9.0.2/24,
/// fd09::2/64), on one wire.
pub(crate) struct Wire {
    pub(crate) owner: Namespace,
    pub(crate) client: Namespace,
}

impl Wire {
    pub(crate) fn new() -> Wire {
        let wire = Wire {
            owner: Namespace::new(),
            client: Namespace::new(),
        };
        wire.owner.ip(&format!(
            "link add own0 address 02:00:00:00:09:01 type veth peer name cli0 address 02:00:00:00:09:02 netns {}",
            wire.client.path()
        ));
        wire.owner.ip("addr add 10.9.0.1/24 dev own0");
        wire.owner.ip("addr add fd09::1/64 dev own0 nodad");
        wire.owner.ip("link set own0 up");
        wire.client.ip("addr add 10.9.0.2/24 dev cli0");
        wire.client.ip("addr add fd09::2/64 dev cli0 nodad");
        wire.client.ip("link set cli0 up");
        // The kernel tells its queues about a carrier a little later.
        for (side, name) in [(&wire.owner, "own0"), (&wire.client, "cli0")] {
            eventually("the wire is up", || {
                side.ip(&format!("link show dev {name}"))
                    .contains("state UP")
            });
        }
        wire
    }

    /// A second wire between the same two, without addresses: `own1` and `cli1`.
    pub(crate) fn second(&self) {
        self.owner.ip(&format!(
            "link add own1 address 02:00:00:00:09:01 type veth peer name cli1 address 02:00:00:00:09:02 netns {}",
            self.client.path()
        ));
        self.owner.ip("link set own1 up");
        self.client.ip("link set cli1 up");
        eventually("the second wire is up", || {
            self.owner.ip("link show dev own1").contains("state UP")
        });
    }
}

/// Waits for a state, or fails with its name after [`PATIENCE`].
pub(crate) fn eventually(what: &str, mut state: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !state() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::yield_now();
    }
}
