//! Planted bugs: each breaks one safety rule on purpose, so that the simulator can show that it would notice.
//!
//! Compiled to a constant `false` without the feature `planted-bugs`, which nothing that ships enables. With
//! it, one bug at a time can be chosen per thread; that choice is the only hidden input of this crate.

/// The closed list of bugs. Each names what goes wrong while it is planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A grant is accepted while another incarnation's holding is orphaned (R3).
    SkipEvidenceCheck,
    /// The node counts its lease from the acknowledgement's receipt instead of the beat's sending (R2).
    CountLeaseFromReceipt,
    /// A fence verdict of `Unknown` is taken for `Confirmed` (R5).
    UnknownAsOff,
    /// A coordinator acknowledges beats of an incarnation whose `Closing` it holds (R2).
    AcknowledgeAfterClosing,
    /// A restarted coordinator has forgotten which incarnations are closing (R2).
    ForgetSealAcrossRestart,
    /// A restarted coordinator states an age that reaches back before its own start (R2).
    StateAgeAcrossRestart,
    /// One coordinator's statement is taken for a majority's (R2).
    LeaderWordForMajority,
    /// Isolation is read from the edited spec instead of the grant in force (R3).
    SpecEditLoosensIsolation,
    /// A node acts under a token after it has released it (R6).
    ActAfterRelease,
    /// A guard element that has lapsed is revived by a plain add (design section 3).
    RenewGuardByPlainAdd,
    /// An owner under isolation `watchdog` acts with no watchdog armed and attested in the log (R3).
    ActWithoutWatchdog,
    /// The watchdog is petted whatever the lease says, and its holding is kept (hazards 2.0).
    PetWithoutLease,
    /// A release is said although the removal has not succeeded (R7).
    ReleaseUnproven,
    /// One device of a level has confirmed, and that is taken for all of them (R5).
    OneDeviceForLevel,
    /// A pill that was written and read back is taken for off before msgwait has passed (R5; in the executor).
    PillBeforeMsgwait,
    /// An adopting leader finds a pill in the slot and takes that for off (R5; in the executor).
    AdoptedPillCounts,
    /// One read of off after `off` is taken for proof (R5; in the executor).
    OneOffRead,
    /// A node is ordered on while the order to power it off is open (R5).
    PowerOnBesideOff,
    /// The executor does not look again whether its order still stands before it switches a machine off (R5).
    CallStaleOrder,
    /// Each order counts who would be left as if no other were being carried out (R5).
    CountVictimsApart,
    /// Leadership is offered to a machine that is to be powered off itself.
    EscapeToVictim,
    /// A coordinator acknowledges beats whatever ttl they are counted by, and agents count by their own files (R2a).
    AcknowledgeAnyTtl,
    /// An agent says that it counts by the shorter timing before its present end is capped (R2a).
    SayRetimedEarly,
    /// A shorter timing is believed of every session at once, before its agent has said that it counts by it (R2a).
    BelieveLoweringAtOnce,
    /// A guard that nobody looks after once the agent is dead is attested intact (R3).
    TrustWatchedGuard,
    /// An owner under isolation `stonith` acts before the log says that it begins (R14).
    ActBeforeBegun,
    /// A grant is withdrawn when its deadline passes, also from an owner that has begun (R14).
    WithdrawBegun,
    /// A try that another has taken the place of is forgotten, and its target admitted anew within its deadline (R5).
    ForgetSuperseded,
    /// A human's word is taken for whatever life the node stands at (R3).
    VouchForNewest,
    /// A new boot of whatever has the node's key opens what was held under `stonith` (R3b).
    RebootOpensStonith,
    /// A clean probe in another namespace of the machine counts (R3b).
    ProbeElsewhere,
    /// A witness against a verdict is not taken up (R3a).
    IgnoreWitness,
    /// An answer that no challenge after the claim has caused is taken for a witness (R3a).
    LateWitness,
    /// Every datagram of a drain is dated by one reading from before it (R2b; in the beat socket).
    DateDrainByItsStart,
    /// A coordinator states an age about a closing that is not committed, named by its index alone (R2c).
    StateAgeUncommitted,
    /// Truncation does not give the membership back that was in force before (in the responder).
    KeepTruncatedMembership,
    /// A guard counts as attested if anybody heard so, however long ago (R2c).
    AnyIntactCounts,
    /// A restarted coordinator takes its store for a new one and is not silent (R8a; in haftd).
    NoRestartSilence,
    /// An answer waits for room in its socket (in the beat socket).
    AnswerBlocking,
    /// An agent obeys whatever assignment came last (R2c).
    ObeyTheLatest,
    /// A leader hands out what a state says that lacks entries of earlier leaders (R2c).
    HandOutBehind,
    /// "Written" is taken for "on the disk" when an age is stated (R2; in the consensus driver).
    StateAgeUnsynced,
    /// An installed snapshot opens what entries above it have sealed (R2).
    OpenSealsBySnapshot,
    /// A copy of the address that somebody else has put there is taken for our own, and let go of with it (R13).
    AdoptForeign,
    /// A node that beats and has no stream is granted things, and is waited for without end (R14).
    GrantToDeaf,
    /// An owner that says nothing of its stop is waited for without end (R14).
    WaitForMute,
    /// A transfer of leadership that comes to nothing leaves a leader that Raft obeys and that proposes nothing more
    /// (in the consensus driver).
    KeepHandover,
    /// Quarantine takes every node that is fenced too often, also the last (R5a).
    QuarantineAll,
}

impl Bug {
    /// Every bug that the simulator shows, for suites that go through all of them.
    pub const ALL: [Bug; 37] = [
        Bug::SkipEvidenceCheck,
        Bug::CountLeaseFromReceipt,
        Bug::UnknownAsOff,
        Bug::AcknowledgeAfterClosing,
        Bug::ForgetSealAcrossRestart,
        Bug::StateAgeAcrossRestart,
        Bug::LeaderWordForMajority,
        Bug::SpecEditLoosensIsolation,
        Bug::ActAfterRelease,
        Bug::RenewGuardByPlainAdd,
        Bug::ActWithoutWatchdog,
        Bug::PetWithoutLease,
        Bug::ReleaseUnproven,
        Bug::OneDeviceForLevel,
        Bug::PillBeforeMsgwait,
        Bug::AdoptedPillCounts,
        Bug::OneOffRead,
        Bug::PowerOnBesideOff,
        Bug::CallStaleOrder,
        Bug::CountVictimsApart,
        Bug::AcknowledgeAnyTtl,
        Bug::SayRetimedEarly,
        Bug::BelieveLoweringAtOnce,
        Bug::TrustWatchedGuard,
        Bug::ActBeforeBegun,
        Bug::WithdrawBegun,
        Bug::AdoptForeign,
        Bug::IgnoreWitness,
        Bug::GrantToDeaf,
        Bug::WaitForMute,
        Bug::QuarantineAll,
        Bug::KeepTruncatedMembership,
        Bug::AnyIntactCounts,
        Bug::VouchForNewest,
        Bug::StateAgeUncommitted,
        Bug::KeepHandover,
        Bug::ForgetSuperseded,
    ];

    /// Those of them that stop something and open nothing: it is liveness that sees them.
    pub const STALLS: [Bug; 4] = [
        Bug::GrantToDeaf,
        Bug::WaitForMute,
        Bug::KeepTruncatedMembership,
        Bug::KeepHandover,
    ];

    /// Bugs that the simulator does not show (`docs/simulator.md` says why): tests of the engine or of the driver do,
    /// each in a history of its own.
    pub const BESIDE: [Bug; 11] = [
        Bug::EscapeToVictim,
        Bug::DateDrainByItsStart,
        Bug::NoRestartSilence,
        Bug::AnswerBlocking,
        Bug::ObeyTheLatest,
        Bug::HandOutBehind,
        Bug::StateAgeUnsynced,
        Bug::OpenSealsBySnapshot,
        Bug::RebootOpensStonith,
        Bug::ProbeElsewhere,
        Bug::LateWitness,
    ];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants `bug` on this thread, or removes what was planted.
#[cfg(feature = "planted-bugs")]
pub fn set(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether `bug` is planted on this thread.
#[cfg(feature = "planted-bugs")]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether `bug` is planted: never, in what ships.
#[cfg(not(feature = "planted-bugs"))]
pub const fn is(bug: Bug) -> bool {
    let _ = bug;
    false
}
