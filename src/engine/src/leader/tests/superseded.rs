//! The third leader admits nobody while the first one's `off` may be in flight (S7).

use super::*;

const FIRST: Duration = Duration::from_secs(60);

impl Stage {
    fn newest(&self, place: usize) -> Incarnation {
        self.state.nodes[&self.ids[place]].newest()
    }

    /// n3 is lost with something that needs its power off.
    fn lose_n3(&mut self) {
        self.device("n3");
        self.vip(Isolation::Stonith, "n3");
        let node = self.ids[2];
        let incarnation = self.newest(2);
        self.commit(vec![Command::Closing { node, incarnation }]);
        let closing = LogIndex(self.index);
        let ages = vec![
            self.age(0, lengthened(TIMING.ttl)),
            self.age(1, lengthened(TIMING.ttl)),
        ];
        self.commit(vec![Command::Expired {
            node,
            incarnation,
            closing,
            ages,
        }]);
    }

    fn lead(&mut self, place: usize) {
        self.leader = Leader::new(self.ids[place], TIMING, self.now, &self.state);
    }

    /// An earlier leader's order with its first try.
    fn ordered_by_n1(&mut self) -> crate::ids::OrderId {
        let intent = Command::FenceIntent {
            node: self.ids[2],
            incarnation: self.newest(2),
            action: FenceAction::Off,
            cause: FenceCause::Orphans,
            request: RequestId::default(),
            first: Some(crate::command::FenceAttemptPlan {
                executor: self.ids[0],
                level: 1,
                deadline: FIRST,
            }),
        };
        match self.commit(vec![intent]).as_slice() {
            [Outcome::Ordered(order)] => *order,
            other => panic!("{other:?}"),
        }
    }

    /// n3's agent is back on a new boot and asks to be let in; returns whether it was.
    fn knocks(&mut self) -> bool {
        let request = Input::AttachRequested {
            node: self.ids[2],
            boot: BootId([9; 16]),
            probe: Probe::Clean,
            replaces: self.newest(2),
            place: Place::default(),
        };
        let outputs = self.step(request);
        self.settle(outputs);
        self.state.live_incarnation(self.ids[2]).is_some()
    }
}

#[test]
fn a_third_leader_waits_for_the_first_ones_off() {
    let mut stage = Stage::new();
    stage.lose_n3();
    let order = stage.ordered_by_n1();
    // n2 leads: it takes the order over, and its own try confirms.
    stage.lead(1);
    let outputs = stage.tick(MS);
    let rest = stage.settle(outputs);
    assert_eq!(fences(&rest)[0].attempt, 2);
    let outputs = stage.step(Input::FenceAnswered {
        order,
        attempt: 2,
        verdict: Verdict::Confirmed,
        detail: "two off reads".to_owned(),
        lie: None,
    });
    stage.settle(outputs);
    assert_eq!(stage.state.orders[&order].phase, OrderPhase::Confirmed);
    stage.now = stage.now + Duration::from_secs(4);
    assert!(!stage.knocks(), "n1 may act for 56 s more");
    // n2 again, as another leader that has forgotten what it waited for.
    stage.now = stage.now + Duration::from_secs(5);
    stage.lead(1);
    assert!(!stage.knocks(), "n1 may act for 51 s more");
    stage.now = stage.now + FIRST;
    assert!(
        !stage.knocks(),
        "counted from when this leader learned of it"
    );
    stage.now = stage.now + Duration::from_secs(3);
    let outputs = stage.tick(MS);
    stage.settle(outputs);
    assert!(stage.knocks());
    assert!(stage.state.orders[&order].superseded.is_empty());
}

#[test]
fn a_trys_time_counts_from_its_proposal_and_not_from_when_its_leader_saw_it_committed() {
    let mut stage = Stage::new();
    stage.lose_n3();
    let outputs = stage.tick(MS);
    let began = stage.now;
    let commands = proposed(&outputs);
    assert!(
        matches!(commands[..], [Command::FenceIntent { first: Some(_), .. }]),
        "{commands:?}"
    );
    // The others have it committed; this leader hears of it late, for instance because it was paused.
    stage.commit(commands);
    stage.now = stage.now + 300 * MS;
    let index = LogIndex(stage.index);
    let outputs = stage.step(Input::Applied { index });
    let runs = fences(&outputs);
    assert_eq!(runs[0].deadline, began + Duration::from_secs(5));
}
