//! What both worlds share: vocabulary, time in ticks, and a node with its beats in flight.
//!
//! One tick is a little more than a ttl: a lease lasts to just before the next tick, an age of one tick ends
//! it, a restart is silent until the next tick. What happens within a tick happens in every order. Every
//! clock runs at the same rate here; the margins for rates are arithmetic (docs/session-proof.md).

use crate::explore::digest;
use haft_engine::clock::{Moment, Timing};
use haft_engine::command::{Attestation, Command, Entry, NodeRole, VoterSets};
use haft_engine::ids::{BootId, EntryId, Generation, Incarnation, LogIndex, NodeId, NodeName};
use haft_engine::session::holder::Holder;
use haft_engine::session::responder::Responder;
use haft_engine::session::{AnswerKind, Beat, Received};
use haft_engine::spec::NodeSpec;
use haft_engine::state::{ClusterState, Node, Session};
use haft_engine::timing::{ClusterTiming, Terms};
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) const NODE: NodeId = NodeId(9);
pub(crate) const LIFE: Incarnation = Incarnation(20);

/// Preset `fast`, but for a silence after a restart of one ttl and a beat whenever the world wants one.
pub(crate) const TIMING: Timing = Timing {
    beat: Duration::from_nanos(1),
    election_max: Duration::from_millis(250),
    ..Timing::FAST
};

/// A little more than `ttl·(1+ρ)`.
const TICK: u64 = 251_000_000;

/// Long after boot, so that every age can be told from "since boot".
pub(crate) fn tick(count: u64) -> Moment {
    Moment((1_000 + count) * TICK)
}

pub(crate) fn voters(index: u64, sets: &[&[u64]]) -> VoterSets {
    VoterSets {
        at: EntryId::new(1, index),
        sets: sets
            .iter()
            .map(|set| set.iter().copied().map(NodeId).collect())
            .collect(),
    }
}

pub(crate) fn closing() -> Entry {
    Entry {
        stamp_unix_ms: 0,
        commands: vec![Command::Closing {
            node: NODE,
            incarnation: LIFE,
        }],
    }
}

/// The state after the entry that admitted the node.
pub(crate) fn admitted() -> ClusterState {
    let node = Node {
        id: NODE,
        name: NodeName::from("n9"),
        role: NodeRole::AgentOnly,
        host: String::new(),
        key_sha256: [0; 32],
        spec: NodeSpec::default(),
        generation: Generation(1),
        session: Session::Open { incarnation: LIFE },
        terms: Some(Terms::admitted(
            &ClusterTiming {
                generation: Generation(1),
                timing: TIMING,
            },
            haft_engine::gate::GateKind::Timed,
        )),
        boot: BootId::default(),
        boot_epoch: Default::default(),
        place: Default::default(),
        witnessed: None,
        fenced_at_ms: Vec::new(),
        quarantined: false,
        unfenced: Incarnation::default(),
    };
    ClusterState {
        applied: LogIndex(LIFE.0),
        nodes: [(NODE, node)].into(),
        ..ClusterState::default()
    }
}

/// The state after the closing at `index` was applied.
pub(crate) fn closed(index: LogIndex) -> ClusterState {
    let mut state = admitted();
    state.applied = index;
    for node in state.nodes.values_mut() {
        node.session = Session::Closing {
            incarnation: LIFE,
            closing: index,
        };
    }
    state
}

/// As the receive call would say at this moment.
pub(crate) fn got(at: Moment) -> Received {
    Received::after(|| (), || at).1
}

/// The node, and those of its beats that have not reached somebody yet.
#[derive(Clone)]
pub(crate) struct Beating {
    pub(crate) holder: Holder,
    flying: Vec<(Beat, BTreeSet<NodeId>)>,
    /// When each beat was sent, and by whom it has been acknowledged.
    sent: Vec<(Moment, BTreeSet<NodeId>)>,
    left: u32,
}

impl Beating {
    /// A node that may send `beats` of them.
    pub(crate) fn new(membership: VoterSets, beats: u32) -> Beating {
        Beating {
            holder: Holder::new(NODE, LIFE, membership, TIMING),
            flying: Vec::new(),
            sent: Vec::new(),
            left: beats,
        }
    }

    pub(crate) fn may_send(&self) -> bool {
        self.left > 0
    }

    pub(crate) fn send(&mut self, now: Moment) {
        let Some(beat) = self.holder.on_tick(now, Attestation::Intact) else {
            return;
        };
        self.left -= 1;
        self.flying
            .push((beat, self.holder.recipients().into_iter().collect()));
        self.sent.push((now, BTreeSet::new()));
    }

    /// Which beats this coordinator would acknowledge now. One that is refused might as well be lost.
    pub(crate) fn deliveries(&self, now: Moment, responder: &Responder, to: NodeId) -> Vec<u64> {
        self.flying
            .iter()
            .filter(|(beat, missing)| {
                let answer = || responder.clone().on_beat(got(now), beat);
                missing.contains(&to) && answer().kind == AnswerKind::Acknowledged
            })
            .map(|(beat, _)| beat.sequence)
            .collect()
    }

    /// The answer comes at once: a later one tells the node the same, and no more.
    pub(crate) fn deliver(
        &mut self,
        now: Moment,
        sequence: u64,
        responder: &mut Responder,
        to: NodeId,
    ) {
        let Some((beat, missing)) = self
            .flying
            .iter_mut()
            .find(|(beat, _)| beat.sequence == sequence)
        else {
            return;
        };
        missing.remove(&to);
        let answer = responder.on_beat(got(now), beat);
        if answer.kind == AnswerKind::Acknowledged {
            let place = usize::try_from(sequence - 1).expect("sequences begin at one");
            self.sent[place].1.insert(to);
        }
        self.holder.on_answer(now, &answer);
    }

    /// Whether the node counts on its lease beyond `now`.
    pub(crate) fn counts_on(&self, now: Moment) -> bool {
        self.holder.end().is_some_and(|end| end > now)
    }

    /// Whether nothing can make the node count on its lease any more.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0 && self.flying.iter().all(|(_, missing)| missing.is_empty())
    }

    /// What the node's future depends on, apart from who has acknowledged what.
    pub(crate) fn key(&self) -> u64 {
        let sent: Vec<Moment> = self.sent.iter().map(|(at, _)| *at).collect();
        digest((sent, self.holder.end(), self.left))
    }

    /// What the beats know of one coordinator.
    pub(crate) fn key_of(&self, id: NodeId) -> u64 {
        let flying = self.flying.iter().map(|(_, missing)| missing.contains(&id));
        let acknowledged = self.sent.iter().map(|(_, by)| by.contains(&id));
        digest(flying.zip(acknowledged).collect::<Vec<_>>())
    }

    /// Whether this coordinator has acknowledged anything.
    pub(crate) fn is_acknowledged_by(&self, id: NodeId) -> bool {
        self.sent.iter().any(|(_, by)| by.contains(&id))
    }
}

/// What a coordinator's future depends on: since when it would count an age, until when it is silent, and
/// under which membership. (What it has merely heard matters to nothing here.)
pub(crate) fn responder_key(responder: &Responder, now: Moment, closing_at: LogIndex) -> u64 {
    let mut asked = responder.clone();
    asked.on_applied(now, &closed(closing_at));
    let ready = now.max(responder.silent_about(NODE, LIFE));
    let since = asked
        .state_age(ready, NODE, LIFE, closing_at)
        .map(|age| ready.before(age.age))
        .ok();
    digest((since, ready, responder.membership().at))
}
