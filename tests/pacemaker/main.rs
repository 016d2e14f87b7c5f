//! Our fence agents, unmodified, under Pacemaker's own fencer.
//!
//! `pacemaker-fenced -s` alone in namespaces, driven by `stonith_admin`; [`AGENTS`] is the table, one row
//! per agent. The devices are real or their real simulators. No Corosync and no resource here: a whole
//! cluster is `make test-pacemaker`. Needs the Debian packages pacemaker, pacemaker-cli-utils and
//! openipmi, and root; none of their services is started on the host.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::path::{Path, PathBuf};

use haft_tests::built;
use haft_tests::ipmi_sim::{Chassis, IpmiSim, PASSWORD, Power, USER};
use haft_tests::jail::{Jail, Network, in_private_network};
use haft_tests::sbd_lab::SbdLab;
use haft_tests::snmp_pdu::{APC_RPDU, COMMUNITY, Outlets, SnmpPdu};

/// One agent of ours.
struct Row {
    /// Its name under /usr/sbin.
    agent: &'static str,
    /// Its package.
    package: &'static str,
    /// Makes its device, with the machine on, inside the network of the caller.
    device: fn() -> Box<dyn Device>,
    /// What it says, by itself and in time, of a device that does not obey.
    complaint: &'static str,
}

/// What a row's device must be able to do.
trait Device {
    /// Parameters as an administrator writes them, without the password. `dir` is for files.
    fn parameters(&self, dir: &Path) -> Vec<(&'static str, String)>;
    /// The power of the machine `n1`, as seen from outside the agent.
    fn power(&self) -> Power;
    /// From now on the device does not obey: it acknowledges and does nothing, or refuses.
    fn stick(&self);
}

const AGENTS: [Row; 3] = [
    Row {
        agent: "fence_haft_ipmi",
        package: "haft-fence-ipmi",
        device: || Box::new(IpmiSim::start()),
        complaint: "Timed out waiting to power OFF",
    },
    Row {
        agent: "fence_haft_pdu",
        package: "haft-fence-pdu",
        device: || Box::new(SnmpPdu::start(APC_RPDU)),
        complaint: "Timed out waiting to power OFF",
    },
    Row {
        agent: "fence_haft_sbd",
        package: "haft-fence-sbd",
        device: || Box::new(SbdDisk::with_slot()),
        complaint: "SBD disks can be used",
    },
];

/// A disk laid out by the ClusterLabs tool, with a slot for `n1`. The machine is off once `off` lies in its
/// slot; nobody takes the pill.
struct SbdDisk {
    disk: PathBuf,
    _lab: SbdLab,
}

impl SbdDisk {
    fn with_slot() -> Self {
        let mut lab = SbdLab::start();
        let disk = lab.plain_disk(512);
        let at = disk.display();
        lab.run(&format!("sbd -d {at} -1 1 -2 1 -3 1 -4 2 create"));
        lab.run(&format!("sbd -d {at} allocate n1"));
        Self { disk, _lab: lab }
    }
}

impl Drop for SbdDisk {
    fn drop(&mut self) {
        // A loop device stays read-only for whoever gets it next.
        let _ = std::process::Command::new("blockdev")
            .arg("--setrw")
            .arg(&self.disk)
            .status();
    }
}

impl Device for SbdDisk {
    fn parameters(&self, _dir: &Path) -> Vec<(&'static str, String)> {
        vec![
            ("devices", self.disk.display().to_string()),
            ("pcmk_host_list", "n1".to_owned()),
        ]
    }

    fn power(&self) -> Power {
        let list = std::process::Command::new("sbd")
            .arg("-d")
            .arg(&self.disk)
            .arg("list")
            .output()
            .unwrap();
        if String::from_utf8(list.stdout).unwrap().contains("\toff") {
            Power::Off
        } else {
            Power::On
        }
    }

    fn stick(&self) {
        let mut blockdev = std::process::Command::new("blockdev");
        let refused = blockdev.arg("--setro").arg(&self.disk).status();
        assert!(refused.unwrap().success());
    }
}

impl Device for SnmpPdu {
    fn parameters(&self, _dir: &Path) -> Vec<(&'static str, String)> {
        vec![
            ("ip", "127.0.0.1".to_owned()),
            ("ipport", self.port().to_string()),
            ("snmp_version", "2c".to_owned()),
            ("community", COMMUNITY.to_owned()),
            ("power_timeout", "3".to_owned()),
            ("pcmk_host_map", "n1:3".to_owned()),
        ]
    }

    fn power(&self) -> Power {
        self.power(3)
    }

    fn stick(&self) {
        self.set_outlets(Outlets::Stick);
    }
}

impl Device for IpmiSim {
    fn parameters(&self, dir: &Path) -> Vec<(&'static str, String)> {
        let password = dir.join("password");
        write_secret(&password, PASSWORD);
        vec![
            ("ip", "127.0.0.1".to_owned()),
            ("ipport", self.port().to_string()),
            ("username", USER.to_owned()),
            ("password_file", password.display().to_string()),
            ("power_timeout", "3".to_owned()),
            ("pcmk_host_list", "n1".to_owned()),
        ]
    }

    fn power(&self) -> Power {
        self.power()
    }

    fn stick(&self) {
        self.set_chassis(Chassis::Sticks);
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// A fencer with one registered device.
struct Fencer {
    jail: Jail,
    device: Box<dyn Device>,
    _dir: tempfile::TempDir,
}

impl Fencer {
    fn start(row: &Row, program: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let device = (row.device)();
        let mut jail = Jail::start("fencer", Network::Callers, &[program]);
        jail.sh("/usr/lib/pacemaker/pacemaker-fenced -s -l /run/fenced.log >/dev/null 2>&1 &");
        jail.until("stonith_admin --list-registered; echo \"rc $?\"", |text| {
            text.contains("rc 0")
        });
        let installed = jail.sh("stonith_admin --list-installed").ok();
        assert!(
            installed.lines().any(|line| line == row.agent),
            "{installed}"
        );
        let options: Vec<String> = device
            .parameters(dir.path())
            .into_iter()
            .map(|(name, value)| format!("-o {name}={value}"))
            .collect();
        let (agent, options) = (row.agent, options.join(" "));
        jail.sh(&format!("stonith_admin --metadata --agent {agent}"))
            .ok();
        let valid = jail.sh(&format!(
            "stonith_admin --validate --agent {agent} {options}"
        ));
        assert!(valid.ok().contains("succeeded"));
        jail.sh(&format!(
            "stonith_admin --register d1 --agent {agent} {options}"
        ))
        .ok();
        Self {
            jail,
            device,
            _dir: dir,
        }
    }

    fn admin(&mut self, arguments: &str) -> haft_tests::jail::Said {
        self.jail
            .sh(&format!("stonith_admin {arguments} --timeout 60"))
    }

    fn log(&mut self) -> String {
        self.jail.sh("cat /run/fenced.log").text
    }
}

/// Runs `story` for every row, each with a network of its own.
fn for_every_agent(story: impl Fn(&mut Fencer, &Row) + Sync) {
    for row in AGENTS {
        let program = built::executable(row.package, row.agent);
        in_private_network(|| {
            let mut fencer = Fencer::start(&row, program);
            story(&mut fencer, &row);
        });
    }
}

#[test]
fn pacemakers_fencer_lists_monitors_fences_unfences_and_reboots_with_our_agents() {
    for_every_agent(|fencer, row| {
        let agent = row.agent;
        assert!(fencer.admin("--list n1").ok().contains("d1"), "{agent}");
        assert_eq!(fencer.admin("--query d1").code, 0, "{agent}");
        for _ in 0..2 {
            let fenced = fencer.admin("--fence n1");
            assert_eq!(fenced.code, 0, "{agent}: {}", fenced.text);
            assert_eq!(fencer.device.power(), Power::Off, "{agent}");
        }
        assert_eq!(
            fencer.admin("--query d1").code,
            0,
            "{agent}: monitor of a machine that is off"
        );
        let unfenced = fencer.admin("--unfence n1");
        assert_eq!(unfenced.code, 0, "{agent}: {}", unfenced.text);
        assert_eq!(fencer.device.power(), Power::On, "{agent}");
        let rebooted = fencer.admin("--reboot n1");
        assert_eq!(rebooted.code, 0, "{agent}: {}", rebooted.text);
        assert_eq!(fencer.device.power(), Power::On, "{agent}");
        assert!(
            !fencer.log().contains("canary"),
            "{agent}: a secret is in the fencer's log"
        );
    });
}

#[test]
fn pacemakers_fencer_believes_our_agents_when_the_device_lies() {
    for_every_agent(|fencer, row| {
        let agent = row.agent;
        fencer.device.stick();
        let fenced = fencer.admin("--fence n1");
        assert_ne!(fenced.code, 0, "{agent}: {}", fenced.text);
        assert_eq!(fencer.device.power(), Power::On, "{agent}");
        // By its own timer: the fencer's environment would switch those of the field's library off.
        let log = fencer.log();
        assert!(log.contains(row.complaint), "{agent}: {log}");
    });
}

#[test]
fn a_machine_that_no_device_covers_is_not_fenced() {
    for_every_agent(|fencer, row| {
        let agent = row.agent;
        let other = fencer.admin("--fence n2");
        assert!(
            other.text.contains("No such device"),
            "{agent}: {}",
            other.text
        );
        assert_eq!(fencer.device.power(), Power::On, "{agent}");
    });
}
