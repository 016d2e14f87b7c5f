//! The keeper's orders about the hardware watchdog, carried out. Decides nothing.

use super::Executor;
use crate::kernel::clock::boot_now;
use crate::shared_watchdog::SharedWatchdog;
use haft_engine::keeper::{Keeper, Operation, OperationResult};

impl Executor {
    /// The clock is read last: a pet that comes too late must not come at all.
    pub(super) fn watch(&mut self, keeper: &Keeper, operation: &Operation) -> OperationResult {
        let now = boot_now();
        if !keeper.may_still(now, operation) {
            return OperationResult::Lapsed;
        }
        match operation {
            Operation::ArmWatchdog(wanted) => self.watchdog.arm(now, *wanted),
            Operation::DisarmWatchdog => self.watchdog.disarm(now),
            Operation::PetWatchdog
            | Operation::Arm(..)
            | Operation::Install(..)
            | Operation::AddAddress(..)
            | Operation::Renew(_)
            | Operation::RefreshAddress(..)
            | Operation::Remove(..)
            | Operation::Announce(..) => self.watchdog.pet(now),
        }
    }

    /// The watchdog with its claimants.
    pub fn watchdog(&mut self) -> &mut SharedWatchdog {
        &mut self.watchdog
    }
}
