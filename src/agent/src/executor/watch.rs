//! The keeper's orders about the hardware watchdog, carried out. Decides nothing.

use super::Executor;
use crate::kennel::Kennel;
use crate::kernel::clock::boot_now;
use haft_engine::keeper::{Keeper, Operation, OperationResult};

impl Executor {
    /// The clock is read last: a pet that comes too late must not come at all.
    pub(super) fn watch(&mut self, keeper: &Keeper, operation: &Operation) -> OperationResult {
        let now = boot_now();
        if !keeper.may_still(now, operation) {
            return OperationResult::Lapsed;
        }
        match operation {
            Operation::ArmWatchdog(wanted) => self.kennel.arm(now, *wanted),
            Operation::DisarmWatchdog => self.kennel.disarm(now),
            Operation::PetWatchdog
            | Operation::Arm(..)
            | Operation::Install(..)
            | Operation::AddAddress(..)
            | Operation::Renew(_)
            | Operation::RefreshAddress(..)
            | Operation::Remove(..)
            | Operation::Announce(..) => self.kennel.pet(now),
        }
    }

    /// The watchdog with its claimants.
    pub fn kennel(&mut self) -> &mut Kennel {
        &mut self.kennel
    }
}
