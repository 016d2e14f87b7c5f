//! Carries out the keeper's kernel operations on this machine: guard, addresses, announcements.
//!
//! Each operation is one short conversation with the kernel and one answer. Just before a write that
//! keeps an address alive, the clock is read anew and the keeper is asked again; the guard's turns make
//! sure that a write delivered late revives nothing. Never decides whether to act.

mod gated;
mod leave;
mod opening;
mod rivals;
mod silence;
mod voice;
mod watch;

use crate::chain;
use crate::hindrances::Hindrances;
use crate::kernel::address::{self, Change, Term, WriteAddressError};
use crate::kernel::clock::boot_now;
use crate::kernel::gate::Gate;
use crate::kernel::guard::{Guard, GuardWriteError, Life, MAX_BATCH, PreparedWrite, Turn};
use crate::kernel::link::{Carrier as LinkCarrier, Link, LinkIndex};
use crate::shared_watchdog::SharedWatchdog;
use haft_engine::clock::Moment;
use haft_engine::command::Attestation;
use haft_engine::ids::{ResourceId, Token};
use haft_engine::keeper::{AssignedItem, Carrier, Input, Keeper, Operation, OperationResult};
use haft_engine::machine::Claim;
use haft_engine::spec::{ResourceSpec, VirtualIpSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use voice::Voice;

pub use opening::{Enforcement, OpenExecutorError};

/// The machine's side of the agent.
#[derive(Debug)]
pub struct Executor {
    /// `None` only with `Enforcement::Open`. The static layer where there is a gate.
    guard: Option<Guard>,
    gate: Option<Gate>,
    addresses: address::Keeper,
    voice: Voice,
    /// The lifetime of addresses where nothing is guarded, instead of the cluster's.
    unguarded: Option<Duration>,
    specs: BTreeMap<(ResourceId, Token), VirtualIpSpec>,
    /// The interface that each managed address was put on.
    places: BTreeMap<IpAddr, Link>,
    /// Those that the gate has ceased to stand before.
    hindered: BTreeSet<IpAddr>,
    turns: BTreeMap<IpAddr, Turn>,
    /// The last renewal, encoded, and the life in its bytes: the next one is mostly about the same addresses. What
    /// was encoded under another timing is never sent again (R2a).
    renewal: Option<(Life, PreparedWrite)>,
    attested: Attestation,
    watchdog: SharedWatchdog,
    /// Since when the guard cannot be attested, and why.
    trouble: Option<(Moment, String)>,
    /// What the gate says of interfaces and addresses, as of that reading of the links.
    hindrances: Hindrances,
    readings: u64,
    /// Given up, and behind the gate or guard for as long as something else of this machine would speak from it (R13).
    silenced: silence::Silenced,
}

impl Executor {
    /// Opens the kernel's interfaces in this thread's network namespace, and removes what an earlier
    /// life of the agent on this boot has left (R10). From here on nothing of it can be acting.
    ///
    /// # Errors
    /// Without the capabilities or kernel features that the guard needs, or when something of an
    /// earlier life cannot be removed.
    pub fn open(by: Enforcement, watchdog: SharedWatchdog) -> Result<Executor, OpenExecutorError> {
        let unguarded = match by {
            Enforcement::Guarded
            | Enforcement::GuardedIn(_)
            | Enforcement::Gated(_)
            | Enforcement::Timed => None,
            #[cfg(feature = "planted-bugs")]
            Enforcement::Open => Some(Duration::from_secs(3_600)),
        };
        let barrier = gated::barrier(by)?;
        let mut executor = Executor {
            guard: barrier.guard,
            gate: barrier.gate,
            addresses: address::Keeper::open()?,
            voice: Voice::default(),
            unguarded,
            specs: BTreeMap::new(),
            places: BTreeMap::new(),
            hindered: BTreeSet::new(),
            turns: BTreeMap::new(),
            renewal: None,
            attested: Attestation::Unknown,
            watchdog,
            silenced: silence::Silenced::new(),
            trouble: None,
            hindrances: Hindrances::default(),
            readings: 0,
        };
        executor.note_hindrances();
        executor.remove_leftovers()?;
        Executor::take_relic_away(&barrier.relic);
        executor.attested = executor.attest().0;
        Ok(executor)
    }

    /// Remembers what the assignment's resources are, and forgets those neither assigned nor held.
    pub fn learn(&mut self, items: &[AssignedItem], held: &[(ResourceId, Token)]) {
        for item in items {
            let ResourceSpec::VirtualIp(vip) = &item.spec;
            self.specs
                .insert((item.resource.clone(), item.token), vip.clone());
        }
        self.specs.retain(|key, _| {
            held.contains(key)
                || items
                    .iter()
                    .any(|item| item.resource == key.0 && item.token == key.1)
        });
    }

    /// Carries out one operation and says how it went, and what it taught.
    pub fn carry_out(
        &mut self,
        keeper: &Keeper,
        lease_end: Option<Moment>,
        operation: Operation,
    ) -> Vec<Input> {
        if let Operation::Renew(list) = operation {
            return self.renew(keeper, list);
        }
        let mut inputs = Vec::new();
        let result = match &operation {
            Operation::Arm(resource, token) => self.arm(keeper, resource, *token, &mut inputs),
            Operation::Install(resource, token) => {
                self.install(keeper, resource, *token, &operation)
            }
            Operation::AddAddress(resource, token) => {
                let result = self.put(keeper, lease_end, resource, *token, &operation);
                if result == OperationResult::Done {
                    self.announce(resource, *token);
                }
                result
            }
            Operation::RefreshAddress(resource, token) => {
                self.put(keeper, lease_end, resource, *token, &operation)
            }
            Operation::Remove(resource, token) => self.remove(resource, *token),
            Operation::Announce(resource, token) => {
                // It may have been decided to stop since: a claim would speak against the next owner.
                if keeper.may_still(boot_now(), &operation) {
                    self.announce(resource, *token);
                }
                OperationResult::Done
            }
            Operation::Renew(_) => OperationResult::Done,
            Operation::ArmWatchdog(_) | Operation::PetWatchdog | Operation::DisarmWatchdog => {
                self.watch(keeper, &operation)
            }
        };
        inputs.insert(0, Input::Done { operation, result });
        inputs
    }

    fn spec(&self, resource: &ResourceId, token: Token) -> Result<&VirtualIpSpec, String> {
        self.specs
            .get(&(resource.clone(), token))
            .ok_or_else(|| format!("nothing is known of {resource} under token {token}"))
    }

    fn arm(
        &mut self,
        keeper: &Keeper,
        resource: &ResourceId,
        token: Token,
        inputs: &mut Vec<Input>,
    ) -> OperationResult {
        if !keeper.may_still(boot_now(), &Operation::Arm(resource.clone(), token)) {
            return OperationResult::Lapsed;
        }
        let armed = self.try_arm(keeper, resource, token);
        let link = self.specs.get(&(resource.clone(), token));
        let link = link.and_then(|spec| self.places.get(&spec.address));
        if let Some(link) = link {
            let carrier = engine_carrier(link.carrier);
            inputs.push(Input::Carrier(resource.clone(), carrier));
        }
        match armed {
            Ok(()) => OperationResult::Done,
            Err(why) => OperationResult::Failed(why),
        }
    }

    /// Asks first whether the address could be there at all, so that what cannot work is never begun.
    fn try_arm(
        &mut self,
        keeper: &Keeper,
        resource: &ResourceId,
        token: Token,
    ) -> Result<(), String> {
        let life = life_of(keeper)?;
        let spec = self.spec(resource, token)?;
        let (address, name) = (spec.address, spec.interface.clone());
        let found = self.addresses.addresses().interfaces();
        let mut interfaces = found.map_err(|error| chain(&error))?;
        let own = interfaces.iter().map(|found| found.link.mac).collect();
        self.voice.set_own(own);
        interfaces.retain(|found| found.is_called(&name));
        let Some(interface) = interfaces.pop() else {
            self.places.remove(&address);
            return Err(format!("there is no interface {name}"));
        };
        if let Some(why) = interface.refusal(address) {
            return Err(why);
        }
        let link = interface.link;
        self.addresses
            .may_put(address, link.index)
            .map_err(|error| chain(&error))?;
        self.silenced.withdraw(address);
        self.close(address, &link)?;
        let carrier = link.carrier;
        self.places.insert(address, link.clone());
        match carrier {
            LinkCarrier::Up => self.voice.listen(address, &link, boot_now()),
            LinkCarrier::Down => return Err(format!("{name} has no carrier")),
        }
        if self.gate.is_none()
            && let Some(guard) = &mut self.guard
        {
            let turn = guard.arm(&[address], life).map_err(|error| chain(&error))?;
            self.turns.insert(address, turn);
        }
        Ok(())
    }

    /// Whatever puts the address on that link, it is silent there from here on.
    fn close(&mut self, address: IpAddr, link: &Link) -> Result<(), String> {
        if self.gate.is_some() {
            return self.gate_close(address, link);
        }
        match &mut self.guard {
            Some(guard)
                if self.places.get(&address).map(|known| known.index) != Some(link.index) =>
            {
                guard.manage(address, link).map_err(|error| chain(&error))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn install(
        &mut self,
        keeper: &Keeper,
        resource: &ResourceId,
        token: Token,
        operation: &Operation,
    ) -> OperationResult {
        let address = match self.spec(resource, token) {
            Ok(spec) => spec.address,
            Err(why) => return OperationResult::Failed(why),
        };
        if self.gate.is_some() {
            return self.gate_open(keeper, &[address], operation);
        }
        let Some(guard) = &mut self.guard else {
            return OperationResult::Done;
        };
        let Some(turn) = self.turns.remove(&address) else {
            return OperationResult::Failed("installed without having been armed".to_owned());
        };
        let life = match life_of(keeper) {
            Ok(life) => life,
            Err(why) => return OperationResult::Failed(why),
        };
        let write = match guard.prepare_install(turn, &[address], life) {
            Ok(write) => write,
            Err(error) => return OperationResult::Failed(chain(&error)),
        };
        if !keeper.may_still(boot_now(), operation) {
            return OperationResult::Lapsed;
        }
        match guard.send(&write) {
            Ok(()) => OperationResult::Done,
            Err(error) => refused(&error),
        }
    }

    fn put(
        &mut self,
        keeper: &Keeper,
        lease_end: Option<Moment>,
        resource: &ResourceId,
        token: Token,
        operation: &Operation,
    ) -> OperationResult {
        let address = match self.spec(resource, token) {
            Ok(spec) => spec.address,
            Err(why) => return OperationResult::Failed(why),
        };
        let (Some(link), Some(until)) = (self.places.get(&address), lease_end) else {
            return OperationResult::Lapsed;
        };
        let now = boot_now();
        if !keeper.may_still(now, operation) {
            return OperationResult::Lapsed;
        }
        let term = Term {
            now,
            valid: self.unguarded.unwrap_or(keeper.timing().address_life),
            until,
        };
        let done = if matches!(operation, Operation::RefreshAddress(..)) {
            self.addresses.renew(address, term)
        } else {
            self.addresses.keep(address, link.index, term)
        };
        match done {
            Ok(()) => OperationResult::Done,
            // The next look at the kernel puts it back, or says that it is gone.
            Err(WriteAddressError::Absent { .. }) => OperationResult::Lapsed,
            Err(error) => OperationResult::Failed(chain(&error)),
        }
    }

    fn announce(&mut self, resource: &ResourceId, token: Token) {
        let Ok(spec) = self.spec(resource, token) else {
            return;
        };
        let address = spec.address;
        if let Some(link) = self.places.get(&address) {
            self.voice.start(address, link, boot_now());
        }
    }

    /// One transaction for all. Elements that had lapsed are told apart, and the others are sent again at
    /// the same turn, decided at the same clock reading.
    fn renew(&mut self, keeper: &Keeper, list: Vec<(ResourceId, Token)>) -> Vec<Input> {
        let (list, stopped): (Vec<_>, Vec<_>) = list
            .into_iter()
            .partition(|(resource, token)| keeper.keeps(resource, *token));
        if list.is_empty() {
            return vec![done(stopped, OperationResult::Lapsed)];
        }
        if self.gate.is_some() {
            return self.gate_renew(keeper, list);
        }
        let Some(guard) = &mut self.guard else {
            return vec![done(list, OperationResult::Done)];
        };
        let turn = guard.turn();
        let operation = Operation::Renew(list);
        if !keeper.may_still(boot_now(), &operation) {
            let result = OperationResult::Lapsed;
            return vec![Input::Done { operation, result }];
        }
        let Operation::Renew(list) = operation else {
            return Vec::new();
        };
        let life = match life_of(keeper) {
            Ok(life) => life,
            Err(why) => return vec![done(list, OperationResult::Failed(why))],
        };
        let mut inputs = Vec::new();
        for part in list.chunks(MAX_BATCH) {
            let named: Vec<(IpAddr, (ResourceId, Token))> = part
                .iter()
                .filter_map(|key| Some((self.specs.get(key)?.address, key.clone())))
                .collect();
            inputs.extend(self.renew_part(turn, life, named));
        }
        inputs
    }

    fn renew_part(
        &mut self,
        turn: Turn,
        life: Life,
        mut named: Vec<(IpAddr, (ResourceId, Token))>,
    ) -> Vec<Input> {
        let Some(guard) = &mut self.guard else {
            return Vec::new();
        };
        let mut inputs = Vec::new();
        // A second round suffices: nothing else writes in between, so what lives now lives then.
        for _ in 0..2 {
            let addresses: Vec<IpAddr> = named.iter().map(|(address, _)| *address).collect();
            let keys = |named: Vec<(IpAddr, (ResourceId, Token))>| {
                named.into_iter().map(|(_, key)| key).collect::<Vec<_>>()
            };
            if addresses.is_empty() {
                return inputs;
            }
            let write = match self.renewal.take() {
                Some((encoded, mut same)) if encoded == life && same.addresses() == addresses => {
                    same.decided_at(turn);
                    Ok(same)
                }
                Some(_) | None => guard.prepare_renew(turn, &addresses, life),
            };
            let sent = write.and_then(|write| guard.send(&write).map(|()| write));
            match sent {
                Ok(write) => {
                    self.renewal = Some((life, write));
                    inputs.push(done(keys(named), OperationResult::Done));
                    return inputs;
                }
                Err(GuardWriteError::Lapsed { addresses }) => {
                    let lapsed: BTreeSet<IpAddr> = addresses.into_iter().collect();
                    let (gone, rest) = named
                        .into_iter()
                        .partition(|(address, _)| lapsed.contains(address));
                    inputs.push(done(keys(gone), OperationResult::Lapsed));
                    named = rest;
                }
                Err(error) => {
                    inputs.push(done(keys(named), refused(&error)));
                    return inputs;
                }
            }
        }
        let rest = named.into_iter().map(|(_, key)| key).collect();
        inputs.push(done(rest, OperationResult::Lapsed));
        inputs
    }

    /// When answers about released addresses are to be looked for, if any are awaited.
    pub fn next_wake(&self, now: Moment) -> Option<Moment> {
        self.silenced.next_wake(now)
    }

    /// Reads the kernel's reports: addresses that vanished, links that changed.
    pub fn tend(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        let now = boot_now();
        let tended = match self.addresses.tend(now) {
            Ok(tended) => tended,
            Err(error) => {
                tracing::warn!(err = chain(&error), "cannot read the kernel's reports");
                return inputs;
            }
        };
        self.lift_silences();
        for address in tended.restored {
            tracing::warn!(%address, "somebody removed the address; it is back");
            if let Some(link) = self.places.get(&address) {
                self.voice.start(address, link, now);
            }
        }
        for address in tended.missing {
            inputs.extend(self.resources_at(address).map(Input::AddressVanished));
        }
        for change in tended.links {
            match change {
                Change::Link(link) => inputs.extend(self.on_link(link)),
                Change::LinkGone(index) => inputs.extend(self.on_link_gone(index)),
                Change::AddressGone { .. } | Change::AddressSeen { .. } | Change::Resync => {}
            }
        }
        inputs
    }

    fn on_link(&mut self, link: Link) -> Vec<Input> {
        let carrier = engine_carrier(link.carrier);
        let moved: Vec<IpAddr> = self
            .places
            .iter()
            .filter(|(_, place)| place.index == link.index)
            .map(|(address, _)| *address)
            .collect();
        let now = boot_now();
        for address in &moved {
            let before = self.places.insert(*address, link.clone());
            let returned = before
                .as_ref()
                .is_some_and(|before| before.carrier == LinkCarrier::Down);
            let renamed = before.is_some_and(|before| before.mac != link.mac);
            if renamed || (returned && carrier == Carrier::Up) {
                self.voice.again(*address, &link, now);
            }
        }
        moved
            .into_iter()
            .flat_map(|address| self.resources_at(address).collect::<Vec<_>>())
            .map(|resource| Input::Carrier(resource, carrier))
            .collect()
    }

    fn on_link_gone(&mut self, index: LinkIndex) -> Vec<Input> {
        let gone: Vec<IpAddr> = self
            .places
            .iter()
            .filter(|(_, place)| place.index == index)
            .map(|(address, _)| *address)
            .collect();
        let mut inputs = Vec::new();
        for address in gone {
            self.voice.stop(address);
            for resource in self.resources_at(address) {
                inputs.push(Input::AddressVanished(resource.clone()));
                inputs.push(Input::Carrier(resource, Carrier::Down));
            }
        }
        inputs
    }

    fn resources_at(&self, address: IpAddr) -> impl Iterator<Item = ResourceId> + '_ {
        self.specs
            .iter()
            .filter(move |(_, spec)| spec.address == address)
            .map(|((resource, _), _)| resource.clone())
    }

    /// Whether [`Executor::tend`] is due at once: reports were read while something else was done.
    pub fn is_pending(&self) -> bool {
        self.addresses.is_pending() || self.gate.as_ref().is_some_and(Gate::is_behind)
    }

    /// Announces what is due, hears rivals; returns the next announcement's moment.
    pub fn speak(&mut self) -> Moment {
        self.voice.speak(boot_now())
    }

    /// Who else claims our addresses, where that is news.
    pub fn rivals(&mut self) -> Vec<(ResourceId, Option<Claim>)> {
        let news = self.voice.rivals(boot_now());
        news.into_iter()
            .flat_map(|(address, claim)| {
                let resources: Vec<ResourceId> = self.resources_at(address).collect();
                resources
                    .into_iter()
                    .map(move |resource| (resource, claim.clone()))
            })
            .collect()
    }

    /// Descriptors that are readable when the kernel, a rival or a foreign nftables user has done
    /// something.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.guard
            .iter()
            .map(AsFd::as_fd)
            .chain(self.gate.iter().map(AsFd::as_fd))
            .chain(std::iter::once(self.addresses.as_fd()))
            .chain(self.voice.descriptors())
    }
}

/// How long what is written now lives, by the keeper's timing: there is no other.
fn life_of(keeper: &Keeper) -> Result<Life, String> {
    let span = keeper.timing().guard_life;
    Life::of(span).map_err(|_| format!("the kernel keeps no guard of {span:?}"))
}

fn done(list: Vec<(ResourceId, Token)>, result: OperationResult) -> Input {
    Input::Done {
        operation: Operation::Renew(list),
        result,
    }
}

/// What a guard write that was not applied means to the keeper: whatever may be cured by the install path
/// counts as lapsed.
fn refused(error: &GuardWriteError) -> OperationResult {
    match error {
        GuardWriteError::Lapsed { .. }
        | GuardWriteError::Superseded { .. }
        | GuardWriteError::Missing
        | GuardWriteError::Unclear => OperationResult::Lapsed,
        GuardWriteError::NotManaged { .. }
        | GuardWriteError::BatchSize { .. }
        | GuardWriteError::Refused { .. }
        | GuardWriteError::Socket(_) => OperationResult::Failed(chain(error)),
    }
}

fn engine_carrier(carrier: LinkCarrier) -> Carrier {
    match carrier {
        LinkCarrier::Up => Carrier::Up,
        LinkCarrier::Down => Carrier::Down,
    }
}
