//! Who becomes a voter, and whom nobody waits for.

use super::*;
use crate::consensus::{LogPosition, MembershipView};

/// Registered coordinators, voters, learners, and those that hold the log.
struct World {
    seen: Seen,
    trials: Trials,
    now: Instant,
}

fn ids(these: &[u64]) -> BTreeSet<PeerId> {
    these.iter().copied().map(PeerId).collect()
}

fn peer(id: PeerId) -> Peer {
    Peer {
        name: format!("n{id}"),
        addresses: vec![],
    }
}

impl World {
    fn new(registered: &[u64], voters: &[u64]) -> Self {
        let view = MembershipView {
            at: Some(LogPosition { term: 1, index: 1 }),
            configs: vec![ids(voters)],
            peers: ids(voters).into_iter().map(|id| (id, peer(id))).collect(),
        };
        Self {
            seen: Seen {
                coordinators: ids(registered)
                    .into_iter()
                    .map(|id| (id, peer(id)))
                    .collect(),
                memberships: Memberships {
                    effective: view.clone(),
                    committed: view,
                },
                ready: BTreeSet::new(),
            },
            trials: Trials::default(),
            now: Instant::now(),
        }
    }

    /// The next step, carried out at once.
    fn step(&mut self) -> Step {
        let step = next(&self.seen, &mut self.trials, self.now);
        let view = &mut self.seen.memberships.effective;
        match &step {
            Step::Nothing | Step::Wait => {}
            Step::Enlist(id, peer) => drop(view.peers.insert(*id, peer.clone())),
            Step::Vote { voters, .. } => view.configs = vec![voters.clone()],
            Step::Dismiss(id) => drop(view.peers.remove(id)),
        }
        self.seen.memberships.committed = view.clone();
        step
    }

    /// Steps until nothing is left to do; every number of voters that was seen on the way.
    fn settle(&mut self) -> Vec<usize> {
        let mut counts = vec![self.voters().len()];
        for _ in 0..100 {
            match self.step() {
                Step::Nothing | Step::Wait => return counts,
                Step::Enlist(..) | Step::Dismiss(_) => {}
                Step::Vote { voters, .. } => counts.push(voters.len()),
            }
        }
        panic!("it never settles: {:?}", self.seen);
    }

    fn voters(&self) -> BTreeSet<PeerId> {
        self.seen.memberships.effective.voters()
    }

    fn start(&mut self, these: &[u64]) {
        self.seen.ready.extend(ids(these));
    }

    fn later(&mut self) {
        self.now += PATIENCE;
    }
}

#[test]
fn a_coordinator_that_never_starts_keeps_nobody_waiting_for_longer_than_its_time() {
    let mut world = World::new(&[1, 2, 3, 4], &[1]);
    world.start(&[3, 4]);
    assert_eq!(world.settle(), [1, 3], "2 is not needed for an odd number");
    assert_eq!(world.voters(), ids(&[1, 3, 4]));
    let mut world = World::new(&[1, 2, 3], &[1]);
    world.start(&[3]);
    assert_eq!(world.settle(), [1], "2 may be on its way");
    world.later();
    assert_eq!(world.settle(), [1, 2]);
    assert_eq!(world.voters(), ids(&[1, 3]));
}

#[test]
fn the_number_of_voters_is_even_only_where_a_second_copy_is_better_than_none() {
    let mut world = World::new(&[1, 2, 3, 4, 5], &[1]);
    world.settle();
    world.start(&[2, 3, 4, 5]);
    assert_eq!(world.settle(), [1, 5]);
    let mut world = World::new(&[1, 2, 3, 4], &[1, 2, 3]);
    world.start(&[4]);
    world.later();
    assert_eq!(world.settle(), [3], "a fourth survives no more losses");
    world.seen.coordinators.insert(PeerId(5), peer(PeerId(5)));
    world.start(&[5]);
    assert_eq!(world.settle(), [3, 5]);
    let mut world = World::new(&[1, 2, 3, 4], &[1, 2]);
    world.start(&[3, 4]);
    world.later();
    assert_eq!(world.settle(), [2, 3], "two more at once would make four");
}

#[test]
fn more_than_seven_never_vote() {
    let all: Vec<u64> = (1..=12).collect();
    let mut world = World::new(&all, &[1]);
    world.settle();
    world.start(&all);
    world.later();
    assert_eq!(world.settle(), [1, 7]);
    world.later();
    assert_eq!(world.settle(), [7]);
}

#[test]
fn learners_of_nodes_that_are_gone_are_taken_out_and_voters_are_not() {
    let mut world = World::new(&[1, 2, 3], &[1]);
    world.settle();
    assert_eq!(world.seen.memberships.effective.peers.len(), 3);
    world.seen.coordinators.remove(&PeerId(2));
    world.seen.coordinators.remove(&PeerId(1));
    assert_eq!(world.step(), Step::Dismiss(PeerId(2)));
    world.settle();
    let peers = &world.seen.memberships.effective.peers;
    assert_eq!(peers.keys().copied().collect::<BTreeSet<_>>(), ids(&[1, 3]));
}

#[test]
fn a_membership_left_joint_is_finished_and_one_that_is_not_committed_is_waited_for() {
    let mut world = World::new(&[1, 2, 3], &[1]);
    let effective = &mut world.seen.memberships.effective;
    effective.configs.push(ids(&[1, 2, 3]));
    let finish = Step::Vote {
        voters: ids(&[1, 2, 3]),
        new: ids(&[1, 2, 3]),
    };
    assert_eq!(next(&world.seen, &mut world.trials, world.now), finish);
    world.seen.memberships.committed.at = Some(LogPosition { term: 1, index: 0 });
    assert_eq!(world.step(), Step::Wait);
}

#[test]
fn a_change_that_failed_is_tried_again_later_and_later_and_holds_up_no_other() {
    let mut world = World::new(&[1, 2, 3], &[1]);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        assert!(matches!(world.step(), Step::Enlist(PeerId(2), _)));
        world.seen.memberships.effective.peers.remove(&PeerId(2));
        world.trials.failed(&ids(&[2]), world.now);
        assert!(matches!(world.step(), Step::Enlist(PeerId(3), _)));
        world.seen.memberships.effective.peers.remove(&PeerId(3));
        world.seen.memberships.committed = world.seen.memberships.effective.clone();
        let pause = world.trials.of(PeerId(2), world.now).not_before - world.now;
        pauses.push(pause);
        world.now += pause;
    }
    assert!(pauses.is_sorted() && pauses[0] == AGAIN_MIN, "{pauses:?}");
    assert_eq!(pauses.last(), Some(&AGAIN_MAX));
}
