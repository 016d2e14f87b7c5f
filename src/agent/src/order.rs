//! What the two halves of the agent tell each other: the stream's task and the lease thread.
//!
//! Both directions are bounded. An order that does not fit ends the stream, whose successor brings the
//! whole state again; a report that does not fit is repeated, because reports follow from the keeper's
//! present state. Nothing here decides anything.

use crate::chain;
use crate::hindrances::Hindrances;
use haft_api::beat::BeatKey;
use haft_engine::command::{Probe, VoterSets};
use haft_engine::ids::{Generation, Incarnation, NodeId, ResourceId, Token};
use haft_engine::keeper::{Assignment, Output};
use haft_engine::machine::Claim;
use haft_engine::session::authority::Origin;
use haft_engine::timing::ClusterTiming;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Orders that may wait for the lease thread, which drains them every few milliseconds.
const ORDERS_MAX: usize = 256;

/// Where each coordinator listens for beats, the primary address first.
pub type BeatAddresses = BTreeMap<NodeId, Vec<SocketAddr>>;

/// A new life, or the live one attached anew.
#[derive(Clone, Debug)]
pub struct Admission {
    /// This node.
    pub node: NodeId,
    /// The life.
    pub incarnation: Incarnation,
    /// The membership to count majorities under at first.
    pub membership: VoterSets,
    /// Where to beat to.
    pub addresses: BeatAddresses,
    /// Keys of this incarnation's beats, newest last.
    pub keys: Vec<BeatKey>,
    /// What this life counts by.
    pub timing: ClusterTiming,
    /// Where the leader stood that admitted it.
    pub origin: Origin,
}

/// What the stream's task tells the lease thread.
#[derive(Clone, Debug)]
pub enum Order {
    /// Admitted, or attached anew under the live incarnation.
    Begin(Admission),
    /// Coordinators have moved.
    Addresses(BeatAddresses),
    /// A leader's whole assignment, and where that leader stood.
    Assigned(Origin, Assignment),
    /// A leader says that this life is over, and where that leader stood.
    Over(Incarnation, Origin),
    /// Release everything; the process ends.
    Shutdown,
}

/// What the lease thread tells the stream's task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// It acts under this token, released it, or fails to act: an output of the keeper's.
    Report(Incarnation, Output),
    /// This life counts by this version of the timing, and by none that is longer.
    Retimed(Incarnation, Generation),
    /// Another machine claims the address of a resource, or no longer does.
    Rival(ResourceId, Option<Claim>),
    /// What would not be behind the gate, from here on.
    Hindered(Hindrances),
    /// This life goes on, whatever was said of it.
    Stands(Incarnation),
    /// No life goes on and nothing is held: it may ask to be admitted.
    Idle(Probe),
}

/// The stream's task's end: sends orders and wakes the lease thread.
#[derive(Clone, Debug)]
pub struct Orders {
    sender: SyncSender<Order>,
    bell: Arc<OwnedFd>,
}

/// The lease thread's end. Readable (`AsFd`) when an order has come.
#[derive(Debug)]
pub struct OrderInbox {
    receiver: Receiver<Order>,
    bell: Arc<OwnedFd>,
}

/// The lease thread did not take an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderError {
    /// Too many wait.
    #[error("the lease thread has {ORDERS_MAX} orders waiting")]
    Full,
    /// The thread is gone.
    #[error("the lease thread has ended")]
    Gone,
}

/// A pair of ends.
///
/// # Errors
/// When the system has no descriptor left.
pub fn orders() -> io::Result<(Orders, OrderInbox)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = sync_channel(ORDERS_MAX);
    let inbox = OrderInbox {
        receiver,
        bell: Arc::clone(&bell),
    };
    Ok((Orders { sender, bell }, inbox))
}

impl Orders {
    /// Hands over an order. Never waits.
    ///
    /// # Errors
    /// When the queue is full or the lease thread is gone.
    pub fn send(&self, order: Order) -> Result<(), OrderError> {
        self.sender.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => OrderError::Full,
            TrySendError::Disconnected(_) => OrderError::Gone,
        })?;
        // A full counter is a rung bell, too.
        if let Err(error) = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes())
            && error != rustix::io::Errno::AGAIN
        {
            tracing::warn!(err = chain(&error), "cannot wake the lease thread");
        }
        Ok(())
    }
}

impl OrderInbox {
    /// The next order, if any.
    pub fn take(&self) -> Option<Order> {
        // Without the stream's task there are none, and the lease runs out by itself.
        self.receiver.try_recv().ok()
    }

    /// Silences the bell; to be called before the orders are taken.
    pub fn hush(&self) {
        let mut count = [0; 8];
        // Fails only when it was not rung.
        let _ = rustix::io::read(&*self.bell, &mut count);
    }
}

impl AsFd for OrderInbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// The resource and token that a report is about.
pub fn subject(output: &Output) -> Option<(&ResourceId, Token)> {
    match output {
        Output::ReportActive {
            resource, token, ..
        }
        | Output::ReportReleased { resource, token }
        | Output::ReportBegun { resource, token }
        | Output::ReportArmed {
            resource, token, ..
        }
        | Output::ReportFailed {
            resource, token, ..
        } => Some((resource, *token)),
        Output::Do(_) | Output::Idle => None,
    }
}
