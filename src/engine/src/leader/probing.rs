//! Probes of fence devices on a schedule, so that a broken path is known before it is needed (hazards R20).
//!
//! The leader asks its driver for each device's `monitor` in turn and commits what has changed. A probe
//! decides nothing: neither ownership nor placement nor an order looks at it. A device that an order is
//! using is left alone.

use super::draft::Draft;
use super::fencing::devices_at;
use super::{Output, View, Wake};
use crate::clock::Moment;
use crate::command::{Command, PathHealth};
use crate::ids::{DeviceName, Generation};
use crate::state::{ClusterState, Device, OrderPhase};
use crate::text::{DETAIL_MAX, bounded};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Time between two probes of a device, unless the configuration says otherwise (hazards R20).
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(60);
/// Longest time for one probe: a device that needs more to answer `monitor` is not fit for an order.
const PROBE_MAX: Duration = Duration::from_secs(30);
/// What the driver gets beyond that to say that it has killed the agent.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// Probes under way at once: each is a process, an agent of the field a Python interpreter of 20 MiB.
const AT_ONCE_MAX: usize = 4;

/// A device's place in the schedule.
#[derive(Clone, Copy, Debug)]
struct Turn {
    generation: Generation,
    next: Moment,
    /// The probe under way, by the moment at which its answer is overdue.
    overdue: Option<Moment>,
}

/// The memory of the schedule.
#[derive(Clone, Debug)]
pub(super) struct Probing {
    every: Duration,
    turns: BTreeMap<DeviceName, Turn>,
    /// Answers that the log may not show yet.
    answers: BTreeMap<DeviceName, (Generation, PathHealth)>,
}

impl Default for Probing {
    fn default() -> Probing {
        Probing {
            every: PROBE_EVERY,
            turns: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }
}

impl Probing {
    /// Another interval; for the whole of this leadership.
    pub(super) fn set_every(&mut self, every: Duration) {
        self.every = every;
    }

    /// The driver has answered a probe; `None` if an order came first and nothing was found out.
    pub(super) fn on_answer(
        &mut self,
        now: Moment,
        device: DeviceName,
        generation: Generation,
        health: Option<PathHealth>,
    ) {
        let turn = self.turns.get_mut(&device);
        let Some(turn) = turn.filter(|turn| turn.generation == generation) else {
            return;
        };
        turn.overdue = None;
        turn.next = now + self.every;
        let cut = |health| match health {
            PathHealth::Healthy => PathHealth::Healthy,
            PathHealth::Failing { fault, why } => PathHealth::Failing {
                fault,
                why: bounded(&why, DETAIL_MAX),
            },
        };
        if let Some(health) = health {
            self.answers.insert(device, (generation, cut(health)));
        }
    }

    /// Asks for the probes that are due.
    pub(super) fn run(&mut self, view: &View<'_>, outputs: &mut Vec<Output>, wake: &mut Wake) {
        self.enlist(view);
        let busy = in_use(view.state);
        let mut under_way = 0;
        for turn in self.turns.values_mut() {
            match turn.overdue {
                Some(overdue) if view.now < overdue => {
                    under_way += 1;
                    wake.at(overdue);
                }
                Some(_) => {
                    turn.overdue = None;
                    turn.next = view.now + self.every;
                }
                None => {}
            }
        }
        // Whoever has waited longest comes first, so that many dead devices starve none.
        let mut waiting: Vec<(Moment, DeviceName)> = self
            .turns
            .iter()
            .filter(|(name, turn)| turn.overdue.is_none() && !busy.contains(*name))
            .map(|(name, turn)| (turn.next, name.clone()))
            .collect();
        waiting.sort();
        for (next, name) in waiting {
            if next > view.now {
                wake.at(next);
                break;
            }
            if under_way == AT_ONCE_MAX {
                break;
            }
            let (Some(turn), Some(device)) =
                (self.turns.get_mut(&name), view.state.devices.get(&name))
            else {
                continue;
            };
            let deadline = view.now + device.spec.deadline.min(PROBE_MAX);
            turn.overdue = Some(deadline + ANSWER_GRACE);
            wake.at(deadline + ANSWER_GRACE);
            under_way += 1;
            outputs.push(Output::Probe {
                device: name,
                generation: turn.generation,
                deadline,
            });
        }
    }

    /// New and changed devices get a turn of their own, spread over half the interval.
    fn enlist(&mut self, view: &View<'_>) {
        let devices = &view.state.devices;
        let stands = |name: &DeviceName, generation: Generation| {
            devices
                .get(name)
                .is_some_and(|device| device.generation == generation)
        };
        self.turns
            .retain(|name, turn| stands(name, turn.generation));
        self.answers
            .retain(|name, (generation, health)| match devices.get(name) {
                Some(device) => device.generation == *generation && !is_recorded(device, health),
                None => false,
            });
        let count = u32::try_from(devices.len()).unwrap_or(u32::MAX).max(1);
        for (place, (name, device)) in (0_u32..).zip(devices) {
            let next = view.now + self.every / 60 + (self.every / 2 / count) * place;
            self.turns.entry(name.clone()).or_insert(Turn {
                generation: device.generation,
                next,
                overdue: None,
            });
        }
    }

    /// Commits what the log does not say yet.
    pub(super) fn plan(&self, draft: &mut Draft<'_>) {
        for (name, (generation, health)) in &self.answers {
            let known = draft
                .state()
                .devices
                .get(name)
                .is_none_or(|device| is_recorded(device, health));
            if !known {
                draft.propose(Command::DeviceProbed {
                    device: name.clone(),
                    generation: *generation,
                    health: health.clone(),
                });
            }
        }
    }
}

/// Whether the log says the same of the device; other words for the same fault are no news.
fn is_recorded(device: &Device, health: &PathHealth) -> bool {
    device
        .probed
        .as_ref()
        .is_some_and(|probed| probed.health.is_like(health))
}

/// The devices that a running try may be talking to.
fn in_use(state: &ClusterState) -> BTreeSet<DeviceName> {
    state
        .orders
        .values()
        .filter_map(|order| match order.phase {
            OrderPhase::Running { level, .. } => Some(devices_at(state, order.node, level)),
            OrderPhase::Intended
            | OrderPhase::Held(_)
            | OrderPhase::Waiting { .. }
            | OrderPhase::Confirmed
            | OrderPhase::Cancelled(_) => None,
        })
        .flatten()
        .collect()
}
