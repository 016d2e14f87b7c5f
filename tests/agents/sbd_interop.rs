//! The ClusterLabs `sbd` tool and ours on the same disks, both ways: what one writes the other reads,
//! and what both write is the same to the byte.
//!
//! Debian's sbd. Its daemon, which resets the machine it runs on, is in `sbd_field_watch`.

use std::path::{Path, PathBuf};
use std::process::Command;

use haft_tests::sbd_lab::SbdLab;

use crate::sbd::{act, admin, admin_done, lay_out};
use crate::text;

const NODES: [&str; 6] = ["Alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
const MESSAGES: [&str; 6] = ["clear", "test", "reset", "off", "exit", "crashdump"];

/// Runs the field's tool: exit code and stdout.
fn sbd(disks: &[&Path], words: &[&str]) -> (i32, String) {
    let mut command = Command::new("sbd");
    for disk in disks {
        command.arg("-d").arg(disk);
    }
    let output = command.args(words).output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout))
}

fn sbd_done(disks: &[&Path], words: &[&str]) -> String {
    let (exit, stdout) = sbd(disks, words);
    assert_eq!(exit, 0, "sbd {words:?}");
    stdout
}

/// The whole format as bytes, without the identity, which is random.
fn image(disk: &Path, sector: usize) -> Vec<u8> {
    let mut bytes = std::fs::read(disk).unwrap();
    bytes.truncate(511 * sector);
    assert_eq!(bytes.len(), 511 * sector);
    assert_eq!(bytes[32], 1, "the identity follows");
    bytes[33..49].fill(0);
    bytes
}

/// Compares sector by sector, so that a difference is named and not printed whole.
fn same(step: &str, theirs: &Path, ours: &Path, sector: usize) {
    let (theirs, ours) = (image(theirs, sector), image(ours, sector));
    let pairs = theirs.chunks(sector).zip(ours.chunks(sector));
    for (number, (theirs, ours)) in pairs.enumerate() {
        assert_eq!(theirs[..128], ours[..128], "{step}: sector {number}");
        assert_eq!(theirs, ours, "{step}: sector {number}, further on");
    }
}

/// Two disks, or two sets of three, alike but for who writes on them.
fn written_alike(sector: u32, count: usize) {
    let mut lab = SbdLab::start();
    let mut set = || -> Vec<PathBuf> { (0..count).map(|_| lab.plain_disk(sector)).collect() };
    let (theirs, ours) = (set(), set());
    let theirs: Vec<&Path> = theirs.iter().map(PathBuf::as_path).collect();
    let ours: Vec<&Path> = ours.iter().map(PathBuf::as_path).collect();
    let timeouts = ["-1", "1", "-2", "1", "-3", "1", "-4", "3"];
    sbd_done(&theirs, &[&timeouts[..], &["create"]].concat());
    admin_done("create", &ours, &timeouts);
    let both = |step: &str| {
        let size = usize::try_from(sector).unwrap();
        for (theirs, ours) in theirs.iter().zip(&ours) {
            same(step, theirs, ours, size);
        }
    };
    both("created");
    // Each tool waits after each claim, and the field's takes one disk after the other.
    std::thread::scope(|scope| {
        for disk in &theirs {
            scope.spawn(move || NODES.map(|node| sbd_done(&[disk], &["allocate", node])));
        }
        scope.spawn(|| NODES.map(|node| admin_done("allocate", &ours, &[node])));
    });
    both("allocated");
    // All at once: each waits for msgwait.
    std::thread::scope(|scope| {
        for (node, message) in NODES.iter().zip(MESSAGES) {
            let (theirs, ours) = (&theirs, &ours);
            scope.spawn(move || sbd_done(theirs, &["message", node, message]));
            scope.spawn(move || admin_done("message", ours, &[node, message]));
        }
    });
    both("messages sent");
    // And crosswise: each reads the other's disks as its own.
    for disk in theirs.iter().chain(&ours) {
        assert_eq!(
            sbd_done(&[disk], &["list"]),
            admin_done("list", &[disk], &[])
        );
        assert_eq!(
            sbd_done(&[disk], &["dump"]),
            admin_done("dump", &[disk], &[])
        );
    }
    let list = sbd_done(&ours[..1], &["list"]);
    for (number, (node, message)) in NODES.iter().zip(MESSAGES).enumerate() {
        let row = format!("{number}\t{node}\t{message}\t");
        assert!(list.contains(&row), "{row} is missing in {list}");
    }
}

#[test]
fn one_disk_of_512_byte_sectors_is_written_alike_by_both_tools() {
    written_alike(512, 1);
}

#[test]
fn one_disk_of_4096_byte_sectors_is_written_alike_by_both_tools() {
    written_alike(4096, 1);
}

#[test]
fn three_disks_are_written_alike_by_both_tools() {
    written_alike(512, 3);
}

#[test]
fn slots_are_found_and_allocated_by_either_tool_on_the_others_disk() {
    let mut lab = SbdLab::start();
    let (theirs, ours) = (lab.plain_disk(512), lab.plain_disk(4096));
    let timeouts = ["-1", "1", "-2", "1", "-4", "3"];
    sbd_done(&[&theirs], &[&timeouts[..], &["create"]].concat());
    lay_out(&[&ours], &[]);
    for disk in [&theirs, &ours] {
        sbd_done(&[disk], &["allocate", "one"]);
        admin_done("allocate", &[disk], &["two"]);
        // Neither gives a second slot to a name that has one, whatever its case.
        sbd_done(&[disk], &["allocate", "TWO"]);
        admin_done("allocate", &[disk], &["ONE"]);
        assert_eq!(
            sbd_done(&[disk], &["list"]),
            "0\tone\tclear\t\n1\ttwo\tclear\t\n"
        );
        sbd_done(&[disk], &["message", "two", "off"]);
        assert_eq!(act("status", &[disk], "plug=two").0, 2);
        assert_eq!(act("on", &[disk], "plug=two").0, 0);
        assert!(sbd_done(&[disk], &["list"]).contains("1\ttwo\tclear\t"));
    }
}

#[test]
fn both_agents_give_the_same_answers_on_the_same_disk() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &["a", "b"]);
    let field = |action: &str| {
        let output = Command::new("fence_sbd")
            .arg(format!("--devices={}", disk.display()))
            .args(["-n", "a", "-o", action])
            .output();
        output
            .ok()
            .map(|output| (output.status.code().unwrap(), text(&output.stdout)))
    };
    if field("metadata").is_none() {
        println!("fence_sbd is not installed: nothing was compared");
        return;
    }
    let ours = |action: &str| {
        let (exit, stdout, _) = act(action, &[&disk], "plug=a");
        (exit, stdout)
    };
    for action in ["status", "list"] {
        assert_eq!(field(action), Some(ours(action)), "{action}");
    }
    let (exit, said) = field("off").unwrap();
    assert_eq!((exit, said.as_str()), (0, "Success: Powered OFF\n"));
    assert_eq!(field("status"), Some(ours("status")));
    assert_eq!(ours("on").0, 0);
    assert_eq!(field("status"), Some(ours("status")));
    assert_eq!(ours("reboot").0, 0);
    assert_eq!(field("status"), Some((2, "Status: OFF\n".to_owned())));
}

#[test]
fn create_by_us_destroys_no_disk_of_the_other_tool() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    sbd_done(&[&disk], &["create"]);
    sbd_done(&[&disk], &["allocate", "a"]);
    let before = std::fs::read(&disk).unwrap();
    let (exit, _, stderr) = admin("create", &[&disk], &[]);
    assert!(exit == 1 && stderr.contains("--overwrite"), "{stderr}");
    assert_eq!(std::fs::read(&disk).unwrap(), before);
    admin_done("create", &[&disk], &["--overwrite"]);
    assert_eq!(sbd_done(&[&disk], &["list"]), "");
}
