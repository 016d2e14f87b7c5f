//! A secret that is given to an agent must show nowhere: not in any process's command line or environment
//! while it runs, not in what the agent says, not in a log at the most talkative level.
//!
//! The canary is a password that only this file uses, so a hit anywhere on the machine is ours. The agents
//! of the field are not held to it: `fence_ipmilan` hands its password to ipmitool as an argument. The
//! whole cluster's processes and files are searched by the suite `cluster`.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haft_fence_protocol::caller::{
    AgentDirs, Call, Deadline, DeviceLock, OffOrder, OffProof, OffVerdict, Parameter, Parameters,
    adopt_off, always, confirm_off, run, untold,
};
use haft_fence_protocol::{Action, Secret};
use haft_tests::ipmi_sim::{IpmiSim, SECRETIVE, UNSEEN_PASSWORD};
use tracing_subscriber::filter::LevelFilter;

use crate::fence_haft_ipmi;

/// A log that can be read back.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a look at every process of the machine, again and again, found.
#[derive(Default)]
struct Sightings {
    /// Processes of the agent whose command line and environment were both read.
    agents: BTreeSet<u32>,
    /// Where the canary was.
    leaks: BTreeSet<String>,
}

fn look(sightings: &mut Sightings) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        let read = |what: &str| std::fs::read(entry.path().join(what)).unwrap_or_default();
        let (line, environment) = (read("cmdline"), read("environ"));
        for (what, bytes) in [("cmdline", &line), ("environ", &environment)] {
            if contains(bytes, UNSEEN_PASSWORD) {
                sightings.leaks.insert(format!("{what} of {pid}"));
            }
        }
        if contains(&line, "fence_haft_ipmi") && !environment.is_empty() {
            sightings.agents.insert(pid);
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn parameters(sim: &IpmiSim, password: &str) -> Parameters {
    let port = sim.port().to_string();
    let plain = [
        ("ip", "127.0.0.1"),
        ("ipport", &port),
        ("username", SECRETIVE),
        ("verbose", "1"),
        // Long enough for every agent to be seen.
        ("off_read_interval_ms", "60"),
        ("power_wait", "0.1"),
    ];
    let plain = plain.map(|(name, value)| Parameter::plain(name, value).unwrap());
    let mut list = Vec::from(plain);
    list.push(Parameter::secret("password", Secret::new(password.to_owned())).unwrap());
    Parameters::new(list).unwrap()
}

fn soon() -> Deadline {
    Deadline::within(Duration::from_secs(60))
}

/// Runs every action, a wrong password and a killed agent among them, and returns all that was said.
async fn everything(sim: &IpmiSim) -> String {
    let agent = AgentDirs::default()
        .find(fence_haft_ipmi().to_str().unwrap())
        .unwrap();
    let right = parameters(sim, UNSEEN_PASSWORD);
    let wrong = parameters(sim, &format!("{UNSEEN_PASSWORD}!"));
    let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
    let mut said = String::new();
    for parameters in [&right, &wrong] {
        for action in Action::ALL {
            let call = Call {
                agent: &agent,
                action,
                parameters,
                deadline: soon(),
            };
            said += &format!("{:?}\n", run(&mut turn, &call).await);
        }
    }
    let hurried = Call {
        agent: &agent,
        action: Action::Reboot,
        parameters: &right,
        deadline: Deadline::within(Duration::from_millis(120)),
    };
    said += &format!("{:?}\n", run(&mut turn, &hurried).await);
    let order = OffOrder {
        agent: &agent,
        parameters: &right,
        proof: OffProof::for_agent(&agent),
        deadline: soon(),
        stands: &always,
        first_off_read: &untold,
    };
    let verdict = confirm_off(&mut turn, &order).await;
    assert!(
        matches!(verdict, OffVerdict::Confirmed { .. }),
        "{verdict:?}"
    );
    said += &format!("{verdict:?}\n{:?}\n", adopt_off(&mut turn, &order).await);
    said
}

#[test]
fn a_password_shows_in_no_command_line_environment_output_or_log() {
    let sim = IpmiSim::start();
    let (done, log) = (AtomicBool::new(false), Log::default());
    let sightings = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut sightings = Sightings::default();
            while !done.load(Ordering::SeqCst) {
                look(&mut sightings);
            }
            sightings
        });
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        let said = tracing::subscriber::with_default(subscriber, || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(everything(&sim))
        });
        done.store(true, Ordering::SeqCst);
        assert!(
            said.contains("Powered OFF") && said.contains("wrong password"),
            "{said}"
        );
        assert!(!said.contains(UNSEEN_PASSWORD), "{said}");
        watcher.join().unwrap()
    });
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        logged.contains("fence agent ended"),
        "the log was on: {logged}"
    );
    assert!(!logged.contains(UNSEEN_PASSWORD), "{logged}");
    assert!(sightings.leaks.is_empty(), "{:?}", sightings.leaks);
    assert!(
        sightings.agents.len() >= 3,
        "agents were seen running: {:?}",
        sightings.agents
    );
}
