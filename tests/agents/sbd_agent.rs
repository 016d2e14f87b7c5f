//! haft-agent's watch on real disks, sent messages by the ClusterLabs tool.
//!
//! The thread is the one that haft-agent runs; what ends the machine is a note in this process, and the
//! watchdog a timer that takes notes. The real ones are for virtual machines alone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haft_agent::kernel::clock::boot_now;
use haft_agent::sbd::act::EndMachine;
use haft_agent::sbd::vouch::Vouch;
use haft_agent::sbd::watch::{self, Disk, Ends};
use haft_agent::sbd::{NOTICES_MAX, SbdError, SbdNotice};
use haft_agent::shared_watchdog::{SharedWatchdog, Timer};
use haft_agent::watchdog::WatchdogError;
use haft_fence_sbd::device::{Access, PlainFiles};
use haft_fence_sbd::disk::SlotName;
use haft_fence_sbd::keeper::Keeper;
use haft_fence_sbd::majority::DiskCount;
use haft_fence_sbd::watcher::{SelfFence, StartMode, WatcherConfig};
use haft_tests::sbd_lab::SbdLab;
use tokio::sync::mpsc;

use crate::sbd::{admin_done, until, until_listed};
use crate::sbd_watch::send;

/// With the layout below it leaves 1 s of watchdog.
const IO: Duration = Duration::from_millis(1500);

#[derive(Clone, Debug, Default)]
struct Notes {
    ended: Arc<Mutex<Vec<SelfFence>>>,
    acts: Arc<Mutex<Vec<&'static str>>>,
}

impl EndMachine for Notes {
    fn end(&mut self, how: SelfFence) {
        self.ended.lock().unwrap().push(how);
    }
}

impl Timer for Notes {
    fn arm(&mut self, wanted: Duration) -> Result<Duration, WatchdogError> {
        self.acts.lock().unwrap().push("arm");
        Ok(wanted)
    }
    fn pet(&mut self) -> Result<(), WatchdogError> {
        self.acts.lock().unwrap().push("pet");
        Ok(())
    }
    fn disarm(&mut self) -> Result<(), WatchdogError> {
        self.acts.lock().unwrap().push("disarm");
        Ok(())
    }
}

struct Node {
    vouch: Vouch,
    heard: mpsc::Receiver<SbdNotice>,
    watchdog: SharedWatchdog,
    notes: Notes,
}

impl Node {
    fn start(disks: &[&Path], mode: StartMode) -> Node {
        let (vouch, admitted) = Vouch::none();
        let (notices, heard) = mpsc::channel(NOTICES_MAX);
        let notes = Notes::default();
        let config = WatcherConfig {
            node: SlotName::new("a").unwrap(),
            disks: DiskCount::try_from(disks.len()).unwrap(),
            start: mode,
            io: IO,
        };
        let keepers = disks.iter().map(|path| Disk {
            name: path.display().to_string(),
            keeper: Keeper::of_path(path.to_path_buf(), Access::Write, PlainFiles::Refuse),
        });
        let ends = Ends {
            vouch: vouch.clone(),
            admitted,
            notices: notices.clone(),
            machine: Box::new(notes.clone()),
        };
        watch::start(config, keepers.collect(), ends).unwrap();
        let watchdog = SharedWatchdog::with_disks(Box::new(notes.clone()), vouch.clone(), notices);
        Node {
            vouch,
            heard,
            watchdog,
            notes,
        }
    }

    /// Lives as the lease thread does until it is so.
    fn until(&mut self, what: &str, reached: impl Fn(&Node) -> bool) {
        until(what, || {
            self.watchdog.tend(boot_now());
            reached(self)
        });
    }

    fn vouched(&self) -> bool {
        self.vouch.holds(boot_now())
    }

    fn ended(&self) -> Vec<SelfFence> {
        self.notes.ended.lock().unwrap().clone()
    }

    fn pets(&self) -> usize {
        let acts = self.notes.acts.lock().unwrap();
        acts.iter().filter(|act| **act == "pet").count()
    }

    fn notice(&mut self) -> SbdNotice {
        let mut notice = None;
        until("a notice", || {
            self.watchdog.tend(boot_now());
            notice = self.heard.try_recv().ok();
            notice.is_some()
        });
        notice.unwrap()
    }
}

fn lay_out(disks: &[&Path]) {
    let times = ["-1", "2", "-2", "1", "-3", "1", "-4", "7"];
    admin_done("create", disks, &times);
}

#[test]
fn the_agent_obeys_each_message_of_the_fields_tool() {
    let mut lab = SbdLab::start();
    for (message, how) in [
        ("reset", SelfFence::Reset),
        ("off", SelfFence::PowerOff),
        ("crashdump", SelfFence::CrashDump),
    ] {
        let disks = [
            lab.plain_disk(512),
            lab.plain_disk(4096),
            lab.plain_disk(512),
        ];
        let disks = disks.each_ref().map(PathBuf::as_path);
        lay_out(&disks);
        // It takes a slot by itself.
        let mut node = Node::start(&disks, StartMode::Clean);
        assert_eq!(node.notice(), SbdNotice::Watched);
        until_listed(disks[2], "\ta\tclear\t");
        assert!(send(&disks, "test").wait().unwrap().success());
        for disk in disks {
            until_listed(disk, "\ta\tclear\t");
        }
        assert_eq!(node.ended(), []);
        let mut sender = send(&disks, message);
        node.until("the pill is obeyed", |node| !node.ended().is_empty());
        assert!(sender.try_wait().unwrap().is_none(), "msgwait is not over");
        assert_eq!(node.ended(), [how]);
        // Were the machine still alive, its watchdog would not be petted.
        let pets = node.pets();
        assert!(!node.vouched());
        assert!(sender.wait().unwrap().success());
        node.watchdog.tend(boot_now());
        assert_eq!(node.pets(), pets);
        assert_eq!(node.ended(), [how]);
    }
}

#[test]
fn the_agent_refuses_a_clean_start_over_an_old_pill_and_ends_at_the_word_exit() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk]);
    admin_done("allocate", &[&disk], &["a"]);
    assert!(send(&[&disk], "reset").wait().unwrap().success());
    let mut node = Node::start(&[&disk], StartMode::Clean);
    let refused = node.notice();
    assert!(
        matches!(&refused, SbdNotice::Failed(SbdError::OldMessage { word, .. }) if word == "reset"),
        "{refused:?}"
    );
    assert_eq!(
        admin_done("list", &[&disk], &[]).split('\t').nth(2),
        Some("reset")
    );
    assert!(node.notes.acts.lock().unwrap().is_empty(), "armed");
    let mut node = Node::start(&[&disk], StartMode::Always);
    node.vouch.admit();
    assert_eq!(node.notice(), SbdNotice::Watched);
    assert_eq!(admin_done("list", &[&disk], &[]), "0\ta\tclear\t\n");
    assert!(send(&[&disk], "exit").wait().unwrap().success());
    assert_eq!(node.notice(), SbdNotice::Exit);
    node.watchdog.disarm_finally();
    assert_eq!(node.notes.acts.lock().unwrap().last(), Some(&"disarm"));
    assert_eq!(node.ended(), []);
}

#[test]
fn a_disk_created_anew_starves_the_agents_watchdog() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk]);
    let mut node = Node::start(&[&disk], StartMode::Clean);
    assert_eq!(node.notice(), SbdNotice::Watched);
    admin_done(
        "create",
        &[&disk],
        &["--overwrite", "-1", "2", "-2", "1", "-4", "7"],
    );
    node.until("nothing vouches", |node| !node.vouched());
    let pets = node.pets();
    admin_done("allocate", &[&disk], &["a"]);
    node.watchdog.tend(boot_now());
    assert!(!node.vouched());
    assert_eq!(node.pets(), pets);
    assert_eq!(node.ended(), []);
}
