//! Real block devices for SBD tests: loop devices over files, and filesystems that are full or frozen.
//!
//! A shell in a mount namespace of its own carries out what a test asks for, and takes everything down
//! when its stdin closes: at the end of the test, and also when the test is killed. Needs root and the
//! Debian packages mount, util-linux and e2fsprogs. It touches no block device that it did not attach.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use tempfile::TempDir;

/// Carries out lines and answers each with one line: its output on one line, then `=` and its status.
const SHELL: &str = r#"
loops= mounts= frozen=
cleanup() {
    for m in $frozen; do fsfreeze -u "$m" 2>/dev/null; done
    for l in $loops; do losetup -d "$l" 2>/dev/null; done
    for m in $mounts; do umount "$m" 2>/dev/null || umount -l "$m" 2>/dev/null; done
}
trap cleanup EXIT
attach() { l=$(losetup "$@" --find --show) && loops="$loops $l" && out=$l; }
# A device keeps the write protection that blockdev --setro once gave it, whatever file it gets next.
writable() { attach "$@" && blockdev --setrw "$l"; }
mounted() { mkdir -p "$3" && mount -t "$1" -o "$2" "$4" "$3" && mounts="$3 $mounts"; }
freeze() { fsfreeze -f "$1" && frozen="$1"; }
thaw() { fsfreeze -u "$1" && frozen=; }
while read -r line; do
    out=
    eval "$line" >/dev/null
    echo "$out=$?"
done
"#;

/// Longest time for one line: laying out a filesystem on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place for disks, gone with the value.
pub struct SbdLab {
    shell: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    dir: TempDir,
    disks: usize,
}

impl SbdLab {
    /// An empty lab.
    ///
    /// # Panics
    /// Not root, or the tools are missing.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", SHELL])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = shell.stdin.take();
        let out = BufReader::new(shell.stdout.take().unwrap());
        let (tell, answers) = sync_channel(16);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self {
            shell,
            stdin,
            answers,
            dir,
            disks: 0,
        }
    }

    /// Where the lab keeps its files. What is mounted below is seen by the lab's shell alone.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Carries out a line of shell; the answer is what it left in `out`.
    ///
    /// # Panics
    /// The line failed, or took too long.
    pub fn run(&mut self, line: &str) -> String {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        let answer = self.answers.recv_timeout(PATIENCE);
        let answer = answer.unwrap_or_else(|_| panic!("no answer to: {line}"));
        let (out, status) = answer.rsplit_once('=').unwrap();
        assert_eq!(status, "0", "failed: {line}");
        out.to_owned()
    }

    /// A loop device over a new file of zeros. `bytes` is the length of the file.
    pub fn disk(&mut self, sector: u32, bytes: u64) -> PathBuf {
        self.disks += 1;
        let file = self.dir().join(format!("disk{}", self.disks));
        std::fs::File::create(&file)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        self.attach(sector, &file)
    }

    /// A loop device of a length that suits its sectors.
    pub fn plain_disk(&mut self, sector: u32) -> PathBuf {
        self.disk(sector, u64::from(sector) * 512)
    }

    /// A loop device over a file that is there.
    pub fn attach(&mut self, sector: u32, file: &Path) -> PathBuf {
        self.run(&format!("writable -b {sector} {}", file.display()))
            .into()
    }

    /// A loop device that refuses writes, over a file that is there.
    pub fn attach_read_only(&mut self, file: &Path) -> PathBuf {
        self.run(&format!("attach -r {}", file.display())).into()
    }

    /// A loop device with 512-byte sectors on an ext4 of its own, which [`SbdLab::freeze`] freezes:
    /// while it is frozen, writes to the device hang in the kernel.
    pub fn freezable_disk(&mut self) -> PathBuf {
        let dir = self.dir().display().to_string();
        self.run(&format!(
            "truncate -s 32M {dir}/fs && mkfs.ext4 -q -F {dir}/fs"
        ));
        self.run(&format!(
            "writable {dir}/fs && mounted ext4 rw {dir}/m $out"
        ));
        self.run(&format!("truncate -s 1M {dir}/m/disk && sync"));
        self.run(&format!("writable {dir}/m/disk")).into()
    }

    /// Makes writes to the freezable disk hang.
    pub fn freeze(&mut self) {
        let line = format!("freeze {}/m", self.dir().display());
        self.run(&line);
    }

    /// Lets them go on.
    pub fn thaw(&mut self) {
        let line = format!("thaw {}/m", self.dir().display());
        self.run(&line);
    }

    /// A loop device with 4096-byte sectors on a small filesystem in memory. [`SbdLab::fill`] makes the
    /// write of one sector fail there.
    pub fn fillable_disk(&mut self) -> PathBuf {
        let dir = self.dir().display().to_string();
        self.run(&format!("mounted tmpfs size=4M {dir}/t none"));
        self.run(&format!("truncate -s 3M {dir}/t/disk"));
        self.run(&format!("writable -b 4096 {dir}/t/disk")).into()
    }

    /// Takes this sector's memory away and fills the filesystem up: the sector reads as zeros, and
    /// writing it fails, as on a thin pool that is full.
    pub fn fill(&mut self, sector: u32) {
        let dir = self.dir().display().to_string();
        let at = sector * 4096;
        self.run(&format!("fallocate -p -o {at} -l 4096 {dir}/t/disk"));
        self.run(&format!(
            "dd if=/dev/zero of={dir}/t/fill bs=4096 2>/dev/null; test -s {dir}/t/fill"
        ));
    }
}

impl Drop for SbdLab {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.shell.wait();
    }
}
