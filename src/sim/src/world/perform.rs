//! What processes ask for, done: messages sent, disks flushed, kernel writes on their way.

use super::{Event, World};
use crate::clock::{MS, TrueTime};
use crate::kernel::{Reply, Request};
use crate::net::Place;
use crate::wire::{Act, Life, Local, Role, Wire};
use haft_engine::ids::{NodeId, ResourceId, Token};
use haft_engine::keeper::Operation;
use std::ops::Range;

impl World {
    /// Does what a process asked for, in order.
    pub(super) fn perform(&mut self, place: Place, role: Role, acts: Vec<Act>) {
        let life = self.life(place, role);
        for act in acts {
            match act {
                Act::ToCoordinator(to, wire) => self.send(place, Role::Coordinator, to, wire),
                Act::ToCoordinators(wire) => {
                    for to in self.coordinators() {
                        self.send(place, Role::Coordinator, to, wire.clone());
                    }
                }
                Act::ToAgent(to, wire) => self.send(place, Role::Agent, to, wire),
                Act::Flush { index, term } => {
                    let delay = self.disk_delay(place, MS / 10..MS);
                    let local = Local::Flushed { index, term };
                    self.after(delay, self.local(place, role, life, local));
                }
                Act::AppendLater(from, message) => {
                    let delay = self.disk_delay(place, MS / 50..MS / 3);
                    let local = Local::AppendLater(from, message);
                    self.after(delay, self.local(place, role, life, local));
                }
                Act::ProposeSoon { term, proposal } => {
                    let delay = self.rng.range(0, MS / 5);
                    let local = Local::Propose { term, proposal };
                    self.after(delay, self.local(place, role, life, local));
                }
                Act::AskDevice(question) => self.send_question(place, life, question),
                Act::Challenge(of) => self.challenge(place, life, &of),
                Act::ProbeDevice(device, generation) => {
                    self.probe_device(place, life, device, generation);
                }
                Act::Applied {
                    index,
                    entry,
                    outcomes,
                } => self.applied(place, index, &entry, &outcomes),
                Act::Kernel {
                    operation,
                    request,
                    timing,
                } => {
                    let delay = self.kernel_delay(place);
                    let to = place;
                    self.after(
                        delay,
                        Event::KernelWrite {
                            to,
                            life,
                            operation,
                            request,
                            timing,
                        },
                    );
                }
                Act::Adopted(incarnation) => {
                    self.note(place, || format!("agent is incarnation {incarnation}"));
                    let node = self.machines[place].node;
                    self.oracle.adopted(node, incarnation, life);
                    self.begin_watching(place);
                }
                Act::Released(resource, token) => self.released(place, resource, token),
                Act::End => {
                    let after = self.rng.range(20 * MS, 300 * MS);
                    self.crash(place, Role::Coordinator, after);
                }
                Act::Hook(hook) => self.hooks.push((place, hook)),
            }
        }
    }

    pub(super) fn local(&self, to: Place, role: Role, life: Life, local: Local) -> Event {
        Event::Local {
            to,
            role,
            life,
            local,
        }
    }

    fn released(&mut self, place: Place, resource: ResourceId, token: Token) {
        let node = self.machines[place].node;
        if !self.oracle.knows_released(node, &resource, token) {
            self.note(place, || format!("agent says {resource} {token} released"));
        }
        self.oracle.released(node, resource, token);
    }

    /// What a write takes, when the disk does not hang.
    fn disk_delay(&mut self, place: Place, takes: Range<TrueTime>) -> TrueTime {
        let hangs = self.machines[place]
            .disk_hangs_until
            .saturating_sub(self.now);
        hangs + self.rng.range(takes.start, takes.end)
    }

    fn kernel_delay(&mut self, place: Place) -> TrueTime {
        let base = self.rng.range(MS / 50, MS / 5);
        if self.now < self.machines[place].kernel_slow_until {
            base + self.rng.range(5 * MS, 130 * MS)
        } else {
            base
        }
    }

    /// Writes a line of the trace, if somebody reads along.
    pub(crate) fn note(&mut self, place: Place, line: impl FnOnce() -> String) {
        if self.trace.on() {
            let line = line();
            self.trace.note(self.now, place, &line);
        }
    }

    fn applied(
        &mut self,
        place: Place,
        index: u64,
        entry: &haft_engine::command::Entry,
        outcomes: &[haft_engine::apply::Outcome],
    ) {
        if self.trace.on() && !entry.commands.is_empty() && self.oracle.is_new(index) {
            let line = format!("commits {index}: {:?} => {outcomes:?}", entry.commands);
            self.trace.note(self.now, place, &line);
        }
        self.oracle
            .applied(self.now, &self.machines, index, entry, outcomes);
        let state = self.machines[place]
            .coordinator
            .running
            .as_ref()
            .map(|coordinator| coordinator.state());
        if let Some(state) = state {
            self.oracle.compare(self.now, place, state);
        }
    }

    fn send(&mut self, place: Place, role: Role, to: NodeId, wire: Wire) {
        let Some(to) = self.places.get(&to).copied() else {
            return;
        };
        let from = self.machines[place].node;
        let agent = match role {
            Role::Agent => to,
            Role::Coordinator => place,
        };
        if wire.is_streamed() && !self.net.streams(agent) {
            return;
        }
        let [first, second] = self.net.carry(&mut self.rng, place, to);
        if let Some(delay) = second {
            let wire = wire.clone();
            self.after(
                delay,
                Event::Wire {
                    to,
                    role,
                    from,
                    wire,
                },
            );
        }
        if let Some(delay) = first {
            self.after(
                delay,
                Event::Wire {
                    to,
                    role,
                    from,
                    wire,
                },
            );
        }
    }

    /// A decided write reaches the kernel.
    pub(super) fn write_kernel(&mut self, place: Place, event: Event) {
        let Event::KernelWrite {
            operation,
            request,
            timing,
            ..
        } = event
        else {
            return;
        };
        let machine = &mut self.machines[place];
        let local_now = machine.clock.local(self.now);
        let sticks = self.now < machine.sticks_until && matches!(request, Request::Remove(_));
        let reply = if sticks {
            Reply::Busy
        } else {
            machine.kernel.execute(local_now, &request, &timing)
        };
        let life = machine.agent.life;
        let quiet = matches!(
            operation,
            Operation::Renew(_)
                | Operation::Announce(..)
                | Operation::RefreshAddress(..)
                | Operation::PetWatchdog
        );
        if !quiet || reply != Reply::Done {
            self.note(place, || format!("kernel {request:?}: {reply:?}"));
        }
        self.oracle.kernel_wrote(
            self.now,
            &self.machines,
            place,
            &operation,
            &request,
            &reply,
        );
        if matches!(request, Request::ArmDog(_) | Request::PetDog) {
            self.look_at_dog(place);
        }
        let local = Local::KernelDone { operation, reply };
        let event = self.local(place, Role::Agent, life, local);
        self.after(MS / 100, event);
    }
}
