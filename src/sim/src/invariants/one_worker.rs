//! Never two machines whose services work behind one address, under `stonith` and `watchdog`.
//!
//! Truth is what a service would do that knows nothing of guards: it works from the moment its address is put
//! until that address is removed, or the machine is off, or has been reset. A kernel guard cannot stop it; that is
//! why these isolations exist. Work begins only with a kernel write or when a machine goes on after standing
//! still, so looking then misses no overlap. Exempt is only what design section 1 exempts: an owner under
//! `watchdog` whose clocks stood still less than one ttl ago.
//! Seen to fail with: ReleaseUnproven.

use super::Violation;
use crate::clock::TrueTime;
use crate::machine::Machine;
use crate::oracle::Ledger;
use haft_engine::spec::Isolation;
use std::net::IpAddr;

/// Name in reports.
pub(crate) const NAME: &str = "one-worker";

/// Looks at `address` now.
pub(crate) fn check<E>(
    now: TrueTime,
    machines: &[Machine<E>],
    address: IpAddr,
    ledger: &mut Ledger,
) -> Option<Violation> {
    let workers: Vec<_> = machines
        .iter()
        .filter_map(|machine| Some((machine, machine.works(address)?)))
        .collect();
    if workers.len() < 2 {
        return None;
    }
    // The newest works by right; the older ones must have stopped, unless only their guard was ever to.
    let newest = workers.iter().map(|(_, token)| *token).max()?;
    let older = workers.iter().filter(|(_, token)| *token < newest);
    for (machine, token) in older {
        match ledger.isolation(address, *token) {
            Some(Isolation::Stonith) => {}
            Some(Isolation::Watchdog) => {
                if machine.stood_still_within(now, ledger.lease_span()) {
                    ledger.exempted += 1;
                    continue;
                }
            }
            Some(Isolation::Lease) | None => continue,
        }
        let seen = format!(
            "{address} is worked on by {} under {token} while {newest} is at work elsewhere",
            machine.name
        );
        return Some(Violation {
            invariant: NAME,
            at: now,
            seen,
        });
    }
    None
}
