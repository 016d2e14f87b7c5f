//! Never two active owners: at no instant do two machines answer for one address.
//!
//! Truth is what kernels would do: a powered, running machine with the address present and its guard
//! element unexpired answers, whatever any process believes. Answering begins only with a kernel
//! write or when a machine goes on after standing still, so looking then misses no overlap.
//! Exempt is only what design section 1 exempts: an owner under `lease` or `watchdog` whose clocks
//! stood still less than one ttl ago.
//! Seen to fail with: RenewGuardByPlainAdd, AdoptForeign.

use super::Violation;
use crate::clock::TrueTime;
use crate::machine::Machine;
use crate::oracle::Ledger;
use std::net::IpAddr;

/// Name in reports.
pub(crate) const NAME: &str = "one-owner";

/// Looks at `address` now.
pub(crate) fn check<E>(
    now: TrueTime,
    machines: &[Machine<E>],
    address: IpAddr,
    ledger: &mut Ledger,
) -> Option<Violation> {
    let owners: Vec<_> = machines
        .iter()
        .filter_map(|machine| Some((machine, machine.answers(now, address)?)))
        .collect();
    if owners.len() < 2 {
        return None;
    }
    let exempt = owners.iter().any(|(machine, token)| {
        machine.stood_still_within(now, ledger.lease_span())
            && ledger.rests_on_clocks(address, *token)
    });
    if exempt {
        ledger.exempted += 1;
        return None;
    }
    let named: Vec<String> = owners
        .iter()
        .map(|(machine, token)| format!("{} under {token}", machine.name))
        .collect();
    Some(Violation {
        invariant: NAME,
        at: now,
        seen: format!("{address} is answered by {}", named.join(" and ")),
    })
}
