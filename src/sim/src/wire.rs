//! What simulated processes say to each other and ask of the world.
//!
//! Messages are values: encoding, keys and sockets belong to the real drivers. Streams are modelled as
//! level-triggered messages that are repeated, so that loss and reordering exercise the machines.

use crate::bmc::{Ask, Said};
use crate::kernel;
use crate::park::Tool;
use crate::raft;
use haft_engine::apply::Outcome;
use haft_engine::clock::{Moment, Timing};
use haft_engine::command::{Command, Entry, PathHealth, Probe, StatedAge, VoterSets};
use haft_engine::gate::GateKind;
use haft_engine::ids::{
    BootId, DeviceName, Generation, Incarnation, LogIndex, NodeId, ResourceId, Token,
};
use haft_engine::keeper::{Assignment, Carrier, Operation};
use haft_engine::leader::Proposal;
use haft_engine::machine::Machine;
use haft_engine::session::{Answer, Beat};
use haft_engine::timing::ClusterTiming;
use haft_engine::witness::Witness;
use std::rc::Rc;

/// A process of a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Role {
    /// haftd.
    Coordinator,
    /// haft-agent.
    Agent,
}

/// One life of one process; never reused in a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Life(pub(crate) u64);

/// One stream of one life of an agent. It has one at a time and believes only what is said on that one:
/// what it said of itself when it asked ("I hold nothing") is true only until it is answered elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Stream {
    /// Whose.
    pub(crate) life: Life,
    /// 1, 2, ... within the life.
    pub(crate) number: u64,
}

/// Any message.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    /// Between coordinators.
    Raft(raft::Message),
    /// The leader asks how long an incarnation has been silent.
    AskAge {
        node: NodeId,
        incarnation: Incarnation,
        closing: LogIndex,
    },
    /// The answer.
    Age { closing: LogIndex, age: StatedAge },
    /// A node's beat.
    Beat(Beat),
    /// A coordinator's answer to it.
    Answer(Answer),
    /// An agent asks to be admitted, over a stream of its own; lost if that stream is closed by then.
    Attach {
        node: NodeId,
        stream: Stream,
        boot: BootId,
        probe: Probe,
        gate: GateKind,
    },
    /// The leader holds the stream open.
    AttachHeard(Stream),
    /// It is no leader: the stream is closed.
    NotLeader(Stream),
    /// An admitted agent is connected and wants its assignments.
    Hello {
        node: NodeId,
        life: Life,
        incarnation: Incarnation,
    },
    /// The leader tells an agent its incarnation, on the stream on which it asked.
    Admitted {
        stream: Stream,
        incarnation: Incarnation,
        membership: VoterSets,
        timing: ClusterTiming,
    },
    /// The leader's whole assignment for the node.
    Assigned(Rc<Assignment>),
    /// The owner's word, as the command it is to become.
    Report(Command),
    /// What an agent's kernel has, and the state of its link.
    Machine { node: NodeId, machine: Rc<Machine> },
}

impl Wire {
    /// Whether it goes over an agent's stream to the leader, and not as a datagram.
    pub(crate) fn is_streamed(&self) -> bool {
        match self {
            Wire::Attach { .. }
            | Wire::AttachHeard(_)
            | Wire::NotLeader(_)
            | Wire::Hello { .. }
            | Wire::Admitted { .. }
            | Wire::Assigned(_)
            | Wire::Machine { .. }
            | Wire::Report(_) => true,
            Wire::Raft(_)
            | Wire::AskAge { .. }
            | Wire::Age { .. }
            | Wire::Beat(_)
            | Wire::Answer(_) => false,
        }
    }
}

/// What an executor asks a fence device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// Which device.
    pub(crate) tool: Tool,
    /// About which machine.
    pub(crate) target: NodeId,
    /// For which try.
    pub(crate) task: u64,
    /// Which question of that try.
    pub(crate) turn: u64,
    /// What.
    pub(crate) ask: Ask,
}

/// A machine that is asked whether it lives.
#[derive(Clone, Debug)]
pub(crate) struct Challenged {
    /// For which try.
    pub(crate) task: u64,
    /// Which machine.
    pub(crate) target: NodeId,
    /// What has said that it is off.
    pub(crate) tools: Vec<Tool>,
}

/// What a process asks of the world.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Send to the haftd of this node.
    ToCoordinator(NodeId, Wire),
    /// Send to the haftd of every coordinator there is.
    ToCoordinators(Wire),
    /// Send to the haft-agent of this node.
    ToAgent(NodeId, Wire),
    /// Make the log durable up to here.
    Flush { index: u64, term: u64 },
    /// Propose a moment later, if the process still leads this term.
    ProposeSoon { term: u64, proposal: Rc<Proposal> },
    /// Ask a fence device.
    AskDevice(Question),
    /// Have every coordinator challenge a machine (R3a).
    Challenge(Challenged),
    /// Find out whether a fence device answers, for the leader's probe of this version of its spec.
    ProbeDevice(DeviceName, Generation),
    /// An entry was applied here.
    Applied {
        index: u64,
        entry: Rc<Entry>,
        outcomes: Rc<Vec<Outcome>>,
    },
    /// The agent hands a decided kernel write over; it arrives a moment later.
    Kernel {
        operation: Operation,
        request: kernel::Request,
        /// What the write's lives go by.
        timing: Timing,
    },
    /// Append what this message of a leader brings, once the truncation before it is written.
    AppendLater(NodeId, raft::Message),
    /// haftd ends by itself, and is started again.
    End,
    /// The agent has adopted an incarnation.
    Adopted(Incarnation),
    /// The agent has said, finally, that it has stopped.
    Released(ResourceId, Token),
    /// Something at which a fault would hurt.
    Hook(Hook),
}

/// Points at which the nemesis likes to strike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Hook {
    /// A guard write was decided and permitted and has not reached the kernel.
    GuardDecided,
    /// An agent is about to arm its watchdog; the log does not hold it yet.
    DogDecided,
    /// An agent has decided to pet its watchdog, and the pet has not reached it.
    PetDecided,
    /// A coordinator has stated an age of this node that counts towards its end.
    AgeStated(NodeId),
    /// A leader is about to propose the closing of this node.
    ClosingProposed(NodeId),
    /// A closing entry of this node was appended.
    ClosingAppended(NodeId),
    /// A fence try began against this node.
    FenceStarted(NodeId),
    /// The executor is about to make the irreversible call.
    FenceOrdering(NodeId),
    /// The executor has proven one device of a level and goes on to the next.
    BetweenDevices(NodeId),
    /// The executor has verified a pill and waits for it to have its effect.
    PillWritten(NodeId),
    /// A call was dropped.
    Dropped(Call),
    /// A majority has acknowledged that an agent's guard is not attested intact.
    LossTold,
    /// An agent has started and could not remove what an earlier life left.
    LeftoversStay,
    /// A joint membership was appended.
    Joint,
}

/// A call of haftd's that somebody waits for, and that may be dropped at any poll.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Call {
    /// The leader's proposal: Raft has the entry, or never gets it, and nobody hears which.
    Proposal,
    /// An agent's report: taken off its stream and handed to nobody, and the stream ends.
    Report,
    /// A transfer of leadership: ordered, and the target never hears of it.
    Transfer,
}

/// What arrives at a process beside messages.
#[derive(Clone, Debug)]
pub(crate) enum Local {
    /// It wanted to be woken.
    Wake,
    /// The disk is done.
    Flushed { index: u64, term: u64 },
    /// The truncation is written, and the rest of the leader's message is appended.
    AppendLater(NodeId, raft::Message),
    /// A proposal's moment has come.
    Propose { term: u64, proposal: Rc<Proposal> },
    /// A fence device answered the question of this turn.
    DeviceSaid { task: u64, turn: u64, said: Said },
    /// Something of the machine has answered the challenge of this try.
    Witnessed { task: u64, witness: Witness },
    /// A probe's finding.
    DeviceProbed(DeviceName, Generation, PathHealth),
    /// The watchdog is armed for the shared disks, and they vouch for this machine.
    Watched,
    /// An administrator's command, at whatever coordinator it reached.
    Administrator(Box<Command>),
    /// An administrator's change of voters.
    ChangeVoters(std::collections::BTreeSet<NodeId>),
    /// An administrator's transfer of leadership.
    Transfer(NodeId),
    /// The next call of this kind is dropped midway.
    Drop(Call),
    /// The kernel has answered.
    KernelDone {
        operation: Operation,
        reply: kernel::Reply,
    },
    /// The agent looked for leftovers; this is what it found out.
    Probed(Probe),
    /// Something else removed the address.
    AddressVanished(std::net::IpAddr),
    /// Something else flushed the guard's tables; they have been rebuilt with every address blocked.
    GuardRebuilt,
    /// What stands before the addresses is found to be worth this from now on.
    Gate(haft_engine::gate::Found),
    /// It finds that its gate's filters are gone, and puts them back.
    FiltersGone,
    /// The link that carries the addresses lost or regained its carrier.
    Carrier(Carrier),
    /// An administrator has put copies of these addresses on the machine, and no others.
    Foreign(std::collections::BTreeSet<std::net::IpAddr>),
    /// The process is asked to end.
    Shutdown,
}

/// What a machine hands its processes with each event.
pub(crate) struct Context<'a> {
    /// The machine's clock.
    pub(crate) now: Moment,
    /// Its wall clock, milliseconds since 1970.
    pub(crate) wall_ms: u64,
    /// The run's random numbers.
    pub(crate) rng: &'a mut crate::rng::Rng,
    /// What the process asks for.
    pub(crate) acts: &'a mut Vec<Act>,
}
