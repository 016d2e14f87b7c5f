//! The poison pill: no BMC can be reached, and a message on a shared disk must end the owner before anything is
//! granted elsewhere; or its watchdog does, where nobody reads the message.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use haft_lab::shell;
use haft_lab::sys::Link;

use crate::cluster::{CONFIGURATION, OTHER_CONFIGURATION, PATIENCE};
use crate::guest::Guest;
use crate::stage::Stage;
use crate::table::Outcome;

/// The owner that gets the pill. Its slot is the first.
const OWNER: &str = "n1";

/// Seconds: the watchdog's, and how long the sender waits.
const WATCHDOG: u64 = 5;
const MSGWAIT: u64 = 15;

/// The poison pill device, behind the BMCs: tried when they fail.
const PILL: &str = "apiVersion: haft/v1\nkind: FenceDevice\nmetadata: { name: sbd }\nspec:\n  \
    agent: /lab/bin/fence_haft_sbd\n  observes: poison\n  level: 2\n  deadline: 40s\n  \
    targets: { n1: n1, n2: n2, n3: n3 }\n  parameters: { devices: /dev/vdc, off_pill: reset }\n";

/// What every haft-agent has in its configuration beside the rest.
const SECTION: &str = "sbd: { devices: [/dev/vdc], start: clean }";

/// Where the mailbox of the first slot lies: sectors of 512 bytes, the header, the slot, then it.
const MAILBOX: u64 = 1024;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The owner is cut from everybody, healthy, and reads its mailbox.
pub(super) fn obeyed(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let told = begin(stage).and_then(|owner| {
        let told = lose(stage, outcome, &owner, Reader::Obeys);
        stage.rack.set_management(Link::Up)?;
        stage.rack.set_port(&owner, Link::Up)?;
        told.and_then(|()| demand_clean_start(outcome, stage, &owner))
    });
    told.and(end(stage))
}

/// The owner's agent hangs, so that nobody reads its mailbox.
pub(super) fn unread(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let told = begin(stage).and_then(|owner| {
        owner.sh("kill -STOP $(pidof haft-agent)")?;
        let told = lose(stage, outcome, &owner, Reader::Hangs);
        stage.rack.set_management(Link::Up)?;
        stage.rack.set_port(&owner, Link::Up)?;
        told
    });
    told.and(end(stage))
}

/// Whether the owner's watcher runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Obeys,
    Hangs,
}

/// Lays the disk out, has every agent watch it, and brings both addresses to the owner.
fn begin(stage: &mut Stage) -> anyhow::Result<Arc<Guest>> {
    stage.begin("n2", "n2")?;
    let owner = stage.rack.guest(OWNER)?.clone();
    owner.sh(&format!(
        "fence_haft_sbd create -d /dev/vdc --overwrite -1 {WATCHDOG} -4 {MSGWAIT}\n\
         fence_haft_sbd allocate -d /dev/vdc {OWNER}"
    ))?;
    for guest in &stage.rack.guests {
        guest.sh(&format!(
            "cp {CONFIGURATION} {OTHER_CONFIGURATION}\necho '{SECTION}' >>{OTHER_CONFIGURATION}\nsync\n\
             kill $(pidof haft-agent)"
        ))?;
        wait_watched(guest)?;
    }
    stage.cluster.ctl.act(&["apply", "-f", "-"], PILL)?;
    stage.begin(OWNER, OWNER)?;
    Ok(owner)
}

/// The agent holds the watchdog as long as it watches, and does not without.
fn wait_watched(guest: &Guest) -> anyhow::Result<()> {
    let what = format!("haft-agent of {} to watch its mailbox", guest.name());
    shell::wait_for(&what, PATIENCE, || {
        let held = guest
            .sh("pid=$(pidof haft-agent) && ls -l /proc/$pid/fd | grep -c /dev/watchdog || true")?;
        Ok((held == "1").then_some(()))
    })
}

fn lose(
    stage: &mut Stage,
    outcome: &mut Outcome,
    owner: &Guest,
    reader: Reader,
) -> anyhow::Result<()> {
    let mailbox = Mailbox::watch(&stage.rack.poison)?;
    stage.rack.set_management(Link::Down)?;
    stage.mark("no BMC can be reached")?;
    stage.rack.set_port(owner, Link::Down)?;
    let since = stage.mark("n1, which owns both, is cut off")?;
    let db = stage.cluster.wait_taken_over("db", OWNER)?;
    stage.wait_stamps("db", &db.owner)?;
    let successor = stage.successor("db", OWNER)?;
    let reset = shell::wait_for("n1 to be reset", PATIENCE, || {
        Ok(owner.event("RESET", since))
    })?;
    let pill = mailbox.end()?.context("no pill was seen on the disk")?;
    outcome.demand(
        "the owner was reset before db was written elsewhere",
        (reset.at < successor.first).into(),
        "it was reset later",
    );
    outcome.demand(
        "db was written elsewhere only when msgwait was over",
        (successor.first >= pill + Duration::from_secs(MSGWAIT)).into(),
        &format!("{:.3} s after the pill", seconds(successor.first, pill)),
    );
    let bite = owner.event("WATCHDOG", since).map(|event| event.at);
    match reader {
        Reader::Obeys => {
            outcome.demand(
                "the pill reset it, not the watchdog",
                (bite.is_none() && reset.at > pill).into(),
                "the watchdog did, or there was no pill yet",
            );
            outcome.figure(format!(
                "reset {:.2} s after the pill lay on the disk (loop 1 s)",
                seconds(reset.at, pill)
            ));
        }
        Reader::Hangs => outcome.demand(
            "its watchdog reset it before msgwait was over",
            bite.is_some_and(|at| at < pill + Duration::from_secs(MSGWAIT))
                .into(),
            "it did not, or too late",
        ),
    }
    outcome.figure(format!(
        "pill after {:.1} s, reset after {:.1} s, db written elsewhere after {:.1} s, granted on {}",
        seconds(pill, since),
        seconds(reset.at, since),
        seconds(successor.first, since),
        db.proof
    ));
    stage.demand_one_owner(outcome, "db")?;
    stage.demand_not_reset(outcome, &[OWNER]);
    Ok(())
}

fn seconds(later: Instant, earlier: Instant) -> f64 {
    later.saturating_duration_since(earlier).as_secs_f64()
}

/// A node that was shot does not come back unseen: somebody looks why, and empties the mailbox.
fn demand_clean_start(outcome: &mut Outcome, stage: &Stage, owner: &Guest) -> anyhow::Result<()> {
    owner.wait_booted(PATIENCE)?;
    let refused = shell::wait_for(
        "haft-agent of n1 to say why it does not start",
        PATIENCE,
        || {
            let words = owner.sh(&format!(
                "haft-agent --config {OTHER_CONFIGURATION} --node {OWNER} 2>&1 || true"
            ))?;
            Ok(words.contains("fence_haft_sbd clear").then_some(words))
        },
    )?;
    outcome.demand(
        "its agent does not start over the pill, and names it",
        refused.contains("`reset`").into(),
        &refused,
    );
    let state = stage.cluster.ctl.node_state(OWNER)?;
    outcome.demand(
        "the node is not online before the mailbox is emptied",
        (state != "Online").into(),
        &state,
    );
    owner.sh(&format!("fence_haft_sbd clear -d /dev/vdc {OWNER}"))?;
    stage.cluster.ctl.wait_online(OWNER, PATIENCE)
}

/// The other stories know no pills: first the device goes, then the watchers.
fn end(stage: &Stage) -> anyhow::Result<()> {
    stage.rack.set_management(Link::Up)?;
    stage.cluster.ctl.act(&["delete", "fencedevice/sbd"], "")?;
    for guest in &stage.rack.guests {
        guest.wait_booted(PATIENCE)?;
        guest.sh(&format!(
            "rm -f {OTHER_CONFIGURATION}\nsync\nkill $(pidof haft-agent) || true"
        ))?;
    }
    stage.cluster.wait_whole(&stage.rack.guests)
}

/// Looks at the owner's mailbox from outside: its first byte is the message, and none is 0.
struct Mailbox {
    seen: Arc<Mutex<Option<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Mailbox {
    fn watch(disk: &Path) -> anyhow::Result<Self> {
        let (seen, stop) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let look = Look {
            disk: disk.to_owned(),
            seen: seen.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("mailbox".to_owned())
            .spawn(move || look.until_seen())?;
        Ok(Self { seen, stop, thread })
    }

    /// When a message was first there.
    fn end(self) -> anyhow::Result<Option<Instant>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .ok()
            .context("the look at the mailbox panicked")??;
        Ok(*self.seen.lock().expect("nobody panics holding a moment"))
    }
}

struct Look {
    disk: PathBuf,
    seen: Arc<Mutex<Option<Instant>>>,
    stop: Arc<AtomicBool>,
}

impl Look {
    fn until_seen(&self) -> std::io::Result<()> {
        let file = File::open(&self.disk)?;
        let mut message = [0];
        while !self.stop.load(Ordering::Relaxed) {
            file.read_exact_at(&mut message, MAILBOX)?;
            if message != [0] {
                *self.seen.lock().expect("nobody panics holding a moment") = Some(Instant::now());
                break;
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
