//! The judge: keeps its own copy of the replicated state and a ledger of what is true, and asks the
//! invariants at every moment at which they could begin to fail.
//!
//! Believes no process: power, boots, kernels and final words are observed in the world itself.

use crate::bmc::Power;
use crate::clock::TrueTime;
use crate::invariants::begun::Begun;
use crate::invariants::calm::Pace;
use crate::invariants::final_release::Released;
use crate::invariants::rising_tokens::Highest;
use crate::invariants::session_end::Expired;
use crate::invariants::{
    Violation, equal_states, evidence, judged_no_shorter, one_order, one_owner, one_worker,
    quarantine_spares, quorum_spared, unknown_opens_nothing,
};
use crate::kernel::{Reply, Request};
use crate::machine::Machine;
use crate::net::Place;
use crate::wire::Life;
use haft_engine::apply::{Outcome, apply};
use haft_engine::command::{Command, Entry, FenceAction, FenceCause, HoldReason};
use haft_engine::ids::{BootId, Incarnation, LogIndex, NodeId, ResourceId, Token};
use haft_engine::keeper::Operation;
use haft_engine::spec::{Isolation, ResourceSpec};
use haft_engine::state::{ClusterState, Ending, Holding, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What the judge knows to be true about grants and lives.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Isolation as granted; grants of one entry share a token.
    isolation: BTreeMap<(IpAddr, Token), Isolation>,
    /// Boot of each incarnation; two nodes admitted by one entry share its number.
    boots: BTreeMap<(NodeId, Incarnation), BootId>,
    /// Which life of which agent works (or worked) under each incarnation.
    adopted: BTreeMap<(NodeId, Incarnation), Life>,
    released: Released,
    lease_span: TrueTime,
    /// Overlaps excused because a machine's clocks had stood still.
    pub(crate) exempted: u64,
}

impl Ledger {
    /// How long an overlap is excused after clocks stood still: one ttl, lengthened.
    pub(crate) fn lease_span(&self) -> TrueTime {
        self.lease_span
    }

    /// Whether the address was granted under this token with an isolation that rests on the owner's own clocks.
    pub(crate) fn rests_on_clocks(&self, address: IpAddr, token: Token) -> bool {
        matches!(
            self.isolation.get(&(address, token)),
            Some(Isolation::Lease | Isolation::Watchdog)
        )
    }

    /// How the address was isolated in the grant under this token, if it was granted.
    pub(crate) fn isolation(&self, address: IpAddr, token: Token) -> Option<Isolation> {
        self.isolation.get(&(address, token)).copied()
    }

    /// Whether `holding` of `resource` can act no more, in truth.
    pub(crate) fn has_stopped<E>(
        &self,
        now: TrueTime,
        machine: &Machine<E>,
        resource: &ResourceId,
        holding: &Holding,
    ) -> bool {
        let incarnation = holding.incarnation;
        let key = (holding.node, incarnation);
        let rebooted = self
            .boots
            .get(&key)
            .is_some_and(|boot| *boot != machine.boot());
        if machine.power == Power::Off
            || rebooted
            || self.released.covers(holding.node, resource, holding.token)
        {
            return true;
        }
        let Some(life) = self.adopted.get(&key) else {
            // No agent ever learned of this incarnation, so nobody acted under it.
            return true;
        };
        if machine.ended_clean.is_some_and(|ended| ended >= *life) {
            return true;
        }
        if machine.agent.life == *life {
            return machine.agent.running.as_ref().is_some_and(|agent| {
                let Some((newest, end)) = agent.lease() else {
                    return true;
                };
                // What it was granted it has never heard of, and without a lease it never takes it up.
                let over = end.is_none_or(|end| end <= machine.clock.local(now));
                newest != incarnation || (agent.awaits_disks() && over)
            });
        }
        machine.probed_clean.is_some_and(|probed| probed > *life)
    }
}

/// The judge.
pub(crate) struct Oracle {
    state: ClusterState,
    history: BTreeMap<u64, (Entry, Vec<Outcome>)>,
    pub(crate) ledger: Ledger,
    highest: Highest,
    pace: Pace,
    expired: Expired,
    begun: Begun,
    violation: Option<Violation>,
    unclean_probes: u64,
    pub(crate) counts: Counts,
}

/// How much a run exercised.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Entries committed.
    pub entries: u64,
    /// Grants.
    pub grants: u64,
    /// Sessions expired.
    pub expired: u64,
    /// Sessions reopened.
    pub reopened: u64,
    /// Verdicts that confirmed.
    pub confirmed: u64,
    /// Verdicts that proved nothing.
    pub unproven: u64,
    /// Machines of which a human said, truthfully, that they are off.
    pub vouched: u64,
    /// Orders to power on.
    pub ordered_on: u64,
    /// Orders held because fewer live voters than quorum would be left.
    pub held: u64,
    /// Times that a node was put into quarantine.
    pub quarantined: u64,
    /// Orders of administrators to power a live node off.
    pub drills: u64,
    /// Changes of the timing.
    pub retimings: u64,
    /// Agents that followed one.
    pub retimed: u64,
    /// Overlaps excused (clocks that stood still).
    pub exempted: u64,
}

impl Oracle {
    /// A judge of a cluster that was formed in `state`.
    pub(crate) fn new(state: ClusterState, lease_span: TrueTime) -> Oracle {
        Oracle {
            state,
            history: BTreeMap::new(),
            ledger: Ledger {
                lease_span,
                ..Ledger::default()
            },
            highest: Highest::default(),
            pace: Pace::default(),
            expired: Expired::default(),
            begun: Begun::default(),
            violation: None,
            unclean_probes: 0,
            counts: Counts::default(),
        }
    }

    /// The judge's own state: what has been committed so far.
    pub(crate) fn state(&self) -> &ClusterState {
        &self.state
    }

    /// Whether anything is owned now.
    pub(crate) fn anything_granted(&self) -> bool {
        self.state
            .resources
            .values()
            .any(|resource| resource.ownership.holding().is_some())
    }

    /// The first violation, if any.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Records a violation found elsewhere.
    pub(crate) fn report(&mut self, violation: Option<Violation>) {
        if self.violation.is_none() {
            self.violation = violation;
        }
    }

    /// How many of a thousand agents that start cannot look for leftovers.
    pub(crate) fn unclean_probes(&self) -> u64 {
        self.unclean_probes
    }

    /// Sets it.
    pub(crate) fn set_unclean_probes(&mut self, per_mille: u64) {
        self.unclean_probes = per_mille;
    }

    /// Whether nobody has applied `index` before.
    pub(crate) fn is_new(&self, index: u64) -> bool {
        index > self.state.applied.0
    }

    /// An agent has adopted an incarnation.
    pub(crate) fn adopted(&mut self, node: NodeId, incarnation: Incarnation, life: Life) {
        self.ledger.adopted.insert((node, incarnation), life);
    }

    /// Whether the final word was said already.
    pub(crate) fn knows_released(&self, node: NodeId, resource: &ResourceId, token: Token) -> bool {
        self.ledger.released.covers(node, resource, token)
    }

    /// An agent has said its final word.
    pub(crate) fn released(&mut self, node: NodeId, resource: ResourceId, token: Token) {
        self.ledger.released.record(node, resource, token);
    }

    /// A coordinator has applied an entry, perhaps as the first.
    pub(crate) fn applied<E>(
        &mut self,
        now: TrueTime,
        machines: &[Machine<E>],
        index: u64,
        entry: &Entry,
        outcomes: &[Outcome],
    ) {
        if !self.is_new(index) {
            if let Some((first, did)) = self.history.get(&index) {
                let violation =
                    equal_states::check_entry(now, index, (first, did), (entry, outcomes));
                self.report(violation);
            }
            return;
        }
        self.counts.entries += 1;
        let before: Vec<(ResourceId, Holding)> = if entry.commands.is_empty() {
            Vec::new()
        } else {
            self.holdings()
        };
        let unproven = unknown_opens_nothing::unproven(entry);
        let targets = unknown_opens_nothing::held_by_targets(&self.state, &unproven);
        let fenced = unknown_opens_nothing::fenced(&self.state);
        let open = one_order::open(&self.state);
        let quarantined = self.quarantined();
        let did = apply(&mut self.state, LogIndex(index), entry);
        let same = equal_states::check_entry(now, index, (entry, &did), (entry, outcomes));
        self.report(same);
        let opened = unknown_opens_nothing::check(now, &self.state, &targets, &fenced);
        self.report(opened);
        self.counts.quarantined += self.quarantined().saturating_sub(quarantined);
        let spares = quarantine_spares::check(now, &self.state, quarantined);
        self.report(spares);
        let ordered = one_order::check(now, &self.state, &open);
        self.report(ordered);
        let spared = quorum_spared::check(now, &self.state, entry);
        self.report(spared);
        let calm = self.pace.check(now, &self.state);
        self.report(calm);
        self.judge_commands(now, machines, entry, &did);
        for (resource, holding) in before {
            let still = self
                .state
                .resources
                .get(&resource)
                .and_then(|row| row.ownership.holding())
                .is_some_and(|now| now.token == holding.token);
            if !still {
                let violation =
                    evidence::check(now, machines, &self.ledger, index, &resource, &holding);
                self.report(violation);
            }
        }
        self.history.insert(index, (entry.clone(), did));
    }

    fn quarantined(&self) -> u64 {
        let nodes = self.state.nodes.values();
        nodes.filter(|node| node.quarantined).count() as u64
    }

    fn holdings(&self) -> Vec<(ResourceId, Holding)> {
        self.state
            .resources
            .values()
            .filter_map(|row| Some((row.id.clone(), row.ownership.holding()?.clone())))
            .collect()
    }

    /// J has changed: every agent, or one, is looked at.
    fn judge_timing<E>(
        &mut self,
        now: TrueTime,
        machines: &[Machine<E>],
        command: &Command,
        outcome: &Outcome,
    ) {
        let concerned = match (command, outcome) {
            (Command::SetTiming { .. }, Outcome::Written(_)) => {
                self.counts.retimings += 1;
                None
            }
            (Command::Retimed { node, .. }, Outcome::Done) => {
                self.counts.retimed += 1;
                Some(*node)
            }
            _ => return,
        };
        for machine in machines {
            if concerned.is_none_or(|node| node == machine.node) {
                self.after_agent(now, machine);
            }
        }
    }

    fn judge_commands<E>(
        &mut self,
        now: TrueTime,
        machines: &[Machine<E>],
        entry: &Entry,
        did: &[Outcome],
    ) {
        for (command, outcome) in entry.commands.iter().zip(did) {
            self.judge_timing(now, machines, command, outcome);
            if !matches!(outcome, Outcome::Refused(_)) {
                self.begun.record(command);
                let violation = self.begun.on_ordered(now, &self.state, command, outcome);
                self.report(violation);
            }
            match (command, outcome) {
                (_, Outcome::Refused(_)) => {}
                (Command::Grant { resource, .. }, Outcome::Granted(token)) => {
                    self.counts.grants += 1;
                    let violation = self.highest.on_granted(now, resource, *token);
                    self.report(violation);
                    let holding = self.state.resources.get(resource);
                    let holding = holding.and_then(|row| row.ownership.holding());
                    if let Some(holding) = holding {
                        let ResourceSpec::VirtualIp(vip) = &holding.spec;
                        let key = (vip.address, *token);
                        self.ledger.isolation.insert(key, holding.isolation);
                    }
                }
                (Command::Admit { node, boot, .. }, Outcome::Admitted(incarnation)) => {
                    self.ledger.boots.insert((*node, *incarnation), *boot);
                }
                (
                    Command::Expired {
                        node, incarnation, ..
                    },
                    Outcome::Done,
                ) => {
                    let over = self.state.nodes.get(node).is_some_and(|row| {
                        row.session
                            == Session::Ended {
                                incarnation: *incarnation,
                                ending: Ending::Expired,
                            }
                    });
                    if over {
                        self.counts.expired += 1;
                        self.expired.record(*node, *incarnation);
                        if let Some(machine) = machines.iter().find(|one| one.node == *node) {
                            self.after_agent(now, machine);
                        }
                    }
                }
                (Command::FenceHeld { reason, .. }, _) if *reason == HoldReason::Quorum => {
                    self.counts.held += 1;
                }
                (Command::ConfirmOff { .. }, Outcome::Done) => self.counts.vouched += 1,
                (Command::FenceIntent { action, cause, .. }, Outcome::Ordered(_)) => {
                    match (action, cause) {
                        (FenceAction::On, _) => self.counts.ordered_on += 1,
                        (FenceAction::Off, FenceCause::Administrator { .. }) => {
                            self.counts.drills += 1;
                        }
                        (FenceAction::Off, _) => {}
                    }
                }
                (Command::Reopened { .. }, _) => self.counts.reopened += 1,
                (Command::FenceVerdict { verdict, .. }, _) => {
                    if *verdict == haft_engine::command::Verdict::Confirmed {
                        self.counts.confirmed += 1;
                    } else {
                        self.counts.unproven += 1;
                    }
                }
                _ => {}
            }
        }
    }

    /// A coordinator stands at some index; compared if the judge stands there too.
    pub(crate) fn compare(&mut self, now: TrueTime, place: Place, state: &ClusterState) {
        if state.applied == self.state.applied && state.applied.0.is_multiple_of(8) {
            self.report(equal_states::check_state(now, place, &self.state, state));
        }
    }

    /// An agent has done something: does it believe in a lease that is over?
    pub(crate) fn after_agent<E>(&mut self, now: TrueTime, machine: &Machine<E>) {
        let violation = self.expired.check(now, machine, self.ledger.lease_span);
        self.report(violation);
        let judged = judged_no_shorter::check(now, &self.state, machine);
        self.report(judged);
    }

    /// A guard write has reached a kernel.
    pub(crate) fn kernel_wrote<E>(
        &mut self,
        now: TrueTime,
        machines: &[Machine<E>],
        place: Place,
        operation: &Operation,
        request: &Request,
        reply: &Reply,
    ) {
        if *reply != Reply::Done {
            return;
        }
        let acted: Vec<(ResourceId, Token)> = match operation {
            Operation::Install(resource, token) | Operation::AddAddress(resource, token) => {
                vec![(resource.clone(), *token)]
            }
            Operation::Renew(items) => items.clone(),
            Operation::Arm(..)
            | Operation::RefreshAddress(..)
            | Operation::Remove(..)
            | Operation::Announce(..)
            | Operation::ArmWatchdog(_)
            | Operation::PetWatchdog
            | Operation::DisarmWatchdog => Vec::new(),
        };
        let machine = &machines[place];
        for (resource, token) in &acted {
            let node = machine.node;
            let violation = self.ledger.released.on_acted(now, node, resource, *token);
            self.report(violation);
        }
        let held: Vec<(IpAddr, Token)> = match request {
            Request::Install(address, token) | Request::PutAddress(address, token) => {
                vec![(*address, *token)]
            }
            Request::Renew(items) | Request::Open(items, _) => items.clone(),
            Request::Arm(_)
            | Request::Remove(_)
            | Request::Announce
            | Request::ArmDog(_)
            | Request::PetDog
            | Request::DisarmDog => Vec::new(),
        };
        if let (Request::PutAddress(address, _), Operation::AddAddress(resource, token)) =
            (request, operation)
        {
            let isolation = self.ledger.isolation(*address, *token);
            let acting = (resource, *token);
            let violation = self.begun.on_put(now, machine.node, acting, isolation);
            self.report(violation);
        }
        if let Request::PutAddress(address, _) = request {
            let violation = one_worker::check(now, machines, *address, &mut self.ledger);
            self.report(violation);
        }
        for (address, token) in held {
            if machine.answers(now, address).is_none() {
                continue;
            }
            let violation = one_owner::check(now, machines, address, &mut self.ledger);
            self.report(violation);
            let violation = self
                .highest
                .on_held(now, machine, &self.ledger, address, token);
            self.report(violation);
        }
    }

    /// A machine that stood still goes on: whatever it answers for, it answers for again.
    pub(crate) fn machine_woke<E>(&mut self, now: TrueTime, machines: &[Machine<E>], place: Place) {
        let machine = &machines[place];
        let addresses: BTreeSet<_> = machine
            .kernel
            .answering(machine.clock.local(now))
            .into_iter()
            .map(|(address, _)| address)
            .collect();
        for address in addresses {
            let violation = one_owner::check(now, machines, address, &mut self.ledger);
            self.report(violation);
        }
        for address in machine.kernel.working() {
            let violation = one_worker::check(now, machines, address, &mut self.ledger);
            self.report(violation);
        }
    }
}
