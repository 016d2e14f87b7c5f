//! The real beat socket on real sockets: receipts against sends (R2b), and a link that stalls beside a healthy one.
//!
//! The second needs root, for a network namespace of its own; it touches nothing outside.

use super::*;
use haft_api::beat::{OpenedAnswer, open_answer, seal_beat};
use haft_engine::clock::{Moment, Timing};
use haft_engine::command::{Attestation, HeartbeatKey, NodeRole, VoterSets};
use haft_engine::ids::{BootId, EntryId, Epoch, Generation, LogIndex, NodeName};
use haft_engine::place::Place;
use haft_engine::session::responder::{Responder, Restart};
use haft_engine::session::{AnswerKind, Beat};
use haft_engine::spec::NodeSpec;
use haft_engine::state::{ClusterState, Node, Session};
use haft_engine::timing::{ClusterTiming, Terms};
use rustix::thread::UnshareFlags;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::time::Instant;

/// A deadline for states that come within milliseconds: far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(20);
const OWN: NodeId = NodeId(1);
const NONCE: u64 = 7;
/// Nodes that beat: enough to be read in one visit.
const NODES: [NodeId; 6] = [
    NodeId(11),
    NodeId(12),
    NodeId(13),
    NodeId(14),
    NodeId(15),
    NodeId(16),
];

fn heartbeat() -> HeartbeatKey {
    HeartbeatKey {
        generation: 1,
        secret: [9; 32],
    }
}

fn life(node: NodeId) -> Incarnation {
    Incarnation(100 + node.0)
}

fn closing(node: NodeId) -> LogIndex {
    LogIndex(200 + node.0)
}

/// Every node in this kind of session.
fn state(applied: u64, session: impl Fn(NodeId) -> Session) -> ClusterState {
    let row = |id: NodeId| Node {
        id,
        name: NodeName(format!("n{id}")),
        role: NodeRole::AgentOnly,
        host: String::new(),
        key_sha256: [0; 32],
        spec: NodeSpec::default(),
        generation: Generation(1),
        session: session(id),
        terms: Some(Terms::admitted(
            &ClusterTiming {
                generation: Generation(1),
                timing: Timing::NORMAL,
            },
            haft_engine::gate::GateKind::Timed,
        )),
        boot: BootId::default(),
        boot_epoch: Epoch(1),
        place: Place::default(),
        witnessed: None,
        fenced_at_ms: Vec::new(),
        quarantined: false,
        unfenced: Incarnation::default(),
    };
    ClusterState {
        applied: LogIndex(applied),
        epoch: Epoch(1),
        heartbeat_keys: vec![heartbeat()],
        nodes: NODES.map(|id| (id, row(id))).into(),
        ..ClusterState::default()
    }
}

/// A coordinator's beat socket that serves in a thread of its own.
struct Bench {
    addresses: Vec<SocketAddr>,
    responder: SharedResponder,
    counters: Arc<BeatCounters>,
}

impl Bench {
    fn serve(hosts: &[&str], bug: Option<Bug>) -> Bench {
        let wanted: Vec<SocketAddr> = hosts
            .iter()
            .map(|host| SocketAddr::new(host.parse().unwrap(), 0))
            .collect();
        let ports = BeatPorts::bind(&wanted).unwrap();
        let addresses = ports.addresses();
        let now = boot_now();
        let mut responder = Responder::new(OWN, Timing::NORMAL, now, Restart::Fresh);
        let sets = VoterSets {
            at: EntryId::new(1, 5),
            sets: vec![[OWN].into()],
        };
        responder.on_membership(now, sets);
        let open = state(150, |id| Session::Open {
            incarnation: life(id),
        });
        responder.on_applied(now, &open);
        let responder = SharedResponder::new(responder);
        let keys = BeatKeys::default();
        keys.learn(&open);
        let counters = Arc::new(BeatCounters::default());
        let (challenger, late) =
            Challenger::new(&ports, OWN, BootId::default(), keys.clone(), 0).unwrap();
        let socket = BeatSocket {
            ports,
            own: OWN,
            keys,
            responder: responder.clone(),
            nonce: NONCE,
            beat: Timing::NORMAL.beat,
            counters: Arc::clone(&counters),
            challenger: Arc::new(challenger),
        };
        drop(late);
        std::thread::spawn(move || {
            set(bug);
            // It ends with the process, as in haftd.
            let _ = socket.serve();
        });
        Bench {
            addresses,
            responder,
            counters,
        }
    }

    fn answered(&self) -> u64 {
        self.counters.counts().answered
    }

    fn wait_for(&self, what: &str, reached: impl Fn(&Bench) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached(self) {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::yield_now();
        }
    }

    /// When the last acknowledged beat of `node` was received, as an age about it would say.
    fn receipt(&self, node: NodeId) -> Moment {
        let mut responder = self.responder.with(|responder| responder.clone());
        let asked = boot_now();
        let closed = state(300, |id| Session::Closing {
            incarnation: life(id),
            closing: closing(id),
        });
        responder.on_applied(asked, &closed);
        let stated = responder.state_age(asked, node, life(node), closing(node));
        asked.before(stated.unwrap().age)
    }
}

#[cfg(feature = "planted-bugs")]
fn set(bug: Option<Bug>) {
    plant::set(bug);
}

#[cfg(not(feature = "planted-bugs"))]
fn set(bug: Option<Bug>) {
    assert_eq!(bug, None, "needs the feature planted-bugs");
}

/// A node's end.
struct Client {
    socket: UdpSocket,
    node: NodeId,
}

impl Client {
    fn new(node: NodeId, host: &str) -> Client {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { socket, node }
    }

    fn key(&self) -> BeatKey {
        BeatKey::derive(&heartbeat(), self.node, life(self.node))
    }

    /// Sends a beat; the moment was read before the send, as the holder's is.
    fn beat(&self, sequence: u64, to: SocketAddr) -> Moment {
        let beat = Beat {
            node: self.node,
            incarnation: life(self.node),
            sequence,
            membership: EntryId::new(1, 5),
            ttl: Timing::NORMAL.ttl,
            guards: Attestation::Intact,
        };
        let bytes = seal_beat(&self.key(), &beat, NONCE);
        let sent = boot_now();
        self.socket.send_to(&bytes, to).unwrap();
        sent
    }

    /// The next answer to a beat. What the coordinator asks by itself, as it does when it first hears of a node, is
    /// none.
    fn answer(&self) -> Option<AnswerKind> {
        let mut buffer = [0; DATAGRAM_MAX + 1];
        let deadline = Instant::now() + PATIENCE;
        let length = loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            if !challenge::is_one(&buffer[..length]) {
                break length;
            }
            if Instant::now() >= deadline {
                return None;
            }
        };
        match open_answer(&self.key(), &buffer[..length]) {
            Ok(OpenedAnswer::Answer(answer)) => Some(answer.kind),
            Ok(OpenedAnswer::Challenge { .. }) | Err(_) => None,
        }
    }
}

/// Holds the responder's lock, as the state machine and the append do, until the sender is dropped.
fn hold(responder: &SharedResponder) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (say, held) = mpsc::channel();
    let responder = responder.clone();
    std::thread::spawn(move || {
        responder.with(|_| {
            say.send(()).unwrap();
            let _ = released.recv();
        });
    });
    held.recv().unwrap();
    release
}

/// What was sent while the socket's thread waited for a lock, and when it was dated.
fn sends_and_receipts(bug: Option<Bug>) -> Vec<(NodeId, Moment, Moment)> {
    let bench = Bench::serve(&["127.0.0.1"], bug);
    let clients = NODES.map(|node| Client::new(node, "127.0.0.1"));
    let release = hold(&bench.responder);
    let mut sent = Vec::new();
    for (place, client) in clients.iter().enumerate() {
        sent.push(client.beat(1, bench.addresses[0]));
        if place == 0 {
            // Taken from the socket: the others are sent while its thread waits for the lock.
            bench.wait_for("the first beat is taken", |bench| bench.answered() == 1);
        }
    }
    drop(release);
    for client in &clients {
        assert_eq!(client.answer(), Some(AnswerKind::Acknowledged));
    }
    NODES
        .into_iter()
        .zip(sent)
        .map(|(node, sent)| (node, sent, bench.receipt(node)))
        .collect()
}

#[test]
fn no_receipt_is_dated_before_its_beat_was_sent_whoever_holds_the_lock() {
    for (node, sent, received) in sends_and_receipts(None) {
        assert!(received >= sent, "{node}: {received:?} before {sent:?}");
        assert!(received <= boot_now());
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn one_reading_for_a_whole_drain_is_noticed() {
    let dated = sends_and_receipts(Some(Bug::DateDrainByItsStart));
    assert!(dated.iter().any(|(_, sent, received)| received < sent));
}

fn run(line: &str) {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    let output = Command::new(program).args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs in a network namespace of its own, in which what goes to 10.0.2.9 stalls.
fn beside_a_stalled_link<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let inside = std::thread::spawn(move || {
        unshare_network();
        run("ip link set lo up");
        for address in ["10.0.1.1", "10.0.1.9", "10.0.2.1", "10.0.2.9"] {
            run(&format!("ip address add {address}/32 dev lo"));
        }
        run("tc qdisc add dev lo root handle 1: htb default 10");
        run("tc class add dev lo parent 1: classid 1:10 htb rate 10gbit quantum 60000");
        run(
            "tc class add dev lo parent 1: classid 1:20 htb rate 8bit burst 1600 cburst 1600 quantum 1600",
        );
        run("tc filter add dev lo parent 1: protocol ip u32 match ip dst 10.0.2.9/32 flowid 1:20");
        work()
    });
    inside.join().unwrap()
}

#[expect(
    unsafe_code,
    reason = "unshare is the only way to a namespace of one's own"
)]
fn unshare_network() {
    // SAFETY: the calling thread was made for this and shares no file descriptors by way of the flags.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .expect("this test makes a network namespace and must run as root");
}

/// Whether the node on the healthy link is answered while the answers to the other one stall.
fn is_answered_beside_a_stalled_link(bug: Option<Bug>, patience: Duration) -> bool {
    beside_a_stalled_link(move || {
        let bench = Bench::serve(&["10.0.1.1", "10.0.2.1"], bug);
        let stalled = Client::new(NODES[0], "10.0.2.9");
        let healthy = Client::new(NODES[1], "10.0.1.9");
        healthy.socket.set_read_timeout(Some(patience)).unwrap();
        // More than a send buffer holds of answers that do not leave.
        for sequence in 1..=1_000 {
            stalled.beat(sequence, bench.addresses[1]);
        }
        let full = |bench: &Bench| bench.counters.counts().unsent > 0 || bug.is_some();
        bench.wait_for("its answers find no room", full);
        (1..=3).all(|sequence| {
            healthy.beat(sequence, bench.addresses[0]);
            healthy.answer() == Some(AnswerKind::Acknowledged)
        })
    })
}

#[test]
fn a_stalled_link_holds_back_no_answer_on_another() {
    assert!(is_answered_beside_a_stalled_link(None, PATIENCE));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn an_answer_that_waits_for_its_socket_is_noticed() {
    let patience = Duration::from_secs(3);
    assert!(!is_answered_beside_a_stalled_link(
        Some(Bug::AnswerBlocking),
        patience
    ));
}

#[test]
fn an_address_that_comes_later_is_bound_at_once() {
    // TEST-NET-1 (RFC 5737): no machine has it.
    let ports = BeatPorts::bind(&["192.0.2.1:0".parse().unwrap()]).unwrap();
    assert_eq!(ports.count(), 1);
    assert!(ports.addresses()[0].port() > 0);
}
