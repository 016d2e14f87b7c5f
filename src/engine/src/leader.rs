//! What the leader proposes: it judges sessions, places resources and drives fence orders.
//!
//! One machine: inputs with the time, outputs as values, and the moment of its next wake. A new leader
//! starts a new machine and restarts every timer. Proposes only; `apply` decides.
//!
//! Each step works on a draft: the applied state plus what this machine has proposed and not yet seen
//! applied. Every plan is a command that the draft accepts, and is applied to it, so that later plans of
//! the same step see its effect and travel in the same entry: `Expired`, `FenceIntent` and the `Grant`s
//! that they open are one commit, `FenceVerdict` and its `Grant`s another. Nothing is proposed twice, since
//! the draft shows it done; a proposal that came to nothing leaves the draft and is planned anew.
//!
//! - `proposals`: what is in flight, by number, and how much goes into one entry.
//! - `streams`: who can be told anything at all.
//! - `judge`: silence, closings, ages (R2); who may join anew (R5, R10).
//! - `deadlines`: how long an owner may take to begin and to stop.
//! - `machines`: what stands in the way of an address on a node.
//! - `placement`: who should own what, and who should let go.
//! - `fencing`: orders, attempts, adoption (R5).
//! - `probing`: whether the fence devices answer.
//! - `steering`: leadership away from owners (R9).

mod deadlines;
mod draft;
mod fencing;
mod judge;
mod machines;
pub mod placement;
mod probing;
mod proposals;
mod reports;
mod rivals;
mod steering;
mod streams;

pub use machines::Stream;
pub use proposals::{EntryLimit, Fate, Proposal, ProposalNumber};

use crate::clock::{Moment, Timing};
use crate::command::{Command, FenceAction, PathHealth, Probe, StatedAge, Verdict, VoterSets};
use crate::ids::{
    BootId, DeviceName, Generation, Incarnation, LogIndex, NodeId, OrderId, RequestId, ResourceId,
};
use crate::machine::{Claim, Machine};
use crate::place::Place;
use crate::state::{ClusterState, Node, Session};
use crate::witness::{Lie, Witness};
use draft::Draft;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What happens to the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Time passes.
    Tick,
    /// The state machine applied an entry, whoever proposed it (the state passed along is the newest).
    Applied {
        /// Which.
        index: LogIndex,
    },
    /// What has become of a proposal of this machine.
    Proposed {
        /// Which.
        number: ProposalNumber,
        /// What is known of it.
        fate: Fate,
    },
    /// The effective membership changed.
    Membership(VoterSets),
    /// A coordinator stated an age for `closing` (the leader's own statement comes this way, too).
    AgeStated {
        /// The closing asked about.
        closing: LogIndex,
        /// The statement.
        age: StatedAge,
    },
    /// An agent asks to be admitted.
    AttachRequested {
        /// Which node.
        node: NodeId,
        /// Its boot.
        boot: BootId,
        /// What it found of its earlier life.
        probe: Probe,
        /// The life that `probe` speaks of, as the agent names it. A request that speaks of another life
        /// than the newest is void: it is late, and could release what a newer life holds.
        replaces: Incarnation,
        /// Where it runs.
        place: Place,
    },
    /// The owner acts.
    Reported(Box<Report>),
    /// A try is over.
    FenceAnswered {
        /// The order.
        order: OrderId,
        /// Which try.
        attempt: u32,
        /// What it proved.
        verdict: Verdict,
        /// The devices' words.
        detail: String,
        /// What contradicts them.
        lie: Option<Lie>,
    },
    /// Something of a machine has answered a challenge that was issued after it was said to be off.
    Witnessed {
        /// Which node.
        node: NodeId,
        /// The life that was said to be off.
        incarnation: Incarnation,
        /// Who answered.
        witness: Witness,
    },
    /// An agent reports its machine.
    MachineSeen {
        /// Whose.
        node: NodeId,
        /// What it has.
        machine: Box<Machine>,
        /// Where on its stream.
        stream: Stream,
    },
    /// An agent hears another machine claim an address, or no longer does.
    RivalReported {
        /// Who hears it.
        node: NodeId,
        /// Whose address.
        resource: ResourceId,
        /// The claimant.
        rival: Option<Claim>,
    },
    /// A probe is over.
    Probed {
        /// Which device.
        device: DeviceName,
        /// The spec's version that was asked for.
        generation: Generation,
        /// What it found; `None` if an order needed the device first.
        health: Option<PathHealth>,
    },
}

/// What an owner reports over its stream; relayed by any coordinator, it counts when committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// It acts under this token.
    Activated(crate::command::Command),
    /// It is ready to begin, and waits for the log's word.
    Begun(crate::command::Command),
    /// It has stopped, finally.
    Released(crate::command::Command),
    /// Its watchdog is armed.
    Armed(crate::command::Command),
    /// It cannot act, or cannot prove that it has stopped.
    Troubled(crate::command::Command),
    /// Its agent counts by the timing in force (R2a).
    Retimed(crate::command::Command),
}

/// Silence as the leader's own responder heard it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Silence {
    /// Which node.
    pub node: NodeId,
    /// Since its last authentic beat, or since listening began without a gap.
    pub silent: Duration,
}

/// What the leader wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Propose this; answered by [`Input::Proposed`].
    Propose(Proposal),
    /// Ask every voter (also itself) for the age of this closing.
    AskAges {
        /// Which node.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// The committed closing.
        closing: LogIndex,
    },
    /// Such a try is likely to come; what takes time and changes nothing may be done now. Optional.
    Foresee(Foreseen),
    /// Run a try whose `FenceAttempt` is committed with this coordinator as executor.
    Fence(FenceRun),
    /// Run the device's `monitor`, unless and until an order needs the device.
    Probe {
        /// Which device.
        device: DeviceName,
        /// The spec's version to be probed.
        generation: Generation,
        /// Kill the agent at this moment.
        deadline: Moment,
    },
    /// Hand leadership to this coordinator, whose node owns nothing (R9).
    TransferTo(NodeId),
}

/// A try that comes if a session that is being closed ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foreseen {
    /// The target.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The device that is called first.
    pub device: DeviceName,
    /// It has come by then, or does not come.
    pub until: Moment,
}

impl Foreseen {
    /// Whether the try may still come: the closing has not been taken back, and no other life has begun.
    pub fn may_come(&self, state: &ClusterState) -> bool {
        match state.nodes.get(&self.node).map(|node| node.session) {
            None | Some(Session::Never | Session::Open { .. }) => false,
            Some(Session::Closing { incarnation, .. } | Session::Ended { incarnation, .. }) => {
                incarnation == self.incarnation
            }
        }
    }
}

/// One try at the devices of a level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FenceRun {
    /// The order.
    pub order: OrderId,
    /// Which try.
    pub attempt: u32,
    /// The target.
    pub node: NodeId,
    /// The life that is to end; the executor re-checks it just before the irreversible call.
    pub incarnation: Incarnation,
    /// Its boot: what answers a challenge from there contradicts the devices.
    pub boot: BootId,
    /// Off or on.
    pub action: FenceAction,
    /// All must succeed; used in this order.
    pub devices: Vec<DeviceName>,
    /// Wait before the first of them is called, beside their own delays.
    pub delay: Duration,
    /// Ask for status first: an earlier executor may have done it (adoption).
    pub status: StatusFirst,
    /// Kill the agents at this moment.
    pub deadline: Moment,
}

/// Whether a try starts by asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusFirst {
    /// A fresh intent.
    No,
    /// Another executor may have acted before.
    Yes,
}

/// The leader's machine.
#[derive(Clone, Debug)]
pub struct Leader {
    own: NodeId,
    timing: Timing,
    started: Moment,
    flights: proposals::Flights,
    /// Nothing is proposed before this moment, after a proposal came to nothing known.
    pause: Moment,
    /// When each life was first seen open; lives that were open when this machine started are absent.
    opened: BTreeMap<NodeId, (Incarnation, Moment)>,
    inherited: BTreeMap<NodeId, Incarnation>,
    /// Live, caught-up voters as Raft sees them; `None` if nobody has said.
    peers: Option<BTreeSet<NodeId>>,
    streams: streams::Streams,
    judge: judge::Judge,
    deadlines: deadlines::Deadlines,
    placement: placement::Placement,
    fencing: fencing::Fencing,
    steering: steering::Steering,
    reports: reports::Reports,
    machines: machines::Machines,
    rivals: rivals::Rivals,
    probing: probing::Probing,
    next_wake: Moment,
}

/// What every part sees in one step.
#[derive(Debug)]
struct View<'a> {
    now: Moment,
    own: NodeId,
    timing: &'a Timing,
    started: Moment,
    state: &'a ClusterState,
    /// Own silence from each node with a live session, never longer than its life has been open.
    silences: BTreeMap<NodeId, Duration>,
    /// For how long this machine has seen the present life of a node open.
    open_for: BTreeMap<NodeId, Duration>,
    peers: Option<&'a BTreeSet<NodeId>>,
    streams: &'a streams::Streams,
}

impl View<'_> {
    fn silence(&self, node: NodeId) -> Duration {
        self.silences.get(&node).copied().unwrap_or_default()
    }
    /// What the newest life of `node` is judged by, as the log holds it (R2a).
    fn judged(&self, node: NodeId) -> Timing {
        self.state
            .nodes
            .get(&node)
            .map_or(Timing::LONGEST, Node::judged)
    }
    /// Silent for longer than lost beats explain: granted nothing, and nothing is steered meanwhile.
    fn is_suspect(&self, node: NodeId) -> bool {
        self.silence(node) >= self.judged(node).beat * 3
    }
    /// Whether the order with this intent, the life or the closing is applied, not only drafted.
    fn knows(&self, index: u64) -> bool {
        index <= self.state.applied.0
    }
}

/// Collects the earliest moment at which something is due.
#[derive(Debug)]
struct Wake(Moment);

impl Wake {
    fn at(&mut self, moment: Moment) {
        self.0 = self.0.min(moment);
    }
}

impl Leader {
    /// This coordinator became leader at `now`. `timing` is its own file's: of it count Raft's intervals, which are
    /// each coordinator's own, and, where the log holds no timing yet, all of it as the cluster's first.
    pub fn new(own: NodeId, timing: Timing, now: Moment, state: &ClusterState) -> Leader {
        let inherited = state
            .nodes
            .keys()
            .filter_map(|id| Some((*id, state.live_incarnation(*id)?)))
            .collect();
        Leader {
            own,
            timing,
            started: now,
            flights: proposals::Flights::new(now),
            pause: now,
            opened: BTreeMap::new(),
            inherited,
            peers: None,
            streams: streams::Streams::default(),
            judge: judge::Judge::default(),
            deadlines: deadlines::Deadlines::default(),
            placement: placement::Placement::default(),
            fencing: fencing::Fencing::default(),
            steering: steering::Steering::default(),
            reports: reports::Reports::default(),
            machines: machines::Machines::default(),
            rivals: rivals::Rivals::default(),
            probing: probing::Probing::default(),
            next_wake: now,
        }
    }

    /// Tells which voters Raft knows to be live and caught up (without this coordinator). Optional: without
    /// it, a voter counts as live while its node's session is open or it has just stated an age.
    pub fn set_peers(&mut self, live: BTreeSet<NodeId>) {
        self.peers = Some(live);
    }

    /// Tells which agents have a stream to this coordinator, from their first word on. Optional: without it every
    /// agent that beats counts as one that can be told what to do.
    pub fn set_streams(&mut self, attached: BTreeSet<NodeId>) {
        self.streams.set(attached);
    }

    /// Bounds the entries that this machine proposes, in the bytes of the driver's encoding.
    pub fn set_entry_limit(&mut self, limit: EntryLimit) {
        self.flights.set_limit(limit);
    }

    /// Probes every fence device at this interval, instead of every 60 s.
    pub fn set_probing(&mut self, every: Duration) {
        self.probing.set_every(every);
    }

    /// One step. `silences` holds an entry for every node with a live session. `stamp_unix_ms` goes
    /// into entries unchanged.
    pub fn step(
        &mut self,
        now: Moment,
        stamp_unix_ms: u64,
        state: &ClusterState,
        silences: &[Silence],
        input: Input,
    ) -> Vec<Output> {
        self.note_lives(now, state);
        self.take(now, state, input);
        let patience = self.timing.election_max;
        self.flights.forget(now, state.applied, patience);
        let peers = self.peers.clone();
        let streams = self.streams.clone();
        let timing = self.timing;
        let view = View {
            now,
            own: self.own,
            timing: &timing,
            started: self.started,
            state,
            silences: self.effective(now, silences),
            open_for: self.open_for(now, state),
            peers: peers.as_ref(),
            streams: &streams,
        };
        let mut wake = Wake(now + timing.beat * 4);
        let mut outputs = Vec::new();
        self.judge.ask(&view, &mut outputs, &mut wake);
        self.fencing.run(&view, &mut outputs, &mut wake);
        self.probing.run(&view, &mut outputs, &mut wake);
        if now < self.pause {
            wake.at(self.pause);
        } else if self.flights.room() > 0 {
            self.plan(&view, stamp_unix_ms, &mut outputs, &mut wake);
        }
        self.next_wake = wake.0.max(now + Duration::from_millis(1));
        outputs
    }

    /// When to step with `Tick` at the latest.
    pub fn next_wake(&self) -> Moment {
        self.next_wake
    }

    /// Everything this machine would have the log say now, in as few entries as it fits into. What ends and opens
    /// comes first, so that no bulk can be in its way.
    fn plan(&mut self, view: &View<'_>, stamp: u64, outputs: &mut Vec<Output>, wake: &mut Wake) {
        let mut draft = draft::Draft::new(view.state, stamp, &self.flights);
        let busy = !self.flights.is_empty();
        seed_timing(view, &mut draft);
        let mute = self
            .deadlines
            .plan(view, &mut draft, &mut self.placement, wake);
        self.judge
            .plan(view, &mut draft, &self.fencing, &mute, wake);
        self.reports
            .plan(view, &mut draft, busy, &mut self.placement);
        self.fencing.plan(view, &mut draft, &self.judge, wake);
        self.machines.plan(view, &mut draft, wake);
        self.rivals.plan(view, &mut draft, wake);
        self.placement.plan(view, &mut draft, wake);
        self.probing.plan(&mut draft);
        let entries = draft.into_entries();
        if entries.is_empty() && !busy {
            let aim = self.fencing.aims_at(view);
            self.steering.plan(view, aim, outputs, wake);
        }
        for entry in entries {
            self.fencing.proposed(view, &entry);
            let proposal = self.flights.launch(view.now, entry);
            outputs.push(Output::Propose(proposal));
        }
    }

    fn take(&mut self, now: Moment, state: &ClusterState, input: Input) {
        match input {
            // The state shows what was applied.
            Input::Tick | Input::Applied { index: _ } => {}
            Input::Proposed { number, fate } => match self.flights.on_fate(number, fate) {
                proposals::Next::GoOn => {}
                proposals::Next::Pause => self.pause = now + self.timing.beat,
            },
            Input::Membership(_) => self.judge.on_membership(now),
            Input::AgeStated { closing, age } => self.judge.on_age(now, closing, age),
            Input::AttachRequested {
                node,
                boot,
                probe,
                replaces,
                place,
            } => {
                let attach = judge::Attach::new(now, (boot, place), probe, replaces);
                self.judge.on_attach(state, node, attach);
            }
            Input::Reported(report) => self.reports.on_report(state, *report),
            Input::FenceAnswered {
                order,
                attempt,
                verdict,
                detail,
                lie,
            } => {
                let answer = fencing::Answer::new(attempt, verdict, &detail);
                self.fencing.on_answer(order, answer.contradicted(lie));
            }
            Input::Witnessed {
                node,
                incarnation,
                witness,
            } => self.fencing.on_witness(node, incarnation, witness),
            Input::MachineSeen {
                node,
                machine,
                stream,
            } => self.machines.on_report(node, *machine, stream),
            Input::RivalReported {
                node,
                resource,
                rival,
            } => self.rivals.on_report(now, node, resource, rival),
            Input::Probed {
                device,
                generation,
                health,
            } => self.probing.on_answer(now, device, generation, health),
        }
    }

    fn note_lives(&mut self, now: Moment, state: &ClusterState) {
        for (id, node) in &state.nodes {
            match node.session {
                Session::Open { incarnation } => {
                    let seen = self.opened.get(id).map(|(seen, _)| *seen);
                    if seen != Some(incarnation) && self.inherited.get(id) != Some(&incarnation) {
                        self.opened.insert(*id, (incarnation, now));
                    }
                }
                Session::Never | Session::Closing { .. } | Session::Ended { .. } => {}
            }
        }
    }

    /// A node just admitted has not been silent for longer than it has been admitted. Lives that were open
    /// when this machine started keep the silence that this coordinator heard as a follower.
    fn effective(&self, now: Moment, silences: &[Silence]) -> BTreeMap<NodeId, Duration> {
        silences
            .iter()
            .map(|silence| {
                let age = self
                    .opened
                    .get(&silence.node)
                    .map(|(_, opened)| now.since(*opened));
                let silent = age.map_or(silence.silent, |age| silence.silent.min(age));
                (silence.node, silent)
            })
            .collect()
    }

    fn open_for(&self, now: Moment, state: &ClusterState) -> BTreeMap<NodeId, Duration> {
        state
            .nodes
            .keys()
            .map(|id| {
                let since = self.opened.get(id).map_or(self.started, |(_, at)| *at);
                (*id, now.since(since))
            })
            .collect()
    }
}

/// A cluster whose log was begun before it held a timing gets that of its leader's file; nobody is admitted before.
fn seed_timing(view: &View<'_>, draft: &mut Draft<'_>) {
    if draft.state().timing.is_none() && !draft.state().nodes.is_empty() {
        draft.propose(Command::SetTiming {
            timing: *view.timing,
            expected: Some(Generation(0)),
            request: RequestId::default(),
        });
    }
}

#[cfg(test)]
mod tests;
