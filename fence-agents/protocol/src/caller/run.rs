//! The runner: one child process, one action, one deadline.
//!
//! The agent gets its own process group, a closed environment, parameters on stdin, and is killed
//! with everything it started when its time is over, when it ends, or when the caller loses
//! interest. It dies by its deadline also when the caller is stopped, asleep or dead: a `warden`
//! beside it sees to that. It does not interpret beyond `outcome` and never retries. It spawns no
//! task: all of it runs inside the caller's future.
//!
//! The group is killed while its leader is still unreaped (a pidfd tells of the exit without reaping),
//! so the number cannot meanwhile belong to somebody else.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::deadline::Deadline;
use super::find::AgentPath;
use super::outcome::{Exit, Outcome, Report, interpret};
use super::parameters::Parameters;
use super::turn::DeviceTurn;
use crate::Action;
use crate::agent::report::{AWAITS_WORD, FIRST_OFF_READ, FIRST_OFF_READ_OPTION};
use crate::secret::redact;
use warden::{Bound, Orders};

mod warden;

/// Bytes kept of stdout and of stderr. Metadata of the largest agent of the field is 60 KB.
pub const CAPTURE_MAX: usize = 128 * 1024;

/// How long, after the group was killed, pipes may stay open in the hands of a process that left it.
const DRAIN: Duration = Duration::from_millis(200);

/// How long a killed process may take to be reaped before it is left to the runtime. Only a process
/// stuck in the kernel needs longer.
const REAP: Duration = Duration::from_secs(1);

/// The whole environment of an agent. In particular not `PCMK_service`, which makes the field's
/// library switch its own timers off (contracts: "timeouts" trap).
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LC_ALL", "C"),
    ("HOME", "/"),
];

/// One action to run.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The executable.
    pub agent: &'a AgentPath,
    /// What to do.
    pub action: Action,
    /// The device's parameters.
    pub parameters: &'a Parameters,
    /// When the agent is killed, by whatever of haft is awake then.
    pub deadline: Deadline,
}

/// Runs one action to its end or to the deadline. The turn proves that no other action of this device
/// is running.
pub async fn run(turn: &mut DeviceTurn, call: &Call<'_>) -> Report {
    let text = call.parameters.stdin_text(call.action);
    run_with(turn, call, text, &|_| ()).await
}

/// The same with an agent of haft's that is asked to say [`FIRST_OFF_READ`], and tells of it when it does.
pub async fn run_and_tell(
    turn: &mut DeviceTurn,
    call: &Call<'_>,
    first_off_read: &(dyn Fn() + Sync),
) -> Report {
    let text = call.parameters.stdin_text_with(call.action, TELLING);
    run_with(turn, call, text, &|said| match said {
        Said::FirstOffRead => first_off_read(),
        Said::AwaitsWord => {}
    })
    .await
}

/// What agents of haft's say while they are at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// [`AWAITS_WORD`].
    AwaitsWord,
    /// [`FIRST_OFF_READ`].
    FirstOffRead,
}

/// Who hears it, at once.
pub(super) type Hears<'a> = &'a (dyn Fn(Said) + Sync);

/// What has an agent of haft's say [`FIRST_OFF_READ`].
pub(super) const TELLING: [(&str, &str); 1] = [(FIRST_OFF_READ_OPTION, "1")];

async fn run_with(
    _turn: &mut DeviceTurn,
    call: &Call<'_>,
    text: Zeroizing<Vec<u8>>,
    hears: Hears<'_>,
) -> Report {
    let began = Instant::now();
    let ended = if call.deadline.has_passed() {
        Ended::silent(Outcome::NotRunnable {
            why: "the deadline has passed already".to_owned(),
        })
    } else {
        match Running::start(call, Stdio::piped()) {
            Ok(mut running) => {
                let stdin = running.child.stdin.take();
                let feed = async move {
                    if let Some(mut pipe) = stdin {
                        // An agent that does not read (metadata) closes early; that is its right.
                        let _ = pipe.write_all(&text).await;
                    }
                };
                running.finish(call, feed, hears).await
            }
            Err(error) => Ended::silent(Outcome::NotRunnable {
                why: format!("{} cannot be started: {error}", call.agent.path().display()),
            }),
        }
    };
    tracing::debug!(
        agent = call.agent.name(),
        action = call.action.name(),
        outcome = ?ended.outcome,
        "fence agent ended"
    );
    Report {
        outcome: ended.outcome,
        stdout: ended.stdout,
        stderr: ended.stderr,
        took: began.elapsed(),
    }
}

pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ended {
    fn silent(outcome: Outcome) -> Self {
        Self {
            outcome,
            stdout: String::new(),
            stderr: String::new(),
        }
    }
}

/// A started agent. Fields drop in order: the group is killed before the child is handed to the
/// runtime for reaping.
pub(super) struct Running {
    group: Group,
    exited: AsyncFd<OwnedFd>,
    child: Child,
    bound: Bound,
}

/// A process group that dies with this value unless its leader was reaped.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn kill(&self) {
        if let Some(leader) = self.leader {
            // Fails only when no member is left, which is what is wanted.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Why the runner stopped waiting.
enum Stop {
    Exited,
    Deadline,
}

impl Running {
    pub(super) fn start(call: &Call<'_>, stdin: Stdio) -> io::Result<Self> {
        let mut command = Command::new(call.agent.path());
        command
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .process_group(0)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let orders = Orders::new(call.deadline)?;
        let bound = orders.bound()?;
        bind(&mut command, orders);
        let child = command.spawn()?;
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = Group { leader };
        let leader = leader.ok_or_else(|| io::Error::other("the child has no process id"))?;
        let pidfd = pidfd_open(leader, PidfdFlags::empty())?;
        let exited = watch_exit(pidfd)?;
        Ok(Self {
            group,
            exited,
            child,
            bound,
        })
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        let mut ends = [PollFd::new(&self.exited, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        !matches!(poll(&mut ends, Some(&at_once)), Ok(0))
    }

    /// From now on it dies by this deadline, and by no other.
    pub(super) fn rebind(&self, deadline: Deadline) -> io::Result<()> {
        self.bound.set(deadline)
    }

    /// Feeds it and hears it to its end or to the call's deadline.
    pub(super) async fn finish(
        mut self,
        call: &Call<'_>,
        feed: impl Future<Output = ()>,
        hears: Hears<'_>,
    ) -> Ended {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let stop;
        {
            let mut talk = pin!(async {
                tokio::join!(
                    feed,
                    capture(stdout, &mut said, hears),
                    capture(stderr, &mut complained, &|_| ())
                )
            });
            let mut talking = true;
            stop = loop {
                tokio::select! {
                    biased;
                    _ = self.exited.readable() => break Stop::Exited,
                    () = call.deadline.passed() => break Stop::Deadline,
                    _ = &mut talk, if talking => talking = false,
                }
            };
            self.group.kill();
            if talking {
                let _ = timeout(DRAIN, talk).await;
            }
        }
        let status = timeout(REAP, self.child.wait()).await;
        if let Ok(Ok(_)) = status {
            // Reaped: from here on the number may belong to somebody else.
            self.group.leader = None;
        }
        let stdout = clean(call.parameters, &said);
        let stderr = clean(call.parameters, &complained);
        let outcome = match (stop, status) {
            (Stop::Deadline, _) | (Stop::Exited, Err(_)) => Outcome::TimedOut,
            // The warden was first.
            (Stop::Exited, Ok(Ok(status)))
                if status.signal() == Some(Signal::KILL.as_raw()) && call.deadline.has_passed() =>
            {
                Outcome::TimedOut
            }
            (Stop::Exited, Ok(Ok(status))) => {
                interpret(call.action, exit_of(status), &stdout, &stderr)
            }
            (Stop::Exited, Ok(Err(error))) => Outcome::Failed {
                exit: Exit::Code(-1),
                reason: format!("the exit status is not known: {error}"),
            },
        };
        Ended {
            outcome,
            stdout,
            stderr,
        }
    }
}

/// Binds the agent to its deadline and to its caller (hazard R24): an agent that outlives either
/// could power a machine off long after the next leader has closed the order. The warden reaches
/// the whole group; the death signal is at once and holds even without it. The kernel watches the
/// thread that forked for the latter, not the process: should the runtime retire that thread, the
/// agent dies early, and the outcome is a failure, never "off".
#[expect(
    unsafe_code,
    reason = "only the child itself can ask for its parent-death signal and fork its warden"
)]
fn bind(command: &mut Command, orders: Orders) {
    let caller = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The caller may have died before the kernel knew.
        if rustix::process::getppid() != Some(caller) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // SAFETY: this is between fork and exec.
        unsafe { orders.post() }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are plain
    // system calls that allocate nothing and take no lock.
    unsafe { command.pre_exec(ask) };
}

#[expect(unsafe_code, reason = "tokio offers no safe way to wait for a pidfd")]
fn watch_exit(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is open, and the AsyncFd owns it until it is dropped; nobody here takes
    // it out or replaces it.
    let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    Ok(registered?)
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}

fn clean(parameters: &Parameters, bytes: &[u8]) -> String {
    redact(&String::from_utf8_lossy(bytes), parameters.secrets())
}

/// Reads to the end, keeping the first [`CAPTURE_MAX`] bytes. The rest is read and dropped, so that a
/// talkative agent is not blocked by a full pipe.
async fn capture(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, hears: Hears<'_>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; 4096];
    let mut heard = 0;
    while let Ok(count) = pipe.read(&mut chunk).await {
        if count == 0 {
            return;
        }
        let room = CAPTURE_MAX - kept.len();
        if room == 0 {
            continue;
        }
        kept.extend_from_slice(&chunk[..count.min(room)]);
        while let Some(length) = kept[heard..].iter().position(|byte| *byte == b'\n') {
            if let Some(said) = said_by(&kept[heard..heard + length]) {
                hears(said);
            }
            heard += length + 1;
        }
    }
}

fn said_by(line: &[u8]) -> Option<Said> {
    [
        (AWAITS_WORD, Said::AwaitsWord),
        (FIRST_OFF_READ, Said::FirstOffRead),
    ]
    .into_iter()
    .find_map(|(text, said)| (line == text.as_bytes()).then_some(said))
}
