//! Frames of ours pass the kernel's gate (docs/isolation.md): no socket of what ships sends past the queues and their
//! hooks.
//!
//! Read from the text: two socket options and an address family do so (packet(7), AF_XDP), by name or, where a call
//! takes any number, at all. What the kernel makes of such a socket of somebody else is seen in haft-agent's suite.

use crate::tree::{Source, none, sources};

/// Of what passes no queue.
const PAST_THE_QUEUES: &[&str] = &[
    "QDISC_BYPASS",
    "AF_XDP",
    "SOL_XDP",
    "XDP_UMEM",
    "XDP_TX_RING",
];
/// Ways to say the same by a number.
const BY_NUMBER: &[&str] = &[
    "setsockopt",
    "SOL_PACKET",
    "Domain::from(",
    "AddressFamily::from_raw(",
    "libc::socket(",
];

/// Everything of this kind in the code of what ships.
fn found(source: &Source) -> Vec<String> {
    let ships = source.path.starts_with("src/") || source.path.starts_with("fence-agents/");
    if !ships || source.is_test() {
        return Vec::new();
    }
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .flat_map(|(number, line)| {
            let words = PAST_THE_QUEUES.iter().chain(BY_NUMBER);
            let there = words.filter(|word| line.contains(**word));
            there.map(move |word| (number + 1, word))
        })
        .map(|(number, word)| format!("{}:{number}: {word}", source.path))
        .collect()
}

#[test]
fn no_frame_of_ours_is_sent_past_the_queues() {
    none(
        sources().iter().flat_map(found).collect(),
        "frames go through the link's queue, where the gate is: no PACKET_QDISC_BYPASS, no AF_XDP, no option by number",
    );
}

#[test]
fn a_line_that_sends_past_the_queues_is_found() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let ours = "src/agent/src/kernel/announce/socket.rs";
    for line in [
        "set_option(&socket, libc::PACKET_QDISC_BYPASS, &1)?;",
        "let socket = Socket::new(Domain::from(44), Type::RAW, None)?;",
        "libc::setsockopt(fd, 263, 20, value, 4);",
        "family: libc::AF_XDP,",
    ] {
        assert_eq!(found(&source(ours, line)).len(), 1, "{line}");
    }
    assert!(found(&source(ours, "// never PACKET_QDISC_BYPASS")).is_empty());
    assert!(
        found(&source(
            "src/agent/tests/kernel/past.rs",
            "libc::setsockopt("
        ))
        .is_empty()
    );
}
