//! Programs that hang with their sockets when an address is released: nobody waits for them.
//!
//! A page that userfaultfd(2) holds back stands for a file system that does not answer.

use crate::fixture::{VIP4, VIP6, client};
use crate::gate::{FileSystem, clear_up_after};
use crate::gate_past::{connection, know_the_client};
use crate::lease::{World, assignment_of, beside_a_gated_lease, item, order_of};
use crate::netns::{Wire, eventually};
use haft_engine::ids::{LogIndex, ResourceId};
use haft_engine::keeper::{AssignedItem, Want};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv6Addr, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

// linux/userfaultfd.h.
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const API: u64 = 0xaa;
const MISSING: u64 = 1;
const PAGE: usize = 4_096;

const LAST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x300));
const NEXT6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x200));

/// A page whose first reader hangs in the kernel until this is dropped.
struct HeldBack {
    address: usize,
    faults: OwnedFd,
}

#[expect(
    unsafe_code,
    reason = "neither the call nor its ioctls have a safe wrapper at hand"
)]
impl HeldBack {
    fn page() -> HeldBack {
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new memory at an address of the kernel's choice; it is never given back.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, libc::PROT_READ, kind, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        // SAFETY: takes no pointer; a descriptor that is nobody else's.
        let faults = unsafe {
            // One that would block is told to be in error by poll(2), whatever waits in it.
            let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
            let raw = libc::syscall(libc::SYS_userfaultfd, flags);
            assert!(raw >= 0, "{}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(i32::try_from(raw).unwrap())
        };
        let address = page.addr();
        let mut api = [API, 0, 0];
        let mut range = [
            u64::try_from(address).unwrap(),
            u64::try_from(PAGE).unwrap(),
            MISSING,
            0,
        ];
        // SAFETY: each is a structure of that many words, which outlives the call.
        let answers = unsafe {
            [
                libc::ioctl(faults.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()),
                libc::ioctl(faults.as_raw_fd(), UFFDIO_REGISTER, range.as_mut_ptr()),
            ]
        };
        assert_eq!(answers, [0, 0], "{}", std::io::Error::last_os_error());
        HeldBack { address, faults }
    }

    /// Sends what is in the page, as a program would.
    fn send_from(address: usize, socket: &TcpStream) -> isize {
        let from = std::ptr::with_exposed_provenance(address);
        // SAFETY: the kernel reads mapped memory, or fails.
        unsafe { libc::send(socket.as_raw_fd(), from, PAGE, libc::MSG_NOSIGNAL) }
    }

    fn await_reader(&self) {
        eventually("a program hangs", || {
            let mut descriptors = [PollFd::new(&self.faults, PollFlags::IN)];
            let at_once = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            poll(&mut descriptors, Some(&at_once)).unwrap();
            descriptors[0].revents() == PollFlags::IN
        });
    }
}

/// Runs `story` while a program hangs in a send on this connection; it goes on when that is over.
fn while_one_hangs(near: &TcpStream, story: impl FnOnce()) {
    let held = HeldBack::page();
    let address = held.address;
    std::thread::scope(|scope| {
        let program = scope.spawn(move || HeldBack::send_from(address, near));
        held.await_reader();
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(story));
        drop(held);
        program.join().unwrap();
        told.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn owns_ipv6(world: &mut World) {
    world.admit();
    world.order(assignment_of((VIP6, "own0"), 30, &[Want::Hold]));
    world.await_active();
}

fn is_kept_silent(wire: &Wire) -> bool {
    let sets = wire.owner.command("nft", "list sets");
    sets.contains(&VIP6.to_string())
}

/// Closing a connection waits for the program that is using it, beyond any signal.
#[test]
fn a_program_that_hangs_in_its_send_freezes_no_agent() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    know_the_client(&wire);
    let home = wire.owner.run(|| files.home());
    let probe = client(&wire);
    beside_a_gated_lease(&wire, home, |world, _| {
        owns_ipv6(world);
        let (near, _far) = connection(&wire, VIP6);
        while_one_hangs(&near, || {
            let web = |want| item(ResourceId::vip("web"), (VIP6, "own0"), want);
            let next = item(ResourceId::vip("next"), (VIP4, "own0"), Want::Hold);
            world.order(order_of(31, vec![web(Want::Release)]));
            world.await_release();
            let before = world.heard.load(Ordering::SeqCst);
            eventually("it beats", || {
                world.heard.load(Ordering::SeqCst) > before + 20
            });
            world.order(order_of(32, vec![next]));
            eventually("it takes another address", || probe.echoes(VIP4));
            assert!(is_kept_silent(&wire));
        });
        drop(near);
        eventually("nothing is kept silent any more", || !is_kept_silent(&wire));
    });
}

/// Whether nobody has closed it from this end.
fn is_open(near: &TcpStream) -> bool {
    near.set_nonblocking(true).unwrap();
    let read = (&mut &*near).read(&mut [0; 8]);
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn sets_name(wire: &Wire, address: IpAddr) -> bool {
    let sets = wire.owner.command("nft", "list sets");
    sets.contains(&address.to_string())
}

fn held(name: &str, address: IpAddr, index: u64, want: Want) -> AssignedItem {
    let mut item = item(ResourceId::vip(name), (address, "own0"), want);
    item.token.index = LogIndex(index);
    item
}

/// What is asked about an address may wait for long, and the address be its owner's again.
#[test]
fn an_address_that_is_granted_again_keeps_its_connections() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    know_the_client(&wire);
    let home = wire.owner.run(|| files.home());
    beside_a_gated_lease(&wire, home, |world, _| {
        world.admit();
        let web = |want| held("web", VIP6, 30, want);
        let next = |index, want| held("next", NEXT6, index, want);
        let last = |want| held("last", LAST6, 30, want);
        let all = [web(Want::Hold), next(30, Want::Hold), last(Want::Hold)];
        world.order(order_of(30, all.to_vec()));
        world.await_active();
        eventually("all stand", || sets_name(&wire, LAST6));
        let (near, _far) = connection(&wire, VIP6);
        let mut again = None;
        while_one_hangs(&near, || {
            let others = [next(30, Want::Hold), last(Want::Hold)];
            world.order(order_of(31, [&[web(Want::Release)], &others[..]].concat()));
            world.await_release();
            world.order(order_of(
                32,
                vec![next(30, Want::Release), last(Want::Hold)],
            ));
            eventually("it has gone", || {
                !wire.owner.ip("addr show dev own0").contains("fd09::200")
            });
            world.order(order_of(33, vec![next(40, Want::Hold), last(Want::Hold)]));
            eventually("it is there again", || {
                wire.owner.ip("addr show dev own0").contains("fd09::200")
            });
            again = Some(connection(&wire, NEXT6));
        });
        drop(near);
        // Asked after everything else, and answered in its turn.
        world.order(order_of(
            34,
            vec![next(40, Want::Hold), last(Want::Release)],
        ));
        eventually("it is let go of", || !sets_name(&wire, LAST6));
        assert!(is_open(&again.unwrap().0));
    });
}

#[test]
fn connections_of_somebody_elses_copy_are_not_closed() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    know_the_client(&wire);
    let home = wire.owner.run(|| files.home());
    beside_a_gated_lease(&wire, home, |world, _| {
        world.admit();
        let web = |want| held("web", VIP6, 30, want);
        let next = |want| held("next", NEXT6, 30, want);
        world.order(order_of(30, vec![web(Want::Hold), next(Want::Hold)]));
        world.await_active();
        eventually("both stand", || sets_name(&wire, NEXT6));
        wire.owner.ip("link add copy0 type veth peer name copy1");
        wire.owner
            .ip(&format!("addr add {VIP6}/128 dev copy0 nodad"));
        wire.owner.ip("link set copy0 up");
        let (near, _far) = connection(&wire, VIP6);
        world.order(order_of(31, vec![web(Want::Release), next(Want::Hold)]));
        world.await_release();
        world.order(order_of(32, vec![next(Want::Release)]));
        eventually("the other is let go of", || !sets_name(&wire, NEXT6));
        assert!(is_kept_silent(&wire));
        assert!(is_open(&near));
    });
}

#[test]
fn a_program_that_hangs_in_its_send_keeps_no_agent_from_ending_nor_what_clears_up_after_it() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    know_the_client(&wire);
    let home = wire.owner.run(|| files.home());
    let mut connected = None;
    std::thread::scope(|scope| {
        let (mut held, mut program) = (None, None);
        beside_a_gated_lease(&wire, home, |world, _| {
            owns_ipv6(world);
            let (near, far) = connection(&wire, VIP6);
            let near: &TcpStream = &connected.insert((near, far)).0;
            let page = held.insert(HeldBack::page());
            let address = page.address;
            program = Some(scope.spawn(move || HeldBack::send_from(address, near)));
            page.await_reader();
        });
        clear_up_after(&wire, &files);
        assert!(is_kept_silent(&wire), "who hangs may speak");
        drop(held);
        program.unwrap().join().unwrap();
    });
    drop(connected);
    eventually("nothing is left", || {
        clear_up_after(&wire, &files);
        !wire.owner.command("nft", "list tables").contains("haft")
    });
}

/// What is locked or owned by a descriptor would stay with a thread that hangs when its process has been killed.
#[test]
fn the_thread_that_may_hang_has_no_descriptor_of_the_process() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let home = wire.owner.run(|| files.home());
    let threads = AtomicU64::new(0);
    let are_alone = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let named = tasks.filter_map(|task| {
            let path = task.ok()?.path();
            let name = std::fs::read_to_string(path.join("comm")).ok()?;
            (name.trim() == "haft-sockets").then_some(path)
        });
        let open = named.filter_map(|path| Some(std::fs::read_dir(path.join("fd")).ok()?.count()));
        let open: Vec<usize> = open.collect();
        threads.store(u64::try_from(open.len()).unwrap(), Ordering::SeqCst);
        // Standard input, output, error, and a socket of its own.
        open.iter().all(|count| *count <= 4)
    };
    beside_a_gated_lease(&wire, home, |_, _| {
        eventually("it is there, and alone", || {
            are_alone() && threads.load(Ordering::SeqCst) > 0
        });
    });
}
