//! What is said of an order before it can be given, and of what nothing is said.

use super::*;
use crate::leader::Foreseen;

fn is_foreseen(output: &Output) -> bool {
    match output {
        Output::Foresee(_) => true,
        Output::Propose(_)
        | Output::AskAges { .. }
        | Output::Fence(_)
        | Output::Probe { .. }
        | Output::TransferTo(_) => false,
    }
}

impl Stage {
    /// One more node with a session; no voter.
    fn member(&mut self, place: u8) -> NodeId {
        let name = NodeName(format!("n{place}"));
        let known = self.state.nodes.keys().copied().collect::<BTreeSet<_>>();
        self.commit(vec![Command::MintJoinToken {
            sha256: [place; 32],
            node: name.clone(),
            expires_unix_ms: u64::MAX,
            request: RequestId::default(),
        }]);
        let node = Registration {
            name,
            role: NodeRole::Coordinator,
            host: format!("192.0.2.{place}"),
            key_sha256: [place; 32],
        };
        let token_sha256 = [place; 32];
        self.commit(vec![Command::RegisterNode { node, token_sha256 }]);
        let mut nodes = self.state.nodes.keys().copied();
        let node = nodes.find(|id| !known.contains(id)).expect("registered");
        self.commit(vec![Command::Admit {
            node,
            boot: BootId([place; 16]),
            previous: Incarnation(0),
            probe: Probe::Clean,
            place: Place::default(),
        }]);
        self.ids.push(node);
        node
    }

    /// Closes the session of this node; what is foreseen of it.
    fn close(&mut self, place: usize) -> Vec<Foreseen> {
        self.tick(TIMING.ttl);
        self.silent.insert(self.ids[place], TIMING.closing_after);
        let outputs = self.tick(MS);
        let mut rest = self.settle(outputs);
        // Said once, however often it is looked at.
        rest.extend(self.tick(MS));
        let foreseen = rest.into_iter().filter_map(|output| match output {
            Output::Foresee(foreseen) => Some(foreseen),
            Output::Propose(_)
            | Output::AskAges { .. }
            | Output::Fence(_)
            | Output::Probe { .. }
            | Output::TransferTo(_) => None,
        });
        foreseen.collect()
    }
}

#[test]
fn the_device_of_a_closing_owner_is_named_once() {
    let mut stage = Stage::new();
    stage.device("n2");
    stage.vip(Isolation::Stonith, "n2");
    let foreseen = stage.close(1);
    let [foreseen] = &foreseen[..] else {
        panic!("said once: {foreseen:?}");
    };
    assert_eq!(foreseen.node, stage.ids[1]);
    assert_eq!(foreseen.device, DeviceName::from("bmc"));
    assert!(foreseen.until > stage.now);
    let closing = LogIndex(stage.index);
    let mut runs = Vec::new();
    for by in [0, 2] {
        let age = stage.age(by, lengthened(TIMING.ttl));
        let outputs = stage.step(Input::AgeStated { closing, age });
        let rest = stage.settle(outputs);
        runs.extend(fences(&rest));
    }
    assert_eq!(runs.len(), 1, "the order comes");
    assert_eq!(runs[0].devices.first(), Some(&foreseen.device));
}

#[test]
fn nothing_is_foreseen_where_no_device_will_be_called_at_once() {
    // What is put before the session closes: a device with this delay, and the owner and its isolation.
    let rows = [
        ("a lease", Some(Duration::ZERO), Isolation::Lease, "n2"),
        ("no device", None, Isolation::Stonith, "n2"),
        ("another's", Some(Duration::ZERO), Isolation::Stonith, "n3"),
        ("a delay", Some(TIMING.beat), Isolation::Stonith, "n2"),
    ];
    for (name, device, isolation, owner) in rows {
        let mut stage = Stage::new();
        if let Some(delay) = device {
            stage.device_with("n2", delay);
        }
        stage.vip(isolation, owner);
        assert_eq!(stage.close(1), [], "{name}");
    }
}

#[test]
fn nothing_is_foreseen_where_many_sessions_close_at_once() {
    for (closing, named) in [(3, 1), (4, 1), (5, 0)] {
        let mut stage = Stage::new();
        stage.device("n2");
        stage.vip(Isolation::Stonith, "n2");
        let mut lives: Vec<NodeId> = (4..closing + 3).map(|place| stage.member(place)).collect();
        lives.push(stage.ids[1]);
        for node in lives {
            let incarnation = stage.state.nodes[&node].newest();
            let closed = stage.commit(vec![Command::Closing { node, incarnation }]);
            assert_eq!(closed, [Outcome::Done]);
        }
        let outputs = stage.tick(MS);
        let foreseen = outputs.iter().filter(|output| is_foreseen(output));
        assert_eq!(foreseen.count(), named, "{closing} closings");
    }
}

#[test]
fn what_is_foreseen_may_come_until_the_closing_is_taken_back() {
    let mut stage = Stage::new();
    stage.device("n2");
    stage.vip(Isolation::Stonith, "n2");
    let foreseen = stage.close(1).remove(0);
    assert!(foreseen.may_come(&stage.state));
    let (node, incarnation) = (foreseen.node, foreseen.incarnation);
    let closing = LogIndex(stage.index);
    stage.commit(vec![Command::Reopened {
        node,
        incarnation,
        closing,
    }]);
    assert!(!foreseen.may_come(&stage.state));
}
