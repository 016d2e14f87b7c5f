//! What a coordinator does with datagrams and calls that nobody honest sends: dropped, counted, answered with a
//! status; nothing changed, and it goes on serving.
//!
//! The wire form of beats is used through haft-api, because a replay needs an authentic datagram first. Random
//! bytes come from a seed that is printed; `HAFT_SEED` replays it.

use haft_api::beat::{BeatKey, OpenedAnswer, open_answer, seal_beat};
use haft_api::challenge;
use haft_engine::command::{Attestation, HeartbeatKey};
use haft_engine::ids::{EntryId, Incarnation, NodeId};
use haft_engine::session::Beat;
use haft_tests::coordinators::Coordinators;
use haft_tests::seed::Seed;
use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

/// A cluster of one, and a socket that speaks to its beat port.
struct Target {
    cluster: Coordinators,
    socket: UdpSocket,
    heartbeat: [u8; 32],
}

impl Target {
    fn start() -> Self {
        let mut cluster = Coordinators::prepare();
        cluster.init();
        // Gone once the log holds what is in it.
        let bootstrap =
            fs::read_to_string(cluster.data("n1").join("identity/bootstrap.json")).unwrap();
        let bootstrap: serde_json::Value = serde_json::from_str(&bootstrap).unwrap();
        let heartbeat = from_hex(bootstrap["heartbeat_key"].as_str().unwrap());
        cluster.found();
        let socket = UdpSocket::bind((cluster.host("n1"), 0)).unwrap();
        socket.connect((cluster.host("n1"), 7402)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            cluster,
            socket,
            heartbeat,
        }
    }

    fn key(&self) -> BeatKey {
        let heartbeat = HeartbeatKey {
            generation: 1,
            secret: self.heartbeat,
        };
        BeatKey::derive(&heartbeat, NodeId(1), Incarnation(7))
    }

    fn ask(&self, datagram: &[u8]) -> OpenedAnswer {
        self.socket.send(datagram).unwrap();
        let mut buffer = [0; 512];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap();
            // Whoever beats is asked now and then how long its answers take; that is no answer to a beat.
            if !challenge::is_one(&buffer[..length]) {
                return open_answer(&self.key(), &buffer[..length]).unwrap();
            }
        }
    }

    /// The nonce by which this coordinator tells new beats from captured ones.
    fn nonce(&self) -> u64 {
        match self.ask(&seal_beat(&self.key(), &beat(1), 0)) {
            OpenedAnswer::Challenge { nonce, .. } => nonce,
            OpenedAnswer::Answer(answer) => {
                panic!("a beat without a nonce was believed: {answer:?}")
            }
        }
    }

    fn dropped(status: &serde_json::Value) -> BTreeMap<String, u64> {
        serde_json::from_value(status["beats"]["dropped"].clone()).unwrap()
    }

    /// Waits until exactly this many datagrams were dropped, by reason.
    fn wait_dropped(&self, wanted: &BTreeMap<String, u64>) {
        self.cluster
            .wait_for(&format!("{wanted:?} dropped"), |status| {
                Self::dropped(status) == *wanted
            });
    }
}

fn beat(sequence: u64) -> Beat {
    Beat {
        node: NodeId(1),
        incarnation: Incarnation(7),
        sequence,
        membership: EntryId::new(1, 1),
        ttl: Duration::from_millis(250),
        guards: Attestation::Intact,
    }
}

fn from_hex(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    }
    bytes
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs
        .iter()
        .map(|(why, count)| ((*why).to_owned(), *count))
        .collect()
}

#[test]
fn replayed_altered_and_wrongly_keyed_beats_are_dropped_and_counted() {
    let target = Target::start();
    let nonce = target.nonce();
    let authentic = seal_beat(&target.key(), &beat(2), nonce);
    assert!(matches!(target.ask(&authentic), OpenedAnswer::Answer(_)));
    // The same again, and an older one.
    target.socket.send(&authentic).unwrap();
    let older = seal_beat(&target.key(), &beat(1), nonce);
    target.socket.send(&older).unwrap();
    target.wait_dropped(&counts(&[("replayed", 2)]));
    // Another key.
    let stranger = BeatKey::from_parts(1, [0x5a; 32]);
    target
        .socket
        .send(&seal_beat(&stranger, &beat(3), nonce))
        .unwrap();
    // A generation that no key has.
    let old = BeatKey::from_parts(9, *target.key().secret());
    target
        .socket
        .send(&seal_beat(&old, &beat(3), nonce))
        .unwrap();
    target.wait_dropped(&counts(&[("no_key", 1), ("replayed", 2), ("wrong_tag", 1)]));
    // Cut short and made longer.
    let authentic = seal_beat(&target.key(), &beat(3), nonce);
    for length in 0..authentic.len() {
        target.socket.send(&authentic[..length]).unwrap();
    }
    let mut longer = authentic.clone();
    longer.push(0);
    target.socket.send(&longer).unwrap();
    let lengths = u64::try_from(authentic.len()).unwrap() + 1;
    target.wait_dropped(&counts(&[
        ("length", lengths),
        ("no_key", 1),
        ("replayed", 2),
        ("wrong_tag", 1),
    ]));
    // None of it was believed: the true third beat is still new.
    assert!(matches!(target.ask(&authentic), OpenedAnswer::Answer(_)));
}

#[test]
fn no_single_altered_bit_and_no_noise_is_answered() {
    let seed = Seed::new();
    let mut random = seed.stream();
    let target = Target::start();
    let nonce = target.nonce();
    let authentic = seal_beat(&target.key(), &beat(2), nonce);
    let mut sent = 0;
    let mut batch = |datagrams: Vec<Vec<u8>>| {
        for datagram in &datagrams {
            target.socket.send(datagram).unwrap();
        }
        sent += datagrams.len() as u64;
        // A batch fits the socket's buffer; the next one goes when it was counted.
        target
            .cluster
            .wait_for("every datagram to be dropped", |status| {
                Target::dropped(status).values().sum::<u64>() == sent
            });
    };
    let flipped = (0..authentic.len() * 8).map(|bit| {
        let mut datagram = authentic.clone();
        datagram[bit / 8] ^= 1 << (bit % 8);
        datagram
    });
    for chunk in flipped.collect::<Vec<_>>().chunks(100) {
        batch(chunk.to_vec());
    }
    for _ in 0..20 {
        let noise = (0..100).map(|_| {
            let length = random.below(600);
            let mut datagram = random.bytes(length);
            // Half of it looks like ours at first sight.
            if datagram.len() >= 4 && random.below(2) == 0 {
                datagram[..4].copy_from_slice(&authentic[..4]);
            }
            datagram
        });
        batch(noise.collect());
    }
    assert!(matches!(target.ask(&authentic), OpenedAnswer::Answer(_)));
    assert!(!target.cluster.log_text("n1").contains("panicked"));
}
