//! Disks that fail, hang, lie or are none: each ends in a failure with a reason, never in "off".
//!
//! A failing write is real: the loop device's file lies on a full filesystem, so that reads work and one
//! write does not. A hung disk is real, too: its file lies on a frozen filesystem, and the write waits
//! in the kernel. Torn and misdirected writes are in the agent's own package, in memory.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use haft_tests::sbd_lab::SbdLab;

use crate::sbd::{act, admin, admin_done, agent, lay_out, start, until, until_listed};
use crate::{run, text};

/// The action fails with this reason.
fn fails(action: &str, disks: &[&Path], more: &str, reason: &str) {
    let (exit, stdout, stderr) = act(action, disks, more);
    assert_eq!((exit, stdout.as_str()), (1, ""), "{action}: {stderr}");
    assert!(stderr.contains(reason), "{action}: {stderr}");
}

#[test]
fn a_write_that_never_reached_the_disk_is_a_failure_where_the_field_reports_success() {
    let mut lab = SbdLab::start();
    let disk = lab.fillable_disk();
    lay_out(&[&disk], &["a"]);
    lab.fill(2);
    let list = admin_done("list", &[&disk], &[]);
    assert_eq!(list, "0\ta\tclear\t\n", "reading works");
    for action in ["off", "reboot"] {
        let reason = "verified on 0 of 1 SBD disks, 1 are needed; disk 1: writing sector 2 failed";
        fails(action, &[&disk], "plug=a", reason);
    }
    let (exit, _, stderr) = admin("message", &[&disk], &["a", "reset"]);
    assert_eq!(exit, 1);
    assert!(stderr.contains("writing sector 2 failed"), "{stderr}");
    // For the record only: a fixed tool would fail here, too. sbd 1.5.2 says 0 and `clear`.
    let field = Command::new("sbd")
        .args(["-d", disk.to_str().unwrap(), "message", "a", "off"])
        .status()
        .unwrap();
    println!("sbd message on the same disk: {field}");
    assert_eq!(admin_done("list", &[&disk], &[]), list, "no pill is there");
}

#[test]
fn a_write_protected_disk_is_refused_before_anything_is_written() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &["a"]);
    let file = lab.dir().join("disk1");
    let protected = lab.attach_read_only(&file);
    for action in ["off", "reboot", "on", "monitor"] {
        fails(action, &[&protected], "plug=a", "is read-only");
    }
    assert_eq!(act("status", &[&protected], "plug=a").1, "Status: ON\n");
}

#[test]
fn one_bad_disk_of_three_is_survived_and_named_and_two_are_not() {
    let mut lab = SbdLab::start();
    let (one, two) = (lab.plain_disk(512), lab.plain_disk(512));
    lay_out(&[&one, &two], &["a"]);
    let gone = Path::new("/nonexistent/disk");
    let (exit, _, stderr) = act("monitor", &[&one, gone, &two], "");
    assert_eq!(exit, 0, "{stderr}");
    assert!(
        stderr.contains("WARNING: disk 2: /nonexistent/disk"),
        "{stderr}"
    );
    let (exit, stdout, _) = act("off", &[&one, gone, &two], "plug=a");
    assert_eq!(exit, 0);
    assert!(stdout.contains("verified on 2 of 3 disks"), "{stdout}");
    for disks in [
        &[one.as_path(), gone][..],
        &[gone, Path::new("/nonexistent/2"), &one],
    ] {
        for action in ["off", "monitor", "status", "list"] {
            fails(action, disks, "plug=a", "2 are needed");
        }
    }
}

#[test]
fn a_disk_that_hangs_in_the_kernel_hangs_neither_the_agent_nor_its_caller() {
    let mut lab = SbdLab::start();
    let disk = lab.freezable_disk();
    lay_out(&[&disk], &["a"]);
    lab.freeze();
    let more = "plug=a\nio_timeout=0.5";
    let reason = "verified on 0 of 1 SBD disks, 1 are needed; disk 1: it does not answer";
    // Its own process must be gone and its pipes closed although the write still waits in the kernel:
    // `act` reads to the end of both.
    fails("off", &[&disk], more, reason);
    let stuck = stuck_threads(&disk);
    assert_eq!(stuck.len(), 1, "the disk side waits for its disk");
    lab.thaw();
    until("the end of the disk side", || {
        stuck.iter().all(|thread| !thread.exists())
    });
    // What the kernel held may reach the disk after all, and that is a pill more, not one less.
    assert_eq!(act("monitor", &[&disk], "").0, 0);
}

/// Threads of disk sides that have this disk open. Their process has ended as far as it can.
fn stuck_threads(disk: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(threads) = std::fs::read_dir(process.path().join("task")) else {
            continue;
        };
        for thread in threads.flatten().map(|entry| entry.path()) {
            let name = std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
            let opened = std::fs::read_dir(thread.join("fd")).is_ok_and(|descriptors| {
                descriptors
                    .flatten()
                    .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == disk))
            });
            if name.trim() == "sbd-disk" && opened {
                found.push(thread);
            }
        }
    }
    found
}

#[test]
fn a_hung_disk_of_three_delays_no_fencing_through_the_other_two() {
    let mut lab = SbdLab::start();
    let (one, two, stuck) = (
        lab.plain_disk(512),
        lab.plain_disk(512),
        lab.freezable_disk(),
    );
    lay_out(&[&one, &stuck, &two], &["a"]);
    lab.freeze();
    let (exit, stdout, stderr) = act("off", &[&one, &stuck, &two], "plug=a\nio_timeout=20");
    assert_eq!(exit, 0, "{stderr}");
    assert!(stdout.contains("verified on 2 of 3 disks"), "{stdout}");
    fails(
        "off",
        &[&one, &stuck],
        "plug=a\nio_timeout=0.5",
        "2 are needed",
    );
    lab.thaw();
}

#[test]
fn what_is_no_sbd_disk_is_refused_with_its_reason() {
    let mut lab = SbdLab::start();
    let disk = |lab: &mut SbdLab, spoil: &dyn Fn(&std::fs::File)| {
        let disk = lab.plain_disk(512);
        lay_out(&[&disk], &["a"]);
        let file = std::fs::OpenOptions::new().write(true).open(&disk);
        let file = file.unwrap();
        spoil(&file);
        file.sync_all().unwrap();
        disk
    };
    let write = |at: u64, bytes: &'static [u8]| {
        move |file: &std::fs::File| file.write_all_at(bytes, at).unwrap()
    };
    let blank = lab.plain_disk(512);
    let short = lab.disk(512, 261_120);
    let magic = disk(&mut lab, &write(0, b"XBD_SBD_"));
    let version = disk(&mut lab, &write(8, b"\x03"));
    let size = disk(&mut lab, &write(12, b"\x00\x00\x10\x00"));
    let garbage = disk(&mut lab, &write(0, &[0xa5; 512]));
    let useless = disk(&mut lab, &write(28, b"\x00\x00\x00\x01"));
    for (bad, reason) in [
        (&blank, "no SBD header"),
        (&short, "the format needs 261632"),
        (&magic, "no SBD header"),
        (&version, "has version 3"),
        (&size, "made for sectors of 4096 bytes, the disk has 512"),
        (&garbage, "no SBD header"),
        (&useless, "such a wait proves nothing"),
    ] {
        for action in ["off", "status", "monitor", "list"] {
            fails(action, &[bad], "plug=a", reason);
        }
    }
    let fifo = lab.dir().join("fifo");
    lab.run(&format!("mkfifo {}", fifo.display()));
    let plain = lab.dir().join("plain");
    std::fs::File::create(&plain)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    for (none, reason) in [
        (fifo.as_path(), "is no block device"),
        (Path::new("/dev/null"), "is no block device"),
        (lab.dir(), "is no block device"),
        (Path::new("/nonexistent"), "No such file"),
        (plain.as_path(), "is a plain file"),
    ] {
        fails("off", &[none], "plug=a", reason);
    }
}

#[test]
fn disks_that_do_not_belong_together_deliver_nothing() {
    let mut lab = SbdLab::start();
    let (one, two, other) = (
        lab.plain_disk(512),
        lab.plain_disk(512),
        lab.plain_disk(512),
    );
    lay_out(&[&one, &two], &["a"]);
    admin_done("create", &[&other], &["-1", "2", "-2", "1", "-4", "8"]);
    admin_done("allocate", &[&other], &["a"]);
    for action in ["off", "monitor"] {
        fails(
            action,
            &[&one, &two, &other],
            "plug=a",
            "state different timeouts",
        );
    }
    let alias = lab.dir().join("alias");
    std::os::unix::fs::symlink(&one, &alias).unwrap();
    fails("off", &[&one, &alias], "plug=a", "are the same disk");
    // The same content behind two device numbers, as with two paths to one LUN.
    let file = lab.dir().join("disk1");
    let path = lab.attach(512, &file);
    fails("off", &[&one, &path], "plug=a", "are the same disk");
    assert_eq!(admin_done("list", &[&one], &[]), "0\ta\tclear\t\n");
}

#[test]
fn a_plain_file_needs_leave_and_direct_access_is_never_given_up_silently() {
    let mut lab = SbdLab::start();
    let dir = lab.dir().display().to_string();
    // ramfs knows no O_DIRECT. The agent must run where it is mounted: in the lab's namespace.
    lab.run(&format!(
        "mounted ramfs rw {dir}/r none; truncate -s 1M {dir}/r/disk"
    ));
    let agent = agent().display().to_string();
    let mut tried = |more: &str| {
        let line = format!(
            "if {agent} create -d {dir}/r/disk {more} >{dir}/said 2>&1; then out=done; else out=failed; fi"
        );
        let out = lab.run(&line);
        (out, std::fs::read_to_string(format!("{dir}/said")).unwrap())
    };
    let (out, said) = tried("");
    assert!(
        out == "failed" && said.contains("is a plain file"),
        "{said}"
    );
    let (out, said) = tried("--plain-files=direct");
    assert!(
        out == "failed" && said.contains("without O_DIRECT"),
        "{said}"
    );
    let (out, said) = tried("--plain-files=buffered --sector-size=4096");
    assert!(
        out == "failed" && said.contains("the format needs 2093056"),
        "{said}"
    );
    let (out, said) = tried("--plain-files=buffered");
    assert!(out == "done" && said.contains("sectors of 512"), "{said}");
    let (out, said) = tried("--plain-files=buffered");
    assert!(out == "failed" && said.contains("--overwrite"), "{said}");
}

#[test]
fn the_agent_ends_when_its_disk_side_is_killed_and_says_so() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &["a"]);
    let child = start("off", &[&disk], "a");
    until_listed(&disk, "a\toff");
    let front = child.id();
    let children = std::fs::read_to_string(format!("/proc/{front}/task/{front}/children"));
    let side = children.unwrap();
    let killed = Command::new("kill")
        .args(["-9", side.trim()])
        .status()
        .unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the disk side failed"));
    let nothing = run(&agent(), &["disk-side"], "");
    assert_ne!(
        nothing.status.code(),
        Some(0),
        "it is no command for people"
    );
}
