//! What a life of the lease thread goes through as a whole: hundreds of addresses at once, and its end.

use crate::fixture::{VIP4, client};
use crate::lease::{LIFE, RESTORED, World, assignment, beside_a_lease, item, order_of};
use crate::netns::{Wire, eventually};
use haft_agent::kernel::clock::boot_now;
use haft_agent::order::{Notice, Order, subject};
use haft_engine::clock::Timing;
use haft_engine::command::Probe;
use haft_engine::ids::{Epoch, LogIndex, ResourceId, Term};
use haft_engine::keeper::Want;
use haft_engine::session::authority::Origin;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

#[test]
fn hundreds_of_addresses_at_once_cost_no_beat() {
    let wire = Wire::new();
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.admit();
        eventually("it beats", || world.heard.load(Ordering::SeqCst) > 0);
        let many = (0..300_u16).map(|number| {
            let [high, low] = number.to_be_bytes();
            let address = IpAddr::from([10, 9, 64 + high, low]);
            let resource = ResourceId::vip(&format!("v{number}"));
            item(resource, (address, "own0"), Want::Hold)
        });
        let heard = |world: &World| world.heard.load(Ordering::SeqCst);
        let (began, before) = (boot_now(), heard(world));
        world.order(order_of(30, many.collect()));
        // Whatever becomes of each: on a machine that is busy with other things some may be late.
        let mut told = BTreeSet::new();
        eventually("something was said of all of them", || {
            if let Ok(Notice::Report(_, output)) = world.notices.try_recv() {
                told.extend(subject(&output).map(|(resource, _)| resource.clone()));
            }
            told.len() == 300
        });
        let took = boot_now().since(began);
        let heard = heard(world) - before;
        // One round of beats may precede the first address, and one follow the last. Where all is done within a few
        // beats there is nothing to see.
        if took > Timing::NORMAL.beat * 3 {
            assert!(heard > 6, "{heard} beats heard in {took:?}");
        }
        println!("300 addresses in {took:?}, {heard} beats heard meanwhile");
    });
}

/// Where a coordinator stands that was restored by itself, and knows nothing of this life.
fn restored(epoch: u32) -> Origin {
    Origin {
        epoch: Epoch(epoch),
        term: RESTORED.term,
        index: RESTORED.index,
    }
}

/// What such a coordinator assigns: nothing that stands, and something new.
fn assigned_by(origin: Origin) -> Order {
    let address = IpAddr::from([10, 9, 0, 77]);
    let new = item(ResourceId::vip("new"), (address, "own0"), Want::Hold);
    // Newer than anything by its own word: only where it comes from speaks against it.
    match order_of(99, vec![new]) {
        Order::Assigned(_, assignment) => Order::Assigned(origin, assignment),
        Order::Begin(_) | Order::Addresses(_) | Order::Over(..) | Order::Shutdown => {
            unreachable!("made as an assignment")
        }
    }
}

/// Everything that is said until the orders before have been carried out.
fn said_meanwhile(world: &mut World) -> Vec<Notice> {
    world.order(Order::Over(LIFE, restored(2)));
    let mut said = Vec::new();
    eventually("it goes on", || match world.notices.try_recv() {
        Ok(Notice::Stands(_)) => true,
        Ok(notice) => {
            said.push(notice);
            false
        }
        Err(_) => false,
    });
    said
}

fn is_about(notice: &Notice, resource: &ResourceId) -> bool {
    matches!(notice, Notice::Report(_, output) if subject(output).is_some_and(|(named, _)| named == resource))
}

#[test]
fn what_is_assigned_by_who_knows_less_takes_nothing_up_and_drops_nothing() {
    let wire = Wire::new();
    let probe = client(&wire);
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        let older = Origin {
            epoch: Epoch(1),
            term: Term(1),
            index: LogIndex(25),
        };
        for origin in [restored(0), restored(1), restored(2), older] {
            world.order(assigned_by(origin));
            let said = said_meanwhile(world);
            for resource in ["new", "web"].map(ResourceId::vip) {
                let spoken = said.iter().any(|notice| is_about(notice, &resource));
                assert!(!spoken, "{origin:?}: {said:?}");
            }
            assert!(probe.echoes(VIP4), "{origin:?}");
        }
        // The same from who knows everything.
        let leader = Origin {
            epoch: Epoch(1),
            term: Term(1),
            index: LogIndex(31),
        };
        world.order(assigned_by(leader));
        world.await_release();
    });
}

#[test]
fn a_log_that_went_back_ends_a_life_once_a_majority_of_coordinators_says_so() {
    let wire = Wire::new();
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        // Logs alone are no leader's word.
        world.went_back.store(true, Ordering::SeqCst);
        let before = world.heard.load(Ordering::SeqCst);
        eventually("it was told by all", || {
            world.heard.load(Ordering::SeqCst) > before + 12
        });
        assert!(said_meanwhile(world).is_empty());
        world.order(assigned_by(restored(1)));
        world.await_release();
        world.await_notice("it may ask anew", &Notice::Idle(Probe::Clean));
    });
}

#[test]
fn a_life_without_a_lease_ends_by_whoever_leads() {
    let wire = Wire::new();
    beside_a_lease(&wire, Timing::NORMAL, |world, answering| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        answering.store(false, Ordering::SeqCst);
        // Nobody acknowledges it any more: once its lease has run out there is nothing that must not end.
        world.order(Order::Over(LIFE, restored(1)));
        eventually("it asks anew", || match world.notices.try_recv() {
            Ok(Notice::Stands(_)) => {
                world.order(Order::Over(LIFE, restored(1)));
                false
            }
            Ok(notice) => notice == Notice::Idle(Probe::Clean),
            Err(_) => false,
        });
    });
}

#[test]
fn a_session_that_is_over_releases_everything_and_asks_anew() {
    let wire = Wire::new();
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        for epoch in [0, 1, 2] {
            world.order(Order::Over(LIFE, restored(epoch)));
            world.await_notice("it goes on", &Notice::Stands(LIFE));
        }
        let leader = Origin {
            epoch: Epoch(1),
            term: Term(1),
            index: LogIndex(31),
        };
        world.order(Order::Over(LIFE, leader));
        world.await_release();
        world.await_notice("it may ask anew", &Notice::Idle(Probe::Clean));
    });
}
