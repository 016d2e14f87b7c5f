//! Two processes instead of one, so that a hung disk cannot keep the agent from ending.
//!
//! A thread that waits for a disk in the kernel cannot be killed, and a process is not gone before its
//! last thread is: the agent would have its result and its caller would still wait (sbd#119 is this).
//! So the disks are talked to by a child, the *disk side*; the front only passes input and result
//! through, and ends when it has the result. A disk side that is stuck has none of the caller's
//! descriptors, dies with the front (parent-death signal), and goes when its disk answers or fails.

use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use haft_fence_protocol::agent::Report;
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// First word on argv that makes this executable the disk side; the front's process id follows.
pub const DISK_SIDE: &str = "disk-side";
/// Largest result that is passed through: a list of 255 slots on three disks takes a tenth.
const RESULT_MAX: u64 = 1024 * 1024;

/// Has a disk side do the work and gives its result.
pub fn through_disk_side(arguments: &[String], stdin: &[u8], patience: Duration) -> Report {
    match start(arguments) {
        Ok(child) => result_of(child, stdin.to_vec(), patience)
            .unwrap_or_else(|why| Report::failed(&format!("the disk side failed: {why}"))),
        Err(error) => Report::failed(&format!("the disk side cannot be started: {error}")),
    }
}

fn start(arguments: &[String]) -> std::io::Result<Child> {
    // Not by path: the file may be replaced while this runs.
    Command::new("/proc/self/exe")
        .arg0("fence_haft_sbd")
        .arg(DISK_SIDE)
        .arg(getpid().as_raw_nonzero().to_string())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A stuck disk side must not hold the caller's stderr open.
        .stderr(Stdio::null())
        .spawn()
}

fn result_of(mut child: Child, stdin: Vec<u8>, patience: Duration) -> Result<Report, String> {
    let (to, from) = (child.stdin.take(), child.stdout.take());
    let (tell, hear) = sync_channel(1);
    std::thread::spawn(move || {
        if let Some(mut to) = to {
            // It may have ended early; then its result says why.
            let _ = to.write_all(&stdin);
        }
        let _ = tell.send(from.map_or_else(|| Err("no pipe".to_owned()), receive));
    });
    // The child is not waited for: that is the point.
    hear.recv_timeout(patience)
        .unwrap_or_else(|_| Err("it did not end in time".to_owned()))
}

/// Binds this process to the front that started it: an order must not outlive whoever gave it.
///
/// # Errors
/// The front is gone already.
pub fn die_with_front(front: &str) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
    let expected = front.parse().ok().and_then(Pid::from_raw);
    if expected.is_some() && getppid() == expected {
        Ok(())
    } else {
        Err("started by somebody else than the front".to_owned())
    }
}

/// A result as it goes through the pipe: a line with exit code and lengths, then the texts.
pub fn send(report: &Report) -> Vec<u8> {
    let (stdout, stderr) = (report.stdout.as_bytes(), report.stderr.as_bytes());
    let mut bytes = format!("{} {} {}\n", report.exit, stdout.len(), stderr.len()).into_bytes();
    bytes.extend_from_slice(stdout);
    bytes.extend_from_slice(stderr);
    bytes
}

/// Reads a result without waiting for the end of the pipe, which a stuck disk side keeps open.
fn receive(from: impl Read) -> Result<Report, String> {
    let mut from = from.take(RESULT_MAX);
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte)
            .map_err(|_| "it ended without a result".to_owned())?;
        if byte == *b"\n" {
            break;
        }
        line.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    let mut numbers = line.split(' ').map(str::parse::<usize>);
    let (Some(Ok(exit)), Some(Ok(stdout)), Some(Ok(stderr)), None) = (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) else {
        return Err("it gave no readable result".to_owned());
    };
    let exit = u8::try_from(exit).map_err(|_| "it gave no exit code".to_owned())?;
    Ok(Report {
        exit,
        stdout: text(&mut from, stdout)?,
        stderr: text(&mut from, stderr)?,
    })
}

fn text(from: &mut impl Read, length: usize) -> Result<String, String> {
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let got = from.take(limit).read_to_end(&mut bytes);
    match got {
        Ok(got) if got == length => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Ok(_) | Err(_) => Err("its result is cut short".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_passes_through_unchanged() {
        let report = Report {
            exit: 2,
            stdout: "Status: OFF\nπ\n".to_owned(),
            stderr: "WARNING: x".to_owned(),
        };
        assert_eq!(receive(send(&report).as_slice()), Ok(report));
    }

    #[test]
    fn a_cut_or_senseless_result_is_no_success() {
        let whole = send(&Report::success("Powered OFF"));
        for end in 0..whole.len() {
            assert!(receive(&whole[..end]).is_err(), "{end}");
        }
        for bad in [
            "0\n",
            "0 1\nx",
            "256 0 0\n",
            "-1 0 0\n",
            "0 0 0 0\n",
            "a b c\n",
        ] {
            assert!(receive(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
