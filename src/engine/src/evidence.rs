//! Rule R3, in one place: what proves that a holder has stopped, so that another may be granted.
//!
//! Pure questions over a holding and a proof; `apply::ownership` asks [`suffices`] before it makes any
//! resource `Unowned`, and the leader asks the same before it proposes. Nothing here looks at the spec as
//! it is now: what counts is the isolation stored in the grant.

use crate::clock::{Timing, lengthened};
use crate::command::{Attestation, StatedAge, VoterSets};
use crate::ids::NodeId;
use crate::plant::{self, Bug};
use crate::spec::Isolation;
use crate::state::{Evidence, Holding, Proof, Resource};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the kernel may add to `valid_lft` before it removes an address: measured up to 0.9 s
/// (hazards 2.1).
pub const ADDRESS_LIFE_SLACK: Duration = Duration::from_secs(1);

/// What a reset by the watchdog may take beyond its period: one tick of a coarse timer, and the reset itself.
pub const WATCHDOG_SLACK: Duration = Duration::from_secs(1);

/// Longest ttl or lifetime taken from a command, so that arithmetic on it cannot overflow.
pub const SPAN_MAX: Duration = Duration::from_secs(86_400);

/// Why a proof opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Insufficient {
    /// It speaks of another token, node or incarnation.
    OtherHolding,
    /// The isolation stored in the grant is not `lease`.
    IsolationNotLease,
    /// The guard was never attested intact, or was stated broken or merely watched, or nobody in the majority
    /// heard of it.
    GuardNotAttested,
    /// The isolation stored in the grant is not `watchdog`.
    IsolationNotWatchdog,
    /// Its owner may have acted.
    HasBegun,
    /// It came back with a new boot, and was held under `stonith`: a copy of its disk would do the same.
    RebootProvesTooLittle,
    /// The wait was shorter than twice the address's lifetime, the kernel's slack and the clock error.
    WaitTooShort,
}

/// Whether `evidence` proves that `holding` of `resource` has stopped.
pub fn suffices(
    resource: &Resource,
    holding: &Holding,
    evidence: &Evidence,
) -> Result<(), Insufficient> {
    let bound = (evidence.token, evidence.node, evidence.incarnation);
    if bound != (holding.token, holding.node, holding.incarnation) {
        return Err(Insufficient::OtherHolding);
    }
    match &evidence.proof {
        Proof::Released
        | Proof::ProbedClean
        | Proof::Fenced { .. }
        | Proof::ConfirmedByHuman { .. } => Ok(()),
        Proof::NeverBegun if holding.may_have_acted() && !plant::is(Bug::WithdrawBegun) => {
            Err(Insufficient::HasBegun)
        }
        Proof::NeverBegun => Ok(()),
        // A key that cannot leave the machine would make it enough; without a TPM nobody has one.
        Proof::Rebooted { .. } => match isolation_in_force(resource, holding) {
            Isolation::Lease | Isolation::Watchdog => Ok(()),
            Isolation::Stonith if plant::is(Bug::RebootOpensStonith) => Ok(()),
            Isolation::Stonith => Err(Insufficient::RebootProvesTooLittle),
        },
        Proof::LeaseExpired { ages } => {
            require_lease(resource, holding)?;
            if holding.guard == Attestation::Intact && guards_intact(ages) {
                Ok(())
            } else {
                Err(Insufficient::GuardNotAttested)
            }
        }
        Proof::WatchdogLapsed { period, waited } => {
            require_watchdog(resource, holding)?;
            if *period == holding.watchdog && *waited >= watchdog_wait(holding) {
                Ok(())
            } else {
                Err(Insufficient::WaitTooShort)
            }
        }
        Proof::LifetimeLapsed { waited } => {
            require_lease(resource, holding)?;
            if *waited >= lapse_wait(holding) {
                Ok(())
            } else {
                Err(Insufficient::WaitTooShort)
            }
        }
    }
}

/// The isolation that decides how this holding may be opened: the one stored in the grant, whatever
/// the spec says by now (R3).
pub fn isolation_in_force(resource: &Resource, holding: &Holding) -> Isolation {
    if plant::is(Bug::SpecEditLoosensIsolation) {
        return resource.spec.isolation();
    }
    holding.isolation
}

fn require_lease(resource: &Resource, holding: &Holding) -> Result<(), Insufficient> {
    match isolation_in_force(resource, holding) {
        Isolation::Lease => Ok(()),
        Isolation::Watchdog | Isolation::Stonith => Err(Insufficient::IsolationNotLease),
    }
}

fn require_watchdog(resource: &Resource, holding: &Holding) -> Result<(), Insufficient> {
    match isolation_in_force(resource, holding) {
        Isolation::Watchdog => Ok(()),
        Isolation::Lease | Isolation::Stonith => Err(Insufficient::IsolationNotWatchdog),
    }
}

/// What a leader waits after `Expired` before `WatchdogLapsed`, on its own clock. The session's end already
/// covers the period (pets end at `E − 2W`); this covers the hardware: a timer may run slow by a tenth
/// (its oscillator is not disciplined), counts in whole ticks of up to a second, and a reset takes a moment.
/// A holder that never had an armed watchdog attested never acted: nothing to wait for.
pub fn watchdog_wait(holding: &Holding) -> Duration {
    holding.watchdog.map_or(Duration::ZERO, |period| {
        lengthened(WATCHDOG_SLACK + period.min(SPAN_MAX) / 10)
    })
}

/// What a leader waits after `Expired` before `LifetimeLapsed`, on its own clock: twice the lifetime, since a
/// refresh that was decided within the lease and delivered late, while the address still lives, gives it a whole
/// lifetime more.
pub fn lapse_wait(holding: &Holding) -> Duration {
    lengthened(holding.address_life.min(SPAN_MAX) * 2 + ADDRESS_LIFE_SLACK)
}

/// Of the statements that end a session, those by which its guard is judged: of whoever has heard it, if those are a
/// majority; else all, which then attest nothing. The newest beat that extended the lease was acknowledged by a
/// majority, so that one of any majority heard what it said of the guard, unless a restart has made it forget.
pub fn attesting(ages: &[StatedAge], membership: &VoterSets) -> Vec<StatedAge> {
    let heard = |age: &&StatedAge| age.sequence > 0 && age.membership == membership.at;
    let heard: Vec<StatedAge> = ages.iter().filter(heard).copied().collect();
    let by = heard.iter().map(|age| age.by).collect();
    match membership.majority(&by) {
        true => heard,
        false => ages.to_vec(),
    }
}

/// Whether the statements attest the guards: each has heard the session, and the newest beat that any of them heard, by
/// its sequence, said intact, and not broken or merely watched. Moments on different clocks do not say which came last,
/// the sequence does. One that heard nothing (it restarted since) may have forgotten the newest: who was deaf to that
/// would vouch for a guard that was lost since.
fn guards_intact(ages: &[StatedAge]) -> bool {
    if plant::is(Bug::AnyIntactCounts) {
        return ages.iter().any(|age| age.guards == Attestation::Intact)
            && ages.iter().all(|age| match age.guards {
                Attestation::Intact | Attestation::Unknown => true,
                Attestation::Watched | Attestation::Broken => false,
            });
    }
    let newest = ages.iter().map(|age| age.sequence).max().unwrap_or(0);
    ages.iter().all(|age| age.sequence > 0)
        && newest > 0
        && ages
            .iter()
            .filter(|age| age.sequence == newest)
            .all(|age| age.guards == Attestation::Intact)
}

/// Whether a majority of every voter set has acknowledged nothing for `ttl·(1+ρ)` (R2), both as the session is
/// judged by. Statements made under another membership, or repeated by one coordinator, do not count.
pub fn majority_silent(ages: &[StatedAge], membership: &VoterSets, judged: &Timing) -> bool {
    let silent = statements(ages, membership, |age| age.age >= judged.silence());
    if plant::is(Bug::LeaderWordForMajority) {
        return !silent.is_empty();
    }
    membership.majority(&silent)
}

/// Whether a majority of every voter set has heard a beat, acknowledged or not, within `within`.
pub fn majority_fresh(ages: &[StatedAge], membership: &VoterSets, within: Duration) -> bool {
    membership.majority(&statements(ages, membership, |age| age.heard < within))
}

fn statements(
    ages: &[StatedAge],
    membership: &VoterSets,
    matches: impl Fn(&StatedAge) -> bool,
) -> BTreeSet<NodeId> {
    // A coordinator that states twice counts only if each of its statements matches.
    let contradicted: BTreeSet<NodeId> = ages
        .iter()
        .filter(|age| !matches(age))
        .map(|age| age.by)
        .collect();
    ages.iter()
        .filter(|age| age.membership == membership.at && membership.contains(age.by))
        .filter(|age| matches(age) && !contradicted.contains(&age.by))
        .map(|age| age.by)
        .collect()
}
