//! Owners that are lost for good: frozen, hung, without their agent, without power. `db` may be granted elsewhere only
//! after the lost owner was observed off.

use haft_lab::bmc::Power;
use haft_lab::sys::Link;

use crate::stage::Stage;
use crate::table::Outcome;

/// The hypervisor pauses the owner and never lets it go on. Nothing in the guest can help: only its BMC can.
pub(super) fn frozen(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n1", "n1")?;
    let owner = stage.rack.guest("n1")?.clone();
    owner.pause()?;
    let since = stage.mark("n1, which owns both, is paused by its hypervisor and stays so")?;
    stage.demand_fenced_takeover(outcome, &owner, since)
}

/// The owner's kernel panics and hangs (panic=0). Its interrupts still work, so it may answer ARP for a while: the
/// kernel guard's lapse must end that.
pub(super) fn hung(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n2", "n2")?;
    let owner = stage.rack.guest("n2")?.clone();
    owner.sh(
        "echo 1 >/proc/sys/kernel/sysrq\n(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &",
    )?;
    let since = stage.mark("n2, which owns both, is about to panic and hang")?;
    stage.demand_fenced_takeover(outcome, &owner, since)
}

/// haft-agent is killed and not started again; everything else on the owner lives, the stand-in service too.
pub(super) fn agent_killed(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n3", "n3")?;
    let owner = stage.rack.guest("n3")?.clone();
    owner.sh("touch /run/hold-haft-agent; kill -9 $(pidof haft-agent)")?;
    let since = stage.mark("n3, which owns both: haft-agent killed, and kept from starting")?;
    stage.demand_fenced_takeover(outcome, &owner, since)
}

/// One of three is switched off from outside. Already off is success for its fence device, and nobody else suffers.
pub(super) fn one_off(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n1", "n1")?;
    let owner = stage.rack.guest("n1")?.clone();
    let since = stage.mark("n1, which owns both, loses its power")?;
    owner.power_off()?;
    stage.demand_fenced_takeover(outcome, &owner, since)
}

/// The owner is cut from its peers, and both sides of the cut reach every BMC. The owner is made leader first, so that
/// the side without quorum has an executor that is used to giving orders.
pub(super) fn split(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n1", "n1")?;
    // Refused while another transfer is recent; the story stands without it.
    let led = stage.cluster.ctl.act(&["cluster", "transfer", "n1"], "");
    outcome.figure(format!("the cut owner led: {}", led.is_ok()));
    let owner = stage.rack.guest("n1")?.clone();
    stage.rack.set_port(&owner, Link::Down)?;
    let since = stage.mark(
        "n1, which owns both, is cut from its peers; every BMC can be reached from everywhere",
    )?;
    stage.demand_fenced_takeover(outcome, &owner, since)
}
