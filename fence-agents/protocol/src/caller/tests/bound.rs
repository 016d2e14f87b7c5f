//! An agent ends with its deadline and with its caller, whatever state the caller is in (R15). The
//! caller is this test executable, run once more, so that it can be stopped and killed.

use super::{Bench, runs, until};
use crate::Action;
use crate::caller::Outcome;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PIDS: &str = "HAFT_TEST_CALLER_PIDS";
const WITHIN: &str = "HAFT_TEST_CALLER_WITHIN_MS";

/// Not a test by itself: the process that the tests below start. Without its environment variables
/// it does nothing.
#[tokio::test]
async fn a_caller_of_a_deaf_agent() {
    let (Some(pids), Ok(within)) = (std::env::var_os(PIDS), std::env::var(WITHIN)) else {
        return;
    };
    let bench = Bench::new("deaf");
    let within = Duration::from_millis(within.parse().unwrap());
    let call = bench.run(Action::Off, within);
    let note = async {
        until("the agent to note its pids", || {
            bench.noted_pids().len() == 2
        })
        .await;
        std::fs::write(&pids, bench.log().join(" ")).unwrap();
        std::future::pending::<()>().await;
    };
    tokio::join!(call, note);
}

struct Caller {
    process: Child,
    pids: tempfile::NamedTempFile,
    /// A killed process cleans nothing up, so its files go where this test does.
    _files: tempfile::TempDir,
}

impl Caller {
    fn start(within: Duration) -> Self {
        let pids = tempfile::NamedTempFile::new().unwrap();
        let files = tempfile::tempdir().unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "caller::tests::bound::a_caller_of_a_deaf_agent"])
            .env(PIDS, pids.path())
            .env(WITHIN, within.as_millis().to_string())
            .env("TMPDIR", files.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            pids,
            _files: files,
        }
    }

    /// The agent and the child that it made.
    async fn agent(&self) -> [i32; 2] {
        let noted = || -> Vec<i32> {
            let text = std::fs::read_to_string(self.pids.path()).unwrap();
            let words = text.split(' ');
            words.filter_map(|word| word.parse().ok()).collect()
        };
        until("the caller to note its agent", || noted().len() == 2).await;
        [noted()[0], noted()[1]]
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn an_agent_that_hears_no_signal_dies_at_its_deadline_though_its_caller_is_stopped() {
    let caller = Caller::start(Duration::from_secs(4));
    let agent = caller.agent().await;
    caller.signal(Signal::STOP);
    for pid in agent {
        until("the whole group to be gone", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn an_agent_and_its_children_die_with_the_process_that_ran_them() {
    let caller = Caller::start(Duration::from_secs(3_600));
    let agent = caller.agent().await;
    assert!(runs(agent[0]));
    caller.signal(Signal::KILL);
    for pid in agent {
        until("the whole group to be gone", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn whoever_kills_first_at_the_deadline_the_answer_is_that_time_was_over() {
    for _ in 0..10 {
        let report = Bench::new("deaf")
            .run(Action::Off, Duration::from_millis(60))
            .await;
        let late = matches!(report.outcome, Outcome::TimedOut);
        assert!(late, "{report:?}");
    }
}

/// Processes of this group, zombies left out.
fn members(group: i32) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = all.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    stats
        .filter(|stat| {
            let after = stat.rsplit(')').next().unwrap_or_default();
            let fields: Vec<&str> = after.split_whitespace().collect();
            fields.first() != Some(&"Z") && fields.get(2) == Some(&group.to_string().as_str())
        })
        .count()
}

#[tokio::test]
async fn a_warden_holds_no_file_of_its_caller_and_goes_with_its_agent() {
    let bench = Bench::new("hang");
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let path = folder.path().join("lock");
        let options = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        options.unwrap()
    };
    let lock = |file: &std::fs::File| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let held = open();
    assert!(lock(&held));
    let mut call = std::pin::pin!(bench.run(Action::Off, Duration::from_secs(5)));
    let closed = async {
        until("the agent to note its pids", || {
            bench.noted_pids().len() == 2
        })
        .await;
        drop(held);
        // Agent, its child, the warden.
        assert_eq!(members(bench.noted_pids()[0]), 3);
        let again = open();
        until("the lock to be free", || lock(&again)).await;
    };
    tokio::select! {
        biased;
        report = &mut call => panic!("ended early: {report:?}"),
        () = closed => {}
    }
    assert_eq!(call.await.outcome, Outcome::TimedOut);
    let group = bench.noted_pids()[0];
    until("the group to be empty", || members(group) == 0).await;
}
