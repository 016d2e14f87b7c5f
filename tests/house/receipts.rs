//! A receipt is dated where its datagram is received (R2b), and nowhere else.
//!
//! The type `Received` is made by `Received::after` alone. What is called there must be a receive call: so it stands
//! in one file of each layer, which a reviewer can read.

use crate::tree::{none, sources};

/// Where it is defined, where haftd receives, and where the simulator delivers.
const PLACES: [&str; 3] = [
    "src/coordinator/src/beats/ports.rs",
    "src/engine/src/session/received.rs",
    "src/sim/src/coordinator.rs",
];

#[test]
fn beats_are_dated_by_the_call_that_receives_them_and_nowhere_else() {
    let makes = sources()
        .into_iter()
        .filter(|source| !source.is_test() && source.text.contains("Received::after("));
    let mut wrong: Vec<String> = makes.map(|source| source.path).collect();
    wrong.retain(|path| !PLACES.contains(&path.as_str()));
    none(
        wrong,
        "a receipt is dated in beats/ports.rs, by the receive call itself",
    );
    let receives = sources()
        .into_iter()
        .find(|source| source.path == PLACES[0]);
    let text = receives.map(|source| source.text).unwrap_or_default();
    assert_eq!(
        text.matches("Received::after(|| socket.recv_from").count(),
        1
    );
    assert_eq!(
        text.matches("recv_from").count(),
        1,
        "a receive call beside it"
    );
}
