//! The lab's own container: everything runs under one PID 1 in private PID, mount, network, UTS and IPC namespaces, so
//! that whatever way the lab ends (done, error, panic, Ctrl-C, SIGKILL), the kernel takes away every process, every
//! mount and every network with it, and the host never sees any of them.
//!
//! Three processes: *outside* (what the user started), *init* (PID 1, reaps) and *inside* (does the work). A socket
//! pair reaches as stdin from outside to inside: over it the inside says that it stays up (`--keep`).

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitCode};

use anyhow::Context;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, set_parent_process_death_signal, setsid, wait, waitpid,
};

use crate::sys;

/// The lab's directory inside the container: on a tmpfs that only the container sees.
pub const LAB: &str = "/run/lab";

/// Environment variable that says "this process is already inside".
pub const INSIDE: &str = "HAFT_LAB_INSIDE";

/// Socket over which the inside asks init to outlive the outside.
const INIT_SOCKET: &str = "/run/lab/init.sock";

/// Starts the container with this process's own arguments and waits for the work's exit code.
///
/// # Errors
/// Not root, or the namespaces cannot be made.
pub fn run_contained() -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "the lab needs root: run it with sudo"
    );
    anyhow::ensure!(
        kept_init().is_err(),
        "a lab is still up; take it down first: haft-lab down"
    );
    let args: Vec<OsString> = std::iter::once("lab-init".into())
        .chain(std::env::args_os().skip(1))
        .collect();
    let (ours, theirs) = UnixStream::pair()?;
    let (out, err) = (std::io::stdout(), std::io::stderr());
    let pid = sys::start_machine(&args, [theirs.as_fd(), out.as_fd(), err.as_fd()])
        .context("making namespaces")?;
    drop(theirs);
    std::fs::create_dir_all("target/lab").ok();
    let mut line = String::new();
    BufReader::new(ours).read_line(&mut line)?;
    if let Some(code) = line.strip_prefix("keep ") {
        std::fs::write(KEPT, format!("{}\n", pid.as_raw_nonzero()))?;
        return Ok(ExitCode::from(code.trim().parse::<u8>().unwrap_or(1)));
    }
    let status = waitpid(Some(pid), WaitOptions::empty())?.map(|(_, status)| status);
    Ok(exit_code(status))
}

fn exit_code(status: Option<WaitStatus>) -> ExitCode {
    let Some(status) = status else {
        return ExitCode::FAILURE;
    };
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signalled).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// PID 1 of the container: prepares mounts, starts the work, reaps, ends with the work's exit code.
///
/// # Errors
/// A mount or the start that fails.
pub fn init(args: &[OsString]) -> anyhow::Result<ExitCode> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .context("making mounts private")?;
    mount("proc", "/proc", "proc", MountFlags::empty(), None).context("mounting /proc")?;
    mount(
        "tmpfs",
        "/run",
        "tmpfs",
        MountFlags::empty(),
        Some(c"mode=0755"),
    )
    .context("mounting /run")?;
    std::fs::create_dir_all(LAB)?;
    let listener = UnixListener::bind(INIT_SOCKET)?;
    die_with_the_outside(listener)?;
    let exe = std::env::current_exe()?;
    let work = Command::new(exe)
        .args(args)
        .env(INSIDE, "1")
        .stdin(std::io::stdin().as_fd().try_clone_to_owned()?)
        .spawn()?;
    let work = Pid::from_child(&work);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == work => return Ok(exit_code(Some(status))),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A thread of PID 1 asks the kernel to kill PID 1 when the outside dies, and takes that back when the inside says so.
fn die_with_the_outside(listener: UnixListener) -> anyhow::Result<()> {
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("outside".into())
        .spawn(move || {
            // The wish belongs to this thread; the kernel looks at every thread of a dying parent's child.
            let wished = set_parent_process_death_signal(Some(Signal::KILL));
            let _gone = ready.send(wished);
            let Ok((mut inside, _)) = listener.accept() else {
                return;
            };
            let taken_back = set_parent_process_death_signal(None);
            let taken_back = taken_back
                .map_err(std::io::Error::from)
                .and_then(|()| let_go_of_output());
            let _gone = inside.write_all(if taken_back.is_ok() { b"k" } else { b"-" });
        })?;
    Ok(is_ready.recv()??)
}

/// Whoever reads our output, such as a pipe, must see its end although we live on.
fn let_go_of_output() -> std::io::Result<()> {
    let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}

/// Lets the container outlive the process that the user started, and ends that one with `code`.
///
/// # Errors
/// Init or the outside is gone.
pub fn stay_up(code: u8) -> anyhow::Result<()> {
    let mut init = UnixStream::connect(INIT_SOCKET)?;
    let mut granted = [0u8];
    init.read_exact(&mut granted)?;
    anyhow::ensure!(granted == *b"k", "init cannot outlive the outside");
    // Already leader of a session when not started by a shell with job control.
    let _own_session = setsid();
    let mut outside = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    outside.write_all(format!("keep {code}\n").as_bytes())?;
    Ok(let_go_of_output()?)
}

/// Where the outside leaves PID 1's number of a container that stays up.
const KEPT: &str = "target/lab/pid";

/// PID 1 of the container that was kept up, as the host numbers it.
///
/// # Errors
/// None is up.
pub fn kept_init() -> anyhow::Result<i32> {
    let text = std::fs::read_to_string(KEPT)
        .with_context(|| format!("no lab is up ({KEPT} is missing)"))?;
    let number = text.trim().parse::<i32>()?;
    let name = std::fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
    anyhow::ensure!(
        name.starts_with("haft-lab") || name.starts_with("exe"),
        "the lab is already gone"
    );
    Ok(number)
}

/// Ends a container that was kept up.
///
/// # Errors
/// None is up.
pub fn take_down() -> anyhow::Result<()> {
    let pid = Pid::from_raw(kept_init()?).context("not a process number")?;
    rustix::process::kill_process(pid, Signal::KILL)?;
    std::fs::remove_file(KEPT)?;
    Ok(())
}
