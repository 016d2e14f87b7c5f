//! The keeper's operations behind the kernel's gate: close before adding, tell ends, forget after removal.
//!
//! Ends come from the keeper alone, which has the holder's; a write that is late is an end in the past. Decides
//! nothing about when an address may be open.

use super::{Enforcement, Executor, OpenExecutorError, done};
use crate::chain;
use crate::hindrances::Hindrances;
use crate::kernel::clock::boot_now;
use crate::kernel::gate::{
    Footing, Gate, Home, Lasts, Tended, Ungated, take_away, take_filters_away,
};
use crate::kernel::guard::{Custody, Guard, Upkeep};
use crate::kernel::link::{Link, LinkIndex};
use haft_engine::clock::Moment;
use haft_engine::command::Attestation;
use haft_engine::gate::{Found, GateKind, attestation, closes};
use haft_engine::ids::{ResourceId, Token};
use haft_engine::keeper::{Input, Keeper, Operation, OperationResult};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// For so long a guard is looked after before others are told that it is broken: most of what fails once is mended by
/// the next look, and an owner that moved for it would move for nothing.
const BROKEN_PATIENCE: Duration = Duration::from_secs(2);

/// What stands before addresses.
pub(super) struct Barrier {
    pub(super) gate: Option<Gate>,
    /// The static layer where there is a gate. None where nothing is to stand.
    pub(super) guard: Option<Guard>,
    pub(super) relic: Relic,
}

/// What may stand of an earlier agent's gate that this one cannot use: to be taken away when no address is left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Relic {
    /// Nothing, or this agent has taken it over.
    Nothing,
    /// Filters, whose maps are pinned nowhere any more.
    Filters,
    /// Whatever is pinned there, and filters.
    Pinned(Home),
}

/// The gate with the packet filter's static layer, or timed elements. The tables are opened first: they tell
/// whether another agent is alive, before anything of it is closed.
pub(super) fn barrier(enforcement: Enforcement) -> Result<Barrier, OpenExecutorError> {
    let (home, needed) = match enforcement {
        Enforcement::Guarded => (Home::of_this_machine(), Needed::No),
        // What was named must be there; what the kernel then refuses, it refuses.
        Enforcement::GuardedIn(root) => (Ok(Home::within(&root)?), Needed::No),
        Enforcement::Gated(home) => (Ok(home), Needed::Yes),
        Enforcement::Timed => return timed(Relic::Nothing),
        #[cfg(feature = "planted-bugs")]
        Enforcement::Open => {
            return Ok(Barrier {
                gate: None,
                guard: None,
                relic: Relic::Nothing,
            });
        }
    };
    let mut relic = Relic::Filters;
    let opened = home.map_err(OpenExecutorError::Gate).and_then(|home| {
        relic = Relic::Pinned(home.clone());
        gated(home)
    });
    match (opened, needed) {
        (Ok(barrier), _) => Ok(barrier),
        (Err(OpenExecutorError::Gate(error)), Needed::No) => {
            tracing::warn!(
                err = chain(&error),
                "no kernel gate on this machine; timed elements of the packet filter stand instead, and a lost owner's \
                 address passes on after twice its lifetime (fix: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON in the first user \
                 namespace, and a bpf file system; docs/isolation.md)"
            );
            timed(relic)
        }
        (Err(error), Needed::No | Needed::Yes) => Err(error),
    }
}

/// Whether an agent without a gate is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needed {
    Yes,
    No,
}

fn gated(home: Home) -> Result<Barrier, OpenExecutorError> {
    let mut guard = Guard::behind_gate(Custody::Owned)?;
    let gate = Gate::open(home)?;
    match gate.footing() {
        Footing::Pinned => tracing::info!("the kernel gate stands on pinned links"),
        Footing::Filters => tracing::info!(
            "the kernel gate stands on filters of clsact qdiscs, since this kernel has no tcx (Linux 6.6): with this \
             agent dead anybody can delete them, so it is attested as watched"
        ),
    }
    match gate.lasts() {
        Lasts::Proven => {}
        Lasts::Stated => tracing::info!(
            "the gate lives in the bpf file system that gate.bpf_fs names: that it outlives this agent and its container \
             is the word of who named it"
        ),
        Lasts::Unproven => tracing::warn!(
            "this agent runs in a PID namespace of its own, and the bpf file system that holds the gate may end with it: \
             attested as watched (fix: bind the machine's into the container and name it, gate: {{ bpf_fs: /sys/fs/bpf }}; \
             docs/isolation.md)"
        ),
    }
    for (link, standing) in gate.report() {
        if let Err(why) = standing {
            tracing::info!(link, %why, "this link carries no guarded address");
        }
    }
    guard.set_gated(&gate.gated())?;
    Ok(Barrier {
        gate: Some(gate),
        guard: Some(guard),
        relic: Relic::Nothing,
    })
}

fn timed(relic: Relic) -> Result<Barrier, OpenExecutorError> {
    Ok(Barrier {
        gate: None,
        guard: Some(Guard::open(Custody::Owned)?),
        relic,
    })
}

/// Whether links that carry addresses of ours can still do so. The keeper installs anew where they cannot, and is
/// told why that fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Links {
    Kept,
    Lost,
}

impl Executor {
    /// What the last look at the guard found.
    pub fn attested(&self) -> Attestation {
        self.attested
    }

    /// Whether every guard is in place; repairs what is not. To be called before each beat.
    pub fn attest(&mut self) -> (Attestation, Vec<Input>) {
        let before = self.attested;
        let (gate, moved) = self.tend_gate();
        let Some(guard) = &mut self.guard else {
            self.attested = Attestation::Intact;
            return (self.attested, Vec::new());
        };
        let worth = self.gate.as_ref().map(Gate::worth);
        let whole = attestation(worth.unwrap_or(Found::Watched));
        let mut inputs = Vec::new();
        if moved == Links::Lost {
            inputs.push(Input::GuardsAttested(Attestation::Broken));
            inputs.push(Input::GuardsAttested(whole));
        }
        let filter = match guard.tend() {
            Ok(Upkeep::Intact) => whole,
            Ok(Upkeep::Repaired { what }) => {
                tracing::warn!(
                    what,
                    "the guard was altered by somebody else and has been rebuilt"
                );
                self.renewal = None;
                // Timed elements are to be installed anew; the gate's ends are where they were.
                if worth.is_none() {
                    inputs.push(Input::GuardsAttested(Attestation::Broken));
                    inputs.push(Input::GuardsAttested(whole));
                }
                whole
            }
            Err(error) => {
                if before != Attestation::Broken {
                    tracing::error!(err = chain(&error), "the guard cannot be attested");
                }
                let since = boot_now();
                self.trouble.get_or_insert((since, chain(&error)));
                attestation(Found::Broken)
            }
        };
        self.attested = filter.min(gate);
        self.tell_trouble();
        if self.attested != before {
            inputs.push(Input::GuardsAttested(self.attested));
        }
        (self.attested, inputs)
    }

    /// Which gate stands before this machine's addresses.
    pub fn gate_kind(&self) -> GateKind {
        match self.gate {
            Some(_) => GateKind::Kernel,
            None => GateKind::Timed,
        }
    }

    /// The address is closed from here on, whatever puts it on an interface.
    pub(super) fn gate_close(&mut self, address: IpAddr, link: &Link) -> Result<(), String> {
        let (Some(gate), Some(guard)) = (&mut self.gate, &mut self.guard) else {
            return Ok(());
        };
        gate.carries(link.index)
            .map_err(|why| format!("interface {} cannot carry it: {why}", link.name))?;
        gate.sees(address)
            .map_err(|why| format!("no interface can carry it: {why}"))?;
        gate.close(address).map_err(|error| chain(&error))?;
        let managed = guard.manage(address, link).map_err(|error| chain(&error));
        let elsewhere = self.places.contains_key(&address) || self.silenced.contains(address);
        if managed.is_err() && !elsewhere {
            self.gate_forget(address);
        }
        managed
    }

    /// Tells the gate the end of the lease for these addresses.
    pub(super) fn gate_open(
        &mut self,
        keeper: &Keeper,
        addresses: &[IpAddr],
        operation: &Operation,
    ) -> OperationResult {
        let (Some(gate), Some(end)) = (&mut self.gate, keeper.lease_end()) else {
            return OperationResult::Lapsed;
        };
        if !keeper.may_still(boot_now(), operation) {
            return OperationResult::Lapsed;
        }
        if gate.renew(addresses, closes(end)) {
            OperationResult::Done
        } else {
            OperationResult::Failed("the gate does not know the address".to_owned())
        }
    }

    pub(super) fn gate_renew(
        &mut self,
        keeper: &Keeper,
        list: Vec<(ResourceId, Token)>,
    ) -> Vec<Input> {
        // One that could not be armed does not stand, and is no reason to fail the others.
        let (list, absent): (Vec<_>, Vec<_>) = list.into_iter().partition(|key| {
            let (Some(spec), Some(gate)) = (self.specs.get(key), &self.gate) else {
                return false;
            };
            gate.stands(spec.address)
        });
        let mut inputs = Vec::new();
        if !absent.is_empty() {
            inputs.push(done(absent, OperationResult::Lapsed));
        }
        if list.is_empty() {
            return inputs;
        }
        let known = list.iter().filter_map(|key| self.specs.get(key));
        let addresses: Vec<IpAddr> = known.map(|spec| spec.address).collect();
        let operation = Operation::Renew(list);
        let result = self.gate_open(keeper, &addresses, &operation);
        inputs.push(Input::Done { operation, result });
        inputs
    }

    /// Silences the address at once.
    pub(super) fn gate_silence(&mut self, address: IpAddr) -> Result<(), String> {
        if let Some(gate) = &mut self.gate {
            // An address that does not stand was never put anywhere.
            gate.renew(&[address], Moment(0));
        }
        Ok(())
    }

    /// No address is left that an earlier agent's gate could open.
    pub(super) fn take_relic_away(relic: &Relic) {
        let taken = match relic {
            Relic::Nothing => Ok(()),
            Relic::Filters => take_filters_away(),
            Relic::Pinned(home) => take_away(home),
        };
        if let Err(error) = taken {
            tracing::warn!(
                err = chain(&error),
                "an earlier agent's gate stays; what it closed is silent"
            );
        }
    }

    /// The address is gone from the machine.
    pub(super) fn gate_forget(&mut self, address: IpAddr) {
        if let Some(gate) = &mut self.gate
            && let Err(error) = gate.forget(address)
        {
            // It stays closed, which harms nobody but a machine that routes to its new owner.
            tracing::warn!(%address, err = chain(&error), "the gate cannot let go of an address");
        }
    }

    /// Somebody else's copy stays: whatever interface it is on, it is silent.
    pub(super) fn gate_keep_silent(&mut self, address: IpAddr) {
        if let Some(gate) = &mut self.gate
            && let Err(error) = gate.close(address)
        {
            tracing::warn!(%address, err = chain(&error), "cannot close the gate to a copy that somebody else made");
        }
    }

    /// What an earlier agent had closed, by whichever means.
    pub(super) fn inherited(&self) -> BTreeSet<IpAddr> {
        let gated = self.gate.iter().flat_map(Gate::addresses);
        let guarded = self.guard.iter().flat_map(Guard::managed);
        gated.chain(guarded).collect()
    }

    /// Looks after the gate and tells the packet filter where it stands; what it alone is worth.
    fn tend_gate(&mut self) -> (Attestation, Links) {
        let (Some(gate), Some(guard)) = (&mut self.gate, &mut self.guard) else {
            return (Attestation::Intact, Links::Kept);
        };
        let mut links = Links::Kept;
        gate.carry(self.places.values().map(|link| link.index).collect());
        let tended = gate.tend(boot_now());
        // A link may have another name, or be there for the first time, with the same links gated.
        let noticed = tended != Tended::Intact || gate.readings() != self.readings;
        self.readings = gate.readings();
        if noticed {
            let open = |address: &IpAddr, link: LinkIndex| {
                gate.carries(link).is_err() || gate.sees(*address).is_err()
            };
            let places = self.places.iter();
            let hindered: BTreeSet<IpAddr> = places
                .filter(|(address, link)| open(address, link.index))
                .map(|(address, _)| *address)
                .collect();
            // Once for each: what stood on it is given back, and others come and go meanwhile.
            if !hindered.is_subset(&self.hindered) {
                links = Links::Lost;
            }
            self.hindered = hindered;
        }
        let found = match tended {
            Tended::Intact => Found::Gated,
            Tended::Links => {
                tracing::info!("interfaces have changed, and the gate with them");
                Found::Gated
            }
            Tended::Repaired { what } => {
                tracing::warn!(
                    what,
                    "the gate was altered by somebody else and stands again"
                );
                Found::Gated
            }
            Tended::Broken { what } => {
                if self.attested != Attestation::Broken {
                    tracing::error!(what, "the gate cannot be attested");
                }
                self.trouble.get_or_insert((boot_now(), what));
                Found::Broken
            }
        };
        // A table that was altered is told again by its repair, or at the next look.
        if let Err(error) = guard.set_gated(&gate.gated()) {
            tracing::debug!(
                err = chain(&error),
                "the packet filter's layer was not told"
            );
        }
        if noticed {
            self.note_hindrances();
        }
        (attestation(found), links)
    }

    /// Which interfaces and sources would not be behind the gate, as of the last look.
    pub fn hindrances(&self) -> &Hindrances {
        &self.hindrances
    }

    /// A guard that stays broken is told, so that nothing is granted behind it, and what stands there goes elsewhere.
    fn tell_trouble(&mut self) {
        if self.attested != Attestation::Broken {
            self.trouble = None;
        }
        let lasting = self.trouble.as_ref();
        let lasting = lasting.filter(|(since, _)| boot_now() >= *since + BROKEN_PATIENCE);
        self.hindrances.broken = lasting.map(|(_, what)| what.clone());
    }

    pub(super) fn note_hindrances(&mut self) {
        let Some(gate) = &self.gate else {
            return;
        };
        let links = gate.report().filter_map(|(link, standing)| match standing {
            Ok(()) | Err(Ungated::Coming | Ungated::Unknown) => None,
            Err(
                why @ (Ungated::PortOf { .. }
                | Ungated::Xdp
                | Ungated::Offloaded
                | Ungated::Tunnelled
                | Ungated::Queued { .. }
                | Ungated::Header { .. }
                | Ungated::Refused { .. }),
            ) => Some((link.to_owned(), why.to_string())),
        });
        self.hindrances = Hindrances {
            links: links.collect(),
            tunnels: gate.unseen().collect(),
            broken: self.hindrances.broken.take(),
        };
    }
}
