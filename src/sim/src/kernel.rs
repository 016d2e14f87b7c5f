//! One machine's kernel as far as haft uses it: guard elements with timeouts, and addresses with lifetimes.
//!
//! It goes on while processes are paused or killed, forgets everything with the power, and stands
//! still with the machine. It enforces nothing but what nftables, the gate and the address code do: an address
//! answers while it is present and, if it is managed and the gate's filters stand, its `held` element lives.

use crate::barrier::Barrier;
use haft_engine::clock::{Moment, Timing};
use haft_engine::gate::{Found, GateKind};
use haft_engine::ids::Token;
use haft_engine::plant::{self, Bug};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A request as it reaches the kernel.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// Manage the address and set its short-lived `armed` element.
    Arm(IpAddr),
    /// Move `armed` to `held`, in one transaction.
    Install(IpAddr, Token),
    /// Add or refresh the address itself.
    PutAddress(IpAddr, Token),
    /// Delete and add `held` elements, in one transaction.
    Renew(Vec<(IpAddr, Token)>),
    /// Tell a kernel gate the end of each address.
    Open(Vec<(IpAddr, Token)>, Moment),
    /// Delete the `held` element and the address.
    Remove(IpAddr),
    /// Send announcements; changes nothing.
    Announce,
    /// Arm the machine's watchdog with this period.
    ArmDog(Duration),
    /// Pet it.
    PetDog,
    /// Disarm it.
    DisarmDog,
}

/// How it went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// As asked.
    Done,
    /// The transaction failed because these elements had lapsed; nothing of it was applied.
    Lapsed(Vec<IpAddr>),
    /// The watchdog is armed with this period.
    Armed(Duration),
    /// The kernel will not, now.
    Busy,
    /// Somebody else has put the address there.
    Taken,
}

/// The kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    barrier: Barrier,
    /// What it is found to be worth now, if that is less than what it is.
    weakened: Option<Found>,
    filters: Filters,
    managed: BTreeSet<IpAddr>,
    armed: BTreeMap<IpAddr, Moment>,
    held: BTreeMap<IpAddr, Lived>,
    addresses: BTreeMap<IpAddr, Lived>,
    /// Ground truth: what a service behind the address does, which no guard and no lifetime ends. Begins with the
    /// address, ends with its removal or with the machine.
    works: BTreeMap<IpAddr, Token>,
    /// Copies that an administrator has put there; and, with a planted bug, the token under which one was taken for
    /// ours. One that nobody guards answers on its administrator's account, and not on ours unless it was.
    foreign: BTreeMap<IpAddr, Option<Token>>,
    watchdog: Option<Watchdog>,
    /// When the same watchdog fires for the shared disks' sake. There is one timer, and a pet needs both claimants'
    /// word, so it fires when either of them is starved: as two timers would.
    disks_fire: Option<Moment>,
}

/// What an administrator does with a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum There {
    /// Puts it there.
    Put,
    /// Takes it away.
    Gone,
}

/// Whether the filters are there, where the gate stands on filters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Filters {
    #[default]
    Standing,
    /// Somebody has deleted their qdisc: nothing compares a packet with any end.
    Deleted,
}

/// What of haft's goes beside the filters when somebody takes them away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Also {
    /// Nothing: the tables stay. They know links, and no ends.
    Nothing,
    /// The tables, too: nobody knows any more what was managed.
    Tables,
}

/// The armed watchdog.
#[derive(Clone, Copy, Debug)]
struct Watchdog {
    period: Duration,
    fires: Moment,
}

/// Something that lives until a moment, and the token under which it was put (ground truth only).
#[derive(Clone, Copy, Debug)]
struct Lived {
    until: Moment,
    token: Token,
}

impl Kernel {
    /// One that has booted on a machine with this barrier.
    pub(crate) fn behind(barrier: Barrier) -> Kernel {
        Kernel {
            barrier,
            ..Kernel::default()
        }
    }

    /// What stands before its addresses.
    pub(crate) fn barrier(&self) -> Barrier {
        self.barrier
    }

    /// What an agent finds when it looks at what stands before the addresses.
    pub(crate) fn found(&self) -> Found {
        self.weakened.unwrap_or(self.barrier.found())
    }

    /// It is worth less from now on, or as much as ever.
    pub(crate) fn weaken(&mut self, found: Option<Found>) {
        self.weakened = found;
    }

    /// Executes `request` at `now` on the machine's clock.
    pub(crate) fn execute(&mut self, now: Moment, request: &Request, timing: &Timing) -> Reply {
        match request {
            Request::Arm(address) | Request::PutAddress(address, _)
                if self.is_taken(now, *address) =>
            {
                Reply::Taken
            }
            // Nothing is put behind what cannot be attested.
            Request::Arm(_) | Request::Install(..) if self.found() == Found::Broken => Reply::Busy,
            Request::Arm(address) => {
                self.managed.insert(*address);
                match self.barrier {
                    Barrier::Gate | Barrier::Filters => {
                        self.held.remove(address);
                    }
                    Barrier::Watched | Barrier::Held => {
                        self.armed.insert(*address, now + timing.guard_life);
                    }
                }
                Reply::Done
            }
            Request::Open(items, until) => {
                let until = *until;
                for (address, token) in items {
                    let token = *token;
                    self.held.insert(*address, Lived { until, token });
                }
                Reply::Done
            }
            Request::Install(address, token) => {
                let armed = self.armed.remove(address);
                if armed.is_none_or(|until| until <= now) {
                    return Reply::Lapsed(vec![*address]);
                }
                self.hold(now, *address, *token, timing);
                Reply::Done
            }
            Request::PutAddress(address, token) => {
                let until = now + timing.address_life;
                self.put(*address, *token, until);
                Reply::Done
            }
            Request::Renew(items) => self.renew(now, items, timing),
            Request::Remove(address) => {
                self.armed.remove(address);
                self.held.remove(address);
                self.addresses.remove(address);
                self.works.remove(address);
                if plant::is(Bug::AdoptForeign) && self.foreign.contains_key(address) {
                    self.managed.remove(address);
                }
                Reply::Done
            }
            Request::Announce => Reply::Done,
            Request::ArmDog(period) => {
                self.pet(now, *period);
                Reply::Armed(*period)
            }
            Request::PetDog => {
                if let Some(watchdog) = self.watchdog {
                    self.pet(now, watchdog.period);
                }
                Reply::Done
            }
            Request::DisarmDog => {
                self.watchdog = None;
                Reply::Done
            }
        }
    }

    fn put(&mut self, address: IpAddr, token: Token, until: Moment) {
        self.addresses.insert(address, Lived { until, token });
        if let Some(adopted) = self.foreign.get_mut(&address) {
            // Beside ours it is left alone, behind the same guard.
            *adopted = plant::is(Bug::AdoptForeign).then_some(token);
        }
        self.works.insert(address, token);
    }

    /// The hardware's timer runs slow by a tenth and counts in ticks: as late as the engine must allow for.
    fn pet(&mut self, now: Moment, period: Duration) {
        let late = period / 10 + Duration::from_millis(900);
        let fires = now + period + late;
        self.watchdog = Some(Watchdog { period, fires });
    }

    /// When the watchdog resets the machine, if it is armed.
    pub(crate) fn dog_fires(&self) -> Option<Moment> {
        let held = self.watchdog.map(|watchdog| watchdog.fires);
        held.into_iter().chain(self.disks_fire).min()
    }

    /// When it does so for the shared disks' sake.
    pub(crate) fn disks_fire(&self) -> Option<Moment> {
        self.disks_fire
    }

    /// The disks' claim is petted until then, or given up after a clean end.
    pub(crate) fn feed_for_disks(&mut self, fires: Option<Moment>) {
        self.disks_fire = fires;
    }

    /// The token under which a service works behind `address`, whatever the guard says.
    pub(crate) fn works(&self, address: IpAddr) -> Option<Token> {
        self.works.get(&address).copied()
    }

    /// Everything that a service works behind.
    pub(crate) fn working(&self) -> Vec<IpAddr> {
        self.works.keys().copied().collect()
    }

    fn renew(&mut self, now: Moment, items: &[(IpAddr, Token)], timing: &Timing) -> Reply {
        // A plain add does not notice that the element has lapsed (tried, design section 3).
        if !plant::is(Bug::RenewGuardByPlainAdd) {
            let lapsed: Vec<IpAddr> = items
                .iter()
                .map(|(address, _)| *address)
                .filter(|address| !self.holds(now, *address))
                .collect();
            if !lapsed.is_empty() {
                return Reply::Lapsed(lapsed);
            }
        }
        for (address, token) in items {
            self.hold(now, *address, *token, timing);
        }
        Reply::Done
    }

    fn hold(&mut self, now: Moment, address: IpAddr, token: Token, timing: &Timing) {
        let until = now + timing.guard_life;
        self.held.insert(address, Lived { until, token });
    }

    fn holds(&self, now: Moment, address: IpAddr) -> bool {
        self.held
            .get(&address)
            .is_some_and(|element| element.until > now)
    }

    /// Whether somebody else has put the address there and ours is not there, too.
    fn is_taken(&self, now: Moment, address: IpAddr) -> bool {
        self.foreign.contains_key(&address)
            && self.own(now, address).is_none()
            && !plant::is(Bug::AdoptForeign)
    }

    fn own(&self, now: Moment, address: IpAddr) -> Option<Token> {
        let row = self.addresses.get(&address);
        row.filter(|row| row.until > now).map(|row| row.token)
    }

    /// An administrator puts a copy of the address there, or takes it away.
    pub(crate) fn set_foreign(&mut self, address: IpAddr, there: There) {
        match there {
            There::Put => {
                self.foreign.entry(address).or_default();
            }
            There::Gone => {
                self.foreign.remove(&address);
            }
        }
    }

    /// Copies that an administrator has put there.
    pub(crate) fn foreign(&self) -> BTreeSet<IpAddr> {
        self.foreign.keys().copied().collect()
    }

    /// The token under which the machine would answer for `address` at `now`, if it would.
    pub(crate) fn answers(&self, now: Moment, address: IpAddr) -> Option<Token> {
        let own = self.own(now, address);
        let foreign = self.foreign.get(&address);
        if !self.managed.contains(&address) || self.filters == Filters::Deleted {
            return own.or(foreign.copied().flatten());
        }
        if own.is_none() && foreign.is_none() {
            return None;
        }
        let held = self.held.get(&address).filter(|row| row.until > now)?;
        Some(held.token)
    }

    /// Addresses for which it answers at `now`.
    pub(crate) fn answering(&self, now: Moment) -> Vec<(IpAddr, Token)> {
        let all: BTreeSet<IpAddr> = self
            .addresses
            .keys()
            .chain(self.foreign.keys())
            .copied()
            .collect();
        all.into_iter()
            .filter_map(|address| Some((address, self.answers(now, address)?)))
            .collect()
    }

    /// What a restarted agent finds and removes: everything of haft's.
    pub(crate) fn remove_leftovers(&mut self) {
        self.armed.clear();
        self.held.clear();
        self.addresses.clear();
        self.works.clear();
    }

    /// Something else flushes the tables, and the agent's watch rebuilds them at once: every managed
    /// address is blocked, none is held. (Between the two they stand open.)
    pub(crate) fn rebuild_guard(&mut self) {
        if self.barrier.kind() == GateKind::Kernel {
            return;
        }
        self.managed.extend(self.addresses.keys().copied());
        self.armed.clear();
        self.held.clear();
    }

    /// Something else flushes the tables, and nobody is left to rebuild them: addresses are open for as long as
    /// they live, where timed elements alone kept them closed, or a link that has no gate. Filters are no tables.
    pub(crate) fn flush_guard(&mut self) {
        if self.barrier == Barrier::Filters && self.weakened.is_none() {
            return;
        }
        match self.found() {
            Found::Gated | Found::Held => {}
            Found::Watched | Found::Broken => {
                self.managed.clear();
                self.armed.clear();
                self.held.clear();
            }
        }
    }

    /// Somebody deletes the qdisc that the gate's filters stand on: addresses are open for as long as they live, or
    /// until an agent has put the filters back.
    pub(crate) fn delete_filters(&mut self, also: Also) {
        self.filters = Filters::Deleted;
        match also {
            Also::Nothing => {}
            Also::Tables => {
                self.managed.clear();
                self.held.clear();
            }
        }
    }

    /// An agent puts the filters back. The ends that they read are where they were.
    pub(crate) fn mend_filters(&mut self) {
        self.filters = Filters::Standing;
    }

    /// Something else deletes one of our addresses; which one it was, if there was one.
    pub(crate) fn delete_one(&mut self, now: Moment) -> Option<IpAddr> {
        let address = self
            .addresses
            .iter()
            .find(|(_, row)| row.until > now)
            .map(|(address, _)| *address)?;
        self.addresses.remove(&address);
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::{Also, Kernel, Reply, Request, There};
    use crate::barrier::Barrier;
    use haft_engine::clock::{Moment, Timing};
    use haft_engine::ids::Token;
    use std::net::IpAddr;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    #[test]
    fn a_copy_of_somebody_else_is_refused_and_stays_silent_behind_a_guard() {
        let mut kernel = Kernel::default();
        let timing = Timing::FAST;
        let token = Token::default();
        kernel.set_foreign(ADDRESS, There::Put);
        let refused = kernel.execute(at(0), &Request::Arm(ADDRESS), &timing);
        assert_eq!(refused, Reply::Taken);
        kernel.set_foreign(ADDRESS, There::Gone);
        let done = |reply| assert_eq!(reply, Reply::Done);
        done(kernel.execute(at(0), &Request::Arm(ADDRESS), &timing));
        done(kernel.execute(at(1), &Request::Install(ADDRESS, token), &timing));
        done(kernel.execute(at(2), &Request::PutAddress(ADDRESS, token), &timing));
        kernel.set_foreign(ADDRESS, There::Put);
        assert_eq!(kernel.answers(at(3), ADDRESS), Some(token));
        done(kernel.execute(at(4), &Request::Remove(ADDRESS), &timing));
        assert_eq!(kernel.answers(at(5), ADDRESS), None);
    }

    /// One of this kind, with an address that was put at 1 ms and is open until 50 ms.
    fn opened(barrier: Barrier) -> Kernel {
        let mut kernel = Kernel::behind(barrier);
        let timing = Timing::FAST;
        let token = Token::default();
        let done = |reply| assert_eq!(reply, Reply::Done);
        done(kernel.execute(at(0), &Request::Arm(ADDRESS), &timing));
        let open = Request::Open(vec![(ADDRESS, token)], at(50));
        done(kernel.execute(at(1), &open, &timing));
        done(kernel.execute(at(1), &Request::PutAddress(ADDRESS, token), &timing));
        assert_eq!(kernel.answers(at(49), ADDRESS), Some(token));
        assert_eq!(kernel.answers(at(50), ADDRESS), None);
        kernel
    }

    #[test]
    fn filters_bear_a_flush_and_once_deleted_leave_an_address_open_until_its_lifetime_ends() {
        let token = Some(Token::default());
        let life = u64::try_from(Timing::FAST.address_life.as_millis()).unwrap();
        for also in [Also::Nothing, Also::Tables] {
            let mut kernel = opened(Barrier::Filters);
            kernel.flush_guard();
            assert_eq!(kernel.answers(at(60), ADDRESS), None);
            kernel.delete_filters(also);
            assert_eq!(kernel.answers(at(60), ADDRESS), token);
            assert_eq!(kernel.answers(at(life), ADDRESS), token);
            assert_eq!(kernel.answers(at(1 + life), ADDRESS), None);
        }
    }

    #[test]
    fn filters_that_are_put_back_go_by_the_ends_that_they_had() {
        let token = Some(Token::default());
        let mut kernel = opened(Barrier::Filters);
        kernel.delete_filters(Also::Nothing);
        assert_eq!(kernel.answers(at(60), ADDRESS), token);
        kernel.mend_filters();
        assert_eq!(kernel.answers(at(49), ADDRESS), token);
        assert_eq!(kernel.answers(at(60), ADDRESS), None);
    }

    #[test]
    fn a_renewal_that_arrives_after_the_lapse_revives_nothing() {
        let mut kernel = Kernel::default();
        let timing = Timing::FAST;
        let token = Token::default();
        let done = |reply| assert_eq!(reply, Reply::Done);
        done(kernel.execute(at(0), &Request::Arm(ADDRESS), &timing));
        done(kernel.execute(at(1), &Request::Install(ADDRESS, token), &timing));
        done(kernel.execute(at(2), &Request::PutAddress(ADDRESS, token), &timing));
        assert_eq!(kernel.answers(at(60), ADDRESS), Some(token));
        assert_eq!(kernel.answers(at(61), ADDRESS), None);
        let late = kernel.execute(at(61), &Request::Renew(vec![(ADDRESS, token)]), &timing);
        assert_eq!(late, Reply::Lapsed(vec![ADDRESS]));
        assert_eq!(kernel.answers(at(62), ADDRESS), None);
    }
}
