//! Switched outlets that feed machines: what they deliver is true, what the PDU says of them is its mood.
//!
//! A machine has one supply an outlet and runs while one of them is fed. A supply goes on from its capacitors
//! for [`Outlet::hold_up`] after its outlet went off; a pause between two reads that is shorter proves nothing
//! (`docs/fence-pdu.md`). An outlet that is wired to another machine than the administrator wrote is out of scope: no
//! reading of that outlet could tell.

use crate::bmc::{Mood, Power};
use crate::clock::{MS, TrueTime};
use crate::net::Place;
use crate::rng::Rng;

/// Longest hold-up of a supply; the executor's reads of a PDU are further apart.
const HOLD_UP_MAX: TrueTime = 35 * MS;
/// Longest "pending" that a bad PDU calls off; with [`HOLD_UP_MAX`] still below that pause.
pub(crate) const PENDING_MAX: TrueTime = 10 * MS;

/// A relay moves within this of an order that is carried out at once.
pub(crate) const RELAY_MAX: TrueTime = 50 * MS;

/// One outlet and the supply on it.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    /// Whether the relay is closed.
    pub(crate) relay: Power,
    /// Whether the relay moves at all when it is to open.
    pub(crate) stuck: bool,
    /// How long the supply feeds the machine after the relay opened.
    hold_up: TrueTime,
    /// When the relay opened.
    pub(crate) off_since: Option<TrueTime>,
    /// Whether it was ordered off and has not moved yet, at a PDU that calls this off. An order of another mood may
    /// pend for longer than any pause between two reads, and is never called off before it is.
    pub(crate) pending_off: bool,
    /// The newest order; an older one that is still pending is void.
    pub(crate) newest: u64,
}

/// One PDU.
#[derive(Clone, Debug)]
pub(crate) struct Pdu {
    /// How it answers.
    pub(crate) mood: Mood,
    /// Whether its own feed is there: without it nothing is delivered and nobody answers.
    pub(crate) supplied: bool,
    /// How many faults keep every coordinator from it.
    pub(crate) cuts: u32,
    /// Outlets by machine.
    outlets: Vec<Vec<Outlet>>,
}

impl Pdu {
    /// All on, honest, `each` outlets for each of `places` machines.
    pub(crate) fn new(places: usize, each: usize, rng: &mut Rng) -> Pdu {
        let mut outlet = || Outlet {
            relay: Power::On,
            stuck: false,
            hold_up: rng.range(20 * MS, HOLD_UP_MAX),
            off_since: None,
            pending_off: false,
            newest: 0,
        };
        let outlets = (0..places)
            .map(|_| (0..each).map(|_| outlet()).collect())
            .collect();
        Pdu {
            mood: Mood::Honest,
            supplied: true,
            cuts: 0,
            outlets,
        }
    }

    /// Whether a question reaches it and can be answered.
    pub(crate) fn reachable(&self) -> bool {
        self.supplied && self.cuts == 0
    }

    /// The outlets of a machine.
    pub(crate) fn of(&mut self, place: Place) -> &mut [Outlet] {
        &mut self.outlets[place]
    }

    /// Whether some outlet of this machine is on, as an honest PDU says it; and since when all are off.
    pub(crate) fn state(&self, place: Place) -> (Power, Option<TrueTime>) {
        let on = self.outlets[place].iter().any(|one| one.relay == Power::On);
        let since = self.outlets[place].iter().filter_map(|one| one.off_since);
        match on {
            true => (Power::On, None),
            false => (Power::Off, since.max()),
        }
    }

    /// Whether this PDU keeps the machine running now.
    pub(crate) fn feeds(&self, place: Place, now: TrueTime) -> bool {
        self.supplied
            && self.outlets[place].iter().any(|one| {
                one.relay == Power::On
                    || one.off_since.is_some_and(|since| now < since + one.hold_up)
            })
    }

    /// Carries out one order for one outlet, unless a newer one was heard; when the supply behind it runs dry.
    pub(crate) fn switch(
        &mut self,
        place: Place,
        outlet: usize,
        (order, to): (u64, Power),
        now: TrueTime,
    ) -> Option<TrueTime> {
        let one = &mut self.outlets[place][outlet];
        if one.newest != order {
            return None;
        }
        one.pending_off = false;
        match (one.relay, to) {
            (Power::On, Power::Off) if one.stuck => None,
            (Power::On, Power::Off) => {
                one.relay = Power::Off;
                one.off_since = Some(now);
                Some(now + one.hold_up)
            }
            (Power::Off, Power::On) => {
                one.relay = Power::On;
                one.off_since = None;
                None
            }
            (Power::On, Power::On) | (Power::Off, Power::Off) => None,
        }
    }

    /// Somebody closes every relay of a machine by hand.
    pub(crate) fn plug_in(&mut self, place: Place) {
        for one in &mut self.outlets[place] {
            one.relay = Power::On;
            one.off_since = None;
            one.pending_off = false;
            one.newest += 1;
        }
    }

    /// No fault any more.
    pub(crate) fn heal(&mut self) {
        self.mood = Mood::Honest;
        self.supplied = true;
        self.cuts = 0;
        for one in self.outlets.iter_mut().flatten() {
            one.stuck = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pdu;
    use crate::bmc::Power;
    use crate::clock::MS;
    use crate::rng::Rng;

    #[test]
    fn a_machine_is_fed_until_its_last_supply_has_run_dry() {
        let mut pdu = Pdu::new(1, 2, &mut Rng::new(1));
        let dry = pdu.switch(0, 0, (0, Power::Off), MS).expect("it was on");
        assert!(pdu.feeds(0, dry), "the other outlet is on");
        let dry = pdu
            .switch(0, 1, (0, Power::Off), 100 * MS)
            .expect("it was on");
        assert_eq!(pdu.state(0), (Power::Off, Some(100 * MS)));
        assert!(pdu.feeds(0, dry - 1), "the capacitors");
        assert!(!pdu.feeds(0, dry));
    }

    #[test]
    fn a_pending_order_is_void_once_a_newer_one_was_heard() {
        let mut pdu = Pdu::new(1, 1, &mut Rng::new(1));
        pdu.of(0)[0].newest = 2;
        assert_eq!(pdu.switch(0, 0, (1, Power::Off), MS), None);
        assert_eq!(pdu.state(0), (Power::On, None));
    }
}
