//! What is said of an order before it can be given, and of what nothing is said.

use super::*;
use crate::leader::Foreseen;

impl Stage {
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
fn the_device_of_a_closing_owner_is_named_once_and_dies_before_the_order() {
    let mut stage = Stage::new();
    stage.device("n2");
    stage.vip(Isolation::Stonith, "n2");
    let foreseen = stage.close(1);
    let [foreseen] = &foreseen[..] else {
        panic!("said once: {foreseen:?}");
    };
    assert_eq!(foreseen.node, stage.ids[1]);
    assert_eq!(foreseen.device, DeviceName::from("bmc"));
    assert!(foreseen.of_use_until > stage.now);
    let closing = LogIndex(stage.index);
    let mut runs = Vec::new();
    for by in [0, 2] {
        let age = stage.age(by, lengthened(TIMING.ttl));
        let outputs = stage.step(Input::AgeStated { closing, age });
        let rest = stage.settle(outputs);
        runs.extend(fences(&rest));
    }
    assert_eq!(runs.len(), 1, "the order comes");
    assert!(foreseen.deadline <= runs[0].deadline);
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
