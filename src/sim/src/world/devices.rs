//! Fence devices at work: questions on their way, relays that move, pills that land, watchers that read.

use super::{Event, World};
use crate::bmc::{Ask, Mood, Power, Said, Seen};
use crate::clock::{MS, TrueTime};
use crate::disks::{Obeyed, StartMode, Watching, Word, Wrote, io_takes};
use crate::invariants::{no_newer_life, order_stands};
use crate::machine::{Machine, Outage};
use crate::net::Place;
use crate::park::Tool;
use crate::pdu::RELAY_MAX;
use crate::raft::nanos;
use crate::wire::{Challenged, Life, Local, Question, Role};
use haft_engine::command::{PathFault, PathHealth};
use haft_engine::ids::{DeviceName, Generation};
use haft_engine::witness::{Speaker, Witness};

/// What the nemesis counts and did not strike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sighting {
    /// A machine was ordered off that was off.
    AlreadyOff,
    /// A machine obeyed a pill.
    PillObeyed,
    /// The disks starved a machine's watchdog.
    StarvedByDisks,
    /// The supplies of a running machine ran dry.
    RanDry,
    /// A probe found a device that does not answer.
    PathDegraded,
}

impl World {
    /// A question goes out; disks are reached without the network.
    pub(super) fn send_question(&mut self, from: Place, life: Life, question: Question) {
        let machine = &self.machines[from];
        if let Some(sender) = &machine.coordinator.running {
            let violation = order_stands::check(self.now, sender.state(), machine.node, &question);
            self.oracle.report(violation);
            let (truth, known) = (self.oracle.state(), sender.state());
            let violation = no_newer_life::check(self.now, truth, known, machine, &question);
            self.oracle.report(violation);
        }
        let delay = self.rng.range(MS, 3 * MS);
        let event = Event::Asked {
            from,
            life,
            question,
        };
        self.after(delay, event);
    }

    /// A question arrives.
    pub(super) fn ask_device(&mut self, from: Place, life: Life, question: Question) {
        let Some(target) = self.places.get(&question.target).copied() else {
            return;
        };
        if question.ask == Ask::Off && self.machines[target].power == Power::Off {
            self.sightings.push(Sighting::AlreadyOff);
        }
        let (said, late) = match question.tool {
            Tool::Bmc => self.ask_bmc(from, target, &question),
            Tool::Pdu(pdu) => self.ask_pdu(pdu, target, &question),
            Tool::Disks => self.ask_disks(from, target, question.ask),
        };
        if self.trace.on() && (question.ask != Ask::Status || said != Some(Said::On)) {
            let (tool, ask) = (question.tool, question.ask);
            let line = format!("{tool:?} hears {ask:?}, says {said:?}");
            self.trace.note(self.now, target, &line);
        }
        let Some(said) = said else { return };
        let delay = late + self.rng.range(MS, 4 * MS);
        let (task, turn) = (question.task, question.turn);
        let local = Local::DeviceSaid { task, turn, said };
        self.after(delay, self.local(from, Role::Coordinator, life, local));
    }

    /// A BMC lives on its machine's standby power.
    fn ask_bmc(
        &mut self,
        from: Place,
        target: Place,
        question: &Question,
    ) -> (Option<Said>, TrueTime) {
        if !self.net.manages(from, target) || !self.park.is_fed(target, self.now) {
            return (None, 0);
        }
        let machine = &self.machines[target];
        let seen = Seen {
            now: self.now,
            power: machine.power,
            off_since: machine.bmc.off_since,
            turn: question.turn,
        };
        let answer = machine.bmc.mood.hear(&seen, question.ask);
        if let Some(switch) = answer.switch {
            self.after(switch.after, Event::Switch { to: target, switch });
        }
        (answer.said, answer.late)
    }

    fn ask_pdu(
        &mut self,
        pdu: usize,
        target: Place,
        question: &Question,
    ) -> (Option<Said>, TrueTime) {
        let device = &mut self.park.pdus[pdu];
        if !device.reachable() {
            return (None, 0);
        }
        let (power, off_since) = device.state(target);
        let seen = Seen {
            now: self.now,
            power,
            off_since,
            turn: question.turn,
        };
        let mut answer = device.mood.hear(&seen, question.ask);
        // "Pending", called off.
        if matches!(device.mood, Mood::PendingAsOff(_))
            && question.ask == Ask::Status
            && device
                .of(target)
                .iter()
                .all(|one| one.pending_off || one.relay == Power::Off)
        {
            answer.said = Some(Said::Off);
        }
        if let Some(switch) = answer.switch {
            let calls_off = matches!(self.park.pdus[pdu].mood, Mood::PendingAsOff(_));
            let relay = match calls_off {
                true => 0,
                false => self.rng.below(RELAY_MAX),
            };
            self.park.orders += 1;
            let order = self.park.orders;
            let outlets = self.park.pdus[pdu].of(target);
            for one in outlets.iter_mut() {
                one.newest = order;
                one.pending_off = calls_off && switch.to == Power::Off && !one.stuck;
            }
            for outlet in 0..outlets.len() {
                let to = (order, switch.to);
                let event = Event::Relay {
                    relay: (pdu, target, outlet),
                    to,
                };
                self.after(switch.after + relay, event);
            }
        }
        (answer.said, answer.late)
    }

    /// One relay moves, unless a newer order came.
    pub(super) fn move_relay(
        &mut self,
        (pdu, place, outlet): (usize, Place, usize),
        to: (u64, Power),
    ) {
        let dry = self.park.pdus[pdu].switch(place, outlet, to, self.now);
        match dry {
            Some(dry) => self.after(dry - self.now, Event::Supply { to: place }),
            None => self.look_at_supply(place),
        }
    }

    /// A machine whose supplies have run dry stops; one that is fed again comes back if it was running.
    pub(crate) fn look_at_supply(&mut self, place: Place) {
        let fed = self.park.is_fed(place, self.now);
        let machine = &self.machines[place];
        match (machine.power, fed) {
            (Power::On, false) => {
                self.sightings.push(Sighting::RanDry);
                self.power_off(place);
                self.machines[place].outage = Outage::Unfed;
            }
            (Power::Off, true) if machine.outage == Outage::Unfed => self.boot(place),
            (Power::Off | Power::On, _) => {}
        }
    }

    /// Somebody closes every relay of a machine and switches it on.
    pub(crate) fn switch_on_by_hand(&mut self, place: Place) {
        for pdu in &mut self.park.pdus {
            pdu.plug_in(place);
        }
        self.boot(place);
    }

    fn ask_disks(&mut self, host: Place, target: Place, ask: Ask) -> (Option<Said>, TrueTime) {
        let now = self.now;
        let mut hangs = false;
        match ask {
            Ask::Pill => {
                for disk in 0..self.park.disks.len() {
                    let wrote = self.park.disks[disk].write(now, host, target, Word::Pill);
                    if let Wrote::Hangs(until) = wrote {
                        hangs = true;
                        // The host's kernel may hold the write and carry it out when the disk is back.
                        if self.rng.chance(500) {
                            let landing = Event::PillLands { disk, of: target };
                            self.after(until - now, landing);
                        }
                    }
                }
                (Some(Said::Taken), io_takes(&self.park.times, hangs))
            }
            Ask::Slot => {
                let disks = &self.park.disks;
                let read = disks.iter().map(|disk| disk.read(now, host, target));
                let pills = read
                    .clone()
                    .filter(|word| *word == Some(Word::Pill))
                    .count();
                hangs = read.clone().any(|word| word.is_none());
                (Some(Said::Pills(pills)), io_takes(&self.park.times, hangs))
            }
            Ask::Off | Ask::On | Ask::Status => (Some(Said::Unknown), 0),
        }
    }

    /// Every coordinator asks whether the machine lives. Where nobody can hear an answer, a controller that lies alone
    /// carries out what it said: against one that nobody could contradict there is no help (docs/simulator.md).
    pub(super) fn challenge(&mut self, from: Place, life: Life, of: &Challenged) {
        let Some(place) = self.places.get(&of.target).copied() else {
            return;
        };
        let Some(witness) = self.witness(from, place) else {
            if of.tools.contains(&Tool::Bmc) && self.machines[place].bmc.mood == Mood::LiesOff {
                self.power_off(place);
            }
            return;
        };
        self.note(place, || "answers a challenge".to_owned());
        let delay = self.rng.range(MS / 5, 4 * MS);
        let task = of.task;
        let local = Local::Witnessed { task, witness };
        self.after(delay, self.local(from, Role::Coordinator, life, local));
    }

    /// Who of the machine answers, and which coordinator hears it and can tell the executor.
    fn witness(&self, executor: Place, place: Place) -> Option<Witness> {
        let machine = &self.machines[place];
        let agent = machine.agent.running.is_some() && machine.agent.stopped == 0;
        let coordinator = machine.coordinator.running.is_some() && machine.coordinator.stopped == 0;
        let speaker = match (agent, coordinator) {
            (true, _) => Speaker::Agent,
            (false, true) => Speaker::Coordinator,
            (false, false) => return None,
        };
        let hears = |other: &&Machine<Event>| {
            let process = &other.coordinator;
            let up = other.alive() && process.running.is_some() && process.stopped == 0;
            let tells = self.net.joins(executor, other.place);
            up && tells && other.place != place && self.net.joins(place, other.place)
        };
        let by = self
            .machines
            .iter()
            .find(hears)
            .filter(|_| machine.alive())?;
        Some(Witness {
            by: by.node,
            speaker,
            boot: machine.boot(),
        })
    }

    /// A leader's probe: its agent's `monitor`, killed when the device is silent.
    pub(super) fn probe_device(
        &mut self,
        from: Place,
        life: Life,
        name: DeviceName,
        generation: Generation,
    ) {
        let sound = match Tool::named(&name) {
            Some(Tool::Bmc) => (0..self.machines.len()).all(|place| {
                let mood = self.machines[place].bmc.mood;
                self.net.manages(from, place)
                    && self.park.is_fed(place, self.now)
                    && mood.answers_probes()
            }),
            Some(Tool::Pdu(pdu)) => {
                let pdu = &self.park.pdus[pdu];
                pdu.reachable() && pdu.mood.answers_probes()
            }
            Some(Tool::Disks) => {
                let disks = self.park.disks.iter_mut();
                let reads = disks.map(|disk| disk.read(self.now, from, from).is_some());
                reads.filter(|read| *read).count() >= self.park.quorum()
            }
            None => false,
        };
        let health = if sound {
            PathHealth::Healthy
        } else {
            self.sightings.push(Sighting::PathDegraded);
            PathHealth::Failing {
                fault: PathFault::NoAnswer,
                why: "it did not answer its monitor".to_owned(),
            }
        };
        let delay = self.rng.range(3 * MS, 9 * MS);
        let local = Local::DeviceProbed(name, generation, health);
        self.after(delay, self.local(from, Role::Coordinator, life, local));
    }

    /// The watcher of this life of an agent begins, if there are disks to watch.
    pub(super) fn begin_watching(&mut self, place: Place) {
        let disks = self.park.disks.len();
        let machine = &mut self.machines[place];
        if disks == 0 || machine.watcher.stage != Watching::No {
            return;
        }
        machine.watcher.begin(disks);
        let life = machine.agent.life;
        if self.park.plan.start == StartMode::Always {
            for disk in 0..disks {
                self.park.disks[disk].write(self.now, place, place, Word::Clear);
            }
        }
        self.after(MS, Event::Watch { to: place, life });
        self.after(2 * MS, Event::Tend { to: place, life });
    }

    /// One loop of a watcher: read every disk, obey a pill.
    pub(super) fn watch(&mut self, place: Place, life: Life) {
        let watcher = &self.machines[place].watcher;
        let begun = match watcher.stage {
            Watching::No | Watching::Dead => return,
            Watching::Begun(_) => false,
            Watching::Watched => true,
        };
        let local = self.machines[place].clock.local(self.now);
        for disk in 0..self.park.disks.len() {
            match self.park.disks[disk].read(self.now, place, place) {
                None => {}
                Some(Word::Clear) => self.machines[place].watcher.saw_nothing(disk, local),
                Some(Word::Pill) if !begun && self.park.plan.start == StartMode::Always => {
                    self.park.disks[disk].write(self.now, place, place, Word::Clear);
                }
                Some(Word::Pill) if !begun => {
                    self.note(place, || {
                        "haft-agent refuses to start: a pill lies in its slot".to_owned()
                    });
                    self.kill(place, Role::Agent);
                    return;
                }
                Some(Word::Pill) => {
                    self.obey(place);
                    return;
                }
            }
        }
        let pause = nanos(self.park.times.pause);
        self.after(pause, Event::Watch { to: place, life });
    }

    fn obey(&mut self, place: Place) {
        self.note(place, || "obeys a pill".to_owned());
        self.sightings.push(Sighting::PillObeyed);
        self.power_off(place);
        if self.park.plan.obeyed == Obeyed::Reset {
            self.boot(place);
        }
    }

    /// The watchdog's keeper: decides a pet while the disks vouch. Carried out a moment later, or much later if the
    /// process is stopped meanwhile.
    pub(super) fn tend_watchdog(&mut self, place: Place, life: Life) {
        let times = self.park.times;
        let machine = &self.machines[place];
        if machine.watcher.stage == Watching::No {
            return;
        }
        let local = machine.clock.local(self.now);
        if machine.watcher.vouched(local, &times) {
            let delay = self.rng.range(MS / 50, MS / 5);
            self.after(delay, Event::Pet { to: place, life });
        }
        let pause = nanos(times.period) / 4;
        self.after(pause, Event::Tend { to: place, life });
    }

    /// A pet reaches the watchdog. The first arms it; what the disks said before that is looked at anew.
    pub(super) fn pet_for_disks(&mut self, place: Place) {
        let fires = self.park.times.fires_within();
        let machine = &mut self.machines[place];
        let local = machine.clock.local(self.now);
        machine.kernel.feed_for_disks(Some(local + fires));
        match machine.watcher.stage {
            Watching::Begun(0) => machine.watcher.stage = Watching::Begun(1),
            Watching::Begun(_) => {
                machine.watcher.stage = Watching::Watched;
                self.tell(place, Role::Agent, Local::Watched);
            }
            Watching::No | Watching::Watched | Watching::Dead => {}
        }
        self.look_at_dog(place);
    }
}
