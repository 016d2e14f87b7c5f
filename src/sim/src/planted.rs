//! Planted bugs: each is searched for in the default seeds, until what has to catch it does.
//!
//! A bug's search begins with the seeds that deal what it needs (`fits`: what a seed means, and never what came of
//! it) and goes on with all others, so that a guess that is wrong costs time and no catch. Each bug is searched for by
//! one thread, as a bug is planted for a thread; which threads there are changes nothing of what is found.

use crate::invariants::{Violation, liveness};
use crate::nemesis::Bias;
use crate::park::Tool;
use crate::rng::Rng;
use crate::run::run;
use crate::setup::Shape;
use crate::trace::Detail;
use haft_engine::plant::{self, Bug};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How one planted bug fared.
#[derive(Clone, Debug)]
pub struct Catch {
    /// The bug.
    pub bug: Bug,
    /// The first seed that caught it, in the order of the search, and by what.
    pub first: Option<(u64, Violation)>,
    /// The first seed in which it broke a safety invariant: any but liveness.
    pub unsafe_first: Option<(u64, Violation)>,
    /// Every invariant that it broke, and in how many seeds.
    pub broke: BTreeMap<&'static str, u64>,
    /// Seeds tried.
    pub tried: u64,
    /// How long that took.
    pub took: Duration,
}

impl Catch {
    /// What has caught it: a safety invariant, or liveness where the bug only stops something.
    pub fn caught(&self) -> Option<&(u64, Violation)> {
        match Bug::STALLS.contains(&self.bug) {
            true => self.first.as_ref(),
            false => self.unsafe_first.as_ref(),
        }
    }

    fn note(&mut self, seed: u64, violation: Violation) {
        *self.broke.entry(violation.invariant).or_default() += 1;
        if violation.invariant != liveness::NAME {
            self.unsafe_first
                .get_or_insert_with(|| (seed, violation.clone()));
        }
        self.first.get_or_insert((seed, violation));
    }
}

/// Plants each bug in turn and runs the default seeds, `seeds.start` of them at least, until what has to catch it
/// does, and `seeds.end` at most. As many bugs at a time as there are processors.
pub fn search(bugs: &[Bug], seeds: &Range<u64>) -> Vec<Catch> {
    let next = AtomicUsize::new(0);
    let catches = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(bug) = bugs.get(at) else { return };
            let catch = search_one(*bug, seeds);
            catches.lock().expect("nobody panicked").insert(at, catch);
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers.min(bugs.len()) {
            scope.spawn(work);
        }
    });
    let catches = catches.into_inner().expect("nobody panicked");
    catches.into_values().collect()
}

fn search_one(bug: Bug, seeds: &Range<u64>) -> Catch {
    let began = Instant::now();
    let mut catch = Catch {
        bug,
        first: None,
        unsafe_first: None,
        broke: BTreeMap::new(),
        tried: 0,
        took: Duration::ZERO,
    };
    plant::set(Some(bug));
    for seed in order(bug, seeds.end) {
        if catch.tried >= seeds.start && catch.caught().is_some() {
            break;
        }
        let report = run(seed, Detail::Off);
        catch.tried += 1;
        if let Some(violation) = report.violation {
            catch.note(seed, violation);
        }
    }
    plant::set(None);
    catch.took = began.elapsed();
    catch
}

/// The default seeds, those first that fit.
fn order(bug: Bug, end: u64) -> impl Iterator<Item = u64> {
    let fitting = move |seed: &u64| fits(bug, &Shape::deal(&mut Rng::new(*seed)));
    let first = (0..end).filter(fitting);
    first.chain((0..end).filter(move |seed| !fitting(seed)))
}

/// Whether a run of this shape is likely to deal what the bug needs. Every run is, where a bug needs nothing rare.
fn fits(bug: Bug, shape: &Shape) -> bool {
    let levels = shape.plan.topology.levels();
    match bug {
        // The stages around a closing session.
        Bug::CountLeaseFromReceipt
        | Bug::ForgetSealAcrossRestart
        | Bug::StateAgeAcrossRestart
        | Bug::LeaderWordForMajority
        | Bug::StateAgeUncommitted
        | Bug::AnyIntactCounts => shape.bias == Bias::Sessions,
        Bug::AdoptForeign | Bug::TrustWatchedGuard | Bug::RenewGuardByPlainAdd => {
            shape.bias == Bias::Guards
        }
        Bug::KeepTruncatedMembership | Bug::KeepHandover => shape.bias == Bias::Voters,
        Bug::CountVictimsApart | Bug::PowerOnBesideOff | Bug::VouchForNewest => {
            shape.bias == Bias::Fencing
        }
        // A try that goes on after its end, or a controller that lies.
        Bug::CallStaleOrder | Bug::ForgetSuperseded | Bug::IgnoreWitness => {
            shape.bias == Bias::Fencing && levels[0].contains(&Tool::Bmc)
        }
        // Outlets whose machine runs on for a moment.
        Bug::OneOffRead => {
            let mut tools = levels.iter().flatten();
            tools.any(|tool| matches!(tool, Tool::Pdu(_)))
        }
        Bug::PillBeforeMsgwait | Bug::AdoptedPillCounts => {
            levels.iter().any(|tools| tools.contains(&Tool::Disks))
        }
        Bug::OneDeviceForLevel => levels.iter().any(|tools| tools.len() > 1),
        Bug::ActWithoutWatchdog | Bug::PetWithoutLease => !shape.timing.watchdog.is_zero(),
        Bug::AcknowledgeAnyTtl | Bug::SayRetimedEarly | Bug::BelieveLoweringAtOnce => {
            !shape.timings().is_empty()
        }
        Bug::SkipEvidenceCheck
        | Bug::UnknownAsOff
        | Bug::AcknowledgeAfterClosing
        | Bug::SpecEditLoosensIsolation
        | Bug::ActAfterRelease
        | Bug::ReleaseUnproven
        | Bug::ActBeforeBegun
        | Bug::WithdrawBegun
        | Bug::GrantToDeaf
        | Bug::WaitForMute
        | Bug::QuarantineAll
        | Bug::EscapeToVictim
        | Bug::RebootOpensStonith
        | Bug::ProbeElsewhere
        | Bug::LateWitness
        | Bug::DateDrainByItsStart
        | Bug::NoRestartSilence
        | Bug::AnswerBlocking
        | Bug::ObeyTheLatest
        | Bug::HandOutBehind
        | Bug::StateAgeUnsynced
        | Bug::OpenSealsBySnapshot => true,
    }
}
