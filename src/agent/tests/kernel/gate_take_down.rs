//! What leaves a machine while its dead agent is cleared up after, as the unit does whenever an agent has ended.
//!
//! Every frame of the wire is read, from the agent's death on, while somebody asks for the addresses all the time.

use crate::fixture::{BOTH, V4, VIP4, VIP6, assert_answering, assert_silent, client};
use crate::gate::{FileSystem, Owner, clear_up_after};
use crate::gate_links::footings;
use crate::gate_past::{client_of, connection, know_the_client};
use crate::lease::{World, assignment_of, beside_a_gated_lease, beside_a_lease};
use crate::netns::{Wire, eventually};
use crate::probe::{CLIENT_MAC, Probe, arp, speaks_for};
use haft_agent::kernel::gate::Footing;
use haft_engine::clock::Timing;
use haft_engine::keeper::Want;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How long the observer waits for one frame before it looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(20);

/// What is seen on the wire.
struct Watch {
    /// Sends frames that the observer knows.
    marker: Probe,
    /// The last of them that it has read.
    read: AtomicU8,
    over: AtomicBool,
    /// Frames that speak for an address of the owner's.
    spoken: AtomicU64,
    /// Rounds of questions that were asked.
    asked: AtomicU64,
}

impl Watch {
    fn spoken(&self) -> u64 {
        self.spoken.load(Ordering::SeqCst)
    }

    /// Waits until everything has been asked some more times.
    fn await_questions(&self) {
        let before = self.asked.load(Ordering::SeqCst);
        eventually("it is asked", || {
            self.asked.load(Ordering::SeqCst) >= before + 20
        });
        // Whatever has come by now is read before this is.
        let next = self.read.load(Ordering::SeqCst) + 1;
        let mark = Ipv4Addr::new(10, 9, 200, next);
        eventually("the observer has read everything", || {
            let frame = arp(1, CLIENT_MAC, mark, [0; 6], mark);
            self.marker.send(&frame);
            self.read.load(Ordering::SeqCst) == next
        });
    }

    fn observe(&self, probe: &Probe) {
        let speaks = |frame: &[u8]| {
            if let Some([10, 9, 200, mark]) = frame.get(28..32) {
                self.read.store(*mark, Ordering::SeqCst);
            }
            let foreign = frame.get(6..12) != Some(&CLIENT_MAC[..]);
            foreign && BOTH.iter().any(|vip| speaks_for(frame, *vip))
        };
        while !self.over.load(Ordering::SeqCst) {
            if probe.hear(GLANCE, speaks).is_some() {
                self.spoken.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn ask(&self, probe: &Probe) {
        while !self.over.load(Ordering::SeqCst) {
            for vip in BOTH {
                probe.ask(vip);
            }
            self.asked.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Runs `story` while the wire is watched.
fn watched(wire: &Wire, story: impl FnOnce(&Watch)) {
    let (listener, asker) = (client(wire), client(wire));
    let watch = Watch {
        marker: client(wire),
        read: AtomicU8::new(0),
        over: AtomicBool::new(false),
        spoken: AtomicU64::new(0),
        asked: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        scope.spawn(|| watch.observe(&listener));
        scope.spawn(|| watch.ask(&asker));
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| story(&watch)));
        watch.over.store(true, Ordering::SeqCst);
        told.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// An owner whose lease has ended, and whose agent is about to die.
fn closed_owner(wire: &Wire, files: &FileSystem, footing: Footing) -> Owner {
    let mut owner = Owner::standing(&wire.owner, files, "own0", footing);
    let probe = client(wire);
    owner.open();
    assert_answering(&probe);
    owner.close();
    assert_silent(&probe);
    owner
}

/// Where ours may be at the same time: IPv6 has an address once on a link.
fn copy(vip: IpAddr) -> String {
    match vip {
        IpAddr::V4(_) => format!("{vip}/24 dev own0"),
        IpAddr::V6(_) => format!("{vip}/64 dev lo nodad"),
    }
}

fn by_hand(wire: &Wire, vip: IpAddr) {
    wire.owner.ip(&format!("addr add {}", copy(vip)));
}

#[test]
fn nothing_is_heard_from_the_agents_death_until_everything_is_gone() {
    for footing in footings() {
        let (wire, files) = (Wire::new(), FileSystem::new());
        let owner = closed_owner(&wire, &files, footing);
        watched(&wire, |watch| {
            drop(owner);
            watch.await_questions();
            clear_up_after(&wire, &files);
            watch.await_questions();
            assert_eq!(watch.spoken(), 0, "{footing:?}");
            // What is heard is counted, and an administrator's address is nobody else's business from here on.
            by_hand(&wire, VIP4);
            eventually("an administrator's address answers", || watch.spoken() > 0);
        });
    }
}

#[test]
fn somebody_elses_copies_are_not_heard_while_everything_else_goes_nor_after_that() {
    for footing in footings() {
        let (wire, files) = (Wire::new(), FileSystem::new());
        let owner = closed_owner(&wire, &files, footing);
        for vip in BOTH {
            by_hand(&wire, vip);
        }
        watched(&wire, |watch| {
            drop(owner);
            watch.await_questions();
            for _ in 0..2 {
                clear_up_after(&wire, &files);
                watch.await_questions();
            }
            wire.owner.try_command("nft", &["flush", "ruleset"]);
            watch.await_questions();
            assert_eq!(watch.spoken(), 0, "{footing:?}");
            let shown = wire.owner.ip("addr show dev own0");
            assert!(shown.contains(&format!("{V4}/24")), "{shown}");
        });
        for vip in BOTH {
            wire.owner.ip(&format!("addr del {}", copy(vip)));
        }
        clear_up_after(&wire, &files);
        by_hand(&wire, VIP4);
        let probe = client(&wire);
        eventually("the administrator's address answers", || probe.echoes(VIP4));
    }
}

/// A program's connections and datagram sockets on the addresses.
struct Program {
    connections: Vec<(TcpStream, TcpStream)>,
    datagrams: Vec<(UdpSocket, IpAddr)>,
}

impl Program {
    /// With what is not acknowledged yet on its way, once it is closed.
    fn of(wire: &Wire, addresses: &[IpAddr]) -> Program {
        let connected = addresses.iter().map(|vip| connection(wire, *vip));
        let bound = addresses.iter().map(|vip| {
            let socket = wire.owner.run(|| UdpSocket::bind((*vip, 0)).unwrap());
            (socket, client_of(*vip))
        });
        let program = Program {
            connections: connected.collect(),
            datagrams: bound.collect(),
        };
        for (near, _) in &program.connections {
            near.set_nonblocking(true).unwrap();
        }
        program
    }

    /// It says what it has to say, whether or not it may.
    fn speaks(&mut self) {
        for (near, _) in &mut self.connections {
            drop(near.write(&[7; 1_000]));
        }
        for (socket, to) in &self.datagrams {
            drop(socket.send_to(b"?", (*to, 9)));
        }
    }
}

/// IPv6 looks for a socket's address only when it is bound: what goes on speaking from one that is gone is kept silent,
/// and connections are closed.
#[test]
fn programs_that_are_still_connected_are_not_heard_when_everything_is_gone() {
    for footing in footings() {
        let (wire, files) = (Wire::new(), FileSystem::new());
        know_the_client(&wire);
        let mut owner = closed_owner(&wire, &files, footing);
        owner.open();
        let mut program = Program::of(&wire, &BOTH);
        owner.close();
        watched(&wire, |watch| {
            drop(owner);
            for _ in 0..2 {
                program.speaks();
                watch.await_questions();
                clear_up_after(&wire, &files);
            }
            program.speaks();
            watch.await_questions();
            assert_eq!(watch.spoken(), 0, "{footing:?}");
            let stands = || wire.owner.command("nft", "list tables").contains("haft");
            assert!(stands(), "what keeps the datagrams silent");
            drop(program);
            // A program that another test starts just now may have its sockets, too, until it runs.
            eventually("nothing is left to be kept silent", || {
                clear_up_after(&wire, &files);
                !stands()
            });
            by_hand(&wire, VIP6);
            eventually("an administrator's address answers", || watch.spoken() > 0);
        });
    }
}

fn goes_silent_for_good(wire: &Wire, world: &mut World, vip: IpAddr) {
    know_the_client(wire);
    world.admit();
    world.order(assignment_of((vip, "own0"), 30, &[Want::Hold]));
    world.await_active();
    let mut program = Program::of(wire, &[vip]);
    watched(wire, |watch| {
        eventually("it is heard while it owns it", || {
            program.speaks();
            watch.spoken() > 0
        });
        world.order(assignment_of((vip, "own0"), 31, &[Want::Release]));
        world.await_release();
        // What was on the way has come.
        watch.await_questions();
        let before = watch.spoken();
        for _ in 0..3 {
            program.speaks();
            watch.await_questions();
        }
        assert_eq!(watch.spoken(), before, "{vip} speaks after its release");
        drop(program);
        eventually("nothing is kept silent any more", || {
            let sets = wire.owner.command("nft", "list sets");
            !sets.contains(&vip.to_string())
        });
    });
}

#[test]
fn programs_that_are_still_connected_are_not_heard_after_a_release() {
    for vip in BOTH {
        let (wire, files) = (Wire::new(), FileSystem::new());
        let home = wire.owner.run(|| files.home());
        beside_a_gated_lease(&wire, home, |world, _| {
            goes_silent_for_good(&wire, world, vip)
        });
        let wire = Wire::new();
        beside_a_lease(&wire, Timing::NORMAL, |world, _| {
            goes_silent_for_good(&wire, world, vip);
        });
    }
}
