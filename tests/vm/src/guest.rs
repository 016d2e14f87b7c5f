//! A guest: one QEMU process that boots Debian's kernel, its disks, its ports, and a power state that its BMC reads.
//!
//! The power reading is honest: it says off only when power was cut and the QEMU process has been reaped. A guest that
//! is paused, hung or panicked reads on. A guest knows nothing of haft.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use haft_lab::bmc::Power;
use haft_lab::shell;

use crate::qmp::{Event, Events, Qmp};

/// Port of the guest's way in, see `guest_init.sh`.
const WAY_IN: u16 = 2323;

/// How long one visit to a guest may take: emulated, on a busy machine.
const VISIT: Duration = Duration::from_secs(60);

/// The guest's processor. The plain model boots much faster than `max`; the additions are what the kernel's random
/// numbers and haft's cryptography use.
pub(crate) const PROCESSOR: &str = "qemu64,+rdrand,+ssse3,+sse4.1,+sse4.2,+aes,+pclmulqdq";

/// Memory of a guest in MiB.
const MEMORY: u32 = 512;

/// What a guest is, across its lives.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its host name.
    pub name: String,
    /// Last byte of its addresses.
    pub index: u8,
    /// The kernel and the first file system.
    pub kernel: PathBuf,
    /// See `kernel`.
    pub image: PathBuf,
    /// Its own disk and the one that all share; a plain guest has neither and runs no haft.
    pub disks: Option<Disks>,
    /// Where its socket, console and log are.
    pub folder: PathBuf,
}

/// A guest's disks: raw images.
#[derive(Debug, Clone)]
pub struct Disks {
    /// Survives power cycles.
    pub own: PathBuf,
    /// The same for every guest.
    pub shared: PathBuf,
    /// The same for every guest, for poison pills.
    pub poison: PathBuf,
}

/// What a guest's power switch does for its BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// Cuts the power, and reads off only when it is.
    Honest,
    /// Cuts nothing and reads off at once: planted, to see the suite fail.
    Lying,
}

#[derive(Debug, Default)]
struct Life {
    power: bool,
    running: Option<(Child, Qmp)>,
    started: Option<Instant>,
    last_cut: Option<Instant>,
    count: usize,
}

/// One guest.
#[derive(Debug)]
pub struct Guest {
    /// What it is.
    pub plan: Plan,
    switch: Switch,
    life: Mutex<Life>,
    events: Events,
}

impl Guest {
    /// A guest that is switched off.
    #[must_use]
    pub fn new(plan: Plan, switch: Switch) -> Self {
        Self {
            plan,
            switch,
            life: Mutex::default(),
            events: Arc::default(),
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life
            .lock()
            .expect("nobody panics while holding a guest's state")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Hardware address of `eth0`, or of `eth1` with 1.
    #[must_use]
    pub fn mac(&self, port: u8) -> String {
        format!("02:4c:09:00:{port:02x}:{:02x}", self.plan.index)
    }

    /// The tap of `eth0` (0) or `eth1` (1) in the lab's network.
    #[must_use]
    pub fn tap(&self, port: u8) -> String {
        format!("t{port}-{}", self.plan.name)
    }

    /// When its present life began.
    #[must_use]
    pub fn started(&self) -> Option<Instant> {
        self.life().started
    }

    /// When its power was last cut, by whomever: from then on its BMC could read off.
    #[must_use]
    pub fn last_cut(&self) -> Option<Instant> {
        self.life().last_cut
    }

    /// How many lives it has had: a fresh QEMU process each.
    #[must_use]
    pub fn lives(&self) -> usize {
        self.life().count
    }

    /// Process number of its QEMU, for measuring memory.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.life().running.as_ref().map(|(child, _)| child.id())
    }

    fn start(&self) -> anyhow::Result<(Child, Qmp)> {
        std::fs::create_dir_all(&self.plan.folder)?;
        let socket = self.plan.folder.join("qmp");
        // A socket file outlives the QEMU that made it.
        let _absent = std::fs::remove_file(&socket);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.plan.folder.join("qemu.log"))?;
        let mut child = self
            .command(&socket)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting qemu-system-x86_64 (package qemu-system-x86)")?;
        match Qmp::connect(&socket, self.events.clone()) {
            Ok(qmp) => Ok((child, qmp)),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    fn command(&self, socket: &std::path::Path) -> Command {
        let Plan {
            name,
            index,
            folder,
            ..
        } = &self.plan;
        let file = |what: &str| folder.join(what).display().to_string();
        let plain = if self.plan.disks.is_none() {
            " lab.plain=1"
        } else {
            ""
        };
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-name", name, "-machine", "pc", "-accel", "tcg,tb-size=128"])
            .args(["-cpu", PROCESSOR, "-m", &MEMORY.to_string()])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .arg("-kernel")
            .arg(&self.plan.kernel)
            .arg("-initrd")
            .arg(&self.plan.image)
            // A panic stays a hang (panic=0): what resets a guest here is a watchdog or its BMC, nothing else.
            .arg("-append")
            .arg(format!(
                "console=ttyS0 quiet panic=0 mitigations=off nokaslr lab.name={name} lab.index={index}{plain}"
            ))
            .args(["-device", "i6300esb", "-action", "watchdog=reset"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .arg("-chardev")
            .arg(format!("file,id=con,path={},append=on", file("console")))
            .args(["-serial", "chardev:con"])
            .arg("-chardev")
            .arg(format!("file,id=log,path={},append=on", file("log")))
            .args(["-device", "virtio-serial-pci"])
            .args(["-device", "virtserialport,chardev=log,name=log"]);
        for port in [0, 1] {
            command
                .arg("-netdev")
                .arg(format!(
                    "tap,id=n{port},ifname={},script=no,downscript=no",
                    self.tap(port)
                ))
                .arg("-device")
                .arg(format!(
                    "virtio-net-pci,netdev=n{port},mac={},romfile=",
                    self.mac(port)
                ));
        }
        if let Some(disks) = &self.plan.disks {
            // Its own disk through the page cache without flushes: what is cut here is a guest's power, never the
            // host's. The shared disks as a SAN would be: every write goes to the image before it is acknowledged.
            command
                .arg("-drive")
                .arg(format!(
                    "if=none,id=own,format=raw,cache=unsafe,file={}",
                    disks.own.display()
                ))
                .args(["-device", "virtio-blk-pci,drive=own"]);
            for (id, path) in [("shared", &disks.shared), ("poison", &disks.poison)] {
                command
                    .arg("-drive")
                    .arg(format!(
                        "if=none,id={id},format=raw,cache=none,file.locking=off,file={}",
                        path.display()
                    ))
                    .arg("-device")
                    .arg(format!("virtio-blk-pci,drive={id},share-rw=on"));
            }
        }
        command
    }

    fn qmp(&self, name: &str) -> anyhow::Result<()> {
        let mut life = self.life();
        let (_, qmp) = life
            .running
            .as_mut()
            .with_context(|| format!("{} is off", self.plan.name))?;
        qmp.command(name).map(drop)
    }

    /// Its hypervisor pauses it: processor, clocks and devices.
    ///
    /// # Errors
    /// It is off, or QEMU refuses.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.qmp("stop")
    }

    /// Its hypervisor lets it go on.
    ///
    /// # Errors
    /// As [`Guest::pause`].
    pub fn resume(&self) -> anyhow::Result<()> {
        self.qmp("cont")
    }

    /// The first event of that name since `since`.
    #[must_use]
    pub fn event(&self, name: &str, since: Instant) -> Option<Event> {
        let events = self
            .events
            .lock()
            .expect("nobody panics holding the events");
        events
            .iter()
            .find(|event| event.name == name && event.at >= since)
            .cloned()
    }

    /// Runs a shell script in the guest, over the management network, and returns what it printed.
    ///
    /// # Errors
    /// The guest cannot be reached, does not answer in time, or the script's exit code is not 0.
    pub fn sh(&self, script: &str) -> anyhow::Result<String> {
        let (code, text) = self.visit(script)?;
        ensure!(
            code == 0,
            "in {}: `{script}` ended with {code}: {text}",
            self.plan.name
        );
        Ok(text)
    }

    fn visit(&self, script: &str) -> anyhow::Result<(i32, String)> {
        let address = Ipv4Addr::new(10, 78, 9, self.plan.index);
        let to = SocketAddr::from((address, WAY_IN));
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(VISIT))?;
        stream.write_all(script.as_bytes())?;
        stream.write_all(b"\n")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let text = shell::text(&answer);
        let Some((before, code)) = text.trim_end().rsplit_once("exit:") else {
            bail!("{} broke off: {text}", self.plan.name)
        };
        Ok((code.parse()?, before.trim_end().to_owned()))
    }

    /// Waits until its way in answers; says how long its present life had lasted then.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_booted(&self, limit: Duration) -> anyhow::Result<Duration> {
        let what = format!("{} to have booted", self.plan.name);
        shell::wait_for(&what, limit, || {
            self.sh("true")?;
            Ok(Some(()))
        })?;
        Ok(self.started().context("it is off")?.elapsed())
    }

    /// The kernel's number of this boot.
    ///
    /// # Errors
    /// As [`Guest::sh`].
    pub fn boot_id(&self) -> anyhow::Result<String> {
        self.sh("cat /proc/sys/kernel/random/boot_id")
    }
}

impl Power for Guest {
    fn reads_off(&self) -> bool {
        let life = self.life();
        !life.power && (life.running.is_none() || self.switch == Switch::Lying)
    }

    fn power_on(&self) -> anyhow::Result<()> {
        let mut life = self.life();
        life.power = true;
        if life.running.is_none() {
            let started = Instant::now();
            match self.start() {
                Ok(running) => life.running = Some(running),
                Err(error) => {
                    life.power = false;
                    return Err(error);
                }
            }
            life.started = Some(started);
            life.count += 1;
        }
        Ok(())
    }

    fn power_off(&self) -> anyhow::Result<()> {
        let mut life = self.life();
        if self.switch == Switch::Honest
            && let Some((mut child, _)) = life.running.take()
        {
            child.kill()?;
            // Reaped means that its writes have ended too: the kernel finishes a process's input and output first.
            child.wait()?;
            life.last_cut = Some(Instant::now());
        }
        life.power = false;
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The lab's PID 1 takes away whatever is left.
        let _ended = self.power_off();
    }
}
