//! What a life of the lease thread goes through as a whole: hundreds of addresses at once, and its end.

use crate::lease::{LIFE, World, assignment, beside_a_lease, item, order_of};
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
        term: Term(9),
        index: LogIndex(12),
    }
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
