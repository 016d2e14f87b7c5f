//! Agents of the field, unmodified, run by haft's caller: Debian's `fence_ipmilan`, `fence_apc_snmp`,
//! `fence_dummy` and `fence_sbd`, and the metadata of every `fence_*` that is installed.
//!
//! [`PAIRS`] is the table that docs/fence-pairs.md shows; a further agent is a further row. The traps of the contract
//! that concern the caller are tested here against the real library, not against a script of ours. It
//! switches nothing but simulators and files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use haft_fence_protocol::Action;
use haft_fence_protocol::caller::{
    AgentDirs, AgentPath, Call, Deadline, DeviceLock, DeviceTurn, HostArgument, OffOrder, OffProof,
    OffVerdict, OnIsUnfencing, Outcome, Parameter, ParameterError, Parameters, PowerReading,
    adopt_off, always, confirm_off, read_metadata, read_power, run, untold,
};
use haft_tests::ipmi_sim::{IpmiSim, PASSWORD, Power, USER};
use haft_tests::snmp_pdu::{APC_RPDU, COMMUNITY, SnmpPdu};

use crate::{run as run_plainly, text};

/// A real device for a real agent.
trait Device {
    /// Parameters beyond the node's name and plug, secrets among them.
    fn parameters(&self) -> Parameters;
}

struct Pair {
    /// The agent of the field.
    agent: &'static str,
    /// Makes its device, on.
    device: fn() -> Box<dyn Device>,
    /// The parameter that names the machine.
    host: Option<&'static str>,
    /// What the device calls the machine.
    plug: &'static str,
}

/// Agents whose `off` is proven by `status`. `fence_sbd` proves by waiting and has a test of its own.
const PAIRS: [Pair; 3] = [
    Pair {
        agent: "fence_ipmilan",
        device: || Box::new(IpmiSim::start()),
        host: Some("plug"),
        plug: "n1",
    },
    Pair {
        agent: "fence_apc_snmp",
        device: || Box::new(SnmpPdu::start(APC_RPDU)),
        host: Some("plug"),
        plug: "3",
    },
    Pair {
        agent: "fence_dummy",
        device: || Box::new(StatusFile::on()),
        host: None,
        plug: "n1",
    },
];

impl Device for SnmpPdu {
    fn parameters(&self) -> Parameters {
        let port = self.port().to_string();
        let plain = [("ip", "127.0.0.1"), ("ipport", &port)];
        let secret = haft_fence_protocol::Secret::new(COMMUNITY.to_owned());
        let mut list = plain_list(&plain);
        list.push(Parameter::secret("community", secret).unwrap());
        Parameters::new(list).unwrap()
    }
}

impl Device for IpmiSim {
    fn parameters(&self) -> Parameters {
        let port = self.port().to_string();
        let plain = [
            ("ip", "127.0.0.1"),
            ("ipport", &port),
            ("username", USER),
            ("lanplus", "1"),
            ("cipher", "3"),
            ("power_wait", "0"),
        ];
        let secret = haft_fence_protocol::Secret::new(PASSWORD.to_owned());
        let mut list = plain_list(&plain);
        list.push(Parameter::secret("password", secret).unwrap());
        Parameters::new(list).unwrap()
    }
}

/// `fence_dummy`'s device is a file that holds "on" or "off".
struct StatusFile {
    dir: tempfile::TempDir,
}

impl StatusFile {
    fn on() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("status"), "on").unwrap();
        Self { dir }
    }

    fn path(&self) -> String {
        self.dir.path().join("status").display().to_string()
    }

    fn reads(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }
}

impl Device for StatusFile {
    fn parameters(&self) -> Parameters {
        Parameters::new(plain_list(&[("status_file", &self.path())])).unwrap()
    }
}

fn plain_list(plain: &[(&str, &str)]) -> Vec<Parameter> {
    let list = plain
        .iter()
        .map(|(name, value)| Parameter::plain(name, value).unwrap());
    list.collect()
}

fn find(agent: &str) -> AgentPath {
    AgentDirs::default()
        .find(agent)
        .expect("the agents of the field are installed (Debian package fence-agents)")
}

fn soon() -> Deadline {
    Deadline::within(Duration::from_secs(60))
}

async fn turn() -> DeviceTurn {
    DeviceLock::new().turn(soon()).await.unwrap()
}

#[tokio::test]
async fn agents_of_the_field_run_unmodified() {
    for pair in PAIRS {
        let (agent, device) = (find(pair.agent), (pair.device)());
        let mut turn = turn().await;
        let metadata = read_metadata(&mut turn, &agent, soon()).await.unwrap();
        assert_eq!(metadata.name, pair.agent);
        assert_eq!(metadata.host_argument.as_deref(), pair.host);
        let parameters = device
            .parameters()
            .aimed_at("n1", pair.plug, &metadata.host())
            .unwrap();
        let call = |action| Call {
            agent: &agent,
            action,
            parameters: &parameters,
            deadline: soon(),
        };
        for action in [Action::Monitor, Action::ValidateAll] {
            let report = run(&mut turn, &call(action)).await;
            assert_eq!(
                report.outcome,
                Outcome::Done,
                "{} {action}: {report:?}",
                pair.agent
            );
        }
        let read = read_power(&mut turn, &agent, &parameters, soon()).await;
        assert_eq!(read, PowerReading::On, "{}", pair.agent);
        let order = OffOrder {
            agent: &agent,
            parameters: &parameters,
            proof: OffProof::for_agent(&agent),
            deadline: soon(),
            stands: &always,
            first_off_read: &untold,
        };
        for verdict in [
            confirm_off(&mut turn, &order).await,
            adopt_off(&mut turn, &order).await,
            confirm_off(&mut turn, &order).await,
        ] {
            let confirmed = matches!(verdict, OffVerdict::Confirmed { .. });
            assert!(confirmed, "{}: {verdict:?}", pair.agent);
        }
        let report = run(&mut turn, &call(Action::On)).await;
        assert_eq!(report.outcome, Outcome::Done, "{}: {report:?}", pair.agent);
        let read = read_power(&mut turn, &agent, &parameters, soon()).await;
        assert_eq!(read, PowerReading::On, "{}", pair.agent);
        let report = run(&mut turn, &call(Action::Reboot)).await;
        assert_eq!(report.outcome, Outcome::Done, "{}: {report:?}", pair.agent);
        // A device of one machine lists nothing; that must not read as an empty list of machines.
        let list = haft_fence_protocol::caller::read_plugs(&mut turn, &agent, &parameters, soon());
        let listed = list.await.is_ok_and(|plugs| plugs.contains(pair.plug));
        assert_eq!(listed, pair.agent == "fence_apc_snmp", "{}", pair.agent);
    }
}

#[tokio::test]
async fn a_bmc_that_is_gone_is_unknown_through_the_agent_of_the_field() {
    let mut sim = IpmiSim::start();
    let agent = find("fence_ipmilan");
    let parameters = sim.parameters();
    sim.kill();
    let order = OffOrder {
        agent: &agent,
        parameters: &parameters,
        proof: OffProof::for_agent(&agent),
        deadline: Deadline::within(Duration::from_secs(3)),
        stands: &always,
        first_off_read: &untold,
    };
    let verdict = confirm_off(&mut turn().await, &order).await;
    assert!(matches!(verdict, OffVerdict::Unknown { .. }), "{verdict:?}");
    assert_eq!(sim.power(), Power::On);
}

/// Whether a process of this machine has this word on its command line.
fn is_running_with(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| {
            line.split(|byte| *byte == 0)
                .any(|part| part == word.as_bytes())
        })
}

#[tokio::test]
async fn the_deadline_kills_what_the_agent_of_the_field_has_started() {
    // Takes every request and never answers, so that ipmitool waits.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let agent = find("fence_ipmilan");
    let plain = [
        ("ip", "127.0.0.1"),
        ("ipport", &port),
        ("lanplus", "1"),
        ("username", "u"),
        // Its own timers are out of the way.
        ("ipmitool_timeout", "60"),
        ("shell_timeout", "60"),
        ("power_timeout", "60"),
    ];
    let parameters = Parameters::new(plain_list(&plain)).unwrap();
    let call = Call {
        agent: &agent,
        action: Action::Status,
        parameters: &parameters,
        deadline: Deadline::within(Duration::from_secs(10)),
    };
    let mut turn = turn().await;
    let mut running = std::pin::pin!(run(&mut turn, &call));
    let seen = async {
        while !is_running_with(&port) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        report = &mut running => panic!("ipmitool was not seen: {report:?}"),
        () = seen => {}
    }
    assert_eq!(running.await.outcome, Outcome::TimedOut);
    let deadline = soon();
    while is_running_with(&port) {
        assert!(!deadline.has_passed(), "ipmitool outlives its agent");
        tokio::task::yield_now().await;
    }
}

/// The trap: the field's library, given a malformed action line, reboots and reports success.
#[tokio::test]
async fn the_library_reboots_on_a_malformed_action_line_and_our_caller_writes_none() {
    let device = StatusFile::on();
    let agent = find("fence_dummy");
    let trapped = run_plainly(
        &agent.path().to_owned(),
        &[],
        &format!("  action = off\nstatus_file={}\n", device.path()),
    );
    assert_eq!(trapped.status.code(), Some(0), "the trap is still there");
    assert_eq!(text(&trapped.stdout), "Success: Rebooted\n");
    assert_eq!(device.reads(), "on");
    // What could malform our line is refused before anything runs.
    assert_eq!(
        Parameter::plain("action", "off").err(),
        Some(ParameterError::ActionGiven)
    );
    assert!(Parameter::plain("status_file", "x\n  action = off").is_err());
    let parameters = device.parameters();
    let call = Call {
        agent: &agent,
        action: Action::Off,
        parameters: &parameters,
        deadline: soon(),
    };
    let report = run(&mut turn().await, &call).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert_eq!(report.stdout, "Success: Powered OFF\n");
    assert_eq!(device.reads(), "off");
}

/// The trap: `cycle` reports success without any look at the machine.
#[test]
fn a_cycle_is_refused_before_it_is_configured() {
    for method in ["cycle", "CYCLE"] {
        let refused = Parameter::plain("method", method).err();
        assert_eq!(refused, Some(ParameterError::Cycle));
    }
    assert!(
        ParameterError::Cycle
            .to_string()
            .contains("before the machine is off")
    );
    assert!(Parameter::plain("method", "onoff").is_ok());
}

/// Not a test by itself: run by `an_agents_timers_stay_on_under_pacemakers_environment` with the variable
/// set that would switch them off. Without that it does nothing.
#[tokio::test]
async fn a_caller_inside_pacemakers_environment() {
    if std::env::var_os("PCMK_service").is_none() {
        return;
    }
    let device = StatusFile::on();
    let agent = find("fence_dummy");
    let mut list = plain_list(&[("status_file", &device.path()), ("delay", "600")]);
    list.push(Parameter::plain("verbose", "1").unwrap());
    let parameters = Parameters::new(list).unwrap();
    let call = Call {
        agent: &agent,
        action: Action::Status,
        parameters: &parameters,
        deadline: soon(),
    };
    let mut turn = turn().await;
    let running = run(&mut turn, &call);
    let own = std::process::id();
    let look = async {
        // The agent is a Python process whose parent we are; before its exec it has our environment.
        loop {
            assert!(!soon().has_passed());
            if let Some(environment) = environment_of_child(own, "fence_dummy") {
                return environment;
            }
            tokio::task::yield_now().await;
        }
    };
    let deadline = soon();
    tokio::select! {
        report = running => panic!("the agent waits, yet it ended: {report:?}"),
        environment = look => println!("ENVIRONMENT {}", environment.join(" ")),
        () = deadline.passed() => panic!("the agent was not seen"),
    }
}

/// Names of the variables of our child that runs this script.
fn environment_of_child(parent: u32, script: &str) -> Option<Vec<String>> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let mut pids: Vec<String> = threads
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    pids.extend(children.into_iter().flat_map(|text| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    }));
    pids.iter().find_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        if !String::from_utf8_lossy(&line).contains(script) {
            return None;
        }
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let text = String::from_utf8_lossy(&environment).into_owned();
        let names = text
            .split('\0')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, _)| name.to_owned());
        Some(names.collect())
    })
}

/// The trap: with `PCMK_service=pacemaker-fenced` the library sets its own timeouts to zero, that is, off.
#[test]
fn an_agents_timers_stay_on_under_pacemakers_environment() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "field::a_caller_inside_pacemakers_environment",
            "--nocapture",
        ])
        .env("PCMK_service", "pacemaker-fenced")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let line = said.lines().find(|line| line.contains("ENVIRONMENT"));
    let names: Vec<&str> = line
        .expect("the agent's environment was seen")
        .split("ENVIRONMENT ")
        .nth(1)
        .unwrap()
        .split(' ')
        .collect();
    assert!(names.contains(&"PATH"), "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("PCMK")),
        "{names:?}"
    );
}

#[tokio::test]
async fn the_metadata_of_every_installed_agent_is_read() {
    let mut names: Vec<String> = std::fs::read_dir("/usr/sbin")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("fence_"))
        .collect();
    names.sort();
    assert!(names.len() > 50, "fence-agents is installed: {names:?}");
    let mut read = std::collections::BTreeMap::new();
    let mut unreadable = Vec::new();
    for name in names {
        // Daemons and tools that share the prefix (fence_sanlockd, fence_xvm's helper) have no metadata.
        match read_metadata(&mut turn().await, &find(&name), soon()).await {
            Ok(metadata) => {
                read.insert(name, metadata);
            }
            Err(error) => unreadable.push(format!("{name}: {error}")),
        }
    }
    println!("{} read; without metadata: {unreadable:?}", read.len());
    assert!(unreadable.len() <= 5, "{unreadable:?}");
    let unfencing = |name: &str| read[name].on_is_unfencing;
    for fabric in ["fence_scsi", "fence_mpath", "fence_brocade", "fence_ifmib"] {
        assert_eq!(unfencing(fabric), OnIsUnfencing::Yes, "{fabric}");
        assert!(!read[fabric].offers(Action::Reboot), "{fabric}");
    }
    for power in [
        "fence_ipmilan",
        "fence_apc_snmp",
        "fence_virsh",
        "fence_sbd",
    ] {
        assert_eq!(unfencing(power), OnIsUnfencing::No, "{power}");
        assert!(read[power].offers(Action::Off), "{power}");
    }
    assert_eq!(
        read["fence_apc_snmp"].host(),
        HostArgument::Named("plug".to_owned())
    );
    assert!(read["fence_apc_snmp"].offers(Action::List));
    assert_eq!(read["fence_kdump"].host(), HostArgument::None);
}

/// A block device over a file, for the one agent that accepts nothing else.
struct LoopDisk {
    device: String,
    _image: tempfile::NamedTempFile,
}

impl LoopDisk {
    /// A disk with an SBD header, msgwait two seconds, and a slot for `n1`.
    fn with_slot() -> Self {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        let path = image.path().to_str().unwrap();
        let device = said("losetup", &["--find", "--show", path]);
        let disk = Self {
            device: device.trim().to_owned(),
            _image: image,
        };
        let at = ["-d", &disk.device];
        said(
            "sbd",
            &[&at[..], &["-1", "1", "-4", "2", "create"]].concat(),
        );
        said("sbd", &[&at[..], &["allocate", "n1"]].concat());
        disk
    }

    fn list(&self) -> String {
        said("sbd", &["-d", &self.device, "list"])
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("sbd and losetup are installed (Debian packages sbd, mount)");
    let told = text(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
    text(&output.stdout)
}

#[tokio::test]
async fn fence_sbd_confirms_by_waiting_and_a_pill_in_the_slot_is_not_off() {
    assert!(
        Path::new("/dev/loop-control").exists(),
        "loop devices are there: this suite runs as root"
    );
    let (disk, agent) = (LoopDisk::with_slot(), find("fence_sbd"));
    let mut turn = turn().await;
    let metadata = read_metadata(&mut turn, &agent, soon()).await.unwrap();
    let parameters = Parameters::new(plain_list(&[("devices", &disk.device)])).unwrap();
    let parameters = parameters.aimed_at("n1", "n1", &metadata.host()).unwrap();
    let plugs = haft_fence_protocol::caller::read_plugs(&mut turn, &agent, &parameters, soon());
    assert!(plugs.await.unwrap().contains("n1"));
    let proof = OffProof::for_agent(&agent);
    assert_eq!(proof, OffProof::AgentWaits);
    let order = OffOrder {
        agent: &agent,
        parameters: &parameters,
        proof,
        deadline: soon(),
        stands: &always,
        first_off_read: &untold,
    };
    let verdict = confirm_off(&mut turn, &order).await;
    assert!(
        matches!(verdict, OffVerdict::Confirmed { .. }),
        "{verdict:?}"
    );
    assert!(disk.list().contains("n1\toff"), "{}", disk.list());
    // The agent now reads "off" out of the slot although nobody has taken the pill.
    let read = read_power(&mut turn, &agent, &parameters, soon()).await;
    assert_eq!(read, PowerReading::Off, "the trap is still there");
    let adopted = adopt_off(&mut turn, &order).await;
    let OffVerdict::Unknown { reason } = adopted else {
        panic!("nobody waited: {adopted:?}");
    };
    assert!(reason.contains("msgwait"), "{reason}");
}
