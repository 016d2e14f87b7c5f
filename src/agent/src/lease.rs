//! The lease thread: beats, guard renewals and kernel operations, with as little jitter as we can have.
//!
//! One thread, no async, no state shared with anybody: it waits in `poll` for answers, kernel reports and
//! orders, and wakes when a machine of haft-engine wants to be woken. Everything it decides comes from
//! [`Holder`] and [`Keeper`]; it executes and reports back. If it is stopped or killed, nothing is renewed
//! and the kernel goes silent by itself.

mod beats;
mod heed;
mod wanted;

use crate::chain;
use crate::executor::{Enforcement, Executor, OpenExecutorError};
use crate::hindrances::Hindrances;
use crate::kernel::clock::boot_now;
use crate::order::{Admission, Notice, Order, OrderInbox};
use crate::shared_watchdog::SharedWatchdog;
use beats::BeatPort;
use haft_engine::clock::Moment;
use haft_engine::command::{Attestation, Difficulty, Probe};
use haft_engine::gate::GateKind;
use haft_engine::ids::{Incarnation, ResourceId, Token};
use haft_engine::keeper::{Assignment, Input, Keeper, Output};
use haft_engine::session::authority::{Agreement, Authority, Origin};
use haft_engine::session::holder::{Holder, Learned};
use haft_engine::session::retiming::Retiming;
use haft_engine::session::{AnswerKind, Beat};
use haft_engine::timing::ClusterTiming;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::sync::mpsc;
use wanted::Wanted;

/// The loop looks around at least this often; nothing depends on it.
const IDLE_WAKE: Duration = Duration::from_secs(1);
/// How often counters are logged at debug level.
const COUNTS_EVERY: Duration = Duration::from_secs(60);

/// Why the lease thread could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartLeaseError {
    /// The machine's side.
    #[error(transparent)]
    Executor(#[from] OpenExecutorError),
    /// The beat sockets.
    #[error("cannot open the beat sockets")]
    Beats(#[source] io::Error),
}

/// Everything the thread owns.
#[derive(Debug)]
pub struct Lease {
    executor: Executor,
    beats: BeatPort,
    inbox: OrderInbox,
    notices: mpsc::Sender<Notice>,
    life: Option<Life>,
    /// Admitted while an earlier life is still letting go.
    next: Option<Admission>,
    /// Came before the shared disks had vouched for this node; nothing is held before.
    unwatched: Option<(Origin, Assignment)>,
    repeat: Repeat,
    stop: Stop,
    counted: Moment,
    lapses: u64,
    /// What the stream's task knows of the gate.
    told: Hindrances,
}

/// One incarnation in our hands.
#[derive(Debug)]
struct Life {
    incarnation: Incarnation,
    holder: Holder,
    keeper: Keeper,
    /// How it follows the cluster's timing.
    retiming: Retiming,
    /// Whose assignments it obeys.
    authority: Authority,
    /// The last release of each resource that was logged; as many as the keeper remembers.
    said: BTreeMap<ResourceId, Token>,
}

/// Whether all standing reports must be said again, because one was lost or the stream is new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Repeat {
    No,
    Yes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Running,
    Asked,
    Done,
}

impl Lease {
    /// Opens the kernel's interfaces and the sockets in this thread's network namespace.
    ///
    /// # Errors
    /// When the guard cannot be opened or leftovers of an earlier life cannot be removed.
    pub fn open(
        enforcement: Enforcement,
        watchdog: SharedWatchdog,
        inbox: OrderInbox,
        notices: mpsc::Sender<Notice>,
    ) -> Result<Lease, StartLeaseError> {
        Ok(Lease {
            executor: Executor::open(enforcement, watchdog)?,
            beats: BeatPort::open().map_err(StartLeaseError::Beats)?,
            inbox,
            notices,
            life: None,
            next: None,
            unwatched: None,
            repeat: Repeat::No,
            stop: Stop::Running,
            counted: boot_now(),
            lapses: 0,
            told: Hindrances::default(),
        })
    }

    /// Runs until it was asked to stop and everything is released.
    pub fn run(mut self) {
        // Before anybody may ask to be admitted: it is in the first words.
        self.tell_hindrances();
        let probe = self.executor.probe();
        self.notify(Notice::Idle(probe));
        while self.stop != Stop::Done {
            let wake = self.turn();
            self.wait(wake);
        }
        // Ended with something held, the closing of its file is what the watchdog is for. An earlier life's leftover
        // counts: once the watchdog is disarmed no pill reaches it, and msgwait would prove nothing.
        if self.life.is_none() && self.executor.probe() == Probe::Clean {
            self.executor.watchdog().disarm_finally();
        }
        self.executor.settle();
    }

    /// Everything that is due now; returns the moment of the next.
    fn turn(&mut self) -> Moment {
        self.inbox.hush();
        while let Some(order) = self.inbox.take() {
            self.obey(order);
        }
        let guards = self.attest();
        self.beat(guards);
        let learned = self.listen();
        self.drive_all(learned);
        let tended = self.executor.tend();
        self.drive_all(tended);
        if self
            .life
            .as_ref()
            .is_some_and(|life| life.keeper.next_wake() <= boot_now())
        {
            self.drive(Input::Tick);
        }
        self.follow_timing();
        if self.repeat == Repeat::Yes {
            self.say_standing();
        }
        self.tell_hindrances();
        let watchdog = self.tend_watchdog();
        let speak = self.executor.speak();
        for (resource, claim) in self.executor.rivals() {
            // One that gets lost is told again while it lasts.
            let _ = self.notices.try_send(Notice::Rival(resource, claim));
        }
        let now = boot_now();
        self.log_counts(now);
        let life = self.life.as_ref();
        let next = life.map_or(speak, |life| {
            speak
                .min(life.keeper.next_wake())
                .min(life.holder.next_wake())
        });
        if self.executor.is_pending() {
            return now;
        }
        let next = next.min(self.executor.next_wake(now).unwrap_or(next));
        next.min(watchdog).min(now + IDLE_WAKE)
    }

    /// Pets for the shared disks, and takes up what had to wait for them.
    fn tend_watchdog(&mut self) -> Moment {
        let now = boot_now();
        self.executor.watchdog().tend(now);
        if self.executor.watchdog().is_watched()
            && let Some((origin, assignment)) = self.unwatched.take()
        {
            self.obey(Order::Assigned(origin, assignment));
        }
        let wake = self.executor.watchdog().next_wake(now);
        wake.unwrap_or(now + IDLE_WAKE)
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Begin(admission) => self.begin(admission),
            Order::Addresses(addresses) => self.beats.set_addresses(&addresses),
            Order::Assigned(origin, assignment) if !self.executor.watchdog().is_watched() => {
                self.unwatched = Some((origin, assignment));
            }
            Order::Assigned(origin, assignment) => self.assigned(origin, assignment),
            Order::Over(incarnation, origin) => self.over(incarnation, origin),
            Order::Shutdown => {
                self.stop = Stop::Asked;
                self.next = None;
                match self.life {
                    Some(_) => self.drive(Input::Shutdown),
                    None => self.idle(),
                }
            }
        }
    }

    fn begin(&mut self, admission: Admission) {
        if self.stop != Stop::Running {
            return;
        }
        self.beats.set_addresses(&admission.addresses);
        match &self.life {
            Some(life) if life.incarnation == admission.incarnation => {
                self.repeat = Repeat::Yes;
            }
            // Admitted as somebody new while the old life holds something: that goes first.
            Some(_) => {
                self.next = Some(admission);
                self.drive(Input::SessionOver);
            }
            None => {
                let Admission {
                    node,
                    incarnation,
                    membership,
                    keys,
                    timing,
                    origin,
                    ..
                } = admission;
                tracing::info!(%node, %incarnation, "admitted");
                self.executor.watchdog().admitted();
                self.beats.begin(incarnation, keys);
                let mut authority = Authority::default();
                authority.hear(origin);
                self.life = Some(Life {
                    incarnation,
                    authority,
                    holder: Holder::new(node, incarnation, membership, timing.timing),
                    keeper: Keeper::new(incarnation, timing.timing)
                        .behind(self.executor.gate_kind()),
                    retiming: Retiming::new(timing),
                    said: BTreeMap::new(),
                });
                self.drive(Input::GuardsAttested(self.executor.attested()));
            }
        }
    }

    /// Which gate stands before this machine's addresses, for as long as this process runs.
    pub fn gate_kind(&self) -> GateKind {
        self.executor.gate_kind()
    }

    /// What the guard is found to be at this moment; what is broken is repaired and installed anew. Also
    /// reads the reports that woke us.
    fn attest(&mut self) -> Attestation {
        let (guards, inputs) = self.executor.attest();
        self.drive_all(inputs);
        guards
    }

    /// Sends the beat that is due.
    fn beat(&mut self, guards: Attestation) {
        let Some(life) = &mut self.life else {
            return;
        };
        // Read last before the send: the lease counts from here.
        if let Some(beat) = life.holder.on_tick(boot_now(), guards) {
            let beat = as_built(beat);
            self.beats.send(&beat, &life.holder.recipients());
        }
    }

    /// What the answers that have come teach the keeper.
    fn listen(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        for answer in self.beats.receive() {
            let Some(life) = &mut self.life else {
                return inputs;
            };
            if life.authority.is_foreign(&answer) {
                self.beats.count_foreign();
                continue;
            }
            if answer.kind == AnswerKind::Acknowledged
                && life
                    .authority
                    .on_acknowledged(&answer, life.holder.membership())
                    == Agreement::WentBack
            {
                let obeyed = life.authority.told();
                tracing::error!(%obeyed, "a majority says that the log went back; everything is released");
                inputs.push(Input::SessionOver);
                continue;
            }
            match life.holder.on_answer(boot_now(), &answer) {
                Learned::Nothing => {}
                Learned::Extended(end) => inputs.push(Input::LeaseEnds(end)),
                Learned::Over => {
                    tracing::warn!(incarnation = %life.incarnation, by = %answer.from, "the session has ended");
                    inputs.push(Input::SessionOver);
                }
            }
        }
        inputs
    }

    /// Follows the cluster's timing (R2a), between the executor's operations: none is in flight here.
    fn follow_timing(&mut self) {
        while let Some(life) = &mut self.life {
            // Anew each time: what follows may take long, and reaches so much further.
            let now = boot_now();
            let next = life.retiming.follow(now, &mut life.holder, &life.keeper);
            let Some(input) = next else {
                break;
            };
            self.drive(input);
        }
        if let Some(life) = &mut self.life
            && let Some(generation) = life.retiming.say(boot_now())
        {
            tracing::info!(%generation, timing = ?life.keeper.timing(), "counting by the cluster's timing");
            let incarnation = life.incarnation;
            self.notify(Notice::Retimed(incarnation, generation));
        }
    }

    fn drive(&mut self, input: Input) {
        self.drive_all(vec![input]);
    }

    /// Steps the keeper and carries out what it wants, until it wants nothing more. Beats that fall due meanwhile are
    /// sent, and the shared disks' watchdog is petted: hundreds of addresses at once must not cost the lease that they
    /// are held under. What was learned of one life says nothing to the next, so all of it ends with the life.
    fn drive_all(&mut self, inputs: Vec<Input>) {
        let Some(driven) = self.life.as_ref().map(|life| life.incarnation) else {
            return;
        };
        let mut inputs = VecDeque::from(inputs);
        let mut wanted = Wanted::default();
        loop {
            let Some(life) = self.life.as_mut().filter(|life| life.incarnation == driven) else {
                return;
            };
            if let Some(input) = inputs.pop_front() {
                wanted.add(life.keeper.step(boot_now(), input));
                continue;
            }
            let Some(output) = wanted.next() else {
                return;
            };
            inputs.extend(self.carry_out(output));
            if self.life.as_ref().map(|life| life.incarnation) == Some(driven) {
                inputs.extend(self.beat_between());
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Vec<Input> {
        let Some(life) = &self.life else {
            return Vec::new();
        };
        let incarnation = life.incarnation;
        match output {
            Output::Do(operation) => {
                let end = life.holder.end();
                return self.executor.carry_out(&life.keeper, end, operation);
            }
            Output::Idle => self.idle(),
            report @ (Output::ReportActive { .. }
            | Output::ReportReleased { .. }
            | Output::ReportArmed { .. }
            | Output::ReportBegun { .. }
            | Output::ReportFailed { .. }) => {
                self.log_report(&report);
                self.notify(Notice::Report(incarnation, report));
            }
        }
        Vec::new()
    }

    /// The beat that has fallen due while something was carried out, and what came of the one before.
    fn beat_between(&mut self) -> Vec<Input> {
        self.executor.watchdog().tend(boot_now());
        let due = |life: &Life| life.holder.next_wake() <= boot_now();
        if !self.life.as_ref().is_some_and(due) {
            return Vec::new();
        }
        let (guards, mut inputs) = self.executor.attest();
        self.beat(guards);
        inputs.extend(self.listen());
        inputs
    }

    /// The life is over and everything is released: goes on as the next one, asks anew, or ends.
    fn idle(&mut self) {
        self.life = None;
        if self.stop != Stop::Running {
            self.stop = Stop::Done;
        }
        match self.next.take() {
            Some(admission) => self.begin(admission),
            None => {
                let probe = self.executor.probe();
                self.notify(Notice::Idle(probe));
            }
        }
    }

    fn say_standing(&mut self) {
        self.repeat = Repeat::No;
        let Some(life) = &mut self.life else {
            let probe = self.executor.probe();
            self.notify(Notice::Idle(probe));
            return;
        };
        life.retiming.say_again();
        let incarnation = life.incarnation;
        let reports = life.keeper.standing_reports();
        self.notify(Notice::Stands(incarnation));
        for report in reports {
            self.notify(Notice::Report(incarnation, report));
        }
    }

    /// What there is no room for now is told with the next turn.
    fn tell_hindrances(&mut self) {
        let now = self.executor.hindrances();
        if *now == self.told {
            return;
        }
        let now = now.clone();
        if self.notices.try_send(Notice::Hindered(now.clone())).is_ok() {
            self.told = now;
        }
    }

    fn notify(&mut self, notice: Notice) {
        match self.notices.try_send(notice) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.repeat = Repeat::Yes,
            // The process is ending.
            Err(mpsc::error::TrySendError::Closed(_)) => self.stop = Stop::Done,
        }
    }

    /// A release is repeated until the leader has it; once is enough for the log.
    fn log_report(&mut self, report: &Output) {
        let Some(life) = &mut self.life else {
            return;
        };
        match report {
            Output::ReportActive {
                resource, token, ..
            } => tracing::info!(%resource, %token, "acting"),
            Output::ReportReleased { resource, token } => {
                if life.said.insert(resource.clone(), *token) == Some(*token) {
                    tracing::debug!(%resource, %token, "released, said again");
                } else {
                    tracing::info!(%resource, %token, "released");
                }
            }
            Output::ReportFailed {
                resource,
                token,
                difficulty,
                why,
            } => match difficulty {
                Difficulty::Start => tracing::warn!(%resource, %token, why, "cannot act"),
                Difficulty::Stop => {
                    tracing::error!(%resource, %token, why, "cannot prove that it has stopped");
                }
            },
            Output::ReportBegun { resource, token } => {
                tracing::debug!(%resource, %token, "ready to begin; waits for the log's word");
            }
            Output::ReportArmed {
                resource,
                token,
                period,
            } => tracing::info!(%resource, %token, ?period, "its watchdog is armed"),
            Output::Do(_) | Output::Idle => {}
        }
    }

    fn log_counts(&mut self, now: Moment) {
        let lapses = self.life.as_ref().map_or(0, |life| life.keeper.lapses());
        if lapses > self.lapses {
            tracing::warn!(
                lapses,
                "a guard element lapsed under a live lease and is armed again"
            );
        }
        self.lapses = lapses;
        if now.since(self.counted) >= COUNTS_EVERY {
            self.counted = now;
            tracing::debug!(counts = ?self.beats.counts(), lapses, "beats so far");
        }
    }

    fn wait(&self, wake: Moment) {
        let span = wake.since(boot_now());
        let timeout = Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(span.subsec_nanos()),
        };
        let mut descriptors: Vec<PollFd<'_>> = self
            .beats
            .descriptors()
            .chain(self.executor.descriptors())
            .chain(std::iter::once(self.inbox.as_fd()))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => tracing::error!(err = chain(&error), "poll failed"),
        }
    }
}

/// Whether a change of the timing is heard of.
fn told_of(_told: &ClusterTiming) -> bool {
    cfg!(not(feature = "without-timing"))
}

/// The beat as this build sends it: built `without-timing` it names no ttl, like an agent from before the log held
/// one.
fn as_built(beat: Beat) -> Beat {
    if cfg!(feature = "without-timing") {
        Beat {
            ttl: Duration::ZERO,
            ..beat
        }
    } else {
        beat
    }
}

/// Whether what is left of an earlier life allows a clean admission.
pub(crate) fn probe_form(probe: Probe) -> haft_api::pb::v1::Probe {
    match probe {
        Probe::Clean => haft_api::pb::v1::Probe::Clean,
        Probe::Unclean => haft_api::pb::v1::Probe::Unclean,
    }
}
