//! Our agent run as haftd runs it: haft-fence-protocol's caller, a real executable, a real BMC.
//!
//! The agents of the field are run the same way in `field`.

use std::time::Duration;

use haft_fence_protocol::caller::{
    AgentDirs, AgentPath, Call, Deadline, DeviceLock, DeviceTurn, OffOrder, OffProof, OffVerdict,
    Outcome, Parameter, Parameters, PowerReading, adopt_off, always, confirm_off, read_metadata,
    read_power, run, untold,
};
use haft_fence_protocol::{Action, Secret};
use haft_tests::ipmi_sim::{Chassis, IpmiSim, PASSWORD, Power, USER};

use crate::fence_haft_ipmi;

pub(crate) fn ours() -> AgentPath {
    AgentDirs::default()
        .find(fence_haft_ipmi().to_str().unwrap())
        .unwrap()
}

pub(crate) fn parameters(sim: &IpmiSim, more: &[(&str, &str)]) -> Parameters {
    let port = sim.port().to_string();
    let plain = [
        ("ip", "127.0.0.1"),
        ("ipport", &port),
        ("username", USER),
        ("lanplus", "1"),
    ];
    let mut list: Vec<Parameter> = plain
        .iter()
        .chain(more)
        .map(|(name, value)| Parameter::plain(name, value).unwrap())
        .collect();
    list.push(Parameter::secret("password", Secret::new(PASSWORD.to_owned())).unwrap());
    Parameters::new(list).unwrap()
}

pub(crate) fn soon() -> Deadline {
    Deadline::within(Duration::from_secs(60))
}

pub(crate) async fn turn() -> DeviceTurn {
    DeviceLock::new().turn(soon()).await.unwrap()
}

#[tokio::test]
async fn off_is_confirmed_and_adopted_against_a_real_bmc() {
    let (sim, agent) = (IpmiSim::start(), ours());
    let parameters = parameters(&sim, &[]);
    let proof = OffProof::for_agent(&agent);
    assert_eq!(proof, OffProof::AgentReadsTwice);
    let told = std::sync::atomic::AtomicUsize::new(0);
    let tell = || {
        told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let order = OffOrder {
        agent: &agent,
        parameters: &parameters,
        proof,
        deadline: soon(),
        stands: &always,
        first_off_read: &tell,
    };
    let mut turn = turn().await;
    let verdict = confirm_off(&mut turn, &order).await;
    assert!(
        matches!(verdict, OffVerdict::Confirmed { .. }),
        "{verdict:?}"
    );
    assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(sim.power(), Power::Off);
    let commands = |sim: &IpmiSim| {
        sim.calls()
            .iter()
            .filter(|call| *call == "set power 0")
            .count()
    };
    assert_eq!(commands(&sim), 1);
    let verdict = adopt_off(&mut turn, &order).await;
    assert!(
        matches!(verdict, OffVerdict::Confirmed { .. }),
        "{verdict:?}"
    );
    assert_eq!(commands(&sim), 1, "an adopted order asks first");
}

#[tokio::test]
async fn a_sticking_chassis_is_refused_and_a_bmc_that_is_gone_is_unknown() {
    let (mut sim, agent) = (IpmiSim::start(), ours());
    let parameters = parameters(&sim, &[("power_timeout", "0.3"), ("login_timeout", "0.5")]);
    let proof = OffProof::AgentReadsTwice;
    let order = OffOrder {
        agent: &agent,
        parameters: &parameters,
        proof,
        deadline: soon(),
        stands: &always,
        first_off_read: &untold,
    };
    let mut turn = turn().await;
    sim.set_chassis(Chassis::Sticks);
    let verdict = confirm_off(&mut turn, &order).await;
    assert!(matches!(verdict, OffVerdict::Refused { .. }), "{verdict:?}");
    sim.kill();
    let verdict = confirm_off(&mut turn, &order).await;
    assert!(matches!(verdict, OffVerdict::Unknown { .. }), "{verdict:?}");
    let verdict = adopt_off(&mut turn, &order).await;
    assert!(matches!(verdict, OffVerdict::Unknown { .. }), "{verdict:?}");
}

#[tokio::test]
async fn status_and_metadata_read_as_types() {
    let (sim, agent) = (IpmiSim::start(), ours());
    let parameters = parameters(&sim, &[]);
    let mut turn = turn().await;
    assert_eq!(
        read_power(&mut turn, &agent, &parameters, soon()).await,
        PowerReading::On
    );
    sim.set_power(Power::Off);
    assert_eq!(
        read_power(&mut turn, &agent, &parameters, soon()).await,
        PowerReading::Off
    );
    let metadata = read_metadata(&mut turn, &agent, soon()).await.unwrap();
    assert_eq!(metadata.name, "fence_haft_ipmi");
    assert!(metadata.offers(Action::Off) && metadata.offers(Action::Status));
    assert!(!metadata.offers(Action::List));
}

#[tokio::test]
async fn an_outer_deadline_ends_an_agent_that_still_waits() {
    let (mut sim, agent) = (IpmiSim::start(), ours());
    let parameters = parameters(&sim, &[("login_timeout", "50")]);
    sim.kill();
    let deadline = Deadline::within(Duration::from_millis(300));
    let call = Call {
        agent: &agent,
        action: Action::Off,
        parameters: &parameters,
        deadline,
    };
    let report = run(&mut turn().await, &call).await;
    assert_eq!(report.outcome, Outcome::TimedOut);
}
