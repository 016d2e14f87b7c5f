//! One try at the devices of a level: which is called next and after what wait, whether it may still be called, and
//! what all of them together have proved (R5).
//!
//! Whoever carries out a try asks here: haftd's executor and the simulated one. What proves one device's off (reads,
//! pills) is the caller's; what a verdict opens is decided by [`crate::apply`].

use crate::command::{FenceAction, Verdict};
use crate::ids::{DeviceName, Incarnation, NodeId};
use crate::leader::FenceRun;
use crate::plant::{self, Bug};
use crate::spec::{FenceDeviceSpec, Observes};
use crate::state::{ClusterState, OrderPhase};
use crate::witness::{self, Challenge, Heard, Lie, Witness};
use std::fmt;
use std::time::Duration;

/// A try under way.
#[derive(Clone, Debug)]
pub struct Attempt {
    run: FenceRun,
    /// Devices that have been gone through.
    done: usize,
    /// Of those together; `None` before the first.
    verdict: Option<Verdict>,
    /// Those that confirmed and observe that the machine has stopped.
    stopped: Vec<DeviceName>,
    /// Sent after the newest claim that the machine is off.
    challenge: Option<Challenge>,
    /// Who answered it.
    witness: Option<Witness>,
}

/// What is to be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The device as it is configured now.
    pub spec: FenceDeviceSpec,
    /// The machine's name in the cluster.
    pub node: String,
    /// Its name at the device.
    pub plug: String,
}

/// Why a device may not be called any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stale {
    /// The order is gone.
    OrderGone,
    /// The order is at another try, or somebody else makes it, or it is over.
    NotThisTry,
    /// The node has begun another life, which nobody has ordered off.
    LivesAgain(Incarnation),
    /// The device is deleted.
    NoDevice,
    /// The node is deleted.
    NoNode,
    /// The device belongs to other machines now.
    NotItsTarget,
    /// The device is to be called with something else now.
    Edited,
}

/// Why a try with no bad answer still proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shortfall {
    /// No device covers the node.
    NoDevice,
    /// A device has not been called.
    NotAllCalled,
    /// Every device confirmed, and none of them observes the machine: an edit may have left only such as close ports.
    MachineRuns,
    /// The machine itself was not asked (R3a).
    NotChallenged,
}

impl Target {
    /// What this device is called with for this node.
    ///
    /// # Errors
    /// When one of them is gone, or the device does not have the node.
    pub fn of(state: &ClusterState, node: NodeId, device: &DeviceName) -> Result<Target, Stale> {
        let device = state.devices.get(device).ok_or(Stale::NoDevice)?;
        let node = &state.nodes.get(&node).ok_or(Stale::NoNode)?.name;
        let targets = &device.spec.targets;
        let plug = targets.get(node).ok_or(Stale::NotItsTarget)?;
        Ok(Target {
            spec: device.spec.clone(),
            node: node.0.clone(),
            plug: if plug.is_empty() { &node.0 } else { plug }.clone(),
        })
    }
}

impl Attempt {
    /// A try of which nothing is done.
    pub fn new(run: FenceRun) -> Self {
        Self {
            run,
            done: 0,
            verdict: None,
            stopped: Vec::new(),
            challenge: None,
            witness: None,
        }
    }

    /// What was ordered.
    pub fn run(&self) -> &FenceRun {
        &self.run
    }

    /// The device to turn to; `None` when the try is over. An off ends at the first device that does not confirm. A
    /// machine with one supply left dark still runs, so every device is switched on that can be.
    pub fn device(&self) -> Option<&DeviceName> {
        let goes_on = match (self.run.action, self.verdict) {
            (_, None | Some(Verdict::Confirmed)) | (FenceAction::On, Some(_)) => true,
            (FenceAction::Off, Some(Verdict::Refused | Verdict::Unknown)) => false,
        };
        if self.done > 0 && plant::is(Bug::OneDeviceForLevel) {
            return None;
        }
        self.run.devices.get(self.done).filter(|_| goes_on)
    }

    /// How long to wait before that device is called: the level's delay before its first, and the device's own before
    /// an off. A power on waits for nobody.
    pub fn delay(&self, state: &ClusterState) -> Duration {
        match self.run.action {
            FenceAction::On => Duration::ZERO,
            FenceAction::Off => {
                let of_level = match self.done {
                    0 => self.run.delay,
                    _ => Duration::ZERO,
                };
                let device = self.device().and_then(|name| state.devices.get(name));
                of_level + device.map_or(Duration::ZERO, |device| device.spec.delay)
            }
        }
    }

    /// What that device is to be called with by this coordinator at this moment. To be asked after every wait: an edit
    /// meanwhile may have given the device to another machine, which must not be switched off.
    ///
    /// # Errors
    /// When the order does not ask for this try any more, the machine has begun another life, or the device can no
    /// longer be called for it.
    pub fn target(&self, state: &ClusterState, own: NodeId) -> Result<Target, Stale> {
        if !plant::is(Bug::CallStaleOrder) {
            self.may_call(state, own)?;
        }
        let device = self.device().ok_or(Stale::NoDevice)?;
        Target::of(state, self.run.node, device)
    }

    /// Whether the irreversible call may still be made with what [`Self::target`] gave before.
    ///
    /// # Errors
    /// As for [`Self::target`], and when that would now be something else.
    pub fn stands(&self, state: &ClusterState, own: NodeId, target: &Target) -> Result<(), Stale> {
        match self.target(state, own)? == *target {
            true => Ok(()),
            false => Err(Stale::Edited),
        }
    }

    fn may_call(&self, state: &ClusterState, own: NodeId) -> Result<(), Stale> {
        let order = state.orders.get(&self.run.order).ok_or(Stale::OrderGone)?;
        match &order.phase {
            OrderPhase::Running {
                attempt, executor, ..
            } if *attempt == self.run.attempt && *executor == own => {}
            OrderPhase::Running { .. }
            | OrderPhase::Intended
            | OrderPhase::Held(_)
            | OrderPhase::Waiting { .. }
            | OrderPhase::Confirmed
            | OrderPhase::Cancelled(_) => return Err(Stale::NotThisTry),
        }
        let newer = state
            .live_incarnation(self.run.node)
            .filter(|life| *life > self.run.incarnation);
        match (self.run.action, newer) {
            (FenceAction::Off, Some(life)) => Err(Stale::LivesAgain(life)),
            (FenceAction::Off, None) | (FenceAction::On, _) => Ok(()),
        }
    }

    /// Takes what the device has shown and goes on to the next. `observes` is what a `Confirmed` speaks of; `None`
    /// where the device was not asked.
    pub fn found(&mut self, verdict: Verdict, observes: Option<Observes>) {
        let so_far = self.verdict.unwrap_or(Verdict::Confirmed);
        self.verdict = Some(joined(so_far, verdict));
        let stops = observes.is_some_and(Observes::stops_the_machine);
        if verdict == Verdict::Confirmed && stops {
            self.stopped
                .extend(self.run.devices.get(self.done).cloned());
        }
        self.done += 1;
    }

    /// Whether the machine is to be off once the present device reads off: it is the last of an off. Every first off
    /// reading of it is followed by a challenge at once; where its readings are not told apart, the challenge follows
    /// its answer ([`Self::to_challenge`]).
    pub fn ends_with_this_device(&self) -> bool {
        self.run.action == FenceAction::Off && self.done + 1 == self.run.devices.len()
    }

    /// Whether the machine has still to be asked itself: all devices have said that it is off.
    pub fn to_challenge(&self) -> bool {
        self.challenge.is_none()
            && self.run.action == FenceAction::Off
            && self.device().is_none()
            && self.verdict == Some(Verdict::Confirmed)
            && !self.stopped.is_empty()
    }

    /// Every coordinator is about to send this to the machine. A later one takes the place of an earlier: what answered
    /// that spoke of a reading that no longer counts.
    pub fn challenged(&mut self, challenge: Challenge) {
        self.challenge = Some(challenge);
        self.witness = None;
    }

    /// Something has answered a challenge.
    pub fn heard(&mut self, heard: Heard) {
        let counts = self
            .challenge
            .is_some_and(|challenge| witness::counts(&heard, challenge, self.run.boot));
        if counts {
            self.witness.get_or_insert(heard.witness);
        }
    }

    /// What contradicts the verdict, if anything does.
    pub fn lie(&self) -> Option<Lie> {
        let witness = self.witness?;
        (self.run.action == FenceAction::Off).then(|| Lie {
            witness,
            devices: self.stopped.clone(),
        })
    }

    /// What the try has proved, once there is no device to turn to.
    ///
    /// # Errors
    /// Why it proves nothing although no device failed; to be taken for [`Verdict::Unknown`].
    pub fn verdict(&self) -> Result<Verdict, Shortfall> {
        match (self.verdict, self.run.action) {
            (None, _) if self.run.devices.is_empty() => Err(Shortfall::NoDevice),
            (None, _) => Err(Shortfall::NotAllCalled),
            (Some(Verdict::Confirmed), _) if self.device().is_some() => {
                Err(Shortfall::NotAllCalled)
            }
            (Some(Verdict::Confirmed), FenceAction::Off) if self.stopped.is_empty() => {
                Err(Shortfall::MachineRuns)
            }
            (Some(Verdict::Confirmed), FenceAction::Off) if self.challenge.is_none() => {
                Err(Shortfall::NotChallenged)
            }
            (Some(verdict), FenceAction::Off | FenceAction::On) => Ok(verdict),
        }
    }
}

/// Every device must confirm; unknown is weaker than refused, because it must not be taken for an answer.
fn joined(left: Verdict, right: Verdict) -> Verdict {
    match (left, right) {
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        (Verdict::Refused, _) | (_, Verdict::Refused) => Verdict::Refused,
        (Verdict::Confirmed, Verdict::Confirmed) => Verdict::Confirmed,
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OrderGone => f.write_str("the order is gone"),
            Self::NotThisTry => f.write_str("the order no longer asks for this try"),
            Self::LivesAgain(life) => write!(f, "the node lives again as incarnation {life}"),
            Self::NoDevice => f.write_str("the device is no longer configured"),
            Self::NoNode => f.write_str("the node is no longer registered"),
            Self::NotItsTarget => f.write_str("the device no longer targets the node"),
            Self::Edited => f.write_str("the device was edited meanwhile"),
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDevice => "no fence device covers the node",
            Self::NotAllCalled => "not every device was called",
            Self::MachineRuns => "none of these devices stops the machine",
            Self::NotChallenged => "the machine itself was not asked",
        })
    }
}

#[cfg(test)]
mod tests;
