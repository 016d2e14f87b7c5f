//! `make bench-gate`: what the kernel gate costs. Figures go to the file named first, rounds is the second argument.
//!
//! In network namespaces of its own: the time of a renewal; forwarded 64-byte packets a second through a router
//! that guards 10,000 addresses, with the gate and without it in turn, the packet filter's layer in both; the
//! nanoseconds of one run of a program. Judges nothing: medians and raw samples are written down. Needs root.

#![expect(clippy::unwrap_used, reason = "a stopwatch: whatever fails ends it")]

use haft_agent::kernel::address::Addresses;
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::gate::{Gate, Home, take_away};
use haft_agent::kernel::guard::{Custody, Guard};
use haft_engine::clock::Moment;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Guarded addresses on the router.
const GUARDED: u32 = 10_000;
/// How long packets are sent in one sample.
const SAMPLE: Duration = Duration::from_secs(2);
/// Bytes after Ethernet, IPv4 and UDP headers that make a frame of 64, its checksum included.
const PAYLOAD: [u8; 18] = [0; 18];
const TEST_RUNS: u32 = 1_000_000;

struct Namespace(File);

impl Namespace {
    fn new() -> Namespace {
        let made = std::thread::spawn(|| {
            unshare_network();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Namespace(made.join().unwrap());
        namespace.run("ip link set lo up");
        namespace
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let network = Some(LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(self.0.as_fd(), network).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    fn run(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let output = self.inside(|| Command::new(words.next().unwrap()).args(words).output());
        let output = output.unwrap();
        assert!(output.status.success(), "{line}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Packets that have come in over an interface.
    fn received(&self, link: &str) -> u64 {
        let told = self.run(&format!("ip -s link show dev {link}"));
        let mut lines = told
            .lines()
            .skip_while(|line| !line.trim_start().starts_with("RX:"));
        let counts = lines.nth(1).unwrap();
        counts.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

#[expect(
    unsafe_code,
    reason = "unshare is the only way to a namespace of one's own"
)]
fn unshare_network() {
    // SAFETY: the calling thread was made for this, shares no descriptors by way of the flags, and ends right after.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
}

/// A bpf file system mounted nowhere: it ends with the descriptor.
fn file_system() -> OwnedFd {
    let context = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_create(&context).unwrap();
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .unwrap()
}

/// A sender, a router and a receiver in a row.
struct Row {
    sender: Namespace,
    router: Namespace,
    receiver: Namespace,
    files: OwnedFd,
}

impl Row {
    fn new() -> Row {
        let row = Row {
            sender: Namespace::new(),
            router: Namespace::new(),
            receiver: Namespace::new(),
            files: file_system(),
        };
        for (side, other, far, name) in [
            (&row.sender, "10.8.1.1/24", "10.8.1.2/24", "left"),
            (&row.receiver, "10.8.2.1/24", "10.8.2.2/24", "right"),
        ] {
            let file = format!("/proc/{}/fd/{}", std::process::id(), side.0.as_raw_fd());
            row.router.run(&format!(
                "ip link add {name} type veth peer name end netns {file}"
            ));
            row.router.run(&format!("ip addr add {other} dev {name}"));
            row.router.run(&format!("ip link set {name} up"));
            side.run(&format!("ip addr add {far} dev end"));
            side.run("ip link set end up");
            let gateway = other.trim_end_matches("/24");
            side.run(&format!("ip route add default via {gateway}"));
        }
        row.router.run("sysctl -qw net.ipv4.ip_forward=1");
        row
    }

    fn home(&self) -> Home {
        let path = format!("/proc/self/fd/{}", self.files.as_raw_fd());
        Home::within(&PathBuf::from(path)).unwrap()
    }

    /// Packets a second that arrive.
    fn throughput(&self) -> u64 {
        let before = self.receiver.received("end");
        let begun = Instant::now();
        self.sender.inside(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.connect((Ipv4Addr::new(10, 8, 2, 2), 9)).unwrap();
            while begun.elapsed() < SAMPLE {
                for _ in 0..256 {
                    // The receiver has no such port, and says so.
                    let _refused = socket.send(&PAYLOAD);
                }
            }
        });
        let arrived = self.receiver.received("end") - before;
        arrived * 1_000 / u64::try_from(begun.elapsed().as_millis()).unwrap()
    }
}

fn addresses() -> Vec<IpAddr> {
    let first = u32::from(Ipv4Addr::new(10, 200, 0, 0));
    (0..GUARDED)
        .map(|n| Ipv4Addr::from(first + n).into())
        .collect()
}

/// A gate in which every address stands and is open, as an owner's are.
fn gate(row: &Row) -> Gate {
    row.router.inside(|| {
        let mut gate = Gate::open(row.home()).unwrap();
        for address in addresses() {
            gate.close(address).unwrap();
        }
        gate.renew(&addresses(), Moment(u64::MAX));
        gate
    })
}

fn filter(row: &Row) -> Guard {
    row.router.inside(|| {
        let mut guard = Guard::behind_gate(Custody::Watched).unwrap();
        let mut kernel = Addresses::open().unwrap();
        let links = kernel.links().unwrap();
        guard
            .set_gated(&links.iter().map(|link| link.index).collect())
            .unwrap();
        for address in addresses() {
            guard.manage(address, &links[0]).unwrap();
        }
        guard
    })
}

/// Nanoseconds of renewals: of one address by itself, and of all at once.
fn renewals(gate: &mut Gate) -> (Vec<u64>, Vec<u64>) {
    let all = addresses();
    let timed = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        work();
        u64::try_from(begun.elapsed().as_nanos()).unwrap()
    };
    let end = boot_now() + Duration::from_secs(3_600);
    let one = (0..200)
        .map(|n| timed(&mut || assert!(gate.renew(&all[n..=n], end))))
        .collect();
    let every = (0..200)
        .map(|_| timed(&mut || assert!(gate.renew(&all, end))))
        .collect();
    (one, every)
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn main() {
    // `cargo bench` adds a flag of its own.
    let mut args = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let file = PathBuf::from(args.next().unwrap_or_else(|| "gate.json".to_owned()));
    let rounds: usize = args.next().map_or(3, |rounds| rounds.parse().unwrap());
    let row = Row::new();
    let _filter = filter(&row);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut one, mut every, mut nanos) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(row.throughput());
        let mut gate = gate(&row);
        with.push(row.throughput());
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 46];
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 8, 1, 2, 10, 8, 2, 2]);
        frame.resize(60, 0);
        nanos.push(u64::from(gate.cost(&frame, TEST_RUNS).unwrap()));
        let (singly, together) = renewals(&mut gate);
        one.extend(singly);
        every.extend(together);
        drop(gate);
        row.router.inside(|| take_away(&row.home()).unwrap());
    }
    let mut out = std::io::stdout().lock();
    let mut json = serde_json::Map::new();
    json.insert("origin".to_owned(), haft_tests::figures::origin());
    let figures = [
        ("renewal_of_one_ns", &one),
        ("renewal_of_10000_ns", &every),
        ("program_ns", &nanos),
        ("forwarded_per_second_without", &without),
        ("forwarded_per_second_with", &with),
    ];
    for (name, samples) in figures {
        let middle = median(samples);
        let figure = serde_json::json!({ "median": middle, "samples": samples });
        json.insert(name.to_owned(), figure);
        writeln!(out, "{name}: {middle}").unwrap();
    }
    let text = serde_json::to_string_pretty(&json).unwrap();
    std::fs::write(&file, text + "\n").unwrap();
}
