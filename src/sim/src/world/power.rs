//! Power, boots, process starts and ends, pauses.

use super::devices::Sighting;
use super::{Event, World};
use crate::agent::{Agent, Watch};
use crate::bmc::{Power, Switch};
use crate::clock::{MS, TrueTime};
use crate::coordinator::Coordinator;
use crate::disks::{StartMode, Watcher};
use crate::kernel::Kernel;
use crate::machine::Outage;
use crate::net::Place;
use crate::wire::{Context, Local, Role};
use haft_engine::clock::Timing;
use haft_engine::command::Probe;
use haft_engine::session::responder::Restart;

impl World {
    /// A BMC (or a hand) moves the switch.
    pub(crate) fn switch(&mut self, place: Place, switch: Switch) {
        match (switch.to, self.machines[place].power) {
            (Power::Off, Power::On) => self.power_off(place),
            (Power::On, Power::Off) => self.boot(place),
            (Power::Off, Power::Off) | (Power::On, Power::On) => {}
        }
    }

    /// The power goes: processes, kernel state and whatever was not durable are lost.
    pub(crate) fn power_off(&mut self, place: Place) {
        if self.machines[place].power == Power::Off {
            return;
        }
        self.note(place, || "power off".to_owned());
        self.kill(place, Role::Coordinator);
        self.kill(place, Role::Agent);
        let machine = &mut self.machines[place];
        machine.kernel = Kernel::behind(machine.kernel.barrier());
        machine.power = Power::Off;
        machine.bmc.off_since = Some(self.now);
        machine.outage = Outage::Switched;
        machine.dog_look = None;
        machine.watcher = Watcher::idle();
        machine.frozen = false;
    }

    /// Power comes, under a new boot id.
    /// Nothing comes of it while nothing feeds the machine.
    pub(crate) fn boot(&mut self, place: Place) {
        let fed = self.park.is_fed(place, self.now);
        let machine = &mut self.machines[place];
        if machine.power == Power::On || !fed {
            return;
        }
        machine.power = Power::On;
        machine.bmc.off_since = None;
        machine.boots += 1;
        machine.probed_clean = None;
        machine.ended_clean = None;
        machine.thawed_at = None;
        machine.clock.reboot(self.now);
        machine.disk_hangs_until = 0;
        machine.kernel_slow_until = 0;
        machine.sticks_until = 0;
        let boots = machine.boots;
        self.note(place, || format!("power on, boot {boots}"));
        for role in [Role::Coordinator, Role::Agent] {
            let delay = self.rng.range(20 * MS, 200 * MS);
            let to = place;
            self.after(delay, Event::Start { to, role, boots });
        }
    }

    /// Resets a machine whose watchdog is due; else looks again when it may be.
    pub(super) fn look_at_dog(&mut self, place: Place) {
        let machine = &self.machines[place];
        let Some(fires) = machine.kernel.dog_fires() else {
            return;
        };
        if machine.power == Power::Off || machine.frozen {
            // A machine that stands still is looked at when it goes on.
            return;
        }
        if machine.clock.local(self.now) >= fires {
            self.note(place, || "its watchdog resets it".to_owned());
            if self.machines[place].kernel.disks_fire() == Some(fires) {
                self.sightings.push(Sighting::StarvedByDisks);
            } else {
                self.dog_bites.push(place);
            }
            self.power_off(place);
            self.boot(place);
            return;
        }
        let boots = machine.boots;
        // One look at a time: it is moved on when it comes too early.
        if let Some(at) = machine.clock.when(fires)
            && machine.dog_look.is_none_or(|look| at < look)
        {
            let delay = at.saturating_sub(self.now).max(1);
            self.machines[place].dog_look = Some(self.now + delay);
            self.after(delay, Event::DogDue { to: place, boots });
        }
    }

    /// Kills a process (SIGKILL).
    pub(crate) fn kill(&mut self, place: Place, role: Role) {
        let machine = &mut self.machines[place];
        match role {
            Role::Coordinator => {
                if let Some(coordinator) = machine.coordinator.clear() {
                    let mut disk = coordinator.into_disk();
                    disk.crash(&mut self.rng);
                    machine.disk = Some(disk);
                    self.note(place, || "haftd ends".to_owned());
                }
            }
            Role::Agent => {
                if machine.agent.clear().is_some() {
                    self.note(place, || "haft-agent ends".to_owned());
                }
            }
        }
    }

    /// Starts a process if it is installed and does not run.
    pub(crate) fn start(&mut self, place: Place, role: Role) {
        match role {
            Role::Coordinator => {
                self.start_coordinator(place, Restart::Returned);
            }
            Role::Agent => self.start_agent(place),
        }
    }

    /// Starts haftd from its disk.
    pub(crate) fn start_coordinator(&mut self, place: Place, restart: Restart) {
        let life = self.new_life();
        let known = self.coordinators();
        let timing = self.timing;
        let file = self.file_of(place);
        let disks = self.park.disks.len();
        let machine = &mut self.machines[place];
        let Some(disk) = machine.disk.take() else {
            return;
        };
        let mut acts = Vec::new();
        let mut context = Context {
            now: machine.clock.local(self.now),
            wall_ms: machine.clock.wall_ms(self.now),
            rng: &mut self.rng,
            acts: &mut acts,
        };
        let node = machine.node;
        let started = Coordinator::start(
            node,
            (timing, file, disks),
            known,
            disk,
            restart,
            &mut context,
        );
        machine.coordinator.running = Some(started);
        machine.coordinator.life = life;
        self.note(place, || "haftd starts".to_owned());
        self.perform(place, Role::Coordinator, acts);
        self.schedule_wake(place, Role::Coordinator);
    }

    /// What the file on this machine says: where administrators change the timing, each may say something else.
    fn file_of(&self, place: Place) -> Timing {
        let others = &self.timings;
        match others.get((place + 1) % (others.len() + 1)) {
            Some(other) => *other,
            None => self.timing,
        }
    }

    fn start_agent(&mut self, place: Place) {
        if self.machines[place].agent.running.is_some() {
            return;
        }
        let life = self.new_life();
        let file = self.file_of(place);
        let doors: Vec<_> = self.coordinators().into_iter().collect();
        let machine = &mut self.machines[place];
        let now = machine.clock.local(self.now);
        let watch = if self.park.disks.is_empty() {
            Watch::Watched
        } else {
            Watch::Awaited
        };
        let agent = Agent::start(machine.node, life, machine.boot(), file, doors, watch, now)
            .behind(machine.kernel.barrier(), machine.kernel.found());
        machine.agent.running = Some(agent);
        machine.agent.life = life;
        machine.kernel.mend_filters();
        machine.watcher = Watcher::idle();
        if self.park.plan.start == StartMode::Clean {
            self.begin_watching(place);
        }
        self.note(place, || format!("haft-agent starts as {life:?}"));
        let probe = if self.rng.chance(self.oracle.unclean_probes()) {
            Probe::Unclean
        } else {
            Probe::Clean
        };
        let foreign = self.machines[place].kernel.foreign();
        self.tell(place, Role::Agent, Local::Foreign(foreign));
        let delay = self.rng.range(MS, 5 * MS);
        let local = Local::Probed(probe);
        let (to, role) = (place, Role::Agent);
        self.after(
            delay,
            Event::Local {
                to,
                role,
                life,
                local,
            },
        );
    }

    /// Stops a process (SIGSTOP) for `span`.
    pub(crate) fn stop_process(&mut self, place: Place, role: Role, span: TrueTime) {
        let machine = &mut self.machines[place];
        let (running, life) = match role {
            Role::Coordinator => {
                machine.coordinator.stopped += 1;
                (
                    machine.coordinator.running.is_some(),
                    machine.coordinator.life,
                )
            }
            Role::Agent => {
                machine.agent.stopped += 1;
                (machine.agent.running.is_some(), machine.agent.life)
            }
        };
        if !running {
            match role {
                Role::Coordinator => machine.coordinator.stopped = 0,
                Role::Agent => machine.agent.stopped = 0,
            }
            return;
        }
        self.note(place, || {
            format!("{role:?} is stopped for {} ms", span / MS)
        });
        let to = place;
        self.after(span, Event::Continue { to, role, life });
    }

    /// A stopped process goes on (SIGCONT).
    pub(super) fn continue_process(&mut self, place: Place, role: Role) {
        let machine = &mut self.machines[place];
        let stopped = match role {
            Role::Coordinator => &mut machine.coordinator.stopped,
            Role::Agent => &mut machine.agent.stopped,
        };
        if *stopped == 0 {
            return;
        }
        *stopped -= 1;
        if *stopped == 0 && !machine.frozen {
            self.drain(place, role);
        }
    }

    /// Everything that waited for a process reaches it now: sockets before timers.
    fn drain(&mut self, place: Place, role: Role) {
        self.note(place, || format!("{role:?} goes on"));
        let machine = &mut self.machines[place];
        let backlog = match role {
            Role::Coordinator => std::mem::take(&mut machine.coordinator.backlog),
            Role::Agent => std::mem::take(&mut machine.agent.backlog),
        };
        let (messages, rest): (Vec<Event>, Vec<Event>) = backlog
            .into_iter()
            .partition(|event| matches!(event, Event::Wire { .. }));
        // An agent's pending kernel write was already inside the kernel's door; a coordinator
        // drains its sockets before any timer.
        let ordered = match role {
            Role::Coordinator => messages.into_iter().chain(rest),
            Role::Agent => rest.into_iter().chain(messages),
        };
        let events: Vec<Event> = ordered.collect();
        if role == Role::Coordinator {
            let (beats, others): (Vec<Event>, Vec<Event>) = events.into_iter().partition(|e| {
                matches!(
                    e,
                    Event::Wire {
                        wire: crate::wire::Wire::Beat(_),
                        ..
                    }
                )
            });
            let machine = &mut self.machines[place];
            let local_now = machine.clock.local(self.now);
            if let Some(coordinator) = &mut machine.coordinator.running {
                coordinator.on_continued(local_now);
            }
            for event in beats.into_iter().chain(others) {
                self.handle(event);
            }
        } else {
            for event in events {
                self.handle(event);
            }
        }
        self.schedule_wake(place, role);
    }

    /// The whole machine stands still for `span`: a VM pause. Its clocks stand still, too. Whether it ran.
    pub(crate) fn freeze(&mut self, place: Place, span: TrueTime) -> bool {
        let machine = &mut self.machines[place];
        if !machine.alive() {
            return false;
        }
        machine.clock.freeze(self.now);
        machine.frozen = true;
        let boots = machine.boots;
        self.note(place, || {
            format!("machine stands still for {} ms", span / MS)
        });
        self.after(span, Event::Thaw { to: place, boots });
        true
    }

    /// It goes on.
    pub(super) fn thaw(&mut self, place: Place) {
        let machine = &mut self.machines[place];
        if !machine.frozen {
            return;
        }
        machine.frozen = false;
        machine.clock.thaw(self.now);
        machine.thawed_at = Some(self.now);
        self.note(place, || "machine goes on".to_owned());
        self.look_at_dog(place);
        if self.machines[place].power == Power::Off {
            return;
        }
        self.oracle.machine_woke(self.now, &self.machines, place);
        let stopped = (
            self.machines[place].coordinator.stopped > 0,
            self.machines[place].agent.stopped > 0,
        );
        if !stopped.1 {
            self.drain(place, Role::Agent);
        }
        if !stopped.0 {
            self.drain(place, Role::Coordinator);
        }
    }
}

impl World {
    /// Kills a process that restarts after `span`; whether it ran.
    pub(crate) fn crash(&mut self, place: Place, role: Role, span: TrueTime) -> bool {
        let machine = &self.machines[place];
        let runs = match role {
            Role::Coordinator => machine.coordinator.running.is_some(),
            Role::Agent => machine.agent.running.is_some(),
        };
        if runs {
            self.kill(place, role);
            self.restart_later(place, role, span);
        }
        runs
    }

    /// Has a process started after `span`, if it does not run then and the boot is the same.
    pub(crate) fn restart_later(&mut self, place: Place, role: Role, span: TrueTime) {
        let boots = self.machines[place].boots;
        let to = place;
        self.after(span, Event::Start { to, role, boots });
    }

    /// Tells a process something now.
    pub(crate) fn tell(&mut self, place: Place, role: Role, local: Local) {
        let machine = &self.machines[place];
        let life = match role {
            Role::Coordinator => machine.coordinator.life,
            Role::Agent => machine.agent.life,
        };
        let to = place;
        self.after(
            0,
            Event::Local {
                to,
                role,
                life,
                local,
            },
        );
    }

    /// Ends every pause of a machine.
    pub(crate) fn release(&mut self, place: Place) {
        self.thaw(place);
        for role in [Role::Coordinator, Role::Agent] {
            let machine = &mut self.machines[place];
            let stopped = match role {
                Role::Coordinator => &mut machine.coordinator.stopped,
                Role::Agent => &mut machine.agent.stopped,
            };
            if *stopped > 0 {
                *stopped = 1;
                self.continue_process(place, role);
            }
        }
    }
}
