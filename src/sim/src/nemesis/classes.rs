//! Classes of faults, and how the dice fall on them.
//!
//! A sweep counts each class; one that never struck while something was granted shows that the sweep proved less
//! than it seems. What a class does is in `faults` and `devices`.

/// Classes of faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// haftd is killed and restarts from what was durable.
    CoordinatorCrash,
    /// haftd is stopped for a while (SIGSTOP).
    CoordinatorPause,
    /// haft-agent is killed and restarts on the same boot.
    AgentKill,
    /// haft-agent is asked to end and restarts.
    AgentRestart,
    /// haft-agent is stopped for a while.
    AgentPause,
    /// haft-agent is stopped between deciding a guard write and the kernel receiving it.
    WritePause,
    /// Every haft process of a machine is stopped.
    HaftPause,
    /// A machine loses power and boots again.
    PowerLoss,
    /// A machine stands still with its clocks (VM pause).
    Freeze,
    /// The network falls in two.
    Partition,
    /// Single directions of links are cut.
    OneWayCut,
    /// A machine is cut from all others.
    Isolation,
    /// An agent has no stream to anybody, and beats on.
    StreamCut,
    /// Loss, repetition, delay and reordering everywhere.
    Storm,
    /// A machine's links come and go.
    Flapping,
    /// A wall clock jumps.
    WallJump,
    /// A BMC refuses.
    BmcRefuses,
    /// A BMC does not answer.
    BmcSilent,
    /// A BMC does not know.
    BmcIgnorant,
    /// A BMC reports off late.
    BmcOffLate,
    /// A BMC acknowledges and acts later.
    BmcActsLate,
    /// A BMC reports on for ever after off.
    BmcOnForEver,
    /// A BMC acts and never acknowledges.
    BmcNeverAcknowledges,
    /// A BMC acknowledges and does nothing.
    BmcStuck,
    /// A BMC says on and off in turn.
    BmcFlaps,
    /// A BMC's answers come after the deadline.
    BmcSlow,
    /// A BMC says off and does nothing, beside an honest device of its level.
    BmcLies,
    /// Nobody reaches a PDU.
    PduCut,
    /// A PDU refuses (wrong credentials).
    PduRefuses,
    /// A PDU answers garbage.
    PduIgnorant,
    /// A PDU reports off late.
    PduOffLate,
    /// A PDU acknowledges and acts later.
    PduActsLate,
    /// A PDU acts and never acknowledges.
    PduNeverAcknowledges,
    /// One outlet of a machine does not open.
    PduOutletStuck,
    /// A PDU calls a pending outlet off.
    PduPendingAsOff,
    /// A PDU says on and off in turn when its outlets are off.
    PduFlaps,
    /// A PDU's answers come after the deadline.
    PduSlow,
    /// A PDU reports on for ever after off.
    PduOnForEver,
    /// A PDU says off and does nothing, beside an honest device of its level.
    PduLies,
    /// A power domain fails: a PDU, its outlets, and what has no other supply.
    FeedLoss,
    /// A network domain fails: a machine and the way to its BMC.
    SwitchLoss,
    /// A shared disk hangs for one machine.
    SharedDiskHangsForOne,
    /// A shared disk hangs for every machine.
    SharedDiskHangsForAll,
    /// A shared disk vanishes.
    SharedDiskGone,
    /// A shared disk acknowledges writes and loses them.
    SharedDiskLosesWrites,
    /// One machine reads the past from a shared disk.
    SharedDiskStale,
    /// A slot names another node.
    WrongSlot,
    /// A watcher's thread dies.
    WatcherDeath,
    /// Another coordinator becomes executor while a pill is waited out.
    ExecutorLostInMsgwait,
    /// Another coordinator becomes executor between two devices of a level.
    ExecutorLostBetweenDevices,
    /// An executor is cut off from the other coordinators and from the device, while its try goes on.
    ExecutorStranded,
    /// A machine was ordered off that was off. This and the following are seen, not struck.
    AlreadyOff,
    /// A machine obeyed a pill.
    PillObeyed,
    /// The shared disks starved a machine's watchdog.
    StarvedByDisks,
    /// A machine's last supply ran dry.
    RanDry,
    /// A probe found that a device does not answer.
    PathDegraded,
    /// The management network is cut.
    ManagementCut,
    /// A disk hangs.
    DiskStall,
    /// A kernel is slow to take guard writes.
    KernelStall,
    /// Something else deletes an address.
    AddressDeleted,
    /// Something else flushes the guard's tables.
    GuardFlush,
    /// Somebody deletes the qdisc that a gate's filters stand on, and perhaps flushes the tables, too.
    FiltersDeleted,
    /// A gate is lost and regained within a life: a link that has none, a second holder that is gone, tables that
    /// cannot be attested.
    GateLoss,
    /// The link that carries the addresses loses its carrier.
    CarrierLoss,
    /// An administrator puts an address of ours on a machine, and takes it away later.
    ForeignCopy,
    /// A kernel removes no address for a while: stops fail.
    StopSticks,
    /// A watchdog has reset a machine. Not struck: it follows from other faults, and is counted when it happens.
    WatchdogReset,
    /// Leadership is handed over.
    Transfer,
    /// A transfer of leadership is cancelled midway: ordered, and the target never hears of it.
    TransferDropped,
    /// The leader's proposal is abandoned before its answer.
    ProposalDropped,
    /// An agent's report is cut in two: taken off its stream, and handed to nobody.
    ReportDropped,
    /// An administrator's call is abandoned, and made again. Not struck: administrators do that.
    CallRepeated,
    /// A voter is replaced, or their number changes.
    VoterChange,
    /// A staged coincidence around a closing session.
    Staged,
}

impl Fault {
    /// Every class.
    pub const ALL: [Fault; 74] = [
        Fault::CoordinatorCrash,
        Fault::CoordinatorPause,
        Fault::AgentKill,
        Fault::AgentRestart,
        Fault::AgentPause,
        Fault::WritePause,
        Fault::HaftPause,
        Fault::PowerLoss,
        Fault::Freeze,
        Fault::Partition,
        Fault::OneWayCut,
        Fault::Isolation,
        Fault::StreamCut,
        Fault::Storm,
        Fault::Flapping,
        Fault::WallJump,
        Fault::BmcRefuses,
        Fault::BmcSilent,
        Fault::BmcIgnorant,
        Fault::BmcOffLate,
        Fault::BmcActsLate,
        Fault::BmcOnForEver,
        Fault::BmcNeverAcknowledges,
        Fault::BmcStuck,
        Fault::BmcFlaps,
        Fault::BmcSlow,
        Fault::BmcLies,
        Fault::PduCut,
        Fault::PduRefuses,
        Fault::PduIgnorant,
        Fault::PduOffLate,
        Fault::PduActsLate,
        Fault::PduNeverAcknowledges,
        Fault::PduOutletStuck,
        Fault::PduPendingAsOff,
        Fault::PduFlaps,
        Fault::PduSlow,
        Fault::PduOnForEver,
        Fault::PduLies,
        Fault::FeedLoss,
        Fault::SwitchLoss,
        Fault::SharedDiskHangsForOne,
        Fault::SharedDiskHangsForAll,
        Fault::SharedDiskGone,
        Fault::SharedDiskLosesWrites,
        Fault::SharedDiskStale,
        Fault::WrongSlot,
        Fault::WatcherDeath,
        Fault::ExecutorLostInMsgwait,
        Fault::ExecutorLostBetweenDevices,
        Fault::ExecutorStranded,
        Fault::AlreadyOff,
        Fault::PillObeyed,
        Fault::StarvedByDisks,
        Fault::RanDry,
        Fault::PathDegraded,
        Fault::ManagementCut,
        Fault::DiskStall,
        Fault::KernelStall,
        Fault::AddressDeleted,
        Fault::GuardFlush,
        Fault::FiltersDeleted,
        Fault::GateLoss,
        Fault::CarrierLoss,
        Fault::ForeignCopy,
        Fault::StopSticks,
        Fault::WatchdogReset,
        Fault::Transfer,
        Fault::TransferDropped,
        Fault::ProposalDropped,
        Fault::ReportDropped,
        Fault::CallRepeated,
        Fault::VoterChange,
        Fault::Staged,
    ];
}

impl Fault {
    /// Whether it is one of the fence devices' and of those that the dice inflict.
    fn is_of_a_device(self) -> bool {
        (Fault::BmcNeverAcknowledges..=Fault::WatcherDeath).contains(&self)
    }
}

/// What a run's faults lean towards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bias {
    /// Everything.
    Mixed,
    /// Cuts, pauses and restarts around sessions.
    Sessions,
    /// Pauses around guard writes.
    Guards,
    /// Lost owners and lying BMCs.
    Fencing,
    /// Changes of voters and leaders.
    Voters,
}

impl Bias {
    fn favoured(self) -> &'static [Fault] {
        use Fault as F;
        match self {
            Bias::Mixed => &[],
            Bias::Sessions => &[
                F::CoordinatorCrash,
                F::CoordinatorPause,
                F::OneWayCut,
                F::Isolation,
                F::StreamCut,
                F::Partition,
                F::Storm,
                F::Staged,
                F::Staged,
                F::Staged,
                F::Staged,
            ],
            Bias::Guards => &[
                F::AgentPause,
                F::AgentKill,
                F::HaftPause,
                F::KernelStall,
                F::AddressDeleted,
                F::GuardFlush,
                F::FiltersDeleted,
                F::GateLoss,
                F::CarrierLoss,
                F::ForeignCopy,
                F::StopSticks,
                F::Isolation,
                F::DiskStall,
            ],
            Bias::Fencing => &[
                F::BmcRefuses,
                F::BmcSilent,
                F::BmcIgnorant,
                F::BmcOffLate,
                F::BmcActsLate,
                F::BmcOnForEver,
                F::BmcLies,
                F::PduLies,
                F::PduActsLate,
                F::PduOutletStuck,
                F::FeedLoss,
                F::SharedDiskHangsForOne,
                F::ManagementCut,
                F::HaftPause,
                F::AgentKill,
                F::PowerLoss,
                F::Isolation,
                F::Staged,
            ],
            Bias::Voters => &[
                F::VoterChange,
                F::Transfer,
                F::TransferDropped,
                F::CoordinatorCrash,
                F::Partition,
                F::DiskStall,
            ],
        }
    }

    /// How often the dice fall on `fault`; nought for what is struck from a hook, or only seen.
    pub(super) fn weight(self, fault: Fault) -> u64 {
        use Fault as F;
        let favoured = self.favoured();
        let times = favoured.iter().filter(|one| **one == fault).count() as u64;
        let usual = match fault {
            F::WritePause
            | F::WatchdogReset
            | F::ExecutorLostInMsgwait
            | F::ExecutorLostBetweenDevices
            | F::ExecutorStranded
            | F::AlreadyOff
            | F::PillObeyed
            | F::StarvedByDisks
            | F::RanDry
            | F::CallRepeated
            | F::PathDegraded => return 0,
            _ if !fault.is_of_a_device() => 4,
            // There are many of these; what a run is about must not drown in them.
            _ => match self {
                Bias::Fencing => 4,
                Bias::Mixed => 2,
                Bias::Sessions | Bias::Guards | Bias::Voters => 1,
            },
        };
        usual + 12 * times
    }
}
