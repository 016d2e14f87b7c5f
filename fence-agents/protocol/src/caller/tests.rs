//! The runner against a scripted agent: a real process, told by its `mode` parameter how to behave.
//! It does not test any device; the suite tests/agents does.

mod adopting;
mod bound;
mod first_read;
mod prepared;

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::{Action, Secret};

/// Reads `name=value` lines, appends the action to the file `log`, then does what `mode` says.
const SCRIPT: &str = r#"#!/bin/sh
log=/dev/null
while read -r line; do
  case "$line" in
    action=*) action=${line#action=} ;;
    mode=*) mode=${line#mode=} ;;
    log=*) log=${line#log=} ;;
    password=*) password=${line#password=} ;;
  esac
done
echo "$action" >> "$log"
count() { grep -c "^$action$" "$log"; }
case "$mode-$action" in
  honest-off) echo "Success: Powered OFF" ;;
  honest-status) echo "Status: OFF"; exit 2 ;;
  on-status) echo "Status: ON" ;;
  stuck-off) echo "ERROR: Failed: Timed out waiting to power OFF" >&2; exit 1 ;;
  stuck-status) echo "Status: ON" ;;
  liar-off) echo "Success: Powered OFF" ;;
  liar-status) echo "Status: ON" ;;
  flap-off) echo "Success: Powered OFF" ;;
  flap-status) if [ $(($(count) % 2)) = 1 ]; then echo "Status: OFF"; exit 2; fi; echo "Status: ON" ;;
  reboots-*) echo "Success: Rebooted" ;;
  onfirst-status) if [ "$(grep -c off "$log")" = 0 ]; then echo "Status: ON"; else echo "Status: OFF"; exit 2; fi ;;
  onfirst-off) echo "Success: Powered OFF" ;;
  deaf-*) trap '' TERM INT HUP ALRM; sleep 1000 & echo "$$ $!" >> "$log"; wait ;;
  hang-*) sleep 1000 & echo "$$ $!" >> "$log"; wait ;;
  hangoff-off) sleep 1000 ;;
  hangoff-status) echo "Status: OFF"; exit 2 ;;
  leaves-*) setsid sleep 1000 & echo "$!" >> "$log"; sleep 1000 & echo "$!" >> "$log"; echo "Success: Powered OFF" ;;
  loud-*) yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -c 3000000; exit 1 ;;
  echoes-*) echo "tried $password"; echo "login with $password failed" >&2; exit 1 ;;
  environment-*) env; cat /proc/$$/cmdline; echo; exit 0 ;;
  second-*) if [ "$(count)" -lt 2 ]; then echo "Connection timed out" >&2; exit 1; fi; echo "Status: ON" ;;
  pill-off) echo "Success: Already OFF" ;;
  twice-off) echo "First read: OFF"; until grep -q heard "$log"; do :; done; echo "Success: Powered OFF" ;;
  once-off) echo "First read: OFF" ;;
  knows-await-word) echo "Awaiting the word"; echo "Success: Powered OFF" ;;
  fails-await-word) echo "Awaiting the word"; echo "Connection timed out" >&2; exit 1 ;;
  fails-off | older-off) echo "Success: Powered OFF" ;;
  pill-status) echo "Status: OFF"; exit 2 ;;
  lists-list) printf '1,n1\n2,n2\ninvalid option plug\n' ;;
  killed-*) kill -SEGV $$ ;;
  *) echo "unrecognised action" >&2; exit 1 ;;
esac
"#;

/// Agents in a directory of their own, removed with the value.
///
/// `install` writes them from another process: had this one held a file open for writing while another
/// test forked, the child would hold it, too, and the kernel would refuse to execute it.
fn agents() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let none = "#!/nonexistent/interpreter\n";
    for (name, mode, text) in [
        ("fence_script", "755", SCRIPT),
        ("fence_haft_ipmi", "755", SCRIPT),
        ("fence_haft_sbd", "755", SCRIPT),
        ("fence_sbd", "755", SCRIPT),
        ("plain", "644", SCRIPT),
        ("open", "777", SCRIPT),
        ("fence_none", "755", none),
    ] {
        install(&dir.path().join(name), mode, text);
    }
    dir
}

fn install(path: &Path, mode: &str, text: &str) {
    let mut writer = std::process::Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod \"$2\" \"$1\"", "sh"])
        .arg(path)
        .arg(mode)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    writer
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(writer.wait().unwrap().success());
}

fn dirs(agents: &TempDir) -> AgentDirs {
    AgentDirs::new(vec!["/nonexistent".into(), agents.path().to_owned()])
}

struct Bench {
    _agents: TempDir,
    agent: AgentPath,
    parameters: Parameters,
    log: tempfile::NamedTempFile,
}

impl Bench {
    fn new(mode: &str) -> Self {
        Self::with("fence_script", mode)
    }

    fn with(agent: &str, mode: &str) -> Self {
        let agents = agents();
        let log = tempfile::NamedTempFile::new().unwrap();
        let parameters = Parameters::new(vec![
            Parameter::plain("mode", mode).unwrap(),
            Parameter::plain("log", log.path().to_str().unwrap()).unwrap(),
            Parameter::secret("password", Secret::new("canary-7".to_owned())).unwrap(),
        ]);
        Self {
            agent: dirs(&agents).find(agent).unwrap(),
            _agents: agents,
            parameters: parameters.ok().unwrap(),
            log,
        }
    }

    async fn run(&self, action: Action, within: Duration) -> Report {
        let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
        let deadline = Deadline::within(within);
        let call = Call {
            agent: &self.agent,
            action,
            parameters: &self.parameters,
            deadline,
        };
        run(&mut turn, &call).await
    }

    fn order(&self) -> OffOrder<'_> {
        let proof = OffProof::for_agent(&self.agent);
        OffOrder {
            agent: &self.agent,
            parameters: &self.parameters,
            proof,
            deadline: soon(),
            stands: &always,
            first_off_read: &untold,
        }
    }

    async fn confirm_off(&self) -> OffVerdict {
        let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
        confirm_off(&mut turn, &self.order()).await
    }

    async fn adopt_off(&self) -> OffVerdict {
        let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
        adopt_off(&mut turn, &self.order()).await
    }

    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log.path()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The process ids that the script noted.
    fn noted_pids(&self) -> Vec<i32> {
        self.log()
            .iter()
            .flat_map(|line| line.split(' '))
            .filter_map(|w| w.parse().ok())
            .collect()
    }
}

fn soon() -> Deadline {
    Deadline::within(Duration::from_secs(30))
}

/// Whether a process runs; a zombie does not.
fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .trim_start()
            .starts_with('Z')
    })
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = soon();
    while !done() {
        assert!(!deadline.has_passed(), "waited in vain for: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn status_codes_become_on_off_and_failed() {
    let report = Bench::new("honest")
        .run(Action::Status, Duration::from_secs(30))
        .await;
    assert_eq!(report.outcome, Outcome::Off);
    let report = Bench::new("on")
        .run(Action::Status, Duration::from_secs(30))
        .await;
    assert_eq!(report.outcome, Outcome::On);
    let report = Bench::new("none")
        .run(Action::Status, Duration::from_secs(30))
        .await;
    assert!(matches!(
        report.outcome,
        Outcome::Failed {
            exit: Exit::Code(1),
            ..
        }
    ));
    let report = Bench::new("killed")
        .run(Action::Status, Duration::from_secs(30))
        .await;
    assert!(matches!(
        report.outcome,
        Outcome::Failed {
            exit: Exit::Signal(11),
            ..
        }
    ));
}

#[tokio::test]
async fn the_deadline_kills_the_whole_process_group() {
    let bench = Bench::new("hang");
    let report = bench.run(Action::Off, Duration::from_millis(400)).await;
    assert_eq!(report.outcome, Outcome::TimedOut);
    for pid in bench.noted_pids() {
        until("the group to be gone", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn a_dropped_call_kills_the_agent() {
    let bench = Bench::new("hang");
    {
        let mut call = std::pin::pin!(bench.run(Action::Off, Duration::from_secs(60)));
        let noted = until("the agent to note its pids", || {
            bench.noted_pids().len() == 2
        });
        tokio::select! {
            biased;
            report = &mut call => panic!("ended early: {report:?}"),
            () = noted => {}
        }
    }
    for pid in bench.noted_pids() {
        until("the group to be gone", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn an_agent_that_leaves_children_behind_neither_hangs_us_nor_keeps_its_group() {
    let bench = Bench::new("leaves");
    let report = bench.run(Action::Off, Duration::from_secs(60)).await;
    assert_eq!(report.outcome, Outcome::Done);
    let pids = bench.noted_pids();
    assert_eq!(pids.len(), 2);
    until("the child in the group to be gone", || !runs(pids[1])).await;
    // The one that left the group with setsid is beyond reach by design; the test clears it up.
    let escaped = rustix::process::Pid::from_raw(pids[0]).unwrap();
    let _ = rustix::process::kill_process(escaped, rustix::process::Signal::KILL);
}

#[tokio::test]
async fn a_flood_of_output_is_bounded_and_does_not_block() {
    let report = Bench::new("loud")
        .run(Action::Off, Duration::from_secs(60))
        .await;
    assert!(matches!(
        report.outcome,
        Outcome::Failed {
            exit: Exit::Code(1),
            ..
        }
    ));
    assert_eq!(report.stdout.len(), super::run::CAPTURE_MAX);
}

#[tokio::test]
async fn an_echoed_password_does_not_come_back() {
    let report = Bench::new("echoes")
        .run(Action::Off, Duration::from_secs(30))
        .await;
    assert!(!format!("{report:?}").contains("canary-7"), "{report:?}");
    assert!(report.stderr.contains("login with [secret] failed"));
}

#[tokio::test]
async fn the_environment_is_closed_and_argv_is_empty() {
    let report = Bench::new("environment")
        .run(Action::Off, Duration::from_secs(30))
        .await;
    assert_eq!(report.outcome, Outcome::Done);
    let names: Vec<_> = report
        .stdout
        .lines()
        .filter_map(|l| l.split_once('='))
        .map(|p| p.0)
        .collect();
    for name in names {
        assert!(
            ["PATH", "LC_ALL", "HOME", "PWD", "OLDPWD", "_", "SHLVL"].contains(&name),
            "{name}"
        );
    }
    assert!(
        !report.stdout.contains("[secret]"),
        "the password is in argv or environment"
    );
}

#[tokio::test]
async fn an_agent_that_cannot_start_was_not_run() {
    let bench = Bench::with("fence_none", "x");
    let report = bench.run(Action::Off, Duration::from_secs(30)).await;
    assert!(
        matches!(report.outcome, Outcome::NotRunnable { .. }),
        "{report:?}"
    );
    let report = Bench::new("honest").run(Action::Off, Duration::ZERO).await;
    assert!(
        matches!(report.outcome, Outcome::NotRunnable { .. }),
        "{report:?}"
    );
}

#[tokio::test]
async fn off_is_confirmed_only_by_two_off_reads() {
    let bench = Bench::new("honest");
    assert!(matches!(
        bench.confirm_off().await,
        OffVerdict::Confirmed { .. }
    ));
    assert_eq!(bench.log(), ["off", "status", "status"]);
    let ours = Bench::with("fence_haft_ipmi", "honest");
    assert!(matches!(
        ours.confirm_off().await,
        OffVerdict::Confirmed { .. }
    ));
    assert_eq!(ours.log(), ["off"]);
}

#[tokio::test]
async fn a_device_that_says_on_is_refused_and_one_that_flaps_is_never_confirmed() {
    for mode in ["liar", "stuck", "flap"] {
        let verdict = Bench::new(mode).confirm_off().await;
        assert!(
            matches!(verdict, OffVerdict::Refused { .. }),
            "{mode}: {verdict:?}"
        );
    }
    let verdict = Bench::with("fence_haft_ipmi", "stuck").confirm_off().await;
    assert!(matches!(verdict, OffVerdict::Refused { .. }), "{verdict:?}");
}

#[tokio::test]
async fn an_agent_that_reboots_instead_is_unknown() {
    for agent in ["fence_script", "fence_haft_ipmi"] {
        let verdict = Bench::with(agent, "reboots").confirm_off().await;
        assert!(
            matches!(verdict, OffVerdict::Unknown { .. }),
            "{agent}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn an_off_that_hangs_is_followed_by_status_not_by_another_off() {
    let bench = Bench::new("hangoff");
    let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
    let order = OffOrder {
        deadline: Deadline::within(Duration::from_secs(4)),
        ..bench.order()
    };
    let verdict = confirm_off(&mut turn, &order).await;
    assert!(
        matches!(verdict, OffVerdict::Confirmed { .. }),
        "{verdict:?}"
    );
    assert_eq!(bench.log(), ["off", "status", "status"]);
}

#[tokio::test]
async fn a_pill_counts_only_when_this_run_wrote_it_and_waited() {
    for agent in ["fence_haft_sbd", "fence_sbd"] {
        let written = Bench::with(agent, "honest");
        for verdict in [written.confirm_off().await, written.adopt_off().await] {
            let confirmed = matches!(verdict, OffVerdict::Confirmed { .. });
            assert!(confirmed, "{agent}: {verdict:?}");
        }
        assert_eq!(
            written.log(),
            ["off", "off"],
            "a slot's message is no power"
        );
        for mode in ["pill", "on", "none"] {
            let bench = Bench::with(agent, mode);
            for verdict in [bench.confirm_off().await, bench.adopt_off().await] {
                let unknown = matches!(verdict, OffVerdict::Unknown { .. });
                assert!(unknown, "{mode}: {verdict:?}");
            }
            assert_eq!(bench.log(), ["off", "off"]);
        }
    }
}

#[tokio::test]
async fn what_may_be_repeated_is_and_off_never() {
    let patience = Patience {
        each: Duration::from_secs(30),
        tries: 3,
    };
    for (action, tries) in [(Action::Status, 2), (Action::Off, 1), (Action::Reboot, 1)] {
        let bench = Bench::new("second");
        let call = Call {
            agent: &bench.agent,
            action,
            parameters: &bench.parameters,
            deadline: soon(),
        };
        let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
        let report = run_patiently(&mut turn, &call, patience).await;
        assert_eq!(bench.log().len(), tries, "{action}: {report:?}");
    }
}

#[tokio::test]
async fn each_try_has_its_own_time() {
    let bench = Bench::new("hang");
    let patience = Patience {
        each: Duration::from_millis(300),
        tries: 2,
    };
    let call = Call {
        agent: &bench.agent,
        action: Action::Monitor,
        parameters: &bench.parameters,
        deadline: soon(),
    };
    let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
    let report = run_patiently(&mut turn, &call, patience).await;
    assert_eq!(report.outcome, Outcome::TimedOut);
    let begun = bench.log().iter().filter(|line| *line == "monitor").count();
    assert_eq!(begun, 2);
}

#[tokio::test]
async fn a_device_lists_its_plugs() {
    let bench = Bench::new("lists");
    let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
    let plugs = read_plugs(&mut turn, &bench.agent, &bench.parameters, soon()).await;
    let plugs = plugs.unwrap();
    assert_eq!(plugs.iter().collect::<Vec<_>>(), ["1", "2", "n1", "n2"]);
    let none = Bench::new("none");
    let answer = read_plugs(&mut turn, &none.agent, &none.parameters, soon()).await;
    assert!(matches!(answer, Err(PlugsError::NotGiven { .. })));
}

#[tokio::test]
async fn a_second_action_waits_for_the_device() {
    let lock = DeviceLock::new();
    let first = lock.turn(soon()).await.unwrap();
    let now = Deadline::within(Duration::ZERO);
    assert_eq!(lock.turn(now).await.err(), Some(TurnTimedOut));
    drop(first);
    assert!(lock.turn(soon()).await.is_ok());
}

#[test]
fn agents_that_others_could_have_replaced_are_refused() {
    let agents = agents();
    let dirs = dirs(&agents);
    assert!(dirs.find("fence_script").is_ok());
    assert!(matches!(
        dirs.find("plain"),
        Err(FindAgentError::NotExecutable { .. })
    ));
    assert!(matches!(
        dirs.find("open"),
        Err(FindAgentError::Writable { .. })
    ));
    assert!(matches!(
        dirs.find("fence_absent"),
        Err(FindAgentError::NotFound { .. })
    ));
    assert!(matches!(
        dirs.find("../fence_script"),
        Err(FindAgentError::BadName { .. })
    ));
    assert!(matches!(
        dirs.find("/nonexistent/x"),
        Err(FindAgentError::Unreadable { .. })
    ));
    let dir = agents.path().to_str().unwrap();
    assert!(matches!(
        dirs.find(dir),
        Err(FindAgentError::NotAFile { .. })
    ));
}

#[test]
fn an_agent_of_another_user_is_refused() {
    let own = rustix::process::geteuid().as_raw();
    if own != 0 {
        // Only root can make a file that belongs to somebody else; the other checks cover the rest.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fence_theirs");
    install(&path, "755", SCRIPT);
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    assert_eq!(path.metadata().unwrap().uid(), 65_534);
    let answer = AgentDirs::default().find(path.to_str().unwrap());
    assert!(matches!(
        answer,
        Err(FindAgentError::WrongOwner { uid: 65_534, .. })
    ));
}
