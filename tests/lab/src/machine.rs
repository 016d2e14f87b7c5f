//! A machine of the lab: a process tree in namespaces of its own, a port on the switch and one on the management
//! network, and a power state that its BMC reads and sets.
//!
//! The honesty of the power state is what fencing is tested against: [`Machine::reads_off`] is true only when power
//! was cut, the whole process tree has been reaped and both ports are down. A machine that merely crashed reads on.
//! It does not know what runs on it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};

use crate::bmc::Power;
use crate::jail::LAB;
use crate::shell::{self, Enter};
use crate::sys::{self, Link};

/// A program that PID 1 of a machine keeps running.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Daemon {
    /// Its name, for logs.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to an otherwise empty environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Started again this long after it ended, as an init system would; never when absent.
    pub respawn_ms: Option<u64>,
}

/// What a machine is, across its lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Host name, unique in the lab.
    pub name: String,
    /// Site letter: separates several clusters on one switch namespace.
    pub site: String,
    /// Hardware address of `eth0`.
    pub mac: String,
    /// `10.77.1.1/24`.
    pub ipv4: String,
    /// `2001:db8:77:1::1/64`.
    pub ipv6: String,
    /// Address on the management network, `10.78.1.1/24`; a client has none.
    pub management: Option<String>,
}

/// What PID 1 of a machine is told at one start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BootPlan {
    /// Who the machine is.
    pub identity: Identity,
    /// Fresh at every start, so that a power cycle looks like one.
    pub boot_id: String,
    /// What to start.
    pub daemons: Vec<Daemon>,
}

#[derive(Debug)]
struct Life {
    power: bool,
    init: Option<Pid>,
    daemons: Vec<Daemon>,
    off_since: Option<Instant>,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    /// Who it is.
    pub identity: Identity,
    life: Mutex<Life>,
}

impl Machine {
    /// A machine that is switched off.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            life: Mutex::new(Life {
                power: false,
                init: None,
                daemons: Vec::new(),
                off_since: None,
            }),
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life
            .lock()
            .expect("nobody panics while holding a machine's state")
    }

    /// The switch's end of `eth0`.
    #[must_use]
    pub fn port(&self) -> String {
        format!("p-{}", self.identity.name)
    }

    /// The management switch's end of `eth1`.
    #[must_use]
    pub fn management_port(&self) -> String {
        format!("m-{}", self.identity.name)
    }

    /// Directory of files of this machine, seen by the lab.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        PathBuf::from(format!("{LAB}/node/{}", self.identity.name))
    }

    /// States what runs from the next start on.
    pub fn install(&self, daemons: Vec<Daemon>) {
        self.life().daemons = daemons;
    }

    /// PID 1 of the machine as the lab numbers it, while it runs.
    #[must_use]
    pub fn init(&self) -> Option<Pid> {
        self.life().init
    }

    /// Since when the BMC reads off, if it does.
    #[must_use]
    pub fn off_since(&self) -> Option<Instant> {
        self.life().off_since
    }

    /// Whether the BMC may say off: power cut, the process tree reaped, the ports down.
    #[must_use]
    pub fn reads_off(&self) -> bool {
        let life = self.life();
        !life.power && life.init.is_none()
    }

    /// Switches the machine on; nothing happens when it is on and alive.
    ///
    /// # Errors
    /// Namespaces, links or PID 1 that fail; the machine is then off.
    pub fn power_on(&self) -> anyhow::Result<()> {
        let mut life = self.life();
        if life.init.is_some() {
            life.power = true;
            return Ok(());
        }
        let plan = BootPlan {
            identity: self.identity.clone(),
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/uuid")?,
            daemons: life.daemons.clone(),
        };
        let init = self
            .boot(&plan)
            .with_context(|| format!("starting {}", self.identity.name))?;
        life.init = Some(init);
        life.power = true;
        life.off_since = None;
        Ok(())
    }

    fn boot(&self, plan: &BootPlan) -> anyhow::Result<Pid> {
        let directory = self.directory();
        for part in ["run", "log"] {
            std::fs::create_dir_all(directory.join(part))?;
        }
        std::fs::create_dir_all(format!("{LAB}/disk/{}", self.identity.name))?;
        let path = directory.join("boot.json");
        std::fs::write(&path, serde_json::to_vec_pretty(plan)?)?;
        std::fs::write(directory.join("boot_id"), &plan.boot_id)?;
        self.remove_links();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(directory.join("log/init.log"))?;
        let (mut ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(Duration::from_secs(10)))?;
        let args = ["node-init".as_ref(), path.as_os_str()];
        let pid = sys::start_machine(&args, [theirs.as_fd(), log.as_fd(), log.as_fd()])?;
        drop(theirs);
        // For who enters a kept lab from outside.
        std::fs::write(directory.join("pid"), pid.as_raw_nonzero().to_string())?;
        let started = self.plug_in(pid).and_then(|()| {
            ours.write_all(b"g")?;
            let mut up = [0u8];
            ours.read_exact(&mut up)
                .with_context(|| format!("PID 1 gave up, see {}/log/init.log", directory.display()))
        });
        if let Err(error) = started {
            reap(pid)?;
            return Err(error);
        }
        Ok(pid)
    }

    /// Removes the ports of an earlier life, and with them what is left of its network.
    fn remove_links(&self) {
        for name in [self.port(), self.management_port()] {
            // Absent at the first start.
            let _absent = shell::run(Command::new("ip").args(["link", "del", &name]));
        }
    }

    fn plug_in(&self, pid: Pid) -> anyhow::Result<()> {
        let (site, pid, port) = (&self.identity.site, pid.as_raw_nonzero(), self.port());
        let mut lines = format!(
            "link add {port} type veth peer name eth0 address {} netns {pid}\nlink set {port} master br-{site} up\n",
            self.identity.mac
        );
        if self.identity.management.is_some() {
            let port = self.management_port();
            lines += &format!(
                "link add {port} type veth peer name eth1 netns {pid}\nlink set {port} master mg-{site} up\n"
            );
        }
        shell::ip(&lines)
    }

    /// The port on the switch loses its carrier, as if the cable were pulled.
    ///
    /// # Errors
    /// The port does not exist.
    pub fn set_port(&self, link: Link) -> anyhow::Result<()> {
        sys::set_link(&self.port(), link).with_context(|| format!("port of {}", self.identity.name))
    }

    /// The port on the management network.
    ///
    /// # Errors
    /// The port does not exist.
    pub fn set_management_port(&self, link: Link) -> anyhow::Result<()> {
        sys::set_link(&self.management_port(), link)
            .with_context(|| format!("port of {}", self.identity.name))
    }

    /// Cuts the power: ports down first, so that nothing of the machine is heard once it counts as dying, then the
    /// whole process tree, until it is reaped.
    ///
    /// # Errors
    /// The tree cannot be killed or reaped; it then reads on.
    pub fn power_off(&self) -> anyhow::Result<()> {
        let mut life = self.life();
        self.stop(&mut life)?;
        if life.power {
            life.off_since = Some(Instant::now());
        }
        life.power = false;
        Ok(())
    }

    /// The machine crashes: as [`Machine::power_off`], but its BMC goes on reading on.
    ///
    /// # Errors
    /// As [`Machine::power_off`].
    pub fn crash(&self) -> anyhow::Result<()> {
        self.stop(&mut self.life())
    }

    fn stop(&self, life: &mut Life) -> anyhow::Result<()> {
        if let Some(pid) = life.init {
            self.set_port(Link::Down)?;
            if self.identity.management.is_some() {
                self.set_management_port(Link::Down)?;
            }
            reap(pid)?;
            life.init = None;
        }
        Ok(())
    }

    /// A command that runs on this machine.
    ///
    /// # Errors
    /// The machine is not running.
    pub fn command(&self, program: &str) -> anyhow::Result<Command> {
        self.enter(Enter::Machine, program)
    }

    /// A command in this machine's network, but among the lab's own files.
    ///
    /// # Errors
    /// The machine is not running.
    pub fn network_command(&self, program: &str) -> anyhow::Result<Command> {
        self.enter(Enter::Network, program)
    }

    /// Processes of this machine whose name starts with one of `prefixes`, as the lab numbers them; not PID 1.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn processes(&self, prefixes: &[&str]) -> anyhow::Result<Vec<Pid>> {
        let Some(init) = self.init() else {
            return Ok(Vec::new());
        };
        let own = std::fs::read_link(format!("/proc/{}/ns/pid", init.as_raw_nonzero()))?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let number = path
                .file_name()
                .and_then(|n| n.to_str())
                .and_then(|n| n.parse::<i32>().ok());
            let Some(pid) = number.and_then(Pid::from_raw).filter(|pid| *pid != init) else {
                continue;
            };
            // A process that ends meanwhile is none.
            let here = std::fs::read_link(path.join("ns/pid")).is_ok_and(|ns| ns == own);
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            if here && prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// Sends a signal to every process that [`Machine::processes`] finds; says how many there were.
    ///
    /// # Errors
    /// A signal that cannot be sent to a living process.
    pub fn signal(&self, prefixes: &[&str], signal: Signal) -> anyhow::Result<usize> {
        let found = self.processes(prefixes)?;
        for pid in &found {
            match kill_process(*pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found.len())
    }

    fn enter(&self, enter: Enter, program: &str) -> anyhow::Result<Command> {
        let pid = self
            .init()
            .with_context(|| format!("{} is not running", self.identity.name))?;
        Ok(shell::inside(pid, enter, program))
    }
}

impl Power for Machine {
    fn reads_off(&self) -> bool {
        Machine::reads_off(self)
    }

    fn power_on(&self) -> anyhow::Result<()> {
        Machine::power_on(self)
    }

    fn power_off(&self) -> anyhow::Result<()> {
        Machine::power_off(self)
    }
}

/// Kills PID 1 of a machine and waits until the kernel has reaped its whole tree, which is when PID 1 can be.
fn reap(pid: Pid) -> anyhow::Result<()> {
    kill_process(pid, Signal::KILL)?;
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("reaping a machine"),
        }
    }
}
