//! Baseboard management controllers: OpenIPMI's `ipmi_sim`, one per machine, on the management network, and the power
//! switch behind them.
//!
//! `ipmi_sim` runs `bmc-power NAME get power` or `... set power 0|1` for each request; that tiny client asks the lab
//! over a unix socket, and the lab's answer comes from the machine itself. Nothing here pretends: see
//! [`Power::reads_off`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};

use crate::jail::LAB;

/// The power switch's socket.
const POWER_SOCKET: &str = "/run/lab/power.sock";

/// User and password of every BMC here. The lab's own; it guards nothing.
pub const USER: &str = "admin";
/// See [`USER`].
pub const PASSWORD: &str = "lab-only-secret";

/// A machine as its BMC sees it: something with a power switch and an honest power reading.
pub trait Power: std::fmt::Debug + Send + Sync {
    /// Whether the BMC may say off: only when nothing of the machine can act any more.
    fn reads_off(&self) -> bool;

    /// Switches it on; nothing happens when it is on and alive.
    ///
    /// # Errors
    /// It cannot be started; it is then off.
    fn power_on(&self) -> anyhow::Result<()>;

    /// Cuts the power.
    ///
    /// # Errors
    /// It could not be cut; it then reads on.
    fn power_off(&self) -> anyhow::Result<()>;
}

/// Machines that BMCs may switch, by name.
pub type Switchboard = Arc<Mutex<BTreeMap<String, Arc<dyn Power>>>>;

/// Answers `bmc-power` for as long as the lab lives.
///
/// # Errors
/// The socket or the thread cannot be made.
pub fn serve_power(board: Switchboard) -> anyhow::Result<()> {
    let listener = UnixListener::bind(POWER_SOCKET).context("power switch")?;
    std::thread::Builder::new()
        .name("power".into())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let board = board.clone();
                // One thread per request: switching one machine off must not delay reading another.
                let started = std::thread::Builder::new()
                    .name("power-request".into())
                    .spawn(move || answer(&board, stream));
                if started.is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}

fn answer(board: &Switchboard, stream: UnixStream) {
    let mut line = String::new();
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    if BufReader::new(stream).read_line(&mut line).is_err() {
        return;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let reply = match switch(board, &words) {
        Ok(text) => format!("ok {text}\n"),
        Err(error) => format!("error {error:#}\n"),
    };
    // A BMC that no longer listens has its answer lost: to the fence agent that is "unknown".
    let _lost = writer.write_all(reply.as_bytes());
}

fn switch(board: &Switchboard, words: &[&str]) -> anyhow::Result<String> {
    let (name, order) = words.split_first().context("no machine named")?;
    let machine = board
        .lock()
        .expect("nobody panics holding the board")
        .get(*name)
        .cloned();
    let machine = machine.with_context(|| format!("no machine {name}"))?;
    match order {
        ["get", "power"] => return Ok(format!("power:{}", u8::from(!machine.reads_off()))),
        ["set", "power", "0"] | ["set", "shutdown", "1"] => machine.power_off()?,
        ["set", "power", "1"] => machine.power_on()?,
        ["set", "reset", "1"] => {
            machine.power_off()?;
            machine.power_on()?;
        }
        ["check", _] => {}
        other => bail!("no such power order: {other:?}"),
    }
    Ok(String::new())
}

/// What `ipmi_sim` runs for each chassis request: forwards it to the lab and prints the answer.
///
/// # Errors
/// The lab cannot be asked, or refuses.
pub fn ask_power(words: &[String]) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(POWER_SOCKET)?;
    stream.write_all(format!("{}\n", words.join(" ")).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let Some(text) = line.strip_prefix("ok ") else {
        bail!("the lab says: {}", line.trim_end())
    };
    Ok(text.trim_end().to_owned())
}

/// One running `ipmi_sim`; ends with the value.
#[derive(Debug)]
pub struct Bmc {
    child: Child,
}

impl Bmc {
    /// Starts the BMC of `name` on `address`, port 623. The address must be one of this namespace.
    ///
    /// # Errors
    /// Files or the process that fail.
    pub fn start(name: &str, address: Ipv4Addr) -> anyhow::Result<Self> {
        let directory = format!("{LAB}/bmc/{name}");
        std::fs::create_dir_all(format!("{directory}/state"))?;
        let auth = ["callback", "user", "operator", "admin"]
            .map(|l| format!("    allowed_auths_{l} none md2 md5 straight\n"));
        let configuration = format!(
            "name \"{name}\"\nset_working_mc 0x20\n  startlan 1\n    addr {address} 623\n    priv_limit admin\n{}    guid {:032x}\n  endlan\n  \
             chassis_control \"{LAB}/bin/haft-lab bmc-power {name}\"\n  \
             user 1 true \"\" \"\" user 10 none md2 md5 straight\n  \
             user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n",
            auth.concat(),
            u32::from(address),
        );
        let emulator = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                        sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n";
        std::fs::write(format!("{directory}/lan.conf"), configuration)?;
        std::fs::write(format!("{directory}/sim.emu"), emulator)?;
        let log = std::fs::File::create(format!("{directory}/log"))?;
        let child = Command::new("ipmi_sim")
            .args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting ipmi_sim (package openipmi)")?;
        Ok(Self { child })
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        // Already ended is as good; the lab's PID 1 takes away whatever is left.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
