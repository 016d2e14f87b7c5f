//! The fence agents as executables: the ClusterLabs contract, and real devices or their simulators.
//!
//! `contract` holds for every agent of ours, `ipmi` meets OpenIPMI's `ipmi_sim`, `pdu` net-snmp's `snmpd`, `caller` runs
//! ours as haftd does, `prepared` as it does before an order, `field` runs Debian's, `canary` looks for a secret everywhere. `sbd` and the modules named after
//! it share loop devices with the ClusterLabs `sbd` tool.
//! Lying devices are in the agents' own packages. Needs the Debian packages openipmi, ipmitool, snmpd, snmp,
//! fence-agents and sbd.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod caller;
mod canary;
mod contract;
mod field;
mod ipmi;
mod pdu;
mod pdu_contract;
mod prepared;
mod sbd;
mod sbd_agent;
mod sbd_faults;
mod sbd_field_watch;
mod sbd_interop;
mod sbd_watch;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use haft_tests::built;
use haft_tests::ipmi_sim::{IpmiSim, PASSWORD, USER};

/// Our IPMI agent.
fn fence_haft_ipmi() -> PathBuf {
    built::executable("haft-fence-ipmi", "fence_haft_ipmi")
}

/// Our PDU agent.
fn fence_haft_pdu() -> PathBuf {
    built::executable("haft-fence-pdu", "fence_haft_pdu")
}

/// Runs an executable with arguments and stdin to its end.
fn run(agent: &PathBuf, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(agent)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // An agent called with arguments does not read its stdin and may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let (tell, hear) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let output = hear
        .recv_timeout(Duration::from_secs(60))
        .expect("the agent ends by itself");
    output.unwrap()
}

/// Parameters for a simulated BMC, as lines.
fn lines(sim: &IpmiSim, action: &str, more: &str) -> String {
    format!(
        "action={action}\nip=127.0.0.1\nipport={}\nusername={USER}\npassword={PASSWORD}\nlanplus=1\n{more}\n",
        sim.port()
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
