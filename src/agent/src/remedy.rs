//! What to do about each reason for which haft-agent does not run, ends, or does not clear up.
//!
//! Words only: the errors and what is wrong are where they arise. Every match is closed, so that a reason that is
//! new has to say what helps.

use crate::census::CensusError;
use crate::daemon::RunError;
use crate::dismantle::DismantleError;
use crate::executor::OpenExecutorError;
use crate::kernel::address::ReadKernelError;
use crate::kernel::capability::CapabilityError;
use crate::kernel::clock::ReadBootIdError;
use crate::kernel::gate::NoGate;
use crate::kernel::guard::{GuardWriteError, OpenGuardError};
use crate::lease::StartLeaseError;
use crate::sbd::SbdError;

const NETLINK: &str = "give haft-agent CAP_NET_ADMIN, and a kernel with nftables and rtnetlink; run it as root, \
                       or by the unit of its package";
const RESOURCES: &str =
    "free memory, threads and open files, or raise the unit's limits; then start again";
const REFUSED: &str = "load nf_tables, of Linux 5.16 at least; dmesg may say more";
const AGAIN: &str =
    "start haft-agent again; if it ends the same way, report what its log says before that";

impl RunError {
    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            RunError::Config(_) => {
                "correct the file; haftd check FILE reads it without starting anything".to_owned()
            }
            RunError::Node { .. } => {
                "name the node with --node, as the config names it; or correct the config"
                    .to_owned()
            }
            RunError::NoCoordinator { .. } => {
                "let three, five or seven of the nodes be coordinators".to_owned()
            }
            RunError::Identity(error) => error.fix(),
            RunError::OtherNode { found, .. } => format!(
                "start it with --node {found} if this is that machine; else give every node a data directory \
                 of its own, and never copy one"
            ),
            RunError::Tls { path, .. } => format!(
                "put the file there, readable by the user that runs haft-agent ({}); or remove `tls` from the \
                 config to use the identity's own",
                path.display()
            ),
            RunError::AlreadyRuns { .. } => {
                "stop that one first; two of them would take each other's addresses away".to_owned()
            }
            RunError::Lock { path, .. } => {
                format!("let {} be a file that haft-agent may write", path.display())
            }
            RunError::Boot(error) => error.fix().to_owned(),
            RunError::Lease(error) => error.fix().to_owned(),
            RunError::System(_) => RESOURCES.to_owned(),
            RunError::Sbd(error) => error.fix().to_owned(),
            RunError::Capability(error) => error.fix(),
            RunError::Census(error) => error.fix().to_owned(),
            RunError::LeaseEnded => AGAIN.to_owned(),
        }
    }
}

impl DismantleError {
    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            DismantleError::Run(error) => error.fix(),
            DismantleError::Addresses(_) => NETLINK.to_owned(),
            DismantleError::Leftovers(_) => {
                "run it again; ip addr shows what is left, marked `proto 0x68`".to_owned()
            }
            DismantleError::Gate(_) => {
                "run it again as root, where /sys/fs/bpf is the one of process 1; no address of haft's is left"
                    .to_owned()
            }
            DismantleError::Open(error) => error.fix().to_owned(),
            DismantleError::Tables(error) => error.fix().to_owned(),
        }
    }
}

impl SbdError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            SbdError::Name(_) => "give the node a name that a slot can hold: 63 bytes at the most",
            SbdError::Count(_) => "name one to three disks in sbd.devices; three are right",
            SbdError::OldMessage { .. } => {
                "look why it was sent, then empty the mailbox with fence_haft_sbd clear; or set `sbd.start: always`"
            }
            SbdError::Watchdog { .. } => {
                "let watchdog.device name a watchdog that nobody else holds (softdog, if the machine has none), \
                 or remove `sbd`"
            }
            SbdError::NoRoom { .. } => {
                "lay the disks out with a longer msgwait: fence_haft_sbd create"
            }
            SbdError::Powerless { .. } => {
                "run haft-agent as root, where /proc/sysrq-trigger can be written; a container has to be given it"
            }
            SbdError::Thread { .. } => RESOURCES,
        }
    }
}

impl CapabilityError {
    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            CapabilityError::Missing { name, .. } => {
                format!("run it as root, or give its unit AmbientCapabilities={name}")
            }
            CapabilityError::Unreadable(_) => {
                "let capget(2) work here: a seccomp filter may forbid it".to_owned()
            }
        }
    }
}

impl CensusError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            CensusError::Open(_) => NETLINK,
            CensusError::Read(error) => error.fix(),
            CensusError::Thread(_) => RESOURCES,
        }
    }
}

impl ReadBootIdError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            ReadBootIdError::Unreadable { .. } | ReadBootIdError::Malformed { .. } => {
                "mount proc at /proc; a container has to be given the machine's own"
            }
        }
    }
}

impl StartLeaseError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            StartLeaseError::Executor(error) => error.fix(),
            StartLeaseError::Beats(_) => RESOURCES,
        }
    }
}

impl OpenExecutorError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            OpenExecutorError::Guard(error) => error.fix(),
            OpenExecutorError::Gate(error) => error.fix(),
            OpenExecutorError::Layer(error) => error.fix(),
            OpenExecutorError::Addresses(_) => NETLINK,
            OpenExecutorError::Leftovers(error) => error.fix(),
        }
    }
}

impl ReadKernelError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            ReadKernelError::Socket { .. } => {
                "start it again; if the kernel stays silent, look at dmesg and at what else changes its addresses"
            }
        }
    }
}

impl NoGate {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            NoGate::Architecture => "none is needed: timed elements of nftables serve instead",
            NoGate::NoFileSystem { .. } => {
                "mount one there before haft-agent starts (mount -t bpf bpf PATH); or correct gate.bpf_fs in the config"
            }
            NoGate::ForeignFileSystem => {
                "let the agent see the /sys/fs/bpf of process 1: no PrivateMounts= and the like in its unit"
            }
            NoGate::Home(_) => "let root write in /sys/fs/bpf",
            NoGate::Map(_) | NoGate::Program(_) | NoGate::Attach { .. } | NoGate::Trial(_) => {
                "give haft-agent CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root, and Linux 5.16; dmesg may say more"
            }
            NoGate::Links(_) => NETLINK,
            NoGate::OtherClock => "run haft-agent in the machine's own time namespace",
        }
    }
}

impl OpenGuardError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            OpenGuardError::Socket(_) => NETLINK,
            OpenGuardError::OwnedElsewhere { .. } => {
                "stop that haft-agent first, wherever it runs on this machine's network: two would take each other's \
                 addresses away"
            }
            OpenGuardError::Refused { .. } => REFUSED,
            OpenGuardError::Contested { .. } => {
                "find what reloads the packet filter again and again, and stop it"
            }
        }
    }
}

impl GuardWriteError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            GuardWriteError::Lapsed { .. }
            | GuardWriteError::Superseded { .. }
            | GuardWriteError::NotManaged { .. }
            | GuardWriteError::BatchSize { .. } => AGAIN,
            GuardWriteError::Missing => {
                "find what flushes the packet filter (nft monitor shows it), then start again"
            }
            GuardWriteError::Refused { .. } => REFUSED,
            GuardWriteError::Unclear => AGAIN,
            GuardWriteError::Socket(_) => NETLINK,
        }
    }
}

#[cfg(test)]
mod tests;
