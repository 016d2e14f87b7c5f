//! PID 1 of a machine: gives it a name, mounts, a boot id and addresses, starts its daemons, reaps, starts again what
//! should be running. As small as an init can be; it never ends by itself, power is cut from outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_move,
};
use rustix::process::{WaitOptions, wait};

use crate::jail::LAB;
use crate::machine::{BootPlan, Daemon};
use crate::shell;

/// How long an orphan may stay unreaped while no daemon runs.
const ORPHAN_PATIENCE: Duration = Duration::from_millis(200);

/// Runs as PID 1. The lab plugs the network in and says "go" on stdin; "up" is answered once everything is in place.
///
/// # Errors
/// Whatever fails before the daemons start; the machine then counts as not started.
pub fn run(plan: &Path) -> anyhow::Result<()> {
    let mut lab = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let plan: BootPlan = serde_json::from_slice(&std::fs::read(plan)?)?;
    mounts(&plan).context("mounts")?;
    rustix::system::sethostname(plan.identity.name.as_bytes())?;
    lab.read_exact(&mut [0]).context("the lab never said go")?;
    network(&plan).context("network")?;
    lab.write_all(b"u")?;
    drop(lab);
    supervise(&plan)
}

fn mounts(plan: &BootPlan) -> anyhow::Result<()> {
    let name = &plan.identity.name;
    let none = MountFlags::empty();
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    mount("proc", "/proc", "proc", none, None)?;
    // Otherwise /sys/class/net shows the lab's links instead of the machine's.
    mount("sysfs", "/sys", "sysfs", none, None)?;
    // Where the kernel gate lives on when its agent is dead; a kernel without one has the timed guard.
    let _without = mount("bpf", "/sys/fs/bpf", "bpf", none, None);
    mount_bind(
        format!("{LAB}/node/{name}/boot_id"),
        "/proc/sys/kernel/random/boot_id",
    )
    .context("boot id")?;
    // A new empty /run that keeps two windows: the lab's files, and this machine's disk, which survives power cycles.
    let run = format!("{LAB}/node/{name}/run");
    mount("tmpfs", &run, "tmpfs", none, Some(c"mode=0755"))?;
    for directory in ["lab", "disk", "lock"] {
        std::fs::create_dir(format!("{run}/{directory}"))?;
    }
    mount_bind(LAB, format!("{run}/lab")).context("/run/lab")?;
    mount_bind(format!("{LAB}/disk/{name}"), format!("{run}/disk")).context("/run/disk")?;
    mount_move(&run, "/run").context("/run")?;
    mount("tmpfs", "/tmp", "tmpfs", none, None)?;
    Ok(())
}

fn set(path: &str, value: &str) {
    // Some keys exist only on some kernels; the lab's suites fail visibly where one matters.
    let _absent = std::fs::write(path, value);
}

fn network(plan: &BootPlan) -> anyhow::Result<()> {
    for link in ["all", "default", "eth0", "eth1"] {
        for key in ["rp_filter", "send_redirects", "accept_redirects"] {
            set(&format!("/proc/sys/net/ipv4/conf/{link}/{key}"), "0");
        }
        for key in ["accept_dad", "accept_ra", "autoconf"] {
            set(&format!("/proc/sys/net/ipv6/conf/{link}/{key}"), "0");
        }
    }
    // The host's own forwarding is inherited, and would hide a stale neighbour entry.
    set("/proc/sys/net/ipv4/ip_forward", "0");
    set("/proc/sys/net/ipv6/conf/all/forwarding", "0");
    let id = &plan.identity;
    let mut lines = format!(
        "link set lo up\naddr add {} brd + dev eth0\naddr add {} dev eth0 nodad\nlink set eth0 up\n",
        id.ipv4, id.ipv6
    );
    if let Some(management) = &id.management {
        lines += &format!("addr add {management} brd + dev eth1\nlink set eth1 up\n");
    }
    shell::ip(&lines)
}

fn start(plan: &BootPlan, daemon: &Daemon) -> anyhow::Result<u32> {
    let log = format!("{LAB}/node/{}/log/{}.log", plan.identity.name, daemon.name);
    let log = File::options().create(true).append(true).open(log)?;
    let (program, args) = daemon
        .argv
        .split_first()
        .context("a daemon without a program")?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env("PATH", "/run/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(&daemon.environment);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/run/disk");
    Ok(command
        .spawn()
        .with_context(|| format!("starting {program}"))?
        .id())
}

/// Starts all daemons, then for ever: one thread reaps and says who ended, this one starts again.
fn supervise(plan: &BootPlan) -> anyhow::Result<()> {
    let (ended, ends) = channel();
    let (started, starts) = channel();
    let mut running: BTreeMap<u32, usize> = BTreeMap::new();
    for (index, daemon) in plan.daemons.iter().enumerate() {
        running.insert(start(plan, daemon)?, index);
    }
    std::thread::Builder::new()
        .name("reaper".into())
        .spawn(move || reap(&ended, &starts))?;
    let mut due: Vec<(Instant, usize)> = Vec::new();
    loop {
        let next = due.iter().map(|(at, _)| *at).min();
        let patience = next.map_or(Duration::from_secs(3600), |at| {
            at.saturating_duration_since(Instant::now())
        });
        match ends.recv_timeout(patience) {
            Ok(pid) => {
                if let Some(index) = running.remove(&pid)
                    && let Some(wait) = plan.daemons[index].respawn_ms
                {
                    due.push((Instant::now() + Duration::from_millis(wait), index));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the reaper ended"),
        }
        let now = Instant::now();
        for (_, index) in due.extract_if(.., |(at, _)| *at <= now) {
            running.insert(start(plan, &plan.daemons[index])?, index);
            // The reaper is never further away than its own patience.
            let _told = started.send(());
        }
    }
}

fn reap(ended: &Sender<u32>, starts: &Receiver<()>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, _))) => {
                if ended
                    .send(pid.as_raw_nonzero().get().unsigned_abs())
                    .is_err()
                {
                    return;
                }
            }
            // No child until the next start, or until a command that was run here leaves an orphan.
            Err(rustix::io::Errno::CHILD) => {
                if starts.recv_timeout(ORPHAN_PATIENCE) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
            Ok(None) | Err(_) => {}
        }
    }
}
