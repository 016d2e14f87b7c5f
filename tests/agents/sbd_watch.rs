//! The watcher on real disks, sent messages by the ClusterLabs tool and by our agent.
//!
//! The driver here is the smallest that works: keepers, a clock, a loop. What the machine says about
//! resetting is noted and not done. haft-agent has the real driver; the machine's own tests are in its
//! package.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use haft_fence_sbd::device::{Access, PlainFiles};
use haft_fence_sbd::disk::SlotName;
use haft_fence_sbd::keeper::Keeper;
use haft_fence_sbd::majority::{DiskCount, DiskIndex};
use haft_fence_sbd::volume::{Claim, Volume, VolumeError};
use haft_fence_sbd::watcher::{
    BootTime, Command, Event, Petting, SelfFence, StartMode, Watcher, WatcherConfig,
};
use haft_tests::sbd_lab::SbdLab;

use crate::sbd::{admin_done, lay_out, start};

/// Time for one access, as the tool has it with a loop of one second.
const IO: Duration = Duration::from_millis(1500);

/// A watcher with its disks.
struct Node {
    watcher: Watcher,
    keepers: Vec<Keeper>,
    began: Instant,
    tell: SyncSender<Event>,
    hear: Receiver<Event>,
    /// Questions that are out, and when they are given up.
    owed: Vec<(Instant, Event)>,
    noted: Vec<Command>,
}

impl Node {
    fn new(disks: &[&Path], start: StartMode) -> Self {
        let paths: Vec<PathBuf> = disks.iter().map(|disk| disk.to_path_buf()).collect();
        let (tell, hear) = sync_channel(64);
        Self {
            watcher: Watcher::new(WatcherConfig {
                node: SlotName::new("a").unwrap(),
                disks: DiskCount::try_from(disks.len()).unwrap(),
                start,
                io: IO,
            }),
            keepers: paths
                .into_iter()
                .map(|path| Keeper::of_path(path, Access::Write, PlainFiles::Refuse))
                .collect(),
            began: Instant::now(),
            tell,
            hear,
            owed: Vec::new(),
            noted: Vec::new(),
        }
    }

    fn now(&self) -> BootTime {
        BootTime(self.began.elapsed())
    }

    fn petting(&self) -> Petting {
        self.watcher.petting(self.now())
    }

    /// Lives until the machine has noted something that `wanted` accepts, or a petting that it does.
    fn until(&mut self, wanted: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !wanted(self) {
            assert!(
                Instant::now() < deadline,
                "{:?} {:?}",
                self.noted,
                self.petting()
            );
            let event = self
                .hear
                .recv_timeout(Duration::from_millis(20))
                .unwrap_or(Event::Woken);
            self.take(event);
            self.give_up_late();
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.now();
        let commands = self.watcher.on_event(now, event);
        for command in commands {
            self.carry_out(command);
        }
    }

    fn give_up_late(&mut self) {
        let now = Instant::now();
        let (late, owed) = std::mem::take(&mut self.owed)
            .into_iter()
            .partition(|(until, _)| *until <= now);
        self.owed = owed;
        let late: Vec<(Instant, Event)> = late;
        for (_, event) in late {
            // An answer that came in time was taken already; the machine knows by its number.
            self.take(event);
        }
    }

    fn ask<T: Send + 'static>(
        &mut self,
        disk: DiskIndex,
        work: impl FnOnce(&mut Volume) -> Result<T, VolumeError> + Send + 'static,
        event: impl Fn(Result<T, String>) -> Event + Send + 'static,
    ) {
        let until = Instant::now() + IO;
        let hung = || Err("it does not answer".to_owned());
        self.owed.push((until, event(hung())));
        let tell = self.tell.clone();
        let posted = self.keepers[disk.at()].post(until, work, move |answer| {
            let _ = tell.send(event(answer.map_err(|error| error.to_string())));
        });
        // A full queue is a hung disk; the question is given up in its time.
        drop(posted);
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Attach { disk, ask } => {
                let node = SlotName::new("a").unwrap();
                // The disks here allow a second to allocate, and the machine asks again after one.
                let work = move |volume: &mut Volume| match volume.claim(&node)? {
                    Claim::Owned(slot) => volume.sighting(slot),
                    Claim::Pending(..) => Err(VolumeError::NoSlot { node }),
                };
                self.ask(disk, work, move |found| Event::Attached {
                    disk,
                    ask,
                    found,
                });
            }
            Command::Read { disk, ask, slot } => {
                let work = move |volume: &mut Volume| volume.sighting(slot);
                self.ask(disk, work, move |seen| Event::Read { disk, ask, seen });
            }
            Command::Clear {
                disk,
                ask,
                slot,
                seen,
            } => {
                let work = move |volume: &mut Volume| volume.clear(slot, &seen);
                self.ask(disk, work, move |outcome| Event::Cleared {
                    disk,
                    ask,
                    outcome,
                });
            }
            Command::SelfFence { .. }
            | Command::Exit { .. }
            | Command::RefuseStart { .. }
            | Command::DiskEnded { .. }
            | Command::Tested { .. } => self.noted.push(command),
        }
    }
}

fn watched(node: &Node) -> bool {
    matches!(node.petting(), Petting::Until(_))
}

/// Sends by the field's tool and does not wait for its msgwait.
pub(crate) fn send(disks: &[&Path], message: &str) -> std::process::Child {
    let mut sbd = Process::new("sbd");
    for disk in disks {
        sbd.arg("-d").arg(disk);
    }
    sbd.args(["message", "a", message])
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_pill_of_either_tool_is_obeyed_while_its_sender_still_waits() {
    let mut lab = SbdLab::start();
    for ours in [false, true] {
        let disks = [
            lab.plain_disk(512),
            lab.plain_disk(4096),
            lab.plain_disk(512),
        ];
        let disks = disks.each_ref().map(PathBuf::as_path);
        lay_out(&disks, &["a"]);
        let mut node = Node::new(&disks, StartMode::Clean);
        node.until(watched);
        let mut sender = if ours {
            start("reboot", &disks, "a")
        } else {
            send(&disks, "reset")
        };
        node.until(|node| !node.noted.is_empty());
        assert!(sender.try_wait().unwrap().is_none(), "msgwait is not over");
        let how = match &node.noted[..] {
            [Command::SelfFence { how, from, .. }] => {
                assert!(from.is_some());
                *how
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(how, SelfFence::Reset);
        assert_eq!(node.petting(), Petting::Condemned);
        assert!(sender.wait().unwrap().success());
    }
}

#[test]
fn a_test_of_the_fields_tool_is_answered_by_clearing_it() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &[]);
    let mut node = Node::new(&[&disk], StartMode::Clean);
    node.until(watched);
    let mut sender = send(&[&disk], "test");
    node.until(|node| matches!(node.noted[..], [Command::Tested { .. }]));
    let seen = disk.clone();
    node.until(move |_| admin_done("list", &[&seen], &[]) == "0\ta\tclear\t\n");
    assert!(sender.wait().unwrap().success());
    let mut sender = send(&[&disk], "exit");
    node.until(|node| matches!(node.noted[..], [.., Command::Exit { .. }]));
    assert_eq!(node.petting(), Petting::Stopped);
    assert!(sender.wait().unwrap().success());
}

#[test]
fn an_old_pill_refuses_a_clean_start_and_is_cleared_by_the_other_mode() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &["a"]);
    assert!(send(&[&disk], "off").wait().unwrap().success());
    let mut node = Node::new(&[&disk], StartMode::Clean);
    node.until(|node| matches!(node.noted[..], [Command::RefuseStart { .. }]));
    assert_eq!(node.petting(), Petting::Stopped);
    let mut node = Node::new(&[&disk], StartMode::Always);
    node.until(watched);
    assert_eq!(admin_done("list", &[&disk], &[]), "0\ta\tclear\t\n");
}

#[test]
fn a_disk_created_anew_ends_its_watch() {
    let mut lab = SbdLab::start();
    let (one, two) = (lab.plain_disk(512), lab.plain_disk(512));
    lay_out(&[&one, &two], &["a"]);
    let mut node = Node::new(&[&one, &two], StartMode::Clean);
    node.until(watched);
    admin_done("create", &[&one], &["--overwrite", "-1", "1", "-4", "3"]);
    node.until(|node| matches!(node.noted[..], [Command::DiskEnded { .. }]) && watched(node));
}

#[test]
fn a_node_whose_disk_hangs_has_no_support_for_petting_until_it_answers() {
    let mut lab = SbdLab::start();
    let disk = lab.freezable_disk();
    lay_out(&[&disk], &["a"]);
    assert!(send(&[&disk], "off").wait().unwrap().success());
    lab.freeze();
    // Reading works on a frozen filesystem; taking the old pill out hangs.
    let mut node = Node::new(&[&disk], StartMode::Always);
    let only = DiskCount::One.each().next().unwrap();
    node.until(|node| node.watcher.trouble(only).is_some());
    assert!(matches!(node.petting(), Petting::TooFewFresh { .. }));
    lab.thaw();
    node.until(watched);
    assert_eq!(node.noted, []);
    assert_eq!(admin_done("list", &[&disk], &[]), "0\ta\tclear\t\n");
}
