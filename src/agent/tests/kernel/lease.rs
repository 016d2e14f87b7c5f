//! The lease thread on a real kernel: three coordinators' responders on loopback, a client on the wire.
//!
//! No gRPC and no Raft: orders are given directly, and the coordinators answer by haft-engine's responder.

use crate::fixture::{VIP4, client};
use crate::netns::{Wire, eventually};
use haft_agent::executor::Enforcement;
use haft_agent::kernel::address::Addresses;
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::gate::{Footing, Home};
use haft_agent::lease::Lease;
use haft_agent::order::{Admission, BeatAddresses, Notice, Order, Orders, orders};
use haft_agent::sbd::SbdNotice;
use haft_agent::sbd::vouch::Vouch;
use haft_agent::shared_watchdog::{SharedWatchdog, Timer};
use haft_agent::watchdog::{Watchdog, WatchdogError};
use haft_api::beat::{BeatKey, open_beat, seal_answer};
use haft_engine::apply::{Outcome, apply};
use haft_engine::clock::Timing;
use haft_engine::command::{Attestation, Command, Entry, HeartbeatKey, NodeRole, Probe, VoterSets};
use haft_engine::ids::{
    BootId, EntryId, Epoch, Generation, Incarnation, LogIndex, NodeId, NodeName, ResourceId, Term,
    Token,
};
use haft_engine::keeper::{AssignedItem, Assignment, Output, Want};
use haft_engine::session::authority::Origin;
use haft_engine::session::responder::{Responder, Restart};
use haft_engine::session::{AnswerKind, Received};
use haft_engine::spec::{Failback, Isolation, NodeSpec, ResourceSpec, Unfenced, VirtualIpSpec};
use haft_engine::state::{ClusterState, Node, Session};
use haft_engine::timing::{ClusterTiming, Terms};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) const NODE: NodeId = NodeId(9);
pub(crate) const LIFE: Incarnation = Incarnation(20);
/// The end of a log that was restored from a copy, and written by another leader since.
pub(crate) const RESTORED: EntryId = EntryId {
    term: Term(9),
    index: LogIndex(12),
};
/// Beats refused for the ttl that they name or do not name.
static REFUSED: AtomicU64 = AtomicU64::new(0);
const VOTERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

fn key() -> BeatKey {
    let heartbeat = HeartbeatKey {
        generation: 1,
        secret: [5; 32],
    };
    BeatKey::derive(&heartbeat, NODE, LIFE)
}

fn membership() -> VoterSets {
    VoterSets {
        at: EntryId::new(1, 5),
        sets: vec![VOTERS.into()],
    }
}

fn in_force(timing: Timing) -> ClusterTiming {
    ClusterTiming {
        generation: Generation(1),
        timing,
    }
}

fn state(timing: Timing) -> ClusterState {
    let node = Node {
        id: NODE,
        name: NodeName::from("n9"),
        role: NodeRole::AgentOnly,
        host: String::new(),
        key_sha256: [0; 32],
        spec: NodeSpec::default(),
        generation: Generation(1),
        session: Session::Open { incarnation: LIFE },
        terms: Some(Terms::admitted(
            &in_force(timing),
            haft_engine::gate::GateKind::Timed,
        )),
        boot: BootId::default(),
        boot_epoch: Epoch(1),
        place: Default::default(),
        witnessed: None,
        fenced_at_ms: Vec::new(),
        quarantined: false,
        unfenced: Incarnation::default(),
    };
    ClusterState {
        applied: LogIndex(20),
        epoch: Epoch(1),
        nodes: [(NODE, node)].into(),
        timing: Some(in_force(timing)),
        ..ClusterState::default()
    }
}

pub(crate) fn token() -> Token {
    Token {
        epoch: Epoch(1),
        index: LogIndex(30),
    }
}

pub(crate) fn assignment(revision: u64, wants: &[Want]) -> Order {
    assignment_of((VIP4, "own0"), revision, wants)
}

pub(crate) fn assignment_of(
    (address, interface): (IpAddr, &str),
    revision: u64,
    wants: &[Want],
) -> Order {
    let items = wants
        .iter()
        .map(|want| item(ResourceId::vip("web"), (address, interface), *want));
    order_of(revision, items.collect())
}

pub(crate) fn item(
    resource: ResourceId,
    (address, interface): (IpAddr, &str),
    want: Want,
) -> AssignedItem {
    AssignedItem {
        resource,
        token: token(),
        spec: ResourceSpec::VirtualIp(VirtualIpSpec {
            address,
            interface: interface.to_owned(),
            isolation: Isolation::Lease,
            unfenced: Unfenced::Refused,
            preference: Vec::new(),
            failback: Failback::Never,
        }),
        want,
        watchdog: None,
        progress: haft_engine::state::Progress::Begun,
    }
}

pub(crate) fn order_of(revision: u64, items: Vec<AssignedItem>) -> Order {
    let origin = Origin {
        epoch: Epoch(1),
        term: Term(1),
        index: LogIndex(revision),
    };
    let assignment = Assignment {
        revision: LogIndex(revision),
        incarnation: LIFE,
        items,
        timing: None,
    };
    Order::Assigned(origin, assignment)
}

/// The same order, with a version of the timing that the log does not hold for this life yet.
pub(crate) fn timed(order: Order, told: ClusterTiming) -> Order {
    match order {
        Order::Assigned(origin, assignment) => {
            let timing = Some(told);
            Order::Assigned(
                origin,
                Assignment {
                    timing,
                    ..assignment
                },
            )
        }
        Order::Begin(_) | Order::Addresses(_) | Order::Over(..) | Order::Shutdown => order,
    }
}

/// What goes on beside the lease thread.
pub(crate) struct World {
    guard: Attestation,
    orders: Orders,
    pub(crate) notices: mpsc::Receiver<Notice>,
    addresses: BeatAddresses,
    timing: Timing,
    /// What the coordinators have applied.
    log: Arc<Mutex<ClusterState>>,
    /// Beats that the coordinators have heard, together.
    pub(crate) heard: Arc<AtomicU64>,
    /// Whether the coordinators' logs end where [`RESTORED`] says.
    pub(crate) went_back: Arc<AtomicBool>,
}

impl World {
    pub(crate) fn admit(&self) {
        let admission = Admission {
            node: NODE,
            incarnation: LIFE,
            membership: membership(),
            addresses: self.addresses.clone(),
            keys: vec![key()],
            timing: in_force(self.timing),
            origin: Origin {
                epoch: Epoch(1),
                term: Term(1),
                index: LogIndex(20),
            },
        };
        self.orders.send(Order::Begin(admission)).unwrap();
    }

    pub(crate) fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    /// Commits this as the next entry; every coordinator applies it before it answers another beat.
    pub(crate) fn commit(&self, command: Command) {
        let mut log = self.log.lock().unwrap();
        let index = LogIndex(log.applied.0 + 1);
        let entry = Entry {
            stamp_unix_ms: 0,
            commands: vec![command],
        };
        let outcomes = apply(&mut log, index, &entry);
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_));
        assert!(!outcomes.iter().any(refused), "{outcomes:?}");
    }

    /// The timing that the log holds.
    pub(crate) fn in_force(&self) -> ClusterTiming {
        self.log.lock().unwrap().timing.unwrap()
    }

    /// Waits for this notice; others may come before it.
    pub(crate) fn await_notice(&mut self, what: &str, wanted: &Notice) {
        eventually(what, || {
            self.notices
                .try_recv()
                .is_ok_and(|notice| notice == *wanted)
        });
    }

    pub(crate) fn await_active(&mut self) {
        let active = Output::ReportActive {
            resource: ResourceId::vip("web"),
            token: token(),
            guard: self.guard,
            address_life: self.timing.address_life,
        };
        self.await_notice("the owner acts", &Notice::Report(LIFE, active));
    }

    pub(crate) fn await_release(&mut self) {
        let released = Output::ReportReleased {
            resource: ResourceId::vip("web"),
            token: token(),
        };
        self.await_notice("the owner has released", &Notice::Report(LIFE, released));
    }
}

/// Runs `story` beside a lease thread in the owner's namespace, whose three coordinators answer while
/// `answering` says so. Ends both, whatever the story left behind.
pub(crate) fn beside_a_lease(
    wire: &Wire,
    timing: Timing,
    story: impl FnOnce(&mut World, &AtomicBool),
) {
    let watchdog = SharedWatchdog::alone(Watchdog::at(Path::new("/dev/null")));
    beside_a_lease_with(wire, timing, watchdog, Enforcement::Timed, story);
}

/// The same behind the kernel's gate, whose file system outlives the agent.
pub(crate) fn beside_a_gated_lease(
    wire: &Wire,
    home: Home,
    story: impl FnOnce(&mut World, &AtomicBool),
) {
    let watchdog = SharedWatchdog::alone(Watchdog::at(Path::new("/dev/null")));
    beside_a_lease_with(
        wire,
        Timing::NORMAL,
        watchdog,
        Enforcement::Gated(home),
        story,
    );
}

pub(crate) fn beside_a_lease_with(
    wire: &Wire,
    timing: Timing,
    watchdog: SharedWatchdog,
    enforcement: Enforcement,
    story: impl FnOnce(&mut World, &AtomicBool),
) {
    let answering = AtomicBool::new(true);
    let ended = AtomicBool::new(false);
    let sockets: Vec<UdpSocket> = wire.owner.run(|| {
        VOTERS
            .iter()
            .map(|_| {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_millis(20)))
                    .unwrap();
                socket
            })
            .collect()
    });
    let addresses = VOTERS
        .iter()
        .zip(&sockets)
        .map(|(voter, socket)| (*voter, vec![socket.local_addr().unwrap()]))
        .collect();
    let (orders, inbox) = orders().unwrap();
    let (sender, notices) = mpsc::channel(1_024);
    let mut world = World {
        guard: match enforcement {
            Enforcement::Gated(_) if Footing::of_this_kernel() == Footing::Pinned => {
                Attestation::Intact
            }
            // Nobody looks after timed elements, or after filters, when their agent is dead.
            _ => Attestation::Watched,
        },
        orders,
        notices,
        addresses,
        timing,
        log: Arc::new(Mutex::new(state(timing))),
        heard: Arc::default(),
        went_back: Arc::default(),
    };
    let heard = Arc::clone(&world.heard);
    let log = Arc::clone(&world.log);
    let went_back = Arc::clone(&world.went_back);
    std::thread::scope(|scope| {
        for (voter, socket) in VOTERS.iter().zip(&sockets) {
            let (answering, ended) = (&answering, &ended);
            let (heard, log) = (Arc::clone(&heard), Arc::clone(&log));
            let state = (log, Arc::clone(&went_back));
            scope.spawn(move || respond((*voter, socket), &state, &heard, answering, ended));
        }
        let thread = scope.spawn(|| {
            wire.owner.run(|| {
                Lease::open(enforcement, watchdog, inbox, sender)
                    .unwrap()
                    .run();
            });
        });
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            story(&mut world, &answering);
        }));
        let _ = world.orders.send(Order::Shutdown);
        let deadline = std::time::Instant::now() + crate::netns::PATIENCE;
        while !thread.is_finished() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        ended.store(true, Ordering::SeqCst);
        told.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(thread.is_finished(), "the lease thread did not end");
    });
}

fn respond(
    (own, socket): (NodeId, &UdpSocket),
    (log, went_back): &(Arc<Mutex<ClusterState>>, Arc<AtomicBool>),
    heard: &AtomicU64,
    answering: &AtomicBool,
    ended: &AtomicBool,
) {
    let now = boot_now();
    let mut responder = Responder::new(own, Timing::NORMAL, now, Restart::Fresh);
    responder.on_membership(now, membership());
    let mut applied = LogIndex(0);
    let mut buffer = [0; 512];
    while !ended.load(Ordering::SeqCst) {
        let (got, received) = Received::after(|| socket.recv_from(&mut buffer), boot_now);
        let Ok((length, from)) = got else {
            continue;
        };
        heard.fetch_add(1, Ordering::SeqCst);
        let newest = log.lock().unwrap();
        if newest.applied > applied {
            applied = newest.applied;
            responder.on_applied(boot_now(), &newest);
        }
        drop(newest);
        if !answering.load(Ordering::SeqCst) {
            continue;
        }
        let opened = open_beat(&key(), &buffer[..length]).unwrap();
        let mut answer = responder.on_beat(received, &opened.beat);
        if went_back.load(Ordering::SeqCst) {
            answer.log = RESTORED;
        }
        if answer.kind == AnswerKind::OtherTtl {
            REFUSED.fetch_add(1, Ordering::SeqCst);
        }
        socket
            .send_to(&seal_answer(&key(), NODE, &answer), from)
            .unwrap();
    }
}

#[test]
fn an_assigned_address_answers_until_it_is_to_be_released() {
    let wire = Wire::new();
    let probe = client(&wire);
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.await_notice("the machine is clean", &Notice::Idle(Probe::Clean));
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        eventually("the address answers", || probe.echoes(VIP4));
        world.order(assignment(31, &[Want::Release]));
        world.await_release();
        assert!(!probe.echoes(VIP4));
        assert!(!wire.owner.ip("addr show dev own0").contains("10.9.0.100"));
    });
}

/// Whatever its file says: also where that is shorter than what the log holds.
#[cfg(feature = "without-timing")]
#[test]
fn an_agent_that_does_not_count_by_the_log_has_no_lease() {
    let wire = Wire::new();
    let probe = client(&wire);
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.await_notice("the machine is clean", &Notice::Idle(Probe::Clean));
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        eventually("every coordinator has refused its beats", || {
            REFUSED.load(Ordering::SeqCst) >= 60
        });
        while let Ok(notice) = world.notices.try_recv() {
            assert!(!matches!(
                notice,
                Notice::Report(_, Output::ReportActive { .. })
            ));
        }
        assert!(!probe.echoes(VIP4));
    });
}

/// Keeps any period and counts nothing.
#[derive(Debug)]
struct Toy(Arc<Mutex<Vec<&'static str>>>);

impl Timer for Toy {
    fn arm(&mut self, wanted: Duration) -> Result<Duration, WatchdogError> {
        self.0.lock().unwrap().push("arm");
        Ok(wanted)
    }
    fn pet(&mut self) -> Result<(), WatchdogError> {
        self.0.lock().unwrap().push("pet");
        Ok(())
    }
    fn disarm(&mut self) -> Result<(), WatchdogError> {
        self.0.lock().unwrap().push("disarm");
        Ok(())
    }
}

#[test]
fn nothing_is_held_before_the_shared_disks_vouch_and_the_watchdog_is_disarmed_last() {
    let wire = Wire::new();
    let (vouch, admitted) = Vouch::none();
    let (notices, mut heard) = mpsc::channel(8);
    let acts = Arc::new(Mutex::new(Vec::new()));
    let watchdog =
        SharedWatchdog::with_disks(Box::new(Toy(Arc::clone(&acts))), vouch.clone(), notices);
    beside_a_lease_with(
        &wire,
        Timing::NORMAL,
        watchdog,
        Enforcement::Timed,
        |world, _| {
            world.admit();
            world.order(assignment(30, &[Want::Hold]));
            eventually("the disks hear of the admission", || {
                admitted.try_recv().is_ok()
            });
            assert!(!wire.owner.ip("addr show dev own0").contains("10.9.0.100"));
            assert!(acts.lock().unwrap().is_empty());
            vouch.set_longest(Duration::from_secs(4));
            vouch.set_until(boot_now() + Duration::from_secs(3_600));
            world.await_active();
            assert_eq!(heard.try_recv(), Ok(SbdNotice::Watched));
            assert_eq!(acts.lock().unwrap().first(), Some(&"arm"));
            eventually("it is petted", || acts.lock().unwrap().contains(&"pet"));
            assert!(!acts.lock().unwrap().contains(&"disarm"));
        },
    );
    let acts = acts.lock().unwrap();
    assert_eq!(acts.last(), Some(&"disarm"));
    assert!(!wire.owner.ip("addr show dev own0").contains("10.9.0.100"));
}

#[test]
fn beside_a_leftover_the_watchdog_stays_armed_at_the_end() {
    let wire = Wire::new();
    let (vouch, _admitted) = Vouch::none();
    let (notices, _heard) = mpsc::channel(8);
    let acts = Arc::new(Mutex::new(Vec::new()));
    let watchdog =
        SharedWatchdog::with_disks(Box::new(Toy(Arc::clone(&acts))), vouch.clone(), notices);
    beside_a_lease_with(
        &wire,
        Timing::NORMAL,
        watchdog,
        Enforcement::Timed,
        |world, _| {
            world.admit();
            vouch.set_longest(Duration::from_secs(4));
            vouch.set_until(boot_now() + Duration::from_secs(3_600));
            eventually("it is petted", || acts.lock().unwrap().contains(&"pet"));
            wire.owner.run(|| {
                let mut addresses = Addresses::open().unwrap();
                let link = addresses.link("own0").unwrap().unwrap();
                addresses
                    .put(VIP4, link.index, Duration::from_secs(600))
                    .unwrap();
            });
        },
    );
    // Without it no pill would reach what is left, and the wait for one would prove nothing.
    assert!(!acts.lock().unwrap().contains(&"disarm"));
}

#[test]
fn an_owner_cut_off_goes_silent_before_it_releases() {
    let wire = Wire::new();
    let probe = client(&wire);
    beside_a_lease(&wire, Timing::NORMAL, |world, answering| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        eventually("the address answers", || probe.echoes(VIP4));
        answering.store(false, Ordering::SeqCst);
        eventually("the guard has lapsed", || !probe.echoes(VIP4));
        // Its address is still there, behind the closed guard.
        assert!(wire.owner.ip("addr show dev own0").contains("10.9.0.100"));
        world.await_release();
    });
}

#[test]
fn a_lease_that_comes_back_in_time_opens_the_address_again() {
    let wire = Wire::new();
    let probe = client(&wire);
    beside_a_lease(&wire, Timing::NORMAL, |world, answering| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        answering.store(false, Ordering::SeqCst);
        eventually("the guard has lapsed", || !probe.echoes(VIP4));
        answering.store(true, Ordering::SeqCst);
        eventually("the address answers again", || probe.echoes(VIP4));
    });
}

#[test]
fn a_new_agent_removes_what_an_earlier_life_left() {
    let wire = Wire::new();
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let link = addresses.link("own0").unwrap().unwrap();
        addresses
            .put(VIP4, link.index, Duration::from_secs(600))
            .unwrap();
    });
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.await_notice("the machine is clean", &Notice::Idle(Probe::Clean));
        assert!(!wire.owner.ip("addr show dev own0").contains("10.9.0.100"));
    });
}

#[test]
fn a_flushed_ruleset_is_noticed_and_the_address_stays() {
    let wire = Wire::new();
    let probe = client(&wire);
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        wire.owner.command("nft", "flush ruleset");
        eventually("the guard is there", || {
            wire.owner.command("nft", "list tables").contains("haft")
        });
        eventually("the address answers", || probe.echoes(VIP4));
    });
}
