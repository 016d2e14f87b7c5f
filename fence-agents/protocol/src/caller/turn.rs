//! One action at a time per device.
//!
//! Two agents talking to one BMC get in each other's way: sessions are few and a `status` can read the
//! state that the other is changing. [`run`](super::run) demands a [`DeviceTurn`], so the rule is a
//! type; whoever prepares an agent keeps the turn beside it ([`super::prepared`]). The queue is fair
//! and holds only what callers hold: nothing is stored here.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::deadline::Deadline;

/// The lock of one device. Clones are the same lock.
#[derive(Clone, Debug, Default)]
pub struct DeviceLock {
    lock: Arc<Mutex<()>>,
}

/// The right to run actions on one device, until dropped.
#[derive(Debug)]
pub struct DeviceTurn {
    _guard: OwnedMutexGuard<()>,
}

/// Another action held the device until the deadline.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the device was busy with another action until the deadline")]
pub struct TurnTimedOut;

impl DeviceLock {
    /// A lock for one device.
    pub fn new() -> Self {
        Self::default()
    }

    /// The device, if it is free at this moment.
    pub fn turn_now(&self) -> Option<DeviceTurn> {
        let guard = Arc::clone(&self.lock).try_lock_owned().ok()?;
        Some(DeviceTurn { _guard: guard })
    }

    /// Waits for the device, in order of asking.
    ///
    /// # Errors
    /// [`TurnTimedOut`] when the deadline came first.
    pub async fn turn(&self, deadline: Deadline) -> Result<DeviceTurn, TurnTimedOut> {
        let free = Arc::clone(&self.lock).lock_owned();
        let guard = deadline.or(free).await.ok_or(TurnTimedOut)?;
        Ok(DeviceTurn { _guard: guard })
    }
}
