//! No grant without evidence: whenever an entry takes a resource from a holder, that holder has in
//! truth stopped.
//!
//! Stopped means: its machine is off or has booted since, or its agent has said the final word, or
//! that agent's life is over (or works under another incarnation) and a later one removed what it
//! left, or its agent waits for its shared disks, has been handed nothing, and its lease is over. For a
//! `lease` holding the kernel's word is enough: the machine does not answer under that token; for a
//! `watchdog` holding, that nothing works under it.
//! Seen to fail with: SkipEvidenceCheck, UnknownAsOff, SpecEditLoosensIsolation, ActWithoutWatchdog, PetWithoutLease,
//! OneDeviceForLevel, TrustWatchedGuard, PillBeforeMsgwait, AdoptedPillCounts, OneOffRead, AnyIntactCounts,
//! VouchForNewest; and before their fixes with an agent that put the disks' watchdog down while an earlier life's
//! leftover stayed, and with a guard whose loss only those remembered who had restarted since.

use super::Violation;
use crate::clock::TrueTime;
use crate::machine::Machine;
use crate::oracle::Ledger;
use haft_engine::ids::ResourceId;
use haft_engine::spec::{Isolation, ResourceSpec};
use haft_engine::state::Holding;

/// Name in reports.
pub(crate) const NAME: &str = "evidence";

/// An entry at `index` has taken `resource` from `holding`.
pub(crate) fn check<E>(
    now: TrueTime,
    machines: &[Machine<E>],
    ledger: &Ledger,
    index: u64,
    resource: &ResourceId,
    holding: &Holding,
) -> Option<Violation> {
    let machine = machines.iter().find(|one| one.node == holding.node)?;
    if ledger.has_stopped(now, machine, resource, holding) {
        return None;
    }
    let ResourceSpec::VirtualIp(vip) = &holding.spec;
    // What it may still begin it must not, and that is judged where it begins (`begun`).
    if !holding.may_have_acted() && machine.works(vip.address) != Some(holding.token) {
        return None;
    }
    if holding.isolation == Isolation::Lease {
        let answers = machine.answers(now, vip.address) == Some(holding.token);
        if !answers || machine.stood_still_within(now, ledger.lease_span()) {
            return None;
        }
    }
    // Reset or not, a machine on which nothing works under that token has stopped; what it may still begin is
    // bounded by its lease and judged where it begins.
    if holding.isolation == Isolation::Watchdog
        && (machine.works(vip.address) != Some(holding.token)
            || machine.stood_still_within(now, ledger.lease_span()))
    {
        return None;
    }
    Some(Violation {
        invariant: NAME,
        at: now,
        seen: format!(
            "entry {index} takes {resource} ({:?}, token {}) from {}, which may still act",
            holding.isolation, holding.token, machine.name
        ),
    })
}
