//! An owner whose machine is suspended beyond the end of its lease: silent from the first packet on when it wakes.
//!
//! The guest is one of [`crate::trial`] with a wire to this process, which asks for both addresses all the time, also
//! while the guest sleeps: what has piled up then is what it hears first. The guest says in its log, before it does
//! so, that it opens its gate again; every word for an address between its waking and that is one too many. The same
//! answers before and after show that the wire carries them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use haft_judge::frame::{self, Mac};
use haft_lab::say::say;
use haft_lab::shell;

use crate::qmp::{Events, Qmp};
use crate::stock::Stock;
use crate::table::{self, Outcome};
use crate::trial::{self, Guest, Record};

/// The guest's one test, which plays the owner (`src/agent/tests/kernel/suspend.rs`).
const TEST: &str = "suspend::";
/// Its wire, and this end of it.
const OWNER: Mac = Mac([2, 0, 0, 0, 9, 1]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 9, 2]);
const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);
const V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x100);
/// Between two questions.
const TICK: Duration = Duration::from_millis(20);
/// How long the guest sleeps: three times what is left of its lease when it lies down.
const NAP: Duration = Duration::from_secs(9);
/// What QEMU is told then.
const WAKE: &str = "system_wakeup";
/// What the guest writes before it opens its gate again.
const REOPENS: &str = "lab: reopening";

/// What is tried.
#[derive(Debug, clap::Args)]
pub struct Sleep {
    /// Unpacked Debian packages of the kernel and of busybox.
    #[arg(long)]
    stock: PathBuf,
    /// Where the image and the logs go; emptied first.
    #[arg(long)]
    folder: PathBuf,
    /// Seconds after which the guest is cut off and the trial has failed.
    #[arg(long, default_value_t = 300)]
    limit: u64,
    /// haft-agent's kernel tests.
    #[arg(long)]
    program: PathBuf,
}

/// How far the guest is.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Open,
    Asleep { since: Instant },
    Awake,
    Reopened,
}

/// What was heard.
#[derive(Debug, Default)]
struct Heard {
    before: usize,
    /// When it woke, and each word for an address that came after.
    woke: Option<Instant>,
    too_many: Vec<String>,
    after: usize,
}

impl Sleep {
    /// Boots, listens, judges. The answer is an exit code: 0 only if every demand was met.
    ///
    /// # Errors
    /// The image could not be made, or QEMU not started.
    pub fn run(&self) -> anyhow::Result<u8> {
        let begun = Instant::now();
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder)?;
        let stock = Stock::open(&self.stock)?;
        let image = self.folder.join("image.cpio");
        let programs = [self.program.clone()];
        trial::build(&stock, &image, &programs, &[TEST.to_owned()])?;
        say(&format!("booting {} to suspend it", stock.version));
        let mut outcome = Outcome::of(
            "suspend",
            "an owner that sleeps beyond its lease is silent from its first packet on",
        );
        let heard = self.listen(&stock, &image)?;
        fs::remove_file(&image)?;
        let record = Record::read(&self.log()?);
        record.show();
        self.judge(&heard, &record, &mut outcome)?;
        outcome.took(begun.elapsed());
        Ok(u8::from(table::show(&[outcome]) > 0))
    }

    fn log(&self) -> anyhow::Result<String> {
        let log = self.folder.join("log");
        let text = fs::read(&log).with_context(|| log.display().to_string())?;
        Ok(shell::text(&text))
    }

    /// Asks until the guest has powered itself off, and sends it to wake when it has slept for long enough.
    fn listen(&self, stock: &Stock, image: &std::path::Path) -> anyhow::Result<Heard> {
        let wire = Wire::open()?;
        let socket = self.folder.join("qmp");
        let log = File::create(self.folder.join("qemu.log"))?;
        let child = trial::command(&stock.kernel, image, &self.folder, "lab.suspend=mem")
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .args(wire.arguments()?)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting qemu-system-x86_64 (package qemu-system-x86)")?;
        let mut guest = Guest(child);
        let events = Events::default();
        let mut qmp = Qmp::connect(&socket, events.clone())?;
        let deadline = Instant::now() + Duration::from_secs(self.limit);
        let (mut phase, mut heard) = (Phase::Open, Heard::default());
        let mut tick = 0;
        while guest.0.try_wait()?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "the guest did not end in {} s; see {}",
                self.limit,
                self.folder.display()
            );
            tick += 1;
            wire.ask(tick)?;
            for said in wire.hear(Instant::now() + TICK)? {
                phase = self.note(phase, &said, &mut heard)?;
            }
            phase = match phase {
                Phase::Open if slept(&events) => Phase::Asleep {
                    since: Instant::now(),
                },
                Phase::Asleep { since } if since.elapsed() >= NAP => {
                    qmp.command(WAKE)?;
                    heard.woke = Some(Instant::now());
                    Phase::Awake
                }
                Phase::Open | Phase::Asleep { .. } | Phase::Awake | Phase::Reopened => phase,
            };
        }
        Ok(heard)
    }

    fn note(&self, phase: Phase, said: &str, heard: &mut Heard) -> anyhow::Result<Phase> {
        Ok(match phase {
            // What was said before it lay down is read a little later.
            Phase::Open | Phase::Asleep { .. } => {
                heard.before += 1;
                phase
            }
            Phase::Awake if !self.log()?.contains(REOPENS) => {
                let late = heard.woke.map_or(Duration::ZERO, |woke| woke.elapsed());
                heard
                    .too_many
                    .push(format!("{said}, {} ms after waking", late.as_millis()));
                phase
            }
            Phase::Awake | Phase::Reopened => {
                heard.after += 1;
                Phase::Reopened
            }
        })
    }

    fn judge(&self, heard: &Heard, record: &Record, outcome: &mut Outcome) -> anyhow::Result<()> {
        outcome.demand(
            "the owner answered before it slept, and again when its gate was opened",
            (heard.before > 0 && heard.after > 0).into(),
            &format!("{} times before, {} after", heard.before, heard.after),
        );
        outcome.demand(
            "it slept until it was woken",
            heard.woke.is_some().into(),
            "it was never suspended",
        );
        outcome.demand(
            "not one word for its addresses from its waking until then",
            heard.too_many.is_empty().into(),
            &heard.too_many.join("; "),
        );
        outcome.demand("its own account", record.held(1).into(), "see the log");
        let text = self.log()?;
        for line in text.lines().filter(|line| line.contains("lab: slept")) {
            let said = line.split("lab: ").last().unwrap_or(line);
            outcome.figure(said.trim_end().to_owned());
        }
        outcome.figure(format!(
            "{} answers before, {} after",
            heard.before, heard.after
        ));
        Ok(())
    }
}

fn slept(events: &Events) -> bool {
    let events = events.lock().expect("nobody panics holding the events");
    events.iter().any(|event| event.name == "SUSPEND")
}

/// The guest's wire: each datagram is a frame.
struct Wire {
    socket: UdpSocket,
    /// The guest's end, which QEMU binds.
    far: u16,
}

impl Wire {
    fn open() -> anyhow::Result<Wire> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Free when it is looked for; QEMU says so if somebody is faster.
        let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        Ok(Wire { socket, far })
    }

    fn arguments(&self) -> anyhow::Result<[String; 4]> {
        let near = self.socket.local_addr()?.port();
        let far = self.far;
        Ok([
            "-netdev".to_owned(),
            format!("socket,id=wire,udp=127.0.0.1:{near},localaddr=127.0.0.1:{far}"),
            "-device".to_owned(),
            "virtio-net-pci,netdev=wire,mac=02:00:00:00:09:01,romfile=".to_owned(),
        ])
    }

    fn ask(&self, tick: u32) -> anyhow::Result<()> {
        for question in [
            frame::arp_question(OWNER, CLIENT, CLIENT4, V4, tick),
            frame::echo_question(OWNER, CLIENT, CLIENT4, V4, tick),
            frame::solicit_question(OWNER, CLIENT, CLIENT6, V6, tick),
            frame::echo6_question(OWNER, CLIENT, CLIENT6, V6, tick),
        ] {
            match self
                .socket
                .send_to(&question, (Ipv4Addr::LOCALHOST, self.far))
            {
                // QEMU does not listen yet, or no more.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }

    /// Every word for one of the addresses that comes until then.
    fn hear(&self, until: Instant) -> anyhow::Result<Vec<String>> {
        let mut said = Vec::new();
        let mut buffer = [0; 2_048];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(said);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                Ok(length) => said.extend(speaks(&buffer[..length])),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(_) => return Ok(said),
            }
        }
    }
}

/// Whether a frame claims one of the addresses or comes from it, and how.
fn speaks(frame: &[u8]) -> Option<String> {
    let is = |at: usize, bytes: &[u8]| frame.get(at..at + bytes.len()) == Some(bytes);
    let what = match frame.get(12..14)? {
        [0x08, 0x06] if is(28, &V4.octets()) => "ARP",
        [0x08, 0x00] if is(26, &V4.octets()) => "IPv4",
        [0x86, 0xdd] if is(20, &[58]) && is(54, &[136]) && is(62, &V6.octets()) => "advertisement",
        [0x86, 0xdd] if is(22, &V6.octets()) => "IPv6",
        _ => return None,
    };
    Some(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_for_the_addresses_count() {
        let asked = frame::arp_question(OWNER, CLIENT, CLIENT4, V4, 1);
        assert_eq!(speaks(&asked), None, "a question is no claim");
        let claimed = frame::arp_question(CLIENT, OWNER, V4, CLIENT4, 1);
        assert_eq!(speaks(&claimed).as_deref(), Some("ARP"));
        let from = frame::echo_question(CLIENT, OWNER, V4, CLIENT4, 1);
        assert_eq!(speaks(&from).as_deref(), Some("IPv4"));
        let from = frame::echo6_question(CLIENT, OWNER, V6, CLIENT6, 1);
        assert_eq!(speaks(&from).as_deref(), Some("IPv6"));
        assert_eq!(speaks(&[]), None);
    }
}
