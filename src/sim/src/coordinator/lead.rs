//! The part of haftd's driver that runs while it leads: feeds the leader's machine and carries out what it wants.

use super::Coordinator;
use crate::wire::{self, Act, Call, Context, Hook, Life, Wire};
use haft_engine::apply::Outcome;
use haft_engine::assignment::assignment;
use haft_engine::clock::Moment;
use haft_engine::command::{Command, Probe};
use haft_engine::gate::GateKind;
use haft_engine::ids::{BootId, Incarnation, NodeId};
use haft_engine::keeper::Assignment;
use haft_engine::leader::{
    EntryLimit, Fate, Input, Leader, Output, Proposal, ProposalNumber, Report, Silence, Stream,
};
use haft_engine::machine::Machine;
use haft_engine::place::Place;
use haft_engine::state::{ClusterState, Node, Ownership, Session};
use haft_engine::timing::ClusterTiming;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// A proposal of which nothing was heard for so long is given up.
const PROPOSAL_PATIENCE: Duration = Duration::from_secs(1);

/// A stream of which nothing was heard for so long is taken for closed; agents repeat themselves every 100 ms.
const STREAM_PATIENCE: Duration = Duration::from_millis(700);

/// Often enough to be in the way of orders.
const PROBE_EVERY: Duration = Duration::from_millis(700);

/// What a leading coordinator has besides.
pub(super) struct Lead {
    pub(super) term: u64,
    pub(super) machine: Leader,
    /// Own proposals in the log, not applied yet, and since when.
    proposals: BTreeMap<u64, Own>,
    /// The newest stream of each agent that asked to be admitted.
    attached: BTreeMap<NodeId, wire::Stream>,
    /// Who was admitted as what by this leader.
    admitted: BTreeMap<NodeId, (wire::Stream, Incarnation)>,
    /// When each agent was last heard on a stream.
    streams: BTreeMap<NodeId, Moment>,
    /// Connected agents and the assignment last sent to each.
    connected: BTreeMap<NodeId, Connected>,
    /// What each machine was last reported to have.
    seen: BTreeMap<NodeId, Machine>,
}

struct Own {
    number: ProposalNumber,
    since: Moment,
    attached: Vec<(NodeId, wire::Stream)>,
}

struct Connected {
    incarnation: Incarnation,
    sent: Option<Assignment>,
}

impl Lead {
    pub(super) fn next_wake(&self) -> Moment {
        let machine = self.machine.next_wake();
        let proposals = self
            .proposals
            .values()
            .map(|one| one.since + PROPOSAL_PATIENCE);
        proposals.fold(machine, Moment::min)
    }
}

impl Coordinator {
    /// Starts the machine once the election's own record is applied.
    pub(super) fn begin_leading(&mut self, context: &mut Context<'_>) {
        let Some((term, blank)) = self.elected else {
            return;
        };
        if self.state.applied.0 < blank || !self.raft.leads() {
            return;
        }
        self.elected = None;
        let mut machine = Leader::new(self.own, self.file, context.now, &self.state);
        machine.set_probing(PROBE_EVERY);
        // Now and then what would travel in one entry has to be split.
        if term.is_multiple_of(3) {
            machine.set_entry_limit(EntryLimit {
                bytes: 2,
                measure: |_| 1,
            });
        }
        self.lead = Some(Lead {
            term,
            machine,
            proposals: BTreeMap::new(),
            attached: BTreeMap::new(),
            admitted: BTreeMap::new(),
            streams: BTreeMap::new(),
            connected: BTreeMap::new(),
            seen: BTreeMap::new(),
        });
        let effective = self.raft.effective().clone();
        self.step_lead(context, Input::Membership(effective));
        self.step_lead(context, Input::Tick);
    }

    /// The machine's wakes.
    pub(super) fn wake_lead(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let Some(lead) = &mut self.lead else { return };
        let late = |one: &Own| now.since(one.since) >= PROPOSAL_PATIENCE;
        let lost: Vec<ProposalNumber> = lead
            .proposals
            .values()
            .filter(|one| late(one))
            .map(|one| one.number)
            .collect();
        lead.proposals.retain(|_, one| !late(one));
        let due = now >= lead.machine.next_wake();
        for number in lost {
            let fate = Fate::Unknown;
            self.step_lead(context, Input::Proposed { number, fate });
        }
        if due {
            self.step_lead(context, Input::Tick);
        }
    }

    /// One input, and whatever the machine answers to its own ages.
    pub(super) fn step_lead(&mut self, context: &mut Context<'_>, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let peers = self
            .raft
            .heard_within(context.now, self.timing.election_min);
        if let Some(lead) = &mut self.lead {
            lead.machine.set_peers(peers);
            let now = context.now;
            lead.streams
                .retain(|_, heard| now.since(*heard) < STREAM_PATIENCE);
            lead.machine
                .set_streams(lead.streams.keys().copied().collect());
        }
        while let Some(input) = inputs.pop_front() {
            let silences = self.silences(context.now);
            let Some(lead) = &mut self.lead else { return };
            let term = lead.term;
            let outputs =
                lead.machine
                    .step(context.now, context.wall_ms, &self.state, &silences, input);
            for output in outputs {
                match output {
                    Output::Propose(proposal) => propose_soon(context, term, proposal),
                    Output::AskAges {
                        node,
                        incarnation,
                        closing,
                    } => {
                        for voter in self.raft.effective().all() {
                            if voter != self.own {
                                let ask = Wire::AskAge {
                                    node,
                                    incarnation,
                                    closing,
                                };
                                context.acts.push(Act::ToCoordinator(voter, ask));
                            }
                        }
                        let own = self.state_age(context, node, incarnation, closing);
                        inputs.extend(own.map(|age| Input::AgeStated { closing, age }));
                    }
                    // What may be done before an order changes nothing, here as at a device.
                    Output::Foresee(_) => {}
                    Output::Fence(run) => {
                        context.acts.push(Act::Hook(Hook::FenceStarted(run.node)));
                        self.start_task(context, run);
                    }
                    Output::Probe {
                        device, generation, ..
                    } => context.acts.push(Act::ProbeDevice(device, generation)),
                    Output::TransferTo(to) => {
                        self.transfer(context, to);
                    }
                }
            }
        }
    }

    fn silences(&self, now: Moment) -> Vec<Silence> {
        self.state
            .nodes
            .keys()
            .filter(|node| self.state.live_incarnation(**node).is_some())
            .map(|node| Silence {
                node: *node,
                silent: self.responder.silence(now, *node),
            })
            .collect()
    }

    pub(super) fn propose(
        &mut self,
        context: &mut Context<'_>,
        term: u64,
        proposal: &Rc<Proposal>,
    ) {
        let number = proposal.number;
        let entry = Rc::new(proposal.entry.clone());
        if self.drops(context, Call::Proposal) {
            if context.rng.chance(500) {
                self.raft.propose(context.now, term, entry);
            }
            let fate = Fate::Unknown;
            self.step_lead(context, Input::Proposed { number, fate });
            return;
        }
        let index = self.raft.propose(context.now, term, Rc::clone(&entry));
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.term == term) else {
            return;
        };
        let Some(index) = index else {
            let fate = Fate::Unknown;
            self.step_lead(context, Input::Proposed { number, fate });
            return;
        };
        let attached = entry
            .commands
            .iter()
            .filter_map(|command| match command {
                Command::Admit { node, .. } => Some((*node, *lead.attached.get(node)?)),
                _ => None,
            })
            .collect();
        let since = context.now;
        let own = Own {
            number,
            since,
            attached,
        };
        lead.proposals.insert(index, own);
    }

    /// One entry was applied while leading.
    pub(super) fn lead_applied(
        &mut self,
        context: &mut Context<'_>,
        index: u64,
        outcomes: &Rc<Vec<Outcome>>,
    ) {
        let membership = self.raft.effective().clone();
        let Some(lead) = &mut self.lead else { return };
        let own = lead.proposals.remove(&index);
        for outcome in outcomes.iter() {
            let Outcome::Admitted(incarnation) = outcome else {
                continue;
            };
            for (node, stream) in own.iter().flat_map(|one| &one.attached) {
                let Some(timing) = self.state.nodes.get(node).and_then(admitted_under) else {
                    continue;
                };
                if live(&self.state, *node, *incarnation) {
                    lead.admitted.insert(*node, (*stream, *incarnation));
                    let told = Wire::Admitted {
                        stream: *stream,
                        incarnation: *incarnation,
                        membership: membership.clone(),
                        timing,
                    };
                    context.acts.push(Act::ToAgent(*node, told));
                }
            }
        }
        let index = haft_engine::ids::LogIndex(index);
        let input = match own {
            Some(own) => Input::Proposed {
                number: own.number,
                fate: Fate::Committed(index),
            },
            None => Input::Applied { index },
        };
        self.step_lead(context, input);
    }

    pub(super) fn on_attach(
        &mut self,
        context: &mut Context<'_>,
        (node, stream): (NodeId, wire::Stream),
        (boot, gate): (BootId, GateKind),
        probe: Probe,
    ) {
        let membership = self.raft.effective().clone();
        let Some(lead) = &mut self.lead else {
            let answer = Wire::NotLeader(stream);
            context.acts.push(Act::ToAgent(node, answer));
            return;
        };
        if lead
            .attached
            .get(&node)
            .is_some_and(|known| *known > stream)
        {
            return;
        }
        lead.attached.insert(node, stream);
        lead.streams.insert(node, context.now);
        let heard = Wire::AttachHeard(stream);
        context.acts.push(Act::ToAgent(node, heard));
        let told = lead
            .admitted
            .get(&node)
            .filter(|(known, incarnation)| {
                *known == stream && live(&self.state, node, *incarnation)
            })
            .copied();
        let timing = self.state.nodes.get(&node).and_then(admitted_under);
        if let (Some((_, incarnation)), Some(timing)) = (told, timing) {
            let told = Wire::Admitted {
                stream,
                incarnation,
                membership,
                timing,
            };
            context.acts.push(Act::ToAgent(node, told));
            return;
        }
        let known = self.state.nodes.get(&node);
        let replaces = known.map_or(Incarnation::default(), |node| node.newest());
        let attach = Input::AttachRequested {
            node,
            boot,
            probe,
            replaces,
            place: Place {
                gate,
                ..Place::default()
            },
        };
        self.step_lead(context, attach);
    }

    pub(super) fn on_hello(
        &mut self,
        context: &mut Context<'_>,
        node: NodeId,
        life: Life,
        incarnation: Incarnation,
    ) {
        let Some(lead) = &mut self.lead else { return };
        if lead
            .attached
            .get(&node)
            .is_some_and(|known| known.life > life)
        {
            return;
        }
        let sent = None;
        lead.connected.insert(node, Connected { incarnation, sent });
        lead.streams.insert(node, context.now);
        self.send_assignments(context);
    }

    /// The stream of this node's agent is at its end; it comes again with its next word.
    pub(super) fn end_stream(&mut self, node: NodeId) {
        if let Some(lead) = &mut self.lead {
            lead.streams.remove(&node);
            lead.connected.remove(&node);
        }
    }

    pub(super) fn on_report(&mut self, context: &mut Context<'_>, command: Command) {
        let holding = |resource| {
            let row: Option<&haft_engine::state::Resource> = self.state.resources.get(resource);
            row.map(|row| &row.ownership)
        };
        let report = match &command {
            Command::Activated {
                resource, token, ..
            } => match holding(resource) {
                Some(Ownership::Granted(granted)) if granted.token == *token => {
                    Report::Activated(command)
                }
                Some(_) | None => return,
            },
            Command::Released {
                resource, token, ..
            } => match holding(resource).and_then(Ownership::holding) {
                Some(held) if held.token == *token => Report::Released(command),
                Some(_) | None => return,
            },
            Command::WatchdogArmed {
                resource, token, ..
            } => match holding(resource) {
                Some(Ownership::Granted(granted)) if granted.token == *token => {
                    Report::Armed(command)
                }
                Some(_) | None => return,
            },
            Command::Begun {
                resource, token, ..
            } => match holding(resource).and_then(Ownership::holding) {
                Some(held) if held.token == *token => Report::Begun(command),
                Some(_) | None => return,
            },
            Command::Troubled {
                resource, token, ..
            } => match holding(resource).and_then(Ownership::holding) {
                Some(held) if held.token == *token => Report::Troubled(command),
                Some(_) | None => return,
            },
            Command::Retimed { .. } => Report::Retimed(command),
            _ => return,
        };
        self.step_lead(context, Input::Reported(Box::new(report)));
    }

    pub(super) fn on_machine(
        &mut self,
        context: &mut Context<'_>,
        node: NodeId,
        machine: &Machine,
    ) {
        // Most say what the one before said, and the leader has it already.
        let Some(lead) = &mut self.lead else { return };
        let known = lead.seen.get(&node);
        if known.is_some_and(|known| known.says_like(machine) || known.taken_ns > machine.taken_ns)
        {
            return;
        }
        lead.seen.insert(node, machine.clone());
        let machine = Box::new(machine.clone());
        self.step_lead(
            context,
            Input::MachineSeen {
                node,
                machine,
                stream: Stream::Goes,
            },
        );
    }

    /// Sends each connected agent its assignment if it differs from what was sent.
    pub(super) fn send_assignments(&mut self, context: &mut Context<'_>) {
        let Some(lead) = &mut self.lead else { return };
        for (node, stream) in &mut lead.connected {
            if !live(&self.state, *node, stream.incarnation) {
                continue;
            }
            let assignment = assignment(&self.state, *node, stream.incarnation);
            let known = stream.sent.as_ref().is_some_and(|sent| {
                sent.items == assignment.items && sent.timing == assignment.timing
            });
            if !known {
                stream.sent = Some(assignment.clone());
                let sent = Wire::Assigned(Rc::new(assignment));
                context.acts.push(Act::ToAgent(*node, sent));
            }
        }
    }
}

/// Hands a proposal over a moment later.
fn propose_soon(context: &mut Context<'_>, term: u64, proposal: Proposal) {
    for command in &proposal.entry.commands {
        if let Command::Closing { node, .. } = command {
            context.acts.push(Act::Hook(Hook::ClosingProposed(*node)));
        }
    }
    let proposal = Rc::new(proposal);
    context.acts.push(Act::ProposeSoon { term, proposal });
}

/// What the newest life of this node was admitted under, or has said to count by.
fn admitted_under(node: &Node) -> Option<ClusterTiming> {
    node.terms.map(|terms| ClusterTiming {
        generation: terms.generation,
        timing: terms.timing,
    })
}

fn live(state: &ClusterState, node: NodeId, incarnation: Incarnation) -> bool {
    match state.nodes.get(&node).map(|row| row.session) {
        Some(
            Session::Open {
                incarnation: newest,
            }
            | Session::Closing {
                incarnation: newest,
                ..
            },
        ) => newest == incarnation,
        Some(Session::Never | Session::Ended { .. }) | None => false,
    }
}
