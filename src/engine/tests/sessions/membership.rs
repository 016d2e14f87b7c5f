//! Four coordinators, of which the fourth replaces the third through a joint membership, and a closing
//! somewhere in between.
//!
//! Bounds: one beat, which names any of the three memberships, one tick, one leader (the first coordinator) whose log the others follow entry by
//! entry; nothing is truncated and nobody restarts, the other world has both. The leader proposes the new
//! membership only when the joint one is committed, and asks ages only of a committed closing.

use crate::explore::{World, digest};
use crate::world::{
    Beating, LIFE, NODE, TIMING, admitted, closed, closing, responder_key, tick, voters,
};
use haft_engine::clock::{Moment, lengthened};
use haft_engine::command::{StatedAge, VoterSets};
use haft_engine::evidence::majority_silent;
use haft_engine::ids::{EntryId, LogIndex, NodeId};
use haft_engine::session::responder::{Responder, Restart};
use std::collections::BTreeSet;

const FIRST: u64 = 21;
const TICKS: u64 = 1;
const BEATS: u32 = 1;

/// Where the closing stands among the two membership entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    First,
    WhileJoint,
    Last,
}

/// What the node's beat names; how it came to know of it is another story.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    Old,
    Joint,
    New,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Item {
    Closing,
    Joint,
    New,
}

impl Order {
    fn log(self) -> [Item; 3] {
        match self {
            Order::First => [Item::Closing, Item::Joint, Item::New],
            Order::WhileJoint => [Item::Joint, Item::Closing, Item::New],
            Order::Last => [Item::Joint, Item::New, Item::Closing],
        }
    }
}

#[derive(Clone)]
struct Coordinator {
    id: NodeId,
    responder: Responder,
    /// How much of the leader's log it has.
    length: usize,
    statement: Option<StatedAge>,
}

/// The world.
#[derive(Clone)]
pub(crate) struct Replacement {
    log: [Item; 3],
    now: u64,
    node: Beating,
    coordinators: Vec<Coordinator>,
    expired: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Tick,
    Send,
    Deliver(u64, NodeId),
    Append(NodeId),
    State(NodeId),
    Expire,
}

fn old() -> VoterSets {
    voters(5, &[&[1, 2, 3]])
}

impl Replacement {
    pub(crate) fn new(order: Order, named: Named) -> Replacement {
        let coordinators = [1, 2, 3, 4].map(|id| {
            let id = NodeId(id);
            let mut responder = Responder::new(id, TIMING, tick(0), Restart::Fresh);
            responder.on_membership(tick(0), old());
            responder.on_applied(tick(0), &admitted());
            Coordinator {
                id,
                responder,
                length: 0,
                statement: None,
            }
        });
        let mut world = Replacement {
            log: order.log(),
            now: 0,
            node: Beating::new(old(), BEATS),
            coordinators: coordinators.into(),
            expired: None,
        };
        let named = match named {
            Named::Old => None,
            Named::Joint => world.sets(world.place(Item::Joint)),
            Named::New => world.sets(world.place(Item::New)),
        };
        world.node = Beating::new(named.unwrap_or_else(old), BEATS);
        world
    }

    fn sets(&self, place: usize) -> Option<VoterSets> {
        let index = FIRST + u64::try_from(place).expect("three entries");
        match self.log[place] {
            Item::Closing => None,
            Item::Joint => Some(voters(index, &[&[1, 2, 3], &[1, 2, 4]])),
            Item::New => Some(voters(index, &[&[1, 2, 4]])),
        }
    }

    fn place(&self, item: Item) -> usize {
        let place = self.log.iter().position(|one| *one == item);
        place.expect("every log has all three entries")
    }

    fn closing_index(&self) -> LogIndex {
        let place = u64::try_from(self.place(Item::Closing)).expect("three entries");
        LogIndex(FIRST + place)
    }

    /// The membership in force at the end of the leader's log.
    fn effective(&self) -> VoterSets {
        (0..self.coordinators[0].length)
            .rev()
            .find_map(|place| self.sets(place))
            .unwrap_or_else(old)
    }

    /// Whether the entry at `place` is on a majority of what is in force at the leader.
    fn committed(&self, place: usize) -> bool {
        let having: BTreeSet<NodeId> = self
            .coordinators
            .iter()
            .filter(|one| one.length > place)
            .map(|one| one.id)
            .collect();
        self.effective().majority(&having)
    }

    fn may_append(&self, one: &Coordinator) -> bool {
        let leader = self.coordinators[0].length;
        if one.id != NodeId(1) {
            return one.length < leader;
        }
        match self.log.get(leader) {
            None => false,
            Some(Item::Closing | Item::Joint) => true,
            Some(Item::New) => self.committed(self.place(Item::Joint)),
        }
    }

    fn may_expire(&self) -> bool {
        let statements: Vec<StatedAge> = self
            .coordinators
            .iter()
            .filter_map(|one| one.statement)
            .collect();
        let membership = self.effective();
        let current: Vec<StatedAge> = statements
            .into_iter()
            .filter(|age| age.membership == membership.at)
            .collect();
        self.expired.is_none() && majority_silent(&current, &membership, &TIMING)
    }
}

impl World for Replacement {
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
        let asks = self.committed(self.place(Item::Closing));
        let index = self.closing_index();
        for one in &self.coordinators {
            let beats = self.node.deliveries(tick(self.now), &one.responder, one.id);
            actions.extend(beats.into_iter().map(|beat| Action::Deliver(beat, one.id)));
            if self.may_append(one) {
                actions.push(Action::Append(one.id));
            }
            let age = applied(&one.responder, tick(self.now), index).state_age(
                tick(self.now),
                NODE,
                LIFE,
                index,
            );
            // Only an age that ends a session matters, and the first under a membership is as good as any.
            let matters = age.is_ok_and(|age| {
                let said = one.statement.map(|said| said.membership);
                age.age >= lengthened(TIMING.ttl) && said != Some(age.membership)
            });
            let holds = one.length > self.place(Item::Closing);
            if asks && holds && matters {
                actions.push(Action::State(one.id));
            }
        }
        if self.node.may_send() {
            actions.push(Action::Send);
        }
        if self.now < TICKS {
            actions.push(Action::Tick);
        }
        actions
    }

    fn act(&mut self, action: &Action) {
        let at = tick(self.now);
        match action {
            Action::Tick => self.now += 1,
            Action::Send => self.node.send(at),
            Action::Expire => self.expired = Some(self.now),
            Action::Deliver(sequence, to) => {
                let one = find(&mut self.coordinators, *to);
                self.node.deliver(at, *sequence, &mut one.responder, *to);
            }
            Action::Append(id) => {
                let place = find(&mut self.coordinators, *id).length;
                let sets = self.sets(place);
                let index = self.closing_index();
                let one = find(&mut self.coordinators, *id);
                one.length += 1;
                match sets {
                    Some(sets) => one.responder.on_membership(at, sets),
                    None => one
                        .responder
                        .on_appended(at, EntryId::new(1, index.0), &closing()),
                }
            }
            Action::State(id) => {
                let index = self.closing_index();
                let one = find(&mut self.coordinators, *id);
                one.responder = applied(&one.responder, at, index);
                one.statement = one.responder.state_age(at, NODE, LIFE, index).ok();
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
        let at = tick(self.now);
        let index = self.closing_index();
        let coordinators: Vec<u64> = self
            .coordinators
            .iter()
            .map(|one| {
                let responder = responder_key(&one.responder, at, index);
                let said = one.statement.map(|said| said.membership);
                digest((responder, one.length, said, self.node.key_of(one.id)))
            })
            .collect();
        // With its only beat the node's future is in who acknowledged it: what it learns of memberships
        // would matter to a next one.
        digest((self.now, self.expired, self.node.key(), coordinators))
    }
}

/// The coordinator once it has applied the closing, which is committed.
fn applied(responder: &Responder, at: Moment, index: LogIndex) -> Responder {
    let mut responder = responder.clone();
    responder.on_applied(at, &closed(index));
    responder
}

fn find(coordinators: &mut [Coordinator], id: NodeId) -> &mut Coordinator {
    coordinators
        .iter_mut()
        .find(|one| one.id == id)
        .expect("actions name coordinators of this world")
}
