//! The keeper's orders about the hardware watchdog, carried out. Decides nothing.

use super::Executor;
use crate::chain;
use crate::kernel::clock::boot_now;
use haft_engine::keeper::{Keeper, Operation, OperationResult};

impl Executor {
    /// The clock is read last: a pet that comes too late must not come at all.
    pub(super) fn watch(&mut self, keeper: &Keeper, operation: &Operation) -> OperationResult {
        if !keeper.may_still(boot_now(), operation) {
            return OperationResult::Lapsed;
        }
        let result = match operation {
            Operation::ArmWatchdog(wanted) => {
                return match self.watchdog.arm(*wanted) {
                    Ok(period) => OperationResult::Armed(period),
                    Err(error) => OperationResult::Failed(chain(&error)),
                };
            }
            Operation::DisarmWatchdog => self.watchdog.disarm(),
            Operation::PetWatchdog
            | Operation::Arm(..)
            | Operation::Install(..)
            | Operation::AddAddress(..)
            | Operation::Renew(_)
            | Operation::RefreshAddress(..)
            | Operation::Remove(..)
            | Operation::Announce(..) => self.watchdog.pet(),
        };
        match result {
            Ok(()) => OperationResult::Done,
            Err(error) => {
                tracing::error!(err = chain(&error), "the watchdog does not obey");
                OperationResult::Failed(chain(&error))
            }
        }
    }
}
