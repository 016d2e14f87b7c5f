//! haftd's driver in the simulator: model Raft, the responder, `apply`, and the leader's machine while it leads.
//!
//! As dull as the real one should be. What it owes beyond passing values along: a proposal is made only
//! under the term it was decided in, and a proposal's outcome is told to whoever asked for it.

use crate::raft::log::Payload;
use crate::raft::{Disk, Effect, Order, Raft, Snapshot};
use crate::wire::{Act, Call, Context, Hook, Local, Wire};
use haft_engine::apply::{Outcome, apply};
use haft_engine::clock::{Moment, Timing};
use haft_engine::command::{Command, Entry};
use haft_engine::ids::{EntryId, Incarnation, LogIndex, NodeId};
use haft_engine::leader::Input;
use haft_engine::session::responder::{Responder, Restart};
use haft_engine::session::{AnswerKind, Received};
use haft_engine::state::{ClusterState, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(crate) mod fence;
mod lead;

use lead::Lead;

/// Applied entries between snapshots.
const SNAPSHOT_EVERY: u64 = 64;
/// Records kept behind a snapshot for followers that lag a little.
const KEEP_BEHIND: u64 = 16;

/// One life of one haftd.
pub(crate) struct Coordinator {
    own: NodeId,
    /// Raft's timers, of this world.
    timing: Timing,
    /// What its own file says of sessions, which counts for nothing.
    file: Timing,
    raft: Raft,
    state: ClusterState,
    responder: Responder,
    /// Term and blank record of an election just won; the machine starts once that is applied.
    elected: Option<(u64, u64)>,
    lead: Option<Lead>,
    /// Tries that it carries out; they go on when it leads no more, as haftd's do.
    tasks: BTreeMap<u64, fence::Task>,
    flushing: Option<u64>,
    last_loop: Moment,
    /// Calls that are dropped when they are made next.
    dropped: BTreeSet<Call>,
    /// When it last acknowledged each node.
    acknowledged: BTreeMap<NodeId, Moment>,
    /// Shared disks that the device of pills is configured with.
    disks: usize,
}

impl Coordinator {
    /// Starts from what the disk holds.
    pub(crate) fn start(
        own: NodeId,
        (timing, file, disks): (Timing, Timing, usize),
        known: BTreeSet<NodeId>,
        disk: Disk,
        restart: Restart,
        context: &mut Context<'_>,
    ) -> Coordinator {
        let now = context.now;
        let returned = restart == Restart::Returned;
        let raft = Raft::start(own, timing, known, disk, now, returned, context.rng);
        let state = raft.snapshot().state.clone();
        let mut responder = Responder::new(own, file, now, restart);
        responder.on_membership(now, raft.effective().clone());
        responder.on_applied(now, &state);
        for index in raft.log().first()..=raft.log().last() {
            if let Some(record) = raft.log().get(index)
                && let Payload::Entry(entry) = &record.payload
            {
                responder.on_appended(now, EntryId::new(record.term, index), entry);
            }
        }
        responder.on_blank(EntryId::new(raft.log().last_term(), raft.log().last()));
        Coordinator {
            own,
            timing,
            file,
            raft,
            state,
            responder,
            elected: None,
            lead: None,
            tasks: BTreeMap::new(),
            flushing: None,
            last_loop: now,
            dropped: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            disks,
        }
    }

    /// The process is gone; its disk stays.
    pub(crate) fn into_disk(self) -> Disk {
        self.raft.into_disk()
    }

    /// Whether it leads as far as it knows, and in which term.
    pub(crate) fn leads(&self) -> Option<u64> {
        self.raft.leads().then(|| self.raft.term())
    }

    /// When it last acknowledged a beat of this node.
    pub(crate) fn acknowledged(&self, node: NodeId) -> Option<Moment> {
        self.acknowledged.get(&node).copied()
    }

    /// Whether the call that is made now is dropped midway.
    fn drops(&mut self, context: &mut Context<'_>, call: Call) -> bool {
        let dropped = self.dropped.remove(&call);
        if dropped {
            context.acts.push(Act::Hook(Hook::Dropped(call)));
        }
        dropped
    }

    /// Its state, as applied.
    pub(crate) fn state(&self) -> &ClusterState {
        &self.state
    }

    /// When it wants to be woken.
    pub(crate) fn next_wake(&self) -> Moment {
        let tasks = self.tasks.values().map(|task| task.next);
        let lead = self.lead.as_ref().map(|lead| lead.next_wake());
        tasks.chain(lead).fold(self.raft.next_wake(), Moment::min)
    }

    /// The loop goes on after a pause; called once the sockets are drained.
    pub(crate) fn on_continued(&mut self, now: Moment) {
        if now.since(self.last_loop) > self.timing.beat {
            self.responder.on_late(now);
        }
    }

    /// Something local happened.
    pub(crate) fn on_local(&mut self, context: &mut Context<'_>, local: Local) {
        let now = context.now;
        self.last_loop = now;
        match local {
            Local::Wake => {
                if now >= self.raft.next_wake() {
                    self.raft.on_tick(now, context.rng);
                }
                self.wake_lead(context);
                self.wake_tasks(context);
            }
            Local::Flushed { index, term } => {
                self.flushing = None;
                self.raft.on_flushed(now, index, term);
                let last = self.raft.log().last();
                if last > self.raft.log().durable() {
                    self.flush(context, last);
                }
            }
            Local::AppendLater(from, message) => {
                self.raft.append_now(now, from, message, context.rng);
            }
            Local::Propose { term, proposal } => self.propose(context, term, &proposal),
            Local::Witnessed { task, witness } => self.on_witness(context, task, witness),
            Local::DeviceSaid { task, turn, said } => self.on_device(context, task, turn, said),
            Local::DeviceProbed(device, generation, health) => {
                let health = Some(health);
                let probed = Input::Probed {
                    device,
                    generation,
                    health,
                };
                self.step_lead(context, probed);
            }
            Local::Administrator(command) => {
                let entry = Entry {
                    stamp_unix_ms: context.wall_ms,
                    commands: vec![*command],
                };
                let term = self.raft.term();
                self.raft.propose(now, term, Rc::new(entry));
            }
            Local::ChangeVoters(voters) => {
                self.raft.change_voters(now, voters);
            }
            Local::Transfer(to) => self.transfer(context, to),
            Local::Drop(call) => {
                self.dropped.insert(call);
            }
            Local::KernelDone { .. }
            | Local::Probed(_)
            | Local::AddressVanished(_)
            | Local::GuardRebuilt
            | Local::Gate(_)
            | Local::FiltersGone
            | Local::Carrier(_)
            | Local::Foreign(_)
            | Local::Watched
            | Local::Shutdown => {}
        }
        self.settle(context);
    }

    /// A message arrived.
    pub(crate) fn on_wire(&mut self, context: &mut Context<'_>, from: NodeId, wire: Wire) {
        let now = context.now;
        self.last_loop = now;
        match wire {
            Wire::Raft(message) => self.raft.on_message(now, from, message, context.rng),
            Wire::AskAge {
                node,
                incarnation,
                closing,
            } => {
                if let Some(age) = self.state_age(context, node, incarnation, closing) {
                    let answer = Wire::Age { closing, age };
                    context.acts.push(Act::ToCoordinator(from, answer));
                }
            }
            Wire::Age { closing, age } => {
                self.step_lead(context, Input::AgeStated { closing, age });
            }
            Wire::Beat(beat) => {
                // What came while this process was stopped is read from its socket now.
                let ((), received) = Received::after(|| (), || now);
                let answer = self.responder.on_beat(received, &beat);
                if answer.kind == AnswerKind::Acknowledged {
                    self.acknowledged.insert(beat.node, now);
                }
                context
                    .acts
                    .push(Act::ToAgent(beat.node, Wire::Answer(answer)));
            }
            Wire::Attach {
                node,
                stream,
                boot,
                probe,
                gate,
            } => self.on_attach(context, (node, stream), (boot, gate), probe),
            Wire::Hello {
                node,
                life,
                incarnation,
            } => self.on_hello(context, node, life, incarnation),
            Wire::Report(_) if self.leads().is_some() && self.drops(context, Call::Report) => {
                self.end_stream(from);
            }
            Wire::Report(command) => self.on_report(context, command),
            Wire::Machine { node, machine } => self.on_machine(context, node, &machine),
            Wire::Answer(_)
            | Wire::AttachHeard(_)
            | Wire::NotLeader(_)
            | Wire::Admitted { .. }
            | Wire::Assigned(_) => {}
        }
        self.settle(context);
    }

    /// States an age. The closing need not be durable here: it is committed, so a majority seals it
    /// durably, and whoever loses it to a power cut finds no majority without one of them.
    fn state_age(
        &mut self,
        context: &mut Context<'_>,
        node: NodeId,
        incarnation: Incarnation,
        closing: LogIndex,
    ) -> Option<haft_engine::command::StatedAge> {
        let stated = self
            .responder
            .state_age(context.now, node, incarnation, closing)
            .ok()?;
        let judged = self.state.nodes.get(&node).map(Node::judged);
        if judged.is_some_and(|judged| stated.age >= judged.silence()) {
            context.acts.push(Act::Hook(Hook::AgeStated(node)));
        }
        Some(stated)
    }

    /// Whoever asked for it may hang up at any poll; it goes on. Where the target never hears of it, this process ends.
    fn transfer(&mut self, context: &mut Context<'_>, to: NodeId) {
        let order = match self.dropped.contains(&Call::Transfer) {
            true => Order::Lost,
            false => Order::Sent,
        };
        if self.raft.transfer(context.now, to, order) && order == Order::Lost {
            self.drops(context, Call::Transfer);
        }
    }

    fn flush(&mut self, context: &mut Context<'_>, index: u64) {
        if self.flushing.is_none()
            && let Some(term) = self.raft.log().term_at(index)
        {
            self.flushing = Some(index);
            context.acts.push(Act::Flush { index, term });
        }
    }

    /// Carries out what Raft decided, until it wants nothing more.
    fn settle(&mut self, context: &mut Context<'_>) {
        loop {
            let effects = self.raft.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(context, effect);
            }
        }
    }

    fn carry_out(&mut self, context: &mut Context<'_>, effect: Effect) {
        let now = context.now;
        match effect {
            Effect::Send(to, message) => {
                context
                    .acts
                    .push(Act::ToCoordinator(to, Wire::Raft(message)));
            }
            Effect::Appended(index) => self.on_appended(context, index),
            Effect::Truncated { kept, in_force } => {
                self.responder.on_truncated(now, kept, in_force);
            }
            Effect::Effective(sets) => {
                if sets.sets.len() > 1 {
                    context.acts.push(Act::Hook(Hook::Joint));
                }
                self.responder.on_membership(now, sets.clone());
                self.step_lead(context, Input::Membership(sets));
            }
            Effect::Flush(index) => self.flush(context, index),
            Effect::Committed => self.apply_committed(context),
            Effect::Installed(snapshot) => {
                self.state = snapshot.state.clone();
                let last = EntryId::new(snapshot.term, snapshot.index);
                let effective = self.raft.effective().clone();
                self.responder.on_ground(now, last, effective, &self.state);
            }
            Effect::BecameLeader { blank } => {
                self.lead = None;
                self.elected = Some((self.raft.term(), blank));
            }
            Effect::AppendLater(from, message) => {
                context.acts.push(Act::AppendLater(from, message));
            }
            Effect::TransferStuck => context.acts.push(Act::End),
            Effect::SteppedDown => {
                self.lead = None;
                self.elected = None;
            }
        }
    }

    fn on_appended(&mut self, context: &mut Context<'_>, index: u64) {
        let Some(record) = self.raft.log().get(index) else {
            return;
        };
        let at = EntryId::new(record.term, index);
        let entry = match &record.payload {
            Payload::Entry(entry) => entry,
            Payload::Blank => return self.responder.on_blank(at),
            // Comes as an effect of its own.
            Payload::Membership(_) => return,
        };
        self.responder.on_appended(context.now, at, entry);
        for command in &entry.commands {
            if let Command::Closing { node, .. } = command {
                context.acts.push(Act::Hook(Hook::ClosingAppended(*node)));
            }
        }
    }

    fn apply_committed(&mut self, context: &mut Context<'_>) {
        let mut batch: Vec<(u64, Rc<Vec<Outcome>>)> = Vec::new();
        while self.state.applied.0 < self.raft.commit() {
            let index = self.state.applied.0 + 1;
            let record = self
                .raft
                .log()
                .get(index)
                .expect("committed records after the snapshot are in the log");
            let entry = match &record.payload {
                Payload::Blank => Rc::new(Entry::default()),
                Payload::Entry(entry) => Rc::clone(entry),
                Payload::Membership(sets) => Rc::new(Entry {
                    stamp_unix_ms: 0,
                    commands: vec![Command::Membership(sets.clone())],
                }),
            };
            let outcomes = Rc::new(apply(&mut self.state, LogIndex(index), &entry));
            batch.push((index, Rc::clone(&outcomes)));
            context.acts.push(Act::Applied {
                index,
                entry,
                outcomes,
            });
        }
        self.responder.on_applied(context.now, &self.state);
        self.compact();
        self.begin_leading(context);
        for (index, outcomes) in batch {
            self.lead_applied(context, index, &outcomes);
        }
        self.send_assignments(context);
    }

    fn compact(&mut self) {
        let applied = self.state.applied.0;
        if applied < self.raft.snapshot().index + SNAPSHOT_EVERY {
            return;
        }
        let Some(term) = self.raft.log().term_at(applied) else {
            return;
        };
        let snapshot = Snapshot {
            index: applied,
            term,
            membership: self.state.membership.clone(),
            state: self.state.clone(),
        };
        self.raft.compact(Rc::new(snapshot), KEEP_BEHIND);
    }
}
