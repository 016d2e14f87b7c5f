//! A real BMC for a test: OpenIPMI's `ipmi_sim` on a loopback port of its own.
//!
//! The power state is a file that the chassis script reads and writes, so a test can look at it and
//! change it. The process ends with the value. It powers nothing: machines that really go off are the
//! lab's business. Debian package: openipmi.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Administrator of every simulated BMC.
pub const USER: &str = "admin";
/// Their password; the suites look for it in places where it must not be.
pub const PASSWORD: &str = "canary-bmc-pass";
/// An administrator for the one test that looks for a password everywhere, so that no other shows it.
pub const SECRETIVE: &str = "secretive";
/// That user's password.
pub const UNSEEN_PASSWORD: &str = "canary-unseen";
/// A user who may look but not switch, with the password [`PASSWORD`].
pub const VIEWER: &str = "viewer";

/// How long the simulator may take to answer its first request. It takes a tenth of a second.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// The power of the machine behind the BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Running.
    On,
    /// Off.
    Off,
}

/// How the chassis takes commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chassis {
    /// It does what it is told.
    Obeys,
    /// It acknowledges and does nothing.
    Sticks,
    /// Its control does not work: reads and commands fail.
    Broken,
}

/// A running `ipmi_sim`; killed and reaped when dropped.
pub struct IpmiSim {
    child: Child,
    address: IpAddr,
    port: u16,
    dir: PathBuf,
}

/// Called as `chassis get power` and `chassis set power 0|1`. Only words that the shell has built in:
/// every program started here would be measured as if it were the BMC.
const SCRIPT: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 1
echo "$*" >> calls
read -r mode < mode
[ "$mode" = broken ] && exit 1
case "$1 $2" in
  "get power") read -r power < power; echo "power:$power" ;;
  "set power") [ "$mode" = sticks ] && exit
    HOOK
    echo "$3" > power ;;
esac
"#;

const EMULATION: &str = "mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";

impl IpmiSim {
    /// Starts a BMC whose machine is on, and waits until it answers.
    ///
    /// # Panics
    /// When `ipmi_sim` is not installed or does not answer.
    pub fn start() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), "")
    }

    /// As [`Self::start`], on another address; `hook` is shell text that runs before a power command
    /// takes effect, with `$3` as 1 for on and 0 for off: there a machine can really be switched.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_on(address: IpAddr, hook: &str) -> Self {
        // The port is free when it is drawn; another process may be faster, so a few are tried.
        (0..5)
            .find_map(|_| Self::try_start(address, hook))
            .expect("ipmi_sim answers on some port")
    }

    fn try_start(address: IpAddr, hook: &str) -> Option<Self> {
        let port = UdpSocket::bind((address, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let dir = fresh_dir();
        std::fs::create_dir_all(dir.join("state")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        write("chassis", &SCRIPT.replace("HOOK", hook));
        std::fs::set_permissions(dir.join("chassis"), PermissionsExt::from_mode(0o755)).unwrap();
        write("power", "1\n");
        write("mode", "obeys\n");
        write("calls", "");
        write("sim.emu", EMULATION);
        write(
            "lan.conf",
            &lan_conf(address, port, &dir.join("chassis").display().to_string()),
        );
        let child = Self::spawn(&dir);
        let mut sim = Self {
            child,
            address,
            port,
            dir,
        };
        sim.answers().then_some(sim)
    }

    fn spawn(dir: &std::path::Path) -> Child {
        let log = std::fs::File::create(dir.join("log")).unwrap();
        Command::new("ipmi_sim")
            .args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Starts it again after [`Self::kill`], on the same port.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn revive(&mut self) {
        self.child = Self::spawn(&self.dir);
        assert!(self.answers(), "ipmi_sim answers again");
    }

    /// Asks for the channel's authentication capabilities until something comes back.
    fn answers(&mut self) -> bool {
        let question = [
            0x06, 0, 0xFF, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, //
            0x20, 0x18, 0xC8, 0x81, 0x04, 0x38, 0x8E, 0x04, 0xB1,
        ];
        let socket = UdpSocket::bind((self.address, 0)).unwrap();
        socket.connect((self.address, self.port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            let _ = socket.send(&question);
            if socket.recv(&mut [0; 256]).is_ok() {
                return true;
            }
        }
        false
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The machine's power.
    pub fn power(&self) -> Power {
        match std::fs::read_to_string(self.dir.join("power"))
            .unwrap()
            .trim()
        {
            "0" => Power::Off,
            _ => Power::On,
        }
    }

    /// Switches the machine from outside, as a hand on the button would.
    pub fn set_power(&self, power: Power) {
        let text = match power {
            Power::On => "1\n",
            Power::Off => "0\n",
        };
        std::fs::write(self.dir.join("power"), text).unwrap();
    }

    /// Changes how the chassis takes commands from now on.
    pub fn set_chassis(&self, chassis: Chassis) {
        let text = match chassis {
            Chassis::Obeys => "obeys\n",
            Chassis::Sticks => "sticks\n",
            Chassis::Broken => "broken\n",
        };
        std::fs::write(self.dir.join("mode"), text).unwrap();
    }

    /// What the BMC asked of the chassis so far, in order: `get power`, `set power 0`.
    pub fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.dir.join("calls")).unwrap();
        calls.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Ends the BMC, as a pulled management cable or a dead supply would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for IpmiSim {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn fresh_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    std::env::temp_dir().join(format!("haft-ipmi-sim-{}-{count}", std::process::id()))
}

fn lan_conf(address: IpAddr, port: u16, chassis: &str) -> String {
    let auths: String = ["callback", "user", "operator", "admin"]
        .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
        .concat();
    format!(
        "name \"haft\"\nset_working_mc 0x20\n  startlan 1\n    addr {address} {port}\n    \
         priv_limit admin\n{auths}    guid a123456789abcdefa123456789abcdef\n  endlan\n  \
         chassis_control \"{chassis}\"\n  \
         user 1 true \"\" \"\" user 10 none md2 md5 straight\n  \
         user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n  \
         user 3 true \"{VIEWER}\" \"{PASSWORD}\" user 10 none md2 md5 straight\n  \
         user 4 true \"{SECRETIVE}\" \"{UNSEEN_PASSWORD}\" admin 10 none md2 md5 straight\n"
    )
}
