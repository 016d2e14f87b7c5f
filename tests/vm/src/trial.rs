//! haft-agent's own kernel tests in a guest: what a Debian kernel makes of them, test by test.
//!
//! One guest without disk, which powers itself off when its programs have ended; whatever happens, it is
//! gone at the deadline. Knows nothing of what the tests try: it reads what libtest prints.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use haft_lab::say::{print, say};
use haft_lab::shell;

use crate::image::{self, Content};
use crate::stock::Stock;

/// The init script.
const INIT: &str = include_str!("trial_init.sh");
/// What the tests reach for besides busybox.
const TOOLS: [&str; 4] = ["ip", "nft", "tc", "unshare"];
/// Memory of the guest in MiB: the image holds test programs with their debugging information.
const MEMORY: &str = "1536";
/// What the tests need of the kernel: the packet filter, every kind of link, and the places for filters.
const MODULES: &[&str] = &[
    // The packet filter's sets ask the crypto layer for it by name, which no module file says.
    "crc32c_generic",
    "nf_tables",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_fib_inet",
    "nft_fib_netdev",
    "nft_chain_nat",
    "nft_nat",
    // What a released address's connections are found by.
    "tcp_diag",
    "udp_diag",
    "veth",
    "bridge",
    "macvlan",
    "vxlan",
    "8021q",
    "bonding",
    "tun",
    "dummy",
    "vrf",
    "sch_ingress",
    "cls_bpf",
    "cls_u32",
    "sch_tbf",
    "xfrm_user",
    // The guest that is suspended has a wire to the outside.
    "virtio_pci",
    "virtio_net",
];

/// What is tried.
#[derive(Debug, clap::Args)]
pub struct Trial {
    /// Unpacked Debian packages of the kernel and of busybox.
    #[arg(long)]
    stock: PathBuf,
    /// Where the image and the logs go; emptied first.
    #[arg(long)]
    folder: PathBuf,
    /// Seconds after which the guest is cut off and the trial has failed.
    #[arg(long, default_value_t = 1_200)]
    limit: u64,
    /// A test program; may be given again.
    #[arg(long = "program", required = true)]
    programs: Vec<PathBuf>,
    /// Words for each of them, as libtest takes them.
    #[arg(last = true)]
    words: Vec<String>,
}

/// How one test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Failed,
    /// Begun, and never heard of again.
    Lost,
}

/// What the guest said.
#[derive(Debug, Default)]
pub(crate) struct Record {
    kernel: String,
    tests: BTreeMap<String, Fate>,
    /// Modules that did not load.
    missing: Vec<String>,
    /// Programs that ended, and with which code.
    ended: Vec<(String, String)>,
    done: bool,
}

impl Trial {
    /// Boots the guest, waits until it is off, prints one line a test. The answer is an exit code: 0 only if every
    /// program ran to its end and each test passed.
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
        build(&stock, &image, &self.programs, &self.words)?;
        say(&format!(
            "booting {} to run {} test programs, for {} s at most",
            stock.version,
            self.programs.len(),
            self.limit
        ));
        let mut guest = Guest(self.start(&stock.kernel, &image)?);
        let limit = Duration::from_secs(self.limit);
        let off = shell::wait_for("the guest to have powered itself off", limit, || {
            Ok(guest.0.try_wait()?)
        });
        drop(guest);
        fs::remove_file(&image)?;
        let log = self.folder.join("log");
        let text = fs::read(&log).with_context(|| log.display().to_string())?;
        let record = Record::read(&shell::text(&text));
        record.show();
        if let Err(error) = off {
            print(&format!("{error:#}; see {}", self.folder.display()));
        }
        print(&format!("{} s in all", begun.elapsed().as_secs()));
        Ok(u8::from(!record.held(self.programs.len())))
    }

    fn start(&self, kernel: &Path, image: &Path) -> anyhow::Result<Child> {
        let log = File::create(self.folder.join("qemu.log"))?;
        command(kernel, image, &self.folder, "")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting qemu-system-x86_64 (package qemu-system-x86)")
    }
}

/// Writes the image of a guest that runs these test programs, each with these words.
///
/// # Errors
/// A tool, a program or a module that is missing.
pub(crate) fn build(
    stock: &Stock,
    image: &Path,
    tests: &[PathBuf],
    words: &[String],
) -> anyhow::Result<()> {
    let mut programs = Vec::new();
    for tool in TOOLS {
        let found = shell::find_program(tool);
        programs.push(found.with_context(|| format!("no program {tool} on this machine"))?);
    }
    let mut names = String::new();
    for program in tests {
        let name = program.file_name().context("a program without a name")?;
        names += &format!("{}\n", name.to_string_lossy());
        programs.push(program.clone());
    }
    let files = [
        ("lab/programs", 0o644, names),
        ("lab/words", 0o644, words.join("\n")),
    ];
    let content = Content {
        init: INIT,
        modules: MODULES,
        programs: &programs,
        files: &files,
    };
    image::build(image, stock, &content)
}

/// QEMU with such a guest, whose console and log go to `folder`; `lab` is for its init.
pub(crate) fn command(kernel: &Path, image: &Path, folder: &Path, lab: &str) -> Command {
    let file = |what: &str| format!("file:{}", folder.join(what).display());
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-machine", "pc", "-accel", "tcg,tb-size=256", "-smp", "2"])
        .args(["-cpu", crate::guest::PROCESSOR, "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .arg("-no-reboot")
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        // A panic ends the guest, by way of a reboot that QEMU does not carry out.
        .arg("-append")
        .arg(format!("console=ttyS0 quiet panic=-1 nokaslr {lab}"))
        .args(["-serial", &file("console"), "-serial", &file("log")]);
    command
}

/// QEMU, ended with this handle.
pub(crate) struct Guest(pub(crate) Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Record {
    pub(crate) fn read(text: &str) -> Record {
        let mut record = Record::default();
        let mut open: Option<String> = None;
        for line in text.lines() {
            let line = line.trim_end();
            if let Some(kernel) = line.strip_prefix("lab: kernel ") {
                record.kernel = kernel.to_owned();
            } else if let Some(missing) = line.strip_prefix("lab: cannot load ") {
                record.missing.push(missing.to_owned());
            } else if let Some(ended) = line.strip_prefix("lab: end ") {
                let (program, code) = ended.split_once(' ').unwrap_or((ended, "?"));
                record.ended.push((program.to_owned(), code.to_owned()));
            } else if line == "lab: done" {
                record.done = true;
            } else if let Some((name, fate)) = begun(line) {
                record.tests.insert(name.to_owned(), fate);
                open = (fate == Fate::Lost).then(|| name.to_owned());
            } else if let (Some(fate), Some(name)) = (fate_of(line), &open) {
                // What a test says itself comes between its name and its fate.
                record.tests.insert(name.clone(), fate);
                open = None;
            }
        }
        record
    }

    fn count(&self, fate: Fate) -> usize {
        self.tests.values().filter(|found| **found == fate).count()
    }

    /// Whether every program ran to its end and each test passed.
    pub(crate) fn held(&self, programs: usize) -> bool {
        self.done
            && self.missing.is_empty()
            && self.ended.len() == programs
            && self.ended.iter().all(|(_, code)| code == "0")
            && !self.tests.is_empty()
            && self.tests.values().all(|fate| *fate == Fate::Passed)
    }

    pub(crate) fn show(&self) {
        print(&format!("\nkernel {}", self.kernel));
        for (name, fate) in &self.tests {
            let word = match fate {
                Fate::Passed => "passed",
                Fate::Failed => "FAILED",
                Fate::Lost => "NEVER ENDED",
            };
            print(&format!("{word:12} {name}"));
        }
        for module in &self.missing {
            print(&format!("module {module} does not load"));
        }
        for (program, code) in self.ended.iter().filter(|(_, code)| code != "0") {
            print(&format!("{program} ended with {code}"));
        }
        if !self.done {
            print("the guest did not come to its end");
        }
        print(&format!(
            "{} passed, {} failed, {} never ended",
            self.count(Fate::Passed),
            self.count(Fate::Failed),
            self.count(Fate::Lost)
        ));
    }
}

/// The test that a line of libtest names, and how it ended if that stands there, too.
fn begun(line: &str) -> Option<(&str, Fate)> {
    let (name, rest) = line
        .strip_prefix("test ")?
        .split_once(" ... ")
        .or_else(|| {
            let name = line.strip_prefix("test ")?.strip_suffix(" ...")?;
            Some((name, ""))
        })?;
    Some((name, fate_of(rest).unwrap_or(Fate::Lost)))
}

fn fate_of(text: &str) -> Option<Fate> {
    match text {
        "ok" => Some(Fate::Passed),
        "FAILED" => Some(Fate::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "lab: kernel 6.1.0-57-amd64\nlab: begin kernel-1\nrunning 3 tests\n\
        test gate::a ... ok\ntest gate::b ... FAILED\ntest gate::c ... said by itself\nok\n\
        lab: end kernel-1 101\n";

    #[test]
    fn each_test_has_its_fate_also_where_it_says_something_itself() {
        let record = Record::read(SAID);
        assert_eq!(record.kernel, "6.1.0-57-amd64");
        let fates: Vec<Fate> = record.tests.values().copied().collect();
        assert_eq!(fates, [Fate::Passed, Fate::Failed, Fate::Passed]);
        assert!(!record.held(1));
    }

    #[test]
    fn only_a_guest_that_came_to_its_end_has_held() {
        let good = "test a ... ok\nlab: end k 0\n";
        assert!(!Record::read(good).held(1));
        let done = format!("{good}lab: done\n");
        assert!(Record::read(&done).held(1));
        assert!(!Record::read(&done).held(2), "a program is missing");
        assert!(
            !Record::read("lab: end k 0\nlab: done\n").held(1),
            "no test"
        );
        let hangs = "test a ... \nlab: end k 0\nlab: done\n";
        assert_eq!(Record::read(hangs).count(Fate::Lost), 1);
    }
}
