//! A simulated machine: power, clock, kernel, BMC, and the processes on it.
//!
//! Knows what is true; what may be done to it is the world's and the nemesis's business.

use crate::agent::Agent;
use crate::bmc::{Bmc, Power};
use crate::clock::{MachineClock, TrueTime};
use crate::coordinator::Coordinator;
use crate::disks::Watcher;
use crate::kernel::Kernel;
use crate::net::Place;
use crate::raft::Disk;
use crate::wire::Life;
use haft_engine::ids::{BootId, NodeId, NodeName, Token};
use std::collections::VecDeque;
use std::net::IpAddr;

/// Most events that wait for a stopped process; beyond it the sockets drop.
pub(crate) const BACKLOG_MAX: usize = 512;

/// Why a machine is off, which decides what brings it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outage {
    /// It was switched off: somebody has to switch it on.
    Switched,
    /// Its supplies ran dry: it comes back with them (power restore policy: as before).
    Unfed,
}

/// One process slot.
pub(crate) struct Process<T, E> {
    /// The process, if it runs.
    pub(crate) running: Option<T>,
    /// Which life it is (or was).
    pub(crate) life: Life,
    /// How many faults hold it stopped (SIGSTOP).
    pub(crate) stopped: u32,
    /// What waits for it.
    pub(crate) backlog: VecDeque<E>,
    /// When its next wake is scheduled.
    pub(crate) wake_at: Option<TrueTime>,
}

impl<T, E> Process<T, E> {
    fn absent() -> Process<T, E> {
        Process {
            running: None,
            life: Life(0),
            stopped: 0,
            backlog: VecDeque::new(),
            wake_at: None,
        }
    }

    /// The process is gone, with everything that waited for it.
    pub(crate) fn clear(&mut self) -> Option<T> {
        self.backlog.clear();
        self.wake_at = None;
        self.stopped = 0;
        self.running.take()
    }
}

/// One machine.
pub(crate) struct Machine<E> {
    /// Its index.
    pub(crate) place: Place,
    /// Its node.
    pub(crate) node: NodeId,
    /// Its node's name.
    pub(crate) name: NodeName,
    /// Whether haftd is installed.
    pub(crate) coordinates: bool,
    /// Its clock.
    pub(crate) clock: MachineClock,
    /// Its kernel.
    pub(crate) kernel: Kernel,
    /// Its management controller.
    pub(crate) bmc: Bmc,
    /// Its power.
    pub(crate) power: Power,
    /// Boots so far.
    pub(crate) boots: u64,
    /// What haftd's disk holds while haftd does not run.
    pub(crate) disk: Option<Disk>,
    /// haftd.
    pub(crate) coordinator: Process<Coordinator, E>,
    /// haft-agent.
    pub(crate) agent: Process<Agent, E>,
    /// The watcher of the agent's present life.
    pub(crate) watcher: Watcher,
    /// When its watchdog is looked at next.
    pub(crate) dog_look: Option<TrueTime>,
    /// Why it is off.
    pub(crate) outage: Outage,
    /// The agent's life that looked for leftovers and removed them all, on this boot.
    pub(crate) probed_clean: Option<Life>,
    /// The agent's life that ended in good order on this boot, with everything removed.
    pub(crate) ended_clean: Option<Life>,
    /// Whether the whole machine stands still.
    pub(crate) frozen: bool,
    /// When it last went on after standing still.
    pub(crate) thawed_at: Option<TrueTime>,
    /// Until when its disk hangs.
    pub(crate) disk_hangs_until: TrueTime,
    /// Until when its kernel removes nothing.
    pub(crate) sticks_until: TrueTime,
    /// Until when its kernel is slow to take guard writes.
    pub(crate) kernel_slow_until: TrueTime,
}

impl<E> Machine<E> {
    /// A machine that is on and runs nothing yet.
    pub(crate) fn new(place: Place, node: NodeId, name: NodeName, ppm: i64) -> Machine<E> {
        Machine {
            place,
            node,
            name,
            coordinates: false,
            clock: MachineClock::booted(0, ppm),
            kernel: Kernel::default(),
            bmc: Bmc::honest(),
            power: Power::On,
            boots: 1,
            disk: None,
            coordinator: Process::absent(),
            agent: Process::absent(),
            watcher: Watcher::idle(),
            dog_look: None,
            outage: Outage::Switched,
            probed_clean: None,
            ended_clean: None,
            frozen: false,
            thawed_at: None,
            disk_hangs_until: 0,
            sticks_until: 0,
            kernel_slow_until: 0,
        }
    }

    /// The id of its present boot.
    pub(crate) fn boot(&self) -> BootId {
        boot_id(self.place, self.boots)
    }

    /// Whether it is on and not standing still.
    pub(crate) fn alive(&self) -> bool {
        self.power == Power::On && !self.frozen
    }

    /// The token under which it would answer for `address`, if it would.
    pub(crate) fn answers(&self, now: TrueTime, address: IpAddr) -> Option<Token> {
        if !self.alive() {
            return None;
        }
        self.kernel.answers(self.clock.local(now), address)
    }

    /// The token under which a service on it would work behind `address`, if it would: no guard stops that.
    pub(crate) fn works(&self, address: IpAddr) -> Option<Token> {
        if !self.alive() {
            return None;
        }
        self.kernel.works(address)
    }

    /// Whether its clock stood still within the last `span`, so that leases that rest on it may
    /// honestly overlap (design section 1).
    pub(crate) fn stood_still_within(&self, now: TrueTime, span: TrueTime) -> bool {
        self.frozen || self.thawed_at.is_some_and(|thawed| now < thawed + span)
    }
}

/// The id of the `boots`-th boot of the machine at `place`.
pub(crate) fn boot_id(place: Place, boots: u64) -> BootId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(place as u64 + 1).to_be_bytes());
    id[8..].copy_from_slice(&boots.to_be_bytes());
    BootId(id)
}
