//! Tokens only rise: per resource and per address, in the log and in the kernels.
//!
//! A kernel that begins to hold an address under a lower token than one that has acted anywhere is a
//! stale owner, even if nobody else answers at that instant.
//! Exempt: a `lease` owner whose clocks stood still less than one ttl ago (design section 1).
//! Seen to fail with: RenewGuardByPlainAdd.

use super::Violation;
use crate::clock::TrueTime;
use crate::machine::Machine;
use crate::oracle::Ledger;
use haft_engine::ids::{ResourceId, Token};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Name in reports.
pub(crate) const NAME: &str = "rising-tokens";

/// The highest tokens seen.
#[derive(Debug, Default)]
pub(crate) struct Highest {
    granted: BTreeMap<ResourceId, Token>,
    acted: BTreeMap<IpAddr, Token>,
}

impl Highest {
    /// A grant was applied.
    pub(crate) fn on_granted(
        &mut self,
        now: TrueTime,
        resource: &ResourceId,
        token: Token,
    ) -> Option<Violation> {
        let before = self.granted.insert(resource.clone(), token);
        let before = before.filter(|before| *before >= token)?;
        Some(Violation {
            invariant: NAME,
            at: now,
            seen: format!("{resource} was granted under {token} after {before}"),
        })
    }

    /// A kernel holds `address` under `token` from now on.
    pub(crate) fn on_held<E>(
        &mut self,
        now: TrueTime,
        machine: &Machine<E>,
        ledger: &Ledger,
        address: IpAddr,
        token: Token,
    ) -> Option<Violation> {
        let highest = self.acted.entry(address).or_insert(token);
        if *highest <= token {
            *highest = token;
            return None;
        }
        if machine.stood_still_within(now, ledger.lease_span())
            && ledger.rests_on_clocks(address, token)
        {
            return None;
        }
        Some(Violation {
            invariant: NAME,
            at: now,
            seen: format!(
                "{} holds {address} under {token} after somebody held it under {highest}",
                machine.name
            ),
        })
    }
}
