//! Every reason has a fix, and the texts of reasons hold none.
//!
//! Each `number` is a closed match: a variant that is new does not compile here, and one without an example fails.

use super::*;
use crate::kernel::address::OpenAddressesError;
use haft_config::identity::ReadIdentityError;
use haft_config::{Config, NodeLookupError};
use haft_fence_sbd::disk::SlotName;
use haft_fence_sbd::majority::DiskCount;
use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn io() -> io::Error {
    io::Error::other("no")
}

fn file() -> PathBuf {
    PathBuf::from("/etc/haft/haft.yaml")
}

/// What is wrong and every cause below it, without a word of what to do.
fn check<E: Error>(
    examples: &[E],
    count: usize,
    number: impl Fn(&E) -> usize,
    fix: impl Fn(&E) -> String,
) {
    let seen: BTreeSet<usize> = examples.iter().map(number).collect();
    assert_eq!(seen, (0..count).collect(), "an example of each variant");
    for error in examples {
        let told = haft_config::ending::told(error, &fix(error));
        let (what, fix) = told.rsplit_once("\n  fix: ").unwrap();
        assert!(!fix.trim().is_empty(), "{told}");
        assert!(what.starts_with("error: "), "{told}");
        // Only the problems of a file carry their own.
        let own = what.starts_with("error: error: ");
        assert!(
            !fix.ends_with('.') && (own || !what.contains("fix:")),
            "{told}"
        );
    }
}

#[test]
fn every_reason_not_to_run_has_a_fix() {
    let examples = vec![
        RunError::Config(Config::parse("haft.yaml", "").unwrap_err()),
        RunError::Node {
            file: file(),
            source: NodeLookupError::Unknown {
                name: "n9".to_owned(),
                known: vec!["n1".to_owned()],
            },
        },
        RunError::NoCoordinator { file: file() },
        RunError::Identity(ReadIdentityError::Absent { dir: file() }),
        RunError::OtherNode {
            data_dir: file(),
            found: "n1".to_owned(),
            wanted: "n2".to_owned(),
        },
        RunError::Tls {
            path: file(),
            source: io(),
        },
        RunError::AlreadyRuns { path: file() },
        RunError::Lock {
            path: file(),
            source: io(),
        },
        RunError::Boot(ReadBootIdError::Unreadable {
            path: "/proc/sys/kernel/random/boot_id",
            source: io(),
        }),
        RunError::Lease(StartLeaseError::Beats(io())),
        RunError::System(io()),
        RunError::Sbd(SbdError::NoRoom { left_ms: 9 }),
        RunError::Capability(CapabilityError::Unreadable(io())),
        RunError::Census(CensusError::Thread(io())),
        RunError::LeaseEnded,
    ];
    let number = |error: &RunError| match error {
        RunError::Config(_) => 0,
        RunError::Node { .. } => 1,
        RunError::NoCoordinator { .. } => 2,
        RunError::Identity(_) => 3,
        RunError::OtherNode { .. } => 4,
        RunError::Tls { .. } => 5,
        RunError::AlreadyRuns { .. } => 6,
        RunError::Lock { .. } => 7,
        RunError::Boot(_) => 8,
        RunError::Lease(_) => 9,
        RunError::System(_) => 10,
        RunError::Sbd(_) => 11,
        RunError::Capability(_) => 12,
        RunError::Census(_) => 13,
        RunError::LeaseEnded => 14,
    };
    check(&examples, 15, number, RunError::fix);
}

#[test]
fn reasons_that_lie_in_the_config_or_on_the_disk_name_the_place() {
    let placed = [
        RunError::NoCoordinator { file: file() },
        RunError::OtherNode {
            data_dir: file(),
            found: "n1".to_owned(),
            wanted: "n2".to_owned(),
        },
        RunError::AlreadyRuns { path: file() },
        RunError::Tls {
            path: file(),
            source: io(),
        },
    ];
    for error in placed {
        assert!(error.to_string().contains("/etc/haft/haft.yaml"), "{error}");
    }
}

#[test]
fn every_reason_not_to_clear_up_has_a_fix() {
    let examples = vec![
        DismantleError::Run(RunError::LeaseEnded),
        DismantleError::Addresses(OpenAddressesError::from(io())),
        DismantleError::Leftovers(ReadKernelError::Socket {
            what: "addresses",
            source: io(),
        }),
        DismantleError::Gate(io()),
        DismantleError::Open(OpenGuardError::Socket(io())),
        DismantleError::Tables(GuardWriteError::Missing),
    ];
    let number = |error: &DismantleError| match error {
        DismantleError::Run(_) => 0,
        DismantleError::Addresses(_) => 1,
        DismantleError::Leftovers(_) => 2,
        DismantleError::Gate(_) => 3,
        DismantleError::Open(_) => 4,
        DismantleError::Tables(_) => 5,
    };
    check(&examples, 6, number, DismantleError::fix);
}

#[test]
fn every_reason_not_to_watch_the_disks_has_a_fix() {
    let why = "no".to_owned();
    let examples = vec![
        SbdError::Name(SlotName::new("").unwrap_err()),
        SbdError::Count(DiskCount::try_from(4).unwrap_err()),
        SbdError::OldMessage {
            disk: "/dev/sdb".to_owned(),
            word: "off".to_owned(),
            from: String::new(),
        },
        SbdError::Watchdog { why: why.clone() },
        SbdError::NoRoom { left_ms: 9 },
        SbdError::Powerless { why: why.clone() },
        SbdError::Thread { why },
    ];
    let number = |error: &SbdError| match error {
        SbdError::Name(_) => 0,
        SbdError::Count(_) => 1,
        SbdError::OldMessage { .. } => 2,
        SbdError::Watchdog { .. } => 3,
        SbdError::NoRoom { .. } => 4,
        SbdError::Powerless { .. } => 5,
        SbdError::Thread { .. } => 6,
    };
    check(&examples, 7, number, |error| error.fix().to_owned());
}

#[test]
fn every_reason_of_the_machine_has_a_fix() {
    let census = [
        CensusError::Open(OpenAddressesError::from(io())),
        CensusError::Read(ReadKernelError::Socket {
            what: "addresses",
            source: io(),
        }),
        CensusError::Thread(io()),
    ];
    let number = |error: &CensusError| match error {
        CensusError::Open(_) => 0,
        CensusError::Read(_) => 1,
        CensusError::Thread(_) => 2,
    };
    check(&census, 3, number, |error| error.fix().to_owned());
    let missing = CapabilityError::Missing {
        name: "CAP_NET_RAW",
        purpose: "announce",
    };
    let number = |error: &CapabilityError| match error {
        CapabilityError::Missing { .. } => 0,
        CapabilityError::Unreadable(_) => 1,
    };
    let examples = [missing, CapabilityError::Unreadable(io())];
    check(&examples, 2, number, CapabilityError::fix);
    let path = "/proc/sys/kernel/random/boot_id";
    let text = String::new();
    let boot = [
        ReadBootIdError::Unreadable { path, source: io() },
        ReadBootIdError::Malformed { path, text },
    ];
    let number = |error: &ReadBootIdError| match error {
        ReadBootIdError::Unreadable { .. } => 0,
        ReadBootIdError::Malformed { .. } => 1,
    };
    check(&boot, 2, number, |error| error.fix().to_owned());
}

#[test]
fn every_reason_not_to_hold_anything_has_a_fix() {
    let lost = || OpenGuardError::Contested { attempts: 3 };
    let executor = [
        OpenExecutorError::Guard(lost()),
        OpenExecutorError::Gate(NoGate::OtherClock),
        OpenExecutorError::Layer(GuardWriteError::Missing),
        OpenExecutorError::Addresses(OpenAddressesError::from(io())),
        OpenExecutorError::Leftovers(ReadKernelError::Socket {
            what: "addresses",
            source: io(),
        }),
    ];
    let number = |error: &OpenExecutorError| match error {
        OpenExecutorError::Guard(_) => 0,
        OpenExecutorError::Gate(_) => 1,
        OpenExecutorError::Layer(_) => 2,
        OpenExecutorError::Addresses(_) => 3,
        OpenExecutorError::Leftovers(_) => 4,
    };
    check(&executor, 5, number, |error| error.fix().to_owned());
    let lease = [
        StartLeaseError::Executor(OpenExecutorError::Guard(lost())),
        StartLeaseError::Beats(io()),
    ];
    let number = |error: &StartLeaseError| match error {
        StartLeaseError::Executor(_) => 0,
        StartLeaseError::Beats(_) => 1,
    };
    check(&lease, 2, number, |error| error.fix().to_owned());
}

#[test]
fn every_reason_of_guard_and_gate_has_a_fix() {
    let what = "the tables";
    let guard = [
        OpenGuardError::Socket(io()),
        OpenGuardError::OwnedElsewhere { port: 7 },
        OpenGuardError::Refused { what, source: io() },
        OpenGuardError::Contested { attempts: 3 },
    ];
    let number = |error: &OpenGuardError| match error {
        OpenGuardError::Socket(_) => 0,
        OpenGuardError::OwnedElsewhere { .. } => 1,
        OpenGuardError::Refused { .. } => 2,
        OpenGuardError::Contested { .. } => 3,
    };
    check(&guard, 4, number, |error| error.fix().to_owned());
    let address = HERE;
    let write = [
        GuardWriteError::Lapsed { addresses: vec![] },
        GuardWriteError::Superseded { address },
        GuardWriteError::NotManaged { address },
        GuardWriteError::BatchSize { count: 0 },
        GuardWriteError::Missing,
        GuardWriteError::Refused { what, source: io() },
        GuardWriteError::Unclear,
        GuardWriteError::Socket(io()),
    ];
    let number = |error: &GuardWriteError| match error {
        GuardWriteError::Lapsed { .. } => 0,
        GuardWriteError::Superseded { .. } => 1,
        GuardWriteError::NotManaged { .. } => 2,
        GuardWriteError::BatchSize { .. } => 3,
        GuardWriteError::Missing => 4,
        GuardWriteError::Refused { .. } => 5,
        GuardWriteError::Unclear => 6,
        GuardWriteError::Socket(_) => 7,
    };
    check(&write, 8, number, |error| error.fix().to_owned());
    gates();
}

fn gates() {
    let attach = NoGate::Attach {
        link: "eth0".to_owned(),
        why: "no".to_owned(),
    };
    let gate = [
        NoGate::Architecture,
        NoGate::NoFileSystem {
            path: "/sys/fs/bpf".into(),
        },
        NoGate::ForeignFileSystem,
        NoGate::Home(io()),
        NoGate::Map(io()),
        NoGate::Program(io()),
        attach,
        NoGate::Links(io()),
        NoGate::OtherClock,
        NoGate::Trial("does nothing"),
    ];
    let number = |error: &NoGate| match error {
        NoGate::Architecture => 0,
        NoGate::NoFileSystem { .. } => 1,
        NoGate::ForeignFileSystem => 2,
        NoGate::Home(_) => 3,
        NoGate::Map(_) => 4,
        NoGate::Program(_) => 5,
        NoGate::Attach { .. } => 6,
        NoGate::Links(_) => 7,
        NoGate::OtherClock => 8,
        NoGate::Trial(_) => 9,
    };
    check(&gate, 10, number, |error| error.fix().to_owned());
}
