//! Commands for administrators: `fence_haft_sbd create|list|dump|allocate|message|clear -d DISK …`.
//!
//! Options and output are those of the ClusterLabs `sbd` tool, so that habits and scripts fit. They
//! cannot be confused with the agent's own command line, where every word begins with a dash. Unlike
//! the tool, `create` destroys nothing unless told to, and a message must reach a majority of the
//! disks. Watching is haft-agent's work and not here.

use std::path::Path;
use std::time::{Duration, Instant};

use haft_fence_protocol::agent::Report;
use thiserror::Error;

use crate::bank::{Bank, in_words};
use crate::device::{Access, BlockDevice, DeviceError};
use crate::disk::{Message, NameError, SectorSize, SlotName, Timeouts, Uuid};
use crate::keeper::{DiskError, Keeper};
use crate::majority::{DiskCount, OddDiskCount};
use crate::run::{Steps, isolate, leave, own_name};
use crate::settings::{Method, Settings, SettingsError, disks, plain_files};
use crate::volume::{Claim, Overwrite, Survey, Volume, VolumeError};

/// Time to lay out a disk: some eighty synchronous transfers, up to 128 KiB each.
const CREATE_PATIENCE: Duration = Duration::from_secs(60);
/// Claims that were lost to others before a person should look.
const CLAIMS_MAX: u32 = 10;

/// What an administrator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Lay out disks.
    Create,
    /// Show slots and mailboxes.
    List,
    /// Show headers.
    Dump,
    /// Give a node a slot.
    Allocate,
    /// Send a node a message.
    Message,
    /// Send a node `clear`.
    Clear,
}

impl Verb {
    /// The verb of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "create" => Self::Create,
            "list" => Self::List,
            "dump" => Self::Dump,
            "allocate" => Self::Allocate,
            "message" => Self::Message,
            "clear" => Self::Clear,
            _ => return None,
        })
    }

    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Create | Self::List | Self::Dump => &[],
            Self::Allocate | Self::Clear => &["NODE"],
            Self::Message => &["NODE", "test|reset|off|crashdump|clear|exit"],
        }
    }
}

/// Why a command cannot be carried out.
#[derive(Debug, Error)]
pub enum AdminError {
    /// An unknown option.
    #[error("unknown option '{0}'")]
    Option(String),
    /// An option without its value.
    #[error("option '{0}' needs a value")]
    NoValue(String),
    /// A value of the wrong kind.
    #[error("option '{0}' needs {1}")]
    BadValue(&'static str, &'static str),
    /// The wrong number of words.
    #[error("give exactly: {0}")]
    Words(String),
    /// No message of the protocol.
    #[error("'{0}' is no message (test, reset, off, crashdump, clear and exit are)")]
    NoMessage(String),
    /// Disks or options.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Too many disks.
    #[error(transparent)]
    Count(#[from] OddDiskCount),
    /// A name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Timeouts that prove nothing.
    #[error(
        "msgwait (-4) must be longer than watchdog (-1) plus loop (-3); twice watchdog is usual"
    )]
    Timeouts,
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random,
    /// A disk.
    #[error("{path}: {why}")]
    Disk {
        /// Which.
        path: String,
        /// The chain of reasons.
        why: String,
    },
    /// Others were faster again and again.
    #[error("{0}: another node took each slot that was claimed")]
    Race(String),
    /// Too few disks.
    #[error(transparent)]
    Poison(#[from] crate::poison::PoisonError),
    /// A message over a pill.
    #[error("a pill lies in the slot; '{0}' would take it out. Use clear if that is meant")]
    PillPending(&'static str),
}

/// A parsed command.
struct Order {
    verb: Verb,
    settings: Settings,
    timeouts: Timeouts,
    overwrite: Overwrite,
    sector_size: Option<SectorSize>,
    words: Vec<String>,
}

/// Carries out a command given as argv. Must run where a stuck thread hurts nobody
/// ([`crate::front`]).
pub fn run(verb: Verb, arguments: &[String]) -> Report {
    let mut out = String::new();
    let ended = parse(verb, arguments).and_then(|order| carry_out(&order, &mut out));
    match ended {
        Ok(()) => Report::text(out),
        // What was done on some disks is said, also when others failed.
        Err(error) => Report {
            stdout: out,
            ..Report::failed(&error.to_string())
        },
    }
}

fn parse(verb: Verb, arguments: &[String]) -> Result<Order, AdminError> {
    let mut paths: Vec<String> = Vec::new();
    let (mut timeouts, mut msgwait) = (Timeouts::default(), None);
    let mut overwrite = Overwrite::OnlyZeros;
    let (mut sector_size, mut plain, mut io) = (None, None, Duration::from_secs(3));
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            Some(_) | None => (word.as_str(), None),
        };
        let mut value = || {
            inline
                .clone()
                .or_else(|| rest.next().cloned())
                .ok_or_else(|| AdminError::NoValue(name.escape_default().to_string()))
        };
        match name {
            "-d" => paths.push(value()?),
            "-1" => timeouts.watchdog = seconds("-1", &value()?)?,
            "-2" => timeouts.allocate = seconds("-2", &value()?)?,
            "-3" => timeouts.loop_ = seconds("-3", &value()?)?,
            "-4" => msgwait = Some(seconds("-4", &value()?)?),
            "-I" => io = Duration::from_secs(seconds("-I", &value()?)?.into()),
            "--overwrite" => overwrite = Overwrite::Anything,
            "--plain-files" => plain = Some(value()?),
            "--sector-size" => {
                let size = value()?
                    .parse()
                    .ok()
                    .and_then(|bytes: u32| SectorSize::try_from(bytes).ok());
                sector_size =
                    Some(size.ok_or(AdminError::BadValue("--sector-size", "512 or 4096"))?);
            }
            option if option.starts_with('-') => {
                return Err(AdminError::Option(option.escape_default().to_string()));
            }
            plain_word => words.push(plain_word.to_owned()),
        }
    }
    if words.len() != verb.words().len() {
        return Err(AdminError::Words(format!(
            "-d DISK {}",
            verb.words().join(" ")
        )));
    }
    timeouts.msgwait = msgwait.unwrap_or_else(|| timeouts.watchdog.saturating_mul(2));
    let disks = disks(&paths.join(","))?;
    Ok(Order {
        verb,
        settings: Settings {
            count: DiskCount::try_from(disks.len())?,
            disks,
            node: None,
            method: Method::Cycle,
            off_pill: crate::disk::Pill::Off,
            io_timeout: io,
            plain_files: plain_files(plain.as_deref()).map_err(SettingsError::from)?,
            power_timeout: Duration::ZERO,
            delay: Duration::ZERO,
            separator: String::new(),
        },
        timeouts,
        overwrite,
        sector_size,
        words,
    })
}

fn seconds(option: &'static str, text: &str) -> Result<u32, AdminError> {
    let parsed = text
        .parse()
        .ok()
        .filter(|number| (1..=86_400).contains(number));
    parsed.ok_or(AdminError::BadValue(option, "seconds from 1 to 86400"))
}

fn carry_out(order: &Order, out: &mut String) -> Result<(), AdminError> {
    match (order.verb, order.words.as_slice()) {
        (Verb::Create, _) => create(order, out),
        (Verb::List, _) => each_survey(order, out, |out, _, survey| list(out, survey)),
        (Verb::Dump, _) => each_survey(order, out, dump),
        (Verb::Allocate, [node]) => allocate(order, &node_name(node)?, out),
        (Verb::Clear, [node]) => send(order, &node_name(node)?, Message::Clear, out),
        (Verb::Message, [node, message]) => {
            let message = Message::from_name(message)
                .ok_or_else(|| AdminError::NoMessage(message.escape_default().to_string()))?;
            send(order, &node_name(node)?, message, out)
        }
        (Verb::Allocate | Verb::Clear | Verb::Message, _) => {
            Err(AdminError::Words(order.verb.words().join(" ")))
        }
    }
}

/// `LOCAL` is this machine, as with the tool.
fn node_name(word: &str) -> Result<SlotName, AdminError> {
    if word == "LOCAL" {
        return Ok(own_name());
    }
    Ok(SlotName::new(word)?)
}

fn create(order: &Order, out: &mut String) -> Result<(), AdminError> {
    let timeouts = order.timeouts;
    if timeouts.msgwait <= timeouts.watchdog.saturating_add(timeouts.loop_) {
        return Err(AdminError::Timeouts);
    }
    if timeouts.msgwait < timeouts.watchdog.saturating_mul(2) {
        out.push_str("WARNING: msgwait should be at least twice watchdog\n");
    }
    for path in &order.settings.disks {
        let (file, plain, size) = (path.clone(), order.settings.plain_files, order.sector_size);
        let keeper = Keeper::start(move || {
            let mut device = BlockDevice::open(&file, Access::Write, plain)?;
            if let Some(size) = size {
                device.assume_sector_size(&file, size)?;
            }
            Ok::<_, DeviceError>(Volume::new(Box::new(device)))
        });
        let uuid = random_uuid()?;
        let overwrite = order.overwrite;
        let header = ask(path, &keeper, CREATE_PATIENCE, move |volume| {
            volume.create(timeouts, uuid, overwrite)
        })?;
        out.push_str(&format!(
            "Created {} (uuid {uuid}, {} slots, sectors of {} bytes, {timeouts})\n",
            path.display(),
            header.slots,
            header.sector_size.bytes(),
        ));
    }
    Ok(())
}

fn random_uuid() -> Result<Uuid, AdminError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| AdminError::Random)?;
    Ok(Uuid::from_random(bytes))
}

fn ask<T: Send + 'static>(
    path: &Path,
    keeper: &Keeper,
    patience: Duration,
    work: impl FnOnce(&mut Volume) -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, AdminError> {
    let deadline = Instant::now() + patience;
    let answer = keeper.ask(deadline, work).wait(deadline);
    answer.map_err(|error: DiskError| AdminError::Disk {
        path: path.display().to_string(),
        why: in_words(&error),
    })
}

/// Every disk that can be read is shown; one that cannot makes the command fail at its end.
fn each_survey(
    order: &Order,
    out: &mut String,
    show: impl Fn(&mut String, &str, &Survey),
) -> Result<(), AdminError> {
    let surveys = Bank::open(&order.settings, Access::Read).survey();
    let mut failed = Ok(());
    for (path, survey) in order.settings.disks.iter().zip(surveys) {
        let path = path.display().to_string();
        match survey {
            Ok(survey) => show(out, &path, &survey),
            Err(why) => failed = Err(AdminError::Disk { path, why }),
        }
    }
    failed
}

fn list(out: &mut String, survey: &Survey) {
    for entry in &survey.entries {
        let text =
            |name: &Option<SlotName>| name.as_ref().map_or_else(String::new, SlotName::to_string);
        out.push_str(&format!(
            "{}\t{}\t{}\t{}\n",
            entry.number,
            text(&entry.name),
            entry.mailbox.word,
            text(&entry.mailbox.from)
        ));
    }
}

fn dump(out: &mut String, path: &str, survey: &Survey) {
    let header = survey.header;
    out.push_str(&format!("==Dumping header on disk {path}\n"));
    let mut line = |name: &str, value: String| out.push_str(&format!("{name:<19}: {value}\n"));
    let version = format!("{}.{}", crate::disk::VERSION, header.minor_version);
    line("Header version", version);
    if let Some(uuid) = header.uuid {
        line("UUID", uuid.to_string());
    }
    line("Number of slots", header.slots.to_string());
    line("Sector size", header.sector_size.bytes().to_string());
    line("Timeout (watchdog)", header.timeouts.watchdog.to_string());
    line("Timeout (allocate)", header.timeouts.allocate.to_string());
    line("Timeout (loop)", header.timeouts.loop_.to_string());
    line("Timeout (msgwait)", header.timeouts.msgwait.to_string());
    out.push_str(&format!("==Header on disk {path} is dumped\n"));
}

/// Claims a slot on every disk, waits once for all of them, and looks whether the claims held.
fn allocate(order: &Order, node: &SlotName, out: &mut String) -> Result<(), AdminError> {
    let disks = order.settings.disks.iter();
    let mut open: Vec<(&Path, Keeper)> = disks
        .map(|path| {
            let plain = order.settings.plain_files;
            let keeper = Keeper::of_path(path.clone(), Access::Write, plain);
            (path.as_path(), keeper)
        })
        .collect();
    for _ in 0..CLAIMS_MAX {
        let mut pause = 0;
        let mut pending = Vec::new();
        for (path, keeper) in open {
            let name = node.clone();
            let step = ask(path, &keeper, order.settings.io_timeout, move |volume| {
                volume.claim(&name)
            })?;
            match step {
                Claim::Owned(number) => {
                    out.push_str(&format!("{node} has slot {number} on {}\n", path.display()));
                }
                Claim::Pending(_, timeouts) => {
                    pause = timeouts.allocate.max(pause);
                    pending.push((path, keeper));
                }
            }
        }
        if pending.is_empty() {
            return Ok(());
        }
        open = pending;
        std::thread::sleep(Duration::from_secs(pause.min(3600).into()));
    }
    let lost = open.first().map(|(path, _)| path.display().to_string());
    Err(AdminError::Race(lost.unwrap_or_default()))
}

fn send(
    order: &Order,
    node: &SlotName,
    message: Message,
    out: &mut String,
) -> Result<(), AdminError> {
    let bank = Bank::open(&order.settings, Access::Write);
    let said = match message {
        Message::Pill(pill) => isolate(&bank, &order.settings, node, pill, &mut Steps::untold())?,
        // These two would take a pill out by accident; clear does it on purpose.
        Message::Test | Message::Exit if holds_pill(&bank, node) => {
            return Err(AdminError::PillPending(message.name()));
        }
        Message::Test | Message::Exit | Message::Clear => leave(&bank, node, message)?,
    };
    out.push_str(&said);
    out.push('\n');
    Ok(())
}

fn holds_pill(bank: &Bank, node: &SlotName) -> bool {
    let surveys = bank.survey();
    surveys
        .iter()
        .flatten()
        .filter_map(|survey| survey.slot_of(node))
        .any(|entry| entry.mailbox.word.pill().is_some())
}

#[cfg(test)]
mod tests;
