//! Who may use a fence device: one action at a time, and an order before any probe.
//!
//! Runs nothing itself.

use haft_engine::ids::DeviceName;
use haft_fence_protocol::caller::{Deadline, DeviceLock, DeviceTurn, TurnTimedOut};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// One lane per device.
#[derive(Default)]
pub struct DeviceLocks(Mutex<BTreeMap<DeviceName, Lane>>);

impl DeviceLocks {
    /// The lane of this device.
    pub fn of(&self, device: &DeviceName) -> Lane {
        let mut lanes = self.0.lock().expect(crate::POISON);
        lanes.entry(device.clone()).or_default().clone()
    }
}

/// The way to one device; clones are the same.
#[derive(Clone, Default)]
pub struct Lane {
    lock: DeviceLock,
    orders: Arc<Orders>,
}

/// Orders that use the device or wait for it.
#[derive(Default)]
struct Orders {
    count: AtomicUsize,
    came: Notify,
}

/// An order's turn; probes stay away until it is dropped.
pub struct OrderTurn {
    /// What running an agent demands.
    pub turn: DeviceTurn,
    _presence: Presence,
}

struct Presence(Arc<Orders>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lane {
    /// The device for an order; a probe under way is killed.
    pub async fn for_order(&self, deadline: Deadline) -> Result<OrderTurn, TurnTimedOut> {
        self.orders.count.fetch_add(1, Ordering::SeqCst);
        let presence = Presence(Arc::clone(&self.orders));
        self.orders.came.notify_waiters();
        let turn = self.lock.turn(deadline).await?;
        Ok(OrderTurn {
            turn,
            _presence: presence,
        })
    }

    /// Runs `probe` with the device; `None` if an order is there or comes, or the device is busy until the
    /// deadline. Dropping a run kills its agent.
    pub async fn unless_ordered<T>(
        &self,
        deadline: Deadline,
        probe: impl AsyncFnOnce(DeviceTurn) -> T,
    ) -> Option<T> {
        let came = self.orders.came.notified();
        tokio::pin!(came);
        // Enlisted before the count is read: an order that comes later is heard.
        came.as_mut().enable();
        if self.orders.count.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let run = async {
            let turn = self.lock.turn(deadline).await.ok()?;
            Some(probe(turn).await)
        };
        tokio::select! {
            biased;
            () = came => None,
            ended = run => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;

    fn soon() -> Deadline {
        Deadline::within(Duration::from_secs(30))
    }

    #[tokio::test]
    async fn an_order_ends_the_probe_that_holds_its_device() {
        let lane = Lane::default();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let prober = lane.clone();
        let probe = tokio::spawn(async move {
            let hangs = async |_turn| {
                let _ = started.send(());
                pending::<()>().await;
            };
            prober.unless_ordered(soon(), hangs).await
        });
        has_started.await.expect("the probe runs");
        let order = lane.for_order(soon()).await;
        assert!(order.is_ok(), "the device is free");
        assert_eq!(probe.await.expect("no panic"), None);
    }

    #[tokio::test]
    async fn no_probe_begins_while_an_order_is_there() {
        let lane = Lane::default();
        let order = lane.for_order(soon()).await;
        assert_eq!(lane.unless_ordered(soon(), async |_turn| ()).await, None);
        drop(order);
        let after = lane.unless_ordered(soon(), async |_turn| ()).await;
        assert_eq!(after, Some(()));
    }
}
