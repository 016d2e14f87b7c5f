//! Three coordinators, one closing that may be truncated before it is committed, another leader's at the same
//! index that never is, and restarts.
//!
//! Bounded by [`Bounds`]. A restarted coordinator keeps its log and forgets its
//! receipts. A committed closing is never truncated (Raft's promise, not checked here). `Expired` may be
//! committed at any time after its statements, which may stem from before a restart.

use crate::explore::{World, digest};
use crate::world::{
    Beating, LIFE, NODE, TIMING, admitted, closed, closing, responder_key, tick, voters,
};
use haft_engine::clock::{Moment, lengthened};
use haft_engine::command::StatedAge;
use haft_engine::evidence::majority_silent;
use haft_engine::ids::{EntryId, LogIndex, NodeId};
use haft_engine::session::responder::{Responder, Restart};

const CLOSING: LogIndex = LogIndex(21);

#[derive(Clone)]
struct Coordinator {
    id: NodeId,
    responder: Responder,
    holds: Holds,
    statement: Option<StatedAge>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    Nothing,
    /// The closing of an earlier leader, who replicated it to nobody.
    Stray,
    Closing,
}

impl Holds {
    fn entry(self) -> Option<EntryId> {
        match self {
            Holds::Nothing => None,
            Holds::Stray => Some(EntryId::new(1, CLOSING.0)),
            Holds::Closing => Some(EntryId::new(2, CLOSING.0)),
        }
    }
}

/// The world.
#[derive(Clone)]
pub(crate) struct Restarts {
    now: u64,
    node: Beating,
    coordinators: Vec<Coordinator>,
    restarts: u32,
    truncations: u32,
    strays: u32,
    ticks: u64,
    expired: Option<u64>,
}

/// How much may happen at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) beats: u32,
    pub(crate) restarts: u32,
    pub(crate) truncations: u32,
    /// Closings of an earlier leader.
    pub(crate) strays: u32,
    pub(crate) ticks: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Tick,
    Send,
    Deliver(u64, NodeId),
    Append(NodeId),
    AppendStray(NodeId),
    Truncate(NodeId),
    Restart(NodeId),
    State(NodeId),
    Expire,
}

impl Restarts {
    pub(crate) fn new(bounds: Bounds) -> Restarts {
        let coordinators = [1, 2, 3].map(|id| {
            let id = NodeId(id);
            Coordinator {
                id,
                responder: started(id, 0, Restart::Fresh, Holds::Nothing),
                holds: Holds::Nothing,
                statement: None,
            }
        });
        Restarts {
            now: 0,
            node: Beating::new(voters(5, &[&[1, 2, 3]]), bounds.beats),
            coordinators: coordinators.into(),
            restarts: bounds.restarts,
            truncations: bounds.truncations,
            strays: bounds.strays,
            ticks: bounds.ticks,
            expired: None,
        }
    }

    fn committed(&self) -> bool {
        let holders = self.coordinators.iter();
        holders.filter(|one| one.holds == Holds::Closing).count() >= 2
    }

    fn statements(&self) -> Vec<StatedAge> {
        self.coordinators
            .iter()
            .filter_map(|one| one.statement)
            .collect()
    }

    fn may_expire(&self) -> bool {
        let membership = voters(5, &[&[1, 2, 3]]);
        self.expired.is_none()
            && self.committed()
            && majority_silent(&self.statements(), &membership, &TIMING)
    }
}

fn started(id: NodeId, now: u64, restart: Restart, holds: Holds) -> Responder {
    let mut responder = Responder::new(id, TIMING, tick(now), restart);
    responder.on_membership(tick(now), voters(5, &[&[1, 2, 3]]));
    responder.on_applied(tick(now), &admitted());
    if let Some(at) = holds.entry() {
        responder.on_appended(tick(now), at, &closing());
    }
    responder
}

/// What this coordinator states. One that holds the committed closing may have applied it.
fn stated(one: &Coordinator, at: Moment) -> Option<StatedAge> {
    let mut responder = one.responder.clone();
    if one.holds == Holds::Closing {
        responder.on_applied(at, &closed(CLOSING));
    }
    responder.state_age(at, NODE, LIFE, CLOSING).ok()
}

impl World for Restarts {
    type Action = Action;

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.node.is_done()
            && self
                .node
                .holder
                .end()
                .is_none_or(|end| end <= tick(self.now))
        {
            return actions;
        }
        if self.may_expire() {
            actions.push(Action::Expire);
        }
        let committed = self.committed();
        for one in &self.coordinators {
            let beats = self.node.deliveries(tick(self.now), &one.responder, one.id);
            actions.extend(beats.into_iter().map(|beat| Action::Deliver(beat, one.id)));
            match one.holds {
                Holds::Nothing => {
                    actions.push(Action::Append(one.id));
                    if self.strays > 0 {
                        actions.push(Action::AppendStray(one.id));
                    }
                }
                Holds::Stray => actions.push(Action::Truncate(one.id)),
                Holds::Closing if !committed && self.truncations > 0 => {
                    actions.push(Action::Truncate(one.id));
                }
                Holds::Closing => {}
            }
            let age = stated(one, tick(self.now));
            // Only an age that ends a session matters, and the first of them is as good as any later.
            let matters = age.is_some_and(|age| age.age >= lengthened(TIMING.ttl));
            if committed && matters && one.statement.is_none() {
                actions.push(Action::State(one.id));
            }
            // One that knows nothing only grows more silent by a restart.
            let knows = one.holds != Holds::Nothing || self.node.is_acknowledged_by(one.id);
            if self.restarts > 0 && knows {
                actions.push(Action::Restart(one.id));
            }
        }
        if self.node.may_send() {
            actions.push(Action::Send);
        }
        if self.now < self.ticks {
            actions.push(Action::Tick);
        }
        actions
    }

    fn act(&mut self, action: &Action) {
        let now = self.now;
        let at = tick(now);
        match action {
            Action::Tick => self.now += 1,
            Action::Send => self.node.send(at),
            Action::Expire => self.expired = Some(now),
            Action::Deliver(sequence, to) => {
                let one = find(&mut self.coordinators, *to);
                self.node.deliver(at, *sequence, &mut one.responder, *to);
            }
            Action::Append(id) => {
                let one = find(&mut self.coordinators, *id);
                one.append(at, Holds::Closing);
            }
            Action::AppendStray(id) => {
                self.strays -= 1;
                find(&mut self.coordinators, *id).append(at, Holds::Stray);
            }
            Action::Truncate(id) => {
                let one = find(&mut self.coordinators, *id);
                if one.holds == Holds::Closing {
                    self.truncations -= 1;
                }
                one.holds = Holds::Nothing;
                let kept = EntryId::new(1, CLOSING.0 - 1);
                let in_force = voters(5, &[&[1, 2, 3]]);
                one.responder.on_truncated(at, kept, in_force);
            }
            Action::Restart(id) => {
                self.restarts -= 1;
                let one = find(&mut self.coordinators, *id);
                one.responder = started(*id, now, Restart::Returned, one.holds);
            }
            Action::State(id) => {
                let one = find(&mut self.coordinators, *id);
                one.statement = stated(one, at);
                if one.holds == Holds::Closing {
                    one.responder.on_applied(at, &closed(CLOSING));
                }
            }
        }
    }

    fn violation(&self) -> Option<String> {
        let expired = self.expired?;
        self.node
            .counts_on(tick(self.now).max(tick(expired)))
            .then(|| "the session has expired and the node counts on it".to_owned())
    }

    fn is_telling(&self) -> bool {
        self.expired.is_some() && self.node.holder.end().is_some()
    }

    fn key(&self) -> u64 {
        // The three are alike: worlds that differ only in who is who have the same future.
        let at = tick(self.now);
        let mut coordinators: Vec<u64> = self
            .coordinators
            .iter()
            .map(|one| {
                let responder = responder_key(&one.responder, at, CLOSING);
                let beats = self.node.key_of(one.id);
                let holds = one.holds.entry();
                digest((responder, holds, one.statement.is_some(), beats))
            })
            .collect();
        coordinators.sort_unstable();
        let left = (self.restarts, self.truncations, self.strays);
        digest((self.now, left, self.expired, self.node.key(), coordinators))
    }
}

impl Coordinator {
    fn append(&mut self, at: Moment, holds: Holds) {
        self.holds = holds;
        if let Some(entry) = holds.entry() {
            self.responder.on_appended(at, entry, &closing());
        }
    }
}

fn find(coordinators: &mut [Coordinator], id: NodeId) -> &mut Coordinator {
    coordinators
        .iter_mut()
        .find(|one| one.id == id)
        .expect("actions name coordinators of this world")
}
