//! The removal path of kernels before 6.3, forced on this one.
//!
//! The rest of the guard is tested from outside, in `tests/kernel`. Needs root.

use super::*;
use crate::kernel::link::Carrier;
use rustix::thread::UnshareFlags;
use std::time::Duration;

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Runs `work` in a thread with a network namespace of its own, which ends with the thread.
fn in_own_namespace(work: impl FnOnce() + Send + 'static) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes network namespaces and must run as root"
    );
    let thread = std::thread::spawn(|| {
        unshare_network();
        work();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[expect(
    unsafe_code,
    reason = "unshare is the only way to a namespace of one's own"
)]
fn unshare_network() {
    // SAFETY: the calling thread was made for this, shares no file descriptors by way of the
    // flags, and ends right after.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
}

fn old_guard() -> Guard {
    let loopback = Link {
        index: LinkIndex(1),
        name: "lo".to_owned(),
        mac: [0; 6],
        carrier: Carrier::Up,
    };
    let mut guard = Guard::open(Custody::Watched).unwrap();
    guard.erasure = Erasure::Delete;
    for address in [V4, V6] {
        guard.manage(address, &loopback).unwrap();
    }
    guard
}

fn held(guard: &mut Guard) -> usize {
    let mut count = 0;
    for family in Family::ALL {
        for set in [ruleset::HELD4, ruleset::HELD6] {
            count += attest::elements(&mut guard.commands, family, set)
                .unwrap()
                .len();
        }
    }
    count
}

fn install(guard: &mut Guard, addresses: &[IpAddr], life: Life) {
    let turn = guard.arm(addresses, life).unwrap();
    let write = guard.prepare_install(turn, addresses, life).unwrap();
    guard.send(&write).unwrap();
}

#[test]
fn an_older_kernel_releases_what_is_held_and_what_is_only_armed() {
    in_own_namespace(|| {
        let life = Life::of(Duration::from_secs(60)).unwrap();
        let mut guard = old_guard();
        install(&mut guard, &[V4, V6], life);
        assert_eq!(held(&mut guard), 5);
        guard.release(&[V4, V6]).unwrap();
        assert_eq!(held(&mut guard), 0);
        let turn = guard.arm(&[V4], life).unwrap();
        let pending = guard.prepare_install(turn, &[V4], life).unwrap();
        guard.release(&[V4]).unwrap();
        assert!(guard.send(&pending).is_err());
        let armed = attest::elements(&mut guard.commands, Family::Inet, ruleset::ARMED4);
        assert!(armed.unwrap().is_empty());
    });
}

#[test]
fn an_older_kernel_releases_and_reinstalls_although_some_elements_have_lapsed() {
    in_own_namespace(|| {
        let life = Life::of(Duration::from_secs(60)).unwrap();
        let mut guard = old_guard();
        install(&mut guard, &[V4, V6], life);
        // One element gone from one family, as when a lapse falls between two clock ticks.
        let mut batch = Batch::new();
        let key = ruleset::key(V4);
        ruleset::element(
            &mut batch,
            Family::Arp,
            ruleset::HELD4,
            &key,
            ElementChange::Take,
        );
        guard.commit(&batch.seal()).unwrap();
        let renewal = guard.prepare_renew(guard.turn(), &[V4, V6], life).unwrap();
        assert!(matches!(
            guard.send(&renewal),
            Err(GuardWriteError::Lapsed { addresses }) if addresses == [V4]
        ));
        install(&mut guard, &[V4], life);
        assert_eq!(held(&mut guard), 5);
        guard.release(&[V4, V6]).unwrap();
        assert_eq!(held(&mut guard), 0);
    });
}
