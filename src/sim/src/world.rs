//! The world: an event queue in true time, machines, the network, and who hears what.
//!
//! Carries out what processes ask for and hands them what arrives. Decides no policy: faults come
//! from [`crate::nemesis`], administrators from [`crate::errands`], judgement from [`crate::oracle`].

use crate::bmc::{Power, Switch};
use crate::clock::{MS, TrueTime};
use crate::disks::{StartMode, Watching, Word};
use crate::kernel;
use crate::machine::{BACKLOG_MAX, Machine};
use crate::net::{Net, Place};
use crate::oracle::Oracle;
use crate::park::Park;
use crate::raft::nanos;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::wire::{Context, Hook, Life, Local, Question, Role, Wire};
use haft_engine::clock::Timing;
use haft_engine::command::Command;
use haft_engine::ids::NodeId;
use haft_engine::keeper::Operation;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

pub(crate) mod devices;
mod perform;
mod power;

/// What is due.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A message arrives.
    Wire {
        to: Place,
        role: Role,
        from: NodeId,
        wire: Wire,
    },
    /// Something local happens to one life of a process.
    Local {
        to: Place,
        role: Role,
        life: Life,
        local: Local,
    },
    /// A decided kernel write reaches the kernel.
    KernelWrite {
        to: Place,
        life: Life,
        operation: Operation,
        request: kernel::Request,
        timing: Timing,
    },
    /// A question reaches a fence device.
    Asked {
        from: Place,
        life: Life,
        question: Question,
    },
    /// A relay of a PDU moves: which outlet of which machine, by which order.
    Relay {
        relay: (usize, Place, usize),
        to: (u64, Power),
    },
    /// A machine's supplies may have run dry.
    Supply { to: Place },
    /// A hung disk carries out a write.
    PillLands { disk: usize, of: Place },
    /// A watcher reads its slots.
    Watch { to: Place, life: Life },
    /// The watchdog's keeper looks whether the disks vouch.
    Tend { to: Place, life: Life },
    /// A pet that was decided for the disks reaches the watchdog.
    Pet { to: Place, life: Life },
    /// A BMC switches the power.
    Switch { to: Place, switch: Switch },
    /// A machine comes up.
    Boot { to: Place },
    /// A process is started on this boot.
    Start { to: Place, role: Role, boots: u64 },
    /// A stopped process goes on.
    Continue { to: Place, role: Role, life: Life },
    /// A machine that stood still goes on.
    Thaw { to: Place, boots: u64 },
    /// A machine's watchdog may be due.
    DogDue { to: Place, boots: u64 },
    /// A fault ends.
    Undo(crate::nemesis::Undo),
    /// The nemesis's next turn.
    Strike,
    /// The administrator's next turn.
    Errand,
}

/// An event and when.
struct Due {
    at: TrueTime,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    // Reversed: the heap's greatest is the earliest.
    fn cmp(&self, other: &Due) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Everything there is.
pub(crate) struct World {
    /// True time.
    pub(crate) now: TrueTime,
    /// The run's random numbers.
    pub(crate) rng: Rng,
    /// Intervals that the cluster was begun with; time in this world is told by them.
    pub(crate) timing: Timing,
    /// What administrators set the timing to, if they do.
    pub(crate) timings: Vec<Timing>,
    /// What an administrator who has seen a machine off has not said yet.
    pub(crate) noted: Option<Command>,
    /// Machines by place.
    pub(crate) machines: Vec<Machine<Event>>,
    /// Where each node is.
    pub(crate) places: BTreeMap<NodeId, Place>,
    /// Links.
    pub(crate) net: Net,
    /// The judge.
    pub(crate) oracle: Oracle,
    /// What happened, if somebody reads along.
    pub(crate) trace: Trace,
    /// Points at which the nemesis may strike, since it last looked.
    pub(crate) hooks: Vec<(Place, Hook)>,
    /// Machines that their watchdogs have reset since the nemesis looked last.
    pub(crate) dog_bites: Vec<Place>,
    /// The fence devices.
    pub(crate) park: Park,
    /// What else the nemesis counts, since it looked last.
    pub(crate) sightings: Vec<devices::Sighting>,
    /// Events handled.
    pub(crate) handled: u64,
    queue: BinaryHeap<Due>,
    order: u64,
    lives: u64,
}

impl World {
    /// A world of these machines, all on, with no process running yet.
    pub(crate) fn new(
        rng: Rng,
        timing: Timing,
        machines: Vec<Machine<Event>>,
        park: Park,
        oracle: Oracle,
        trace: Trace,
    ) -> World {
        World {
            now: 0,
            rng,
            timing,
            timings: Vec::new(),
            noted: None,
            places: machines.iter().map(|m| (m.node, m.place)).collect(),
            net: Net::whole(machines.len()),
            machines,
            oracle,
            trace,
            hooks: Vec::new(),
            dog_bites: Vec::new(),
            park,
            sightings: Vec::new(),
            handled: 0,
            queue: BinaryHeap::new(),
            order: 0,
            lives: 0,
        }
    }

    /// Schedules `event` after `delay`.
    pub(crate) fn after(&mut self, delay: TrueTime, event: Event) {
        self.order += 1;
        self.queue.push(Due {
            at: self.now + delay,
            order: self.order,
            event,
        });
    }

    /// The next event at or before `until`, with the time set to its moment.
    pub(crate) fn next(&mut self, until: TrueTime) -> Option<Event> {
        if self.queue.peek()?.at > until {
            return None;
        }
        let due = self.queue.pop()?;
        self.now = due.at;
        self.handled += 1;
        Some(due.event)
    }

    pub(crate) fn new_life(&mut self) -> Life {
        self.lives += 1;
        Life(self.lives)
    }

    /// Nodes on whose machines haftd is installed.
    pub(crate) fn coordinators(&self) -> BTreeSet<NodeId> {
        self.machines
            .iter()
            .filter(|machine| machine.coordinates)
            .map(|machine| machine.node)
            .collect()
    }

    /// The place whose haftd leads in the highest term, if any.
    pub(crate) fn leader(&self) -> Option<Place> {
        self.machines
            .iter()
            .filter_map(|machine| {
                let term = machine.coordinator.running.as_ref()?.leads()?;
                Some((term, machine.place))
            })
            .max()
            .map(|(_, place)| place)
    }

    /// Handles an event of a machine; the run handles the rest.
    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Wire { to, role, .. } => {
                if self.admits(to, role, &event)
                    && let Event::Wire { from, wire, .. } = event
                {
                    self.deliver(to, role, from, wire);
                }
            }
            Event::Local { to, role, life, .. } => {
                if self.life(to, role) == life
                    && self.admits(to, role, &event)
                    && let Event::Local { local, .. } = event
                {
                    self.happen(to, role, local);
                }
            }
            Event::KernelWrite { to, life, .. } => {
                if self.life(to, Role::Agent) == life && self.admits(to, Role::Agent, &event) {
                    self.write_kernel(to, event);
                }
            }
            Event::Asked {
                from,
                life,
                question,
            } => self.ask_device(from, life, question),
            Event::Relay { relay, to } => self.move_relay(relay, to),
            Event::Supply { to } => self.look_at_supply(to),
            Event::PillLands { disk, of } => self.park.disks[disk].put(of, Word::Pill),
            Event::Watch { to, life } | Event::Tend { to, life } | Event::Pet { to, life } => {
                if self.life(to, Role::Agent) == life && self.admits(to, Role::Agent, &event) {
                    match event {
                        Event::Watch { .. } => self.watch(to, life),
                        Event::Tend { .. } => self.tend_watchdog(to, life),
                        _ => self.pet_for_disks(to),
                    }
                }
            }
            Event::Switch { to, switch } => self.switch(to, switch),
            Event::Boot { to } => self.boot(to),
            Event::Start { to, role, boots } => {
                if self.machines[to].boots == boots && self.machines[to].alive() {
                    self.start(to, role);
                }
            }
            Event::Continue { to, role, life } => {
                if self.life(to, role) == life {
                    self.continue_process(to, role);
                }
            }
            Event::Thaw { to, boots } => {
                if self.machines[to].boots == boots {
                    self.thaw(to);
                }
            }
            Event::DogDue { to, boots } => {
                if self.machines[to].boots == boots {
                    self.machines[to].dog_look = None;
                    self.look_at_dog(to);
                }
            }
            Event::Undo(_) | Event::Strike | Event::Errand => {}
        }
    }

    fn life(&self, place: Place, role: Role) -> Life {
        match role {
            Role::Coordinator => self.machines[place].coordinator.life,
            Role::Agent => self.machines[place].agent.life,
        }
    }

    /// Whether the process can take the event now; if it is stopped, the event waits for it.
    fn admits(&mut self, place: Place, role: Role, event: &Event) -> bool {
        let machine = &mut self.machines[place];
        let frozen = machine.frozen;
        let (running, stopped, backlog) = match role {
            Role::Coordinator => {
                let process = &mut machine.coordinator;
                (
                    process.running.is_some(),
                    process.stopped,
                    &mut process.backlog,
                )
            }
            Role::Agent => {
                let process = &mut machine.agent;
                (
                    process.running.is_some(),
                    process.stopped,
                    &mut process.backlog,
                )
            }
        };
        if running && (frozen || stopped > 0) {
            let droppable = matches!(event, Event::Wire { .. });
            if !droppable || backlog.len() < BACKLOG_MAX {
                backlog.push_back(event.clone());
            }
            return false;
        }
        running
    }

    fn deliver(&mut self, place: Place, role: Role, from: NodeId, wire: Wire) {
        if let Wire::Attach { node, stream, .. } = &wire
            && !self.stream_is_open(*node, *stream)
        {
            return;
        }
        if self.trace.wants_messages() {
            let line = format!("{:?} <- n{from} {wire:?}", role);
            self.trace.note(self.now, place, &line);
        }
        self.with_process(place, role, |process, context| match process {
            Running::Coordinator(coordinator) => coordinator.on_wire(context, from, wire),
            Running::Agent(agent) => agent.on_wire(context, wire),
        });
    }

    /// Whether the agent that asked on this stream is still waiting on it: else the connection is gone.
    fn stream_is_open(&self, node: NodeId, stream: crate::wire::Stream) -> bool {
        self.places.get(&node).is_some_and(|place| {
            let agent = self.machines[*place].agent.running.as_ref();
            agent.and_then(|agent| agent.asks_on()) == Some(stream)
        })
    }

    fn happen(&mut self, place: Place, role: Role, local: Local) {
        match &local {
            Local::Wake => {
                let process_wake = match role {
                    Role::Coordinator => &mut self.machines[place].coordinator.wake_at,
                    Role::Agent => &mut self.machines[place].agent.wake_at,
                };
                if process_wake.is_some_and(|at| at > self.now) {
                    return;
                }
                *process_wake = None;
            }
            Local::Probed(haft_engine::command::Probe::Clean) => {
                let machine = &mut self.machines[place];
                machine.kernel.remove_leftovers();
                machine.probed_clean = Some(machine.agent.life);
            }
            Local::Probed(haft_engine::command::Probe::Unclean) => {
                self.hooks.push((place, Hook::LeftoversStay));
            }
            Local::FiltersGone => self.machines[place].kernel.mend_filters(),
            _ => {}
        }
        if matches!(local, Local::Probed(_)) && self.awaits_disks(place) {
            let event = self.local(place, role, self.life(place, role), local);
            self.after(nanos(self.park.times.pause), event);
            return;
        }
        self.with_process(place, role, |process, context| match process {
            Running::Coordinator(coordinator) => coordinator.on_local(context, local),
            Running::Agent(agent) => agent.on_local(context, local),
        });
    }

    /// Whether this agent has to see its mailboxes empty before it asks to be admitted.
    fn awaits_disks(&self, place: Place) -> bool {
        let watched = self.machines[place].watcher.stage == Watching::Watched;
        !self.park.disks.is_empty() && self.park.plan.start == StartMode::Clean && !watched
    }

    /// Runs one step of a process and then does what it asked for.
    fn with_process(
        &mut self,
        place: Place,
        role: Role,
        step: impl FnOnce(Running<'_>, &mut Context<'_>),
    ) {
        let machine = &mut self.machines[place];
        let mut acts = Vec::new();
        let mut context = Context {
            now: machine.clock.local(self.now),
            wall_ms: machine.clock.wall_ms(self.now),
            rng: &mut self.rng,
            acts: &mut acts,
        };
        match role {
            Role::Coordinator => {
                let Some(process) = &mut machine.coordinator.running else {
                    return;
                };
                step(Running::Coordinator(process), &mut context);
            }
            Role::Agent => {
                let Some(process) = &mut machine.agent.running else {
                    return;
                };
                step(Running::Agent(process), &mut context);
            }
        }
        self.perform(place, role, acts);
        if role == Role::Agent {
            self.oracle.after_agent(self.now, &self.machines[place]);
            if self.machines[place]
                .agent
                .running
                .as_ref()
                .is_some_and(crate::agent::Agent::ended)
            {
                self.end_clean(place);
                self.kill(place, Role::Agent);
                return;
            }
        }
        self.schedule_wake(place, role);
    }

    /// A clean end puts the disks' watchdog down, if nothing is held here any more, also of earlier lives: a pill
    /// could not end what an agent left that could not remove it.
    fn end_clean(&mut self, place: Place) {
        let machine = &mut self.machines[place];
        let life = machine.agent.life;
        if machine.probed_clean == Some(life) {
            machine.kernel.feed_for_disks(None);
            machine.ended_clean = Some(life);
        }
    }

    /// Makes sure that the process is woken when it wants to be.
    pub(crate) fn schedule_wake(&mut self, place: Place, role: Role) {
        let machine = &self.machines[place];
        let (wanted, scheduled, life) = match role {
            Role::Coordinator => (
                machine.coordinator.running.as_ref().map(|p| p.next_wake()),
                machine.coordinator.wake_at,
                machine.coordinator.life,
            ),
            Role::Agent => (
                machine.agent.running.as_ref().map(|p| p.next_wake()),
                machine.agent.wake_at,
                machine.agent.life,
            ),
        };
        let Some(wanted) = wanted.and_then(|moment| machine.clock.when(moment)) else {
            return;
        };
        // A process that wants to be woken in the past is woken soon, but time goes on.
        let at = wanted.max(self.now + MS / 100);
        if scheduled.is_some_and(|scheduled| scheduled <= at) {
            return;
        }
        match role {
            Role::Coordinator => self.machines[place].coordinator.wake_at = Some(at),
            Role::Agent => self.machines[place].agent.wake_at = Some(at),
        }
        let local = Local::Wake;
        self.after(
            at - self.now,
            Event::Local {
                to: place,
                role,
                life,
                local,
            },
        );
    }
}

/// A process that runs.
enum Running<'a> {
    Coordinator(&'a mut crate::coordinator::Coordinator),
    Agent(&'a mut crate::agent::Agent),
}
