//! Who may use a fence device: one action at a time, and an order before any probe. An agent that awaits an order has the
//! device's turn, and hands it to the order.
//!
//! Runs nothing itself.

use haft_engine::attempt::Target;
use haft_engine::ids::DeviceName;
use haft_fence_protocol::caller::{Deadline, DeviceLock, DeviceTurn, Prepared, TurnTimedOut};
use std::collections::BTreeMap;
use std::io;
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
    ready: Arc<Mutex<Option<Ready>>>,
}

/// An agent that awaits an order, and what it was made for.
struct Ready {
    prepared: Prepared,
    target: Target,
    turn: DeviceTurn,
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
    ready: Option<(Target, Prepared)>,
    _presence: Presence,
}

impl OrderTurn {
    /// The agent that was prepared for exactly this; one for anything else is dismissed.
    pub async fn prepared_for(&mut self, target: &Target) -> Option<Prepared> {
        if self.ready.as_ref().is_some_and(|(of, _)| of != target) {
            self.dismiss().await;
        }
        self.ready.take().map(|(_, prepared)| prepared)
    }

    /// Ends an agent that this order has no use for.
    pub async fn dismiss(&mut self) {
        if let Some((_, prepared)) = self.ready.take() {
            prepared.dismiss().await;
        }
    }
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
        // Counted before: no other agent gets ready from here on.
        let ready = self.ready.lock().expect(crate::POISON).take();
        let (turn, ready) = match ready {
            Some(ready) => (ready.turn, Some((ready.target, ready.prepared))),
            None => (self.lock.turn(deadline).await?, None),
        };
        Ok(OrderTurn {
            turn,
            ready,
            _presence: presence,
        })
    }

    /// Has an agent await an order, if the device is free and no order is there.
    pub fn get_ready(&self, target: Target, start: impl FnOnce() -> io::Result<Prepared>) {
        let mut ready = self.ready.lock().expect(crate::POISON);
        if self.orders.count.load(Ordering::SeqCst) > 0 {
            return;
        }
        // Also where another agent awaits one: it has the turn.
        let Some(turn) = self.lock.turn_now() else {
            return;
        };
        match start() {
            Ok(prepared) => {
                *ready = Some(Ready {
                    prepared,
                    target,
                    turn,
                });
            }
            Err(error) => tracing::debug!(%error, "no agent awaits the order"),
        }
    }

    /// Ends the agent that is of use until then, if it still awaits an order.
    pub async fn dismiss_ready(&self, until: Deadline) {
        let unused = {
            let mut ready = self.ready.lock().expect(crate::POISON);
            ready.take_if(|ready| ready.prepared.until() == until)
        };
        if let Some(unused) = unused {
            unused.prepared.dismiss().await;
            drop(unused.turn);
        }
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
    use haft_engine::spec::{Domains, FenceDeviceSpec, HostArgument, Observes};
    use haft_fence_protocol::caller::{AgentDirs, Parameters};
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

    fn target(plug: &str) -> Target {
        let spec = FenceDeviceSpec {
            agent: "fence_haft_ipmi".to_owned(),
            observes: Observes::Power,
            host_argument: HostArgument::default(),
            delay: Duration::ZERO,
            targets: BTreeMap::new(),
            parameters: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            deadline: Duration::from_secs(5),
            level: 1,
            domains: Domains::default(),
        };
        Target {
            spec,
            node: "n1".to_owned(),
            plug: plug.to_owned(),
        }
    }

    /// Reads its stdin to the end, as an agent that awaits a word.
    fn waits(deadline: Deadline) -> io::Result<Prepared> {
        let agent = AgentDirs::default().find("/bin/cat");
        let agent = agent.map_err(io::Error::other)?;
        Prepared::start(&agent, &Parameters::default(), deadline)
    }

    #[tokio::test]
    async fn an_order_takes_the_agent_that_awaits_it_and_no_other() {
        let lane = Lane::default();
        let deadline = soon();
        for (made_for, is_taken) in [("1", true), ("2", false)] {
            lane.get_ready(target(made_for), || waits(deadline));
            assert!(lane.lock.turn_now().is_none(), "it has the device");
            let order = lane.for_order(soon()).await;
            let mut order = order.expect("the agent's turn is the order's");
            let prepared = order.prepared_for(&target("1")).await;
            assert_eq!(prepared.is_some(), is_taken, "{made_for}");
        }
        assert!(lane.lock.turn_now().is_some(), "the device is free again");
    }

    #[tokio::test]
    async fn none_gets_ready_beside_an_order_or_another_and_each_is_dismissed_by_itself() {
        let lane = Lane::default();
        let never = || panic!("nothing is started");
        let order = lane.for_order(soon()).await;
        lane.get_ready(target("1"), never);
        drop(order);
        let first = soon();
        lane.get_ready(target("1"), || waits(first));
        lane.get_ready(target("2"), never);
        lane.dismiss_ready(first + Duration::from_secs(1)).await;
        assert!(
            lane.lock.turn_now().is_none(),
            "another's end is not its own"
        );
        lane.dismiss_ready(first).await;
        assert!(lane.lock.turn_now().is_some());
    }
}
