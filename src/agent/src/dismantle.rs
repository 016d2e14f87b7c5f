//! Taking haft off a machine, or clearing up after an agent that died: addresses, then the gate, then the tables.
//!
//! Refused while an agent runs. In this order nothing answers in between: what closed an address goes after it.

use crate::daemon::{Options, RunError, configured, lock};
use crate::kernel::address::{Addresses, OpenAddressesError, ReadKernelError};
use crate::kernel::gate::{self, Home, NoGate};
use crate::kernel::guard::{Custody, Guard, GuardWriteError, OpenGuardError};
use std::io;

/// What stays.
#[derive(Debug, thiserror::Error)]
pub enum DismantleError {
    /// An agent runs, or the config cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No rtnetlink.
    #[error("cannot open the kernel's address interface")]
    Addresses(#[from] OpenAddressesError),
    /// Addresses; nothing else was touched.
    #[error("cannot remove the addresses, which stay closed")]
    Leftovers(#[from] ReadKernelError),
    /// The gate; no address is left.
    #[error("cannot take the gate away")]
    Gate(#[source] io::Error),
    /// The tables; no address is left.
    #[error("cannot open the guard's tables")]
    Open(#[from] OpenGuardError),
    /// The tables; no address is left.
    #[error("cannot take the guard's tables away")]
    Tables(#[from] GuardWriteError),
}

/// Removes everything of haft's from this network namespace.
///
/// # Errors
/// What stays.
pub async fn dismantle(options: &Options) -> Result<(), DismantleError> {
    let (config, _) = configured(options)?;
    let _only = lock(&config.data_dir).await?;
    for leftover in Addresses::open()?.remove_leftovers()? {
        tracing::info!(address = %leftover.address, "removed");
    }
    match Home::of_this_machine() {
        Ok(home) => gate::take_away(&home).map_err(DismantleError::Gate)?,
        // There never was a gate, or only its filters are left.
        Err(NoGate::NoFileSystem) => gate::take_filters_away().map_err(DismantleError::Gate)?,
        Err(error) => return Err(DismantleError::Gate(io::Error::other(error))),
    }
    Ok(Guard::open(Custody::Owned)?.dismantle()?)
}
