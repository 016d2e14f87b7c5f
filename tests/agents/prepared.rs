//! Our agent started before its order, as haftd does while a session is being closed: what it does to a real BMC before
//! the word, with it, and when it never comes.

use std::time::{Duration, Instant};

use haft_fence_protocol::caller::{
    Deadline, DeviceTurn, OffOrder, OffProof, OffVerdict, Parameters, Prepared, Standing, always,
    confirm_off_with, read_power, untold,
};
use haft_tests::ipmi_sim::{IpmiSim, Power};

use crate::caller::{ours, parameters, soon, turn};
use crate::{fence_haft_ipmi, fence_haft_pdu, lines, run, text};

/// How long a state may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

fn prepare(sim: &IpmiSim) -> Prepared {
    Prepared::start(&ours(), &parameters(sim, &[]), soon()).unwrap()
}

/// Waits until the agent has logged in and read.
fn wait_ready(sim: &IpmiSim) {
    let end = Instant::now() + PATIENCE;
    while sim.calls() != ["get power"] {
        assert!(Instant::now() < end, "never read: {:?}", sim.calls());
        std::thread::yield_now();
    }
}

async fn confirm(
    sim: &IpmiSim,
    deadline: Deadline,
    stands: fn() -> Standing<'static>,
    prepared: Prepared,
) -> OffVerdict {
    confirm_with(&parameters(sim, &[]), deadline, stands, prepared).await
}

async fn confirm_with(
    parameters: &Parameters,
    deadline: Deadline,
    stands: fn() -> Standing<'static>,
    prepared: Prepared,
) -> OffVerdict {
    let agent = ours();
    let order = OffOrder {
        agent: &agent,
        parameters,
        proof: OffProof::for_agent(&agent),
        deadline,
        stands: &|| stands(),
        first_off_read: &untold,
    };
    let mut turn: DeviceTurn = turn().await;
    confirm_off_with(&mut turn, &order, prepared).await
}

fn is_confirmed(verdict: &OffVerdict) -> bool {
    matches!(verdict, OffVerdict::Confirmed { .. })
}

#[tokio::test]
async fn the_word_has_it_command_at_once_and_read_twice_afterwards() {
    let sim = IpmiSim::start();
    let prepared = prepare(&sim);
    wait_ready(&sim);
    assert_eq!(sim.power(), Power::On);
    let verdict = confirm(&sim, soon(), always, prepared).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
    assert_eq!(
        sim.calls(),
        ["get power", "set power 0", "get power", "get power"]
    );
}

#[tokio::test]
async fn a_read_from_before_the_word_is_no_proof() {
    let sim = IpmiSim::start();
    sim.set_power(Power::Off);
    let prepared = prepare(&sim);
    wait_ready(&sim);
    let verdict = confirm(&sim, soon(), always, prepared).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
    assert_eq!(sim.calls(), ["get power"; 3], "two reads after the word");
}

#[tokio::test]
async fn an_agent_that_never_hears_the_word_changes_nothing() {
    let sim = IpmiSim::start();
    let prepared = prepare(&sim);
    wait_ready(&sim);
    prepared.dismiss().await;
    let refused = || -> Standing<'static> {
        Box::pin(std::future::ready(Err("the order is gone".to_owned())))
    };
    let verdict = confirm(&sim, soon(), refused, prepare(&sim)).await;
    assert!(
        matches!(&verdict, OffVerdict::Unknown { reason } if reason == "the order is gone"),
        "{verdict:?}"
    );
    drop(prepare(&sim));
    // What a caller leaves behind that has died: the end of stdin, at any moment.
    let when_told = lines(&sim, "off", "").replace("action=off\n", "");
    for cut in ["", "g", "go", "no\n", "\ngo\n"] {
        let input = format!("{when_told}action=await-word\n{cut}");
        let output = run(&fence_haft_ipmi(), &[], &input);
        assert_eq!(output.status.code(), Some(1), "{cut:?}");
        assert!(
            text(&output.stderr).contains("nobody gave the word"),
            "{cut:?}"
        );
    }
    assert!(sim.calls().iter().all(|call| call == "get power"));
    assert_eq!(sim.power(), Power::On);
}

/// One that dies while it waits (its time is over, the kernel was short of memory) is no try.
#[tokio::test]
async fn an_agent_that_died_before_the_word_costs_the_order_nothing() {
    let sim = IpmiSim::start();
    let short = Deadline::within(Duration::from_millis(200));
    let prepared = Prepared::start(&ours(), &parameters(&sim, &[]), short).unwrap();
    wait_ready(&sim);
    // Dismissed by nobody, it is killed.
    (short + Duration::from_secs(2)).passed().await;
    let verdict = confirm(&sim, soon(), always, prepared).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
    let begun_anew = ["get power", "get power", "set power 0"];
    assert_eq!(sim.calls()[..3], begun_anew);
}

/// With the word the agent is the order's: what it was prepared for no longer bounds it.
#[tokio::test]
async fn the_word_gives_it_the_time_of_the_order() {
    let sim = IpmiSim::start();
    let short = Deadline::within(Duration::from_secs(1));
    let slow = parameters(&sim, &[("power_wait", "4")]);
    let prepared = Prepared::start(&ours(), &slow, short).unwrap();
    wait_ready(&sim);
    let verdict = confirm_with(&slow, soon(), always, prepared).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
}

/// What it was prepared for may have changed: an address or a password in a file, the agent itself.
#[tokio::test]
async fn an_agent_prepared_for_another_bmc_is_not_given_the_word() {
    let (other, sim) = (IpmiSim::start(), IpmiSim::start());
    let prepared = prepare(&other);
    wait_ready(&other);
    let verdict = confirm(&sim, soon(), always, prepared).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
    assert_eq!((other.power(), sim.power()), (Power::On, Power::Off));
    assert_eq!(other.calls(), ["get power"]);
}

/// The command goes to a session that the BMC has forgotten meanwhile.
#[tokio::test]
async fn a_bmc_that_restarts_before_the_word_is_logged_in_to_anew() {
    let mut sim = IpmiSim::start();
    let quick = parameters(&sim, &[("shell_timeout", "1")]);
    let prepared = Prepared::start(&ours(), &quick, soon()).unwrap();
    wait_ready(&sim);
    // The simulator answers one after the other: the agent has its answer when this has one.
    read_power(&mut turn().await, &ours(), &quick, soon()).await;
    sim.kill();
    sim.revive();
    let verdict = confirm_with(&quick, soon(), always, prepared).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
    assert_eq!(sim.power(), Power::Off);
    let commands = sim.calls().into_iter().filter(|call| call == "set power 0");
    assert_eq!(commands.count(), 1);
}

/// Whatever else is found under that name (an older agent, a link to one of the field) must refuse the action: if it
/// read it as an option that it does not know, it would switch off as soon as stdin ends.
#[test]
fn no_other_agent_takes_the_action_for_an_off() {
    let sim = IpmiSim::start();
    let plain = lines(&sim, "off", "").replace("action=off\n", "");
    let plain = format!("{plain}action=await-word\ngo\n");
    let field = |name: &str| format!("/usr/sbin/{name}").into();
    let agents = [fence_haft_pdu(), field("fence_ipmilan"), field("fence_sbd")];
    for agent in agents {
        let output = run(&agent, &[], &plain);
        assert_eq!(output.status.code(), Some(1), "{}", agent.display());
        assert!(!text(&output.stdout).contains("Success"));
    }
    assert_eq!(sim.power(), Power::On);
    assert_eq!(sim.calls(), [""; 0]);
}
