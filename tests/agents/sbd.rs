//! `fence_haft_sbd` on real block devices: the contract, the verdicts, and the wait.
//!
//! Loop devices over files; what happens when they fail or hang is in `sbd_faults`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use haft_fence_protocol::caller::{
    AgentDirs, Deadline, DeviceLock, OffOrder, OffProof, OffVerdict, Parameter, Parameters,
    adopt_off, always, confirm_off, untold,
};
use haft_tests::built;
use haft_tests::sbd_lab::SbdLab;

use crate::contract::compare;
use crate::{run, text};

/// `msgwait` of the disks here. Long enough to look at a disk meanwhile, short enough to wait for.
pub(crate) const MSGWAIT: Duration = Duration::from_secs(3);

/// Our SBD agent.
pub(crate) fn agent() -> PathBuf {
    built::executable("haft-fence-sbd", "fence_haft_sbd")
}

/// Runs one of the agent's commands for administrators.
pub(crate) fn admin(verb: &str, disks: &[&Path], words: &[&str]) -> (i32, String, String) {
    let mut arguments = vec![verb];
    for disk in disks {
        arguments.extend(["-d", disk.to_str().unwrap()]);
    }
    arguments.extend(words);
    let output = run(&agent(), &arguments, "");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output.status.code().unwrap(), stdout, stderr)
}

/// As [`admin`], and it must succeed.
pub(crate) fn admin_done(verb: &str, disks: &[&Path], words: &[&str]) -> String {
    let (exit, stdout, stderr) = admin(verb, disks, words);
    assert_eq!(exit, 0, "{verb} {words:?}: {stderr}");
    stdout
}

/// Lays disks out with the short timeouts of this suite, and gives nodes slots.
pub(crate) fn lay_out(disks: &[&Path], nodes: &[&str]) {
    admin_done(
        "create",
        disks,
        &["-1", "1", "-2", "1", "-3", "1", "-4", "3"],
    );
    for node in nodes {
        admin_done("allocate", disks, &[node]);
    }
}

pub(crate) fn devices(disks: &[&Path]) -> String {
    let names: Vec<&str> = disks.iter().map(|disk| disk.to_str().unwrap()).collect();
    names.join(",")
}

/// Runs an action; the answer is exit code, stdout, stderr.
pub(crate) fn act(action: &str, disks: &[&Path], more: &str) -> (i32, String, String) {
    let stdin = format!("action={action}\ndevices={}\n{more}\n", devices(disks));
    let output = run(&agent(), &[], &stdin);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output.status.code().unwrap(), stdout, stderr)
}

/// Starts an action and leaves it running.
pub(crate) fn start(action: &str, disks: &[&Path], node: &str) -> Child {
    Command::new(agent())
        .args(["-o", action, "-n", node, "--devices", &devices(disks)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for a state with a deadline, looking a hundred times a second.
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !reached() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a disk's list has this in it.
pub(crate) fn until_listed(disk: &Path, wanted: &str) {
    until(wanted, || admin_done("list", &[disk], &[]).contains(wanted));
}

#[test]
fn metadata_is_as_committed_and_knows_the_options_of_fence_sbd() {
    let output = run(&agent(), &[], "action=metadata\n");
    assert_eq!(output.status.code(), Some(0));
    let xml = text(&output.stdout);
    compare("fence_haft_sbd.xml", &xml);
    for name in [
        "action",
        "devices",
        "method",
        "plug",
        "port",
        "sbd_path",
        "quiet",
        "verbose",
        "verbose_level",
        "version",
        "help",
        "plug_separator",
        "separator",
        "delay",
        "disable_timeout",
        "login_timeout",
        "power_timeout",
        "power_wait",
        "shell_timeout",
        "stonith_status_sleep",
        "retry_on",
    ] {
        let parameter = format!("<parameter name=\"{name}\"");
        assert!(xml.contains(&parameter), "{name}");
    }
}

#[test]
fn a_missing_or_malformed_action_is_refused_and_no_disk_is_touched() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &["a"]);
    let before = std::fs::read(&disk).unwrap();
    let devices = disk.display();
    for stdin in [
        format!("devices={devices}\nplug=a\n"),
        format!("  action = off\ndevices={devices}\nplug=a\n"),
        format!("action=\ndevices={devices}\nplug=a\n"),
        format!("action=cycle\ndevices={devices}\nplug=a\n"),
        format!("action=reset\ndevices={devices}\nplug=a\n"),
    ] {
        let output = run(&agent(), &[], &stdin);
        assert_eq!(output.status.code(), Some(1), "{stdin:?}");
        assert!(output.stdout.is_empty(), "{stdin:?}");
    }
    let validated = act("validate-all", &[Path::new("/nonexistent")], "plug=a");
    assert_eq!(validated.0, 0, "{}", validated.2);
    assert_eq!(std::fs::read(&disk).unwrap(), before);
}

#[test]
fn off_succeeds_only_when_msgwait_is_over_and_an_old_pill_counts_for_nothing() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &["a"]);
    let off = |before: &str| {
        assert!(admin_done("list", &[&disk], &[]).contains(before));
        let began = Instant::now();
        let (exit, stdout, stderr) = act("off", &[&disk], "plug=A");
        assert_eq!(exit, 0, "{stderr}");
        assert!(stdout.starts_with("Success: Powered OFF\n"), "{stdout}");
        assert!(began.elapsed() >= MSGWAIT, "{:?}", began.elapsed());
    };
    off("0\ta\tclear");
    // The pill lies there already: it is written again and waited for again.
    off("0\ta\toff");
}

#[test]
fn each_action_sends_its_message() {
    let mut lab = SbdLab::start();
    let (one, two) = (lab.plain_disk(512), lab.plain_disk(4096));
    let disks: [&Path; 2] = [&one, &two];
    lay_out(&disks, &["a"]);
    let rows = [
        ("reboot", "plug=a", "Success: Rebooted", "reset"),
        (
            "reboot",
            "plug=a\nmethod=onoff",
            "Success: Rebooted",
            "clear",
        ),
        (
            "off",
            "plug=a\noff_pill=crashdump",
            "Success: Powered OFF",
            "crashdump",
        ),
        ("on", "plug=a", "Success: Powered ON", "clear"),
    ];
    for (action, more, said, left) in rows {
        let (exit, stdout, stderr) = act(action, &disks, more);
        assert_eq!(exit, 0, "{more}: {stderr}");
        assert!(stdout.starts_with(said), "{more}: {stdout}");
        for disk in disks {
            let list = admin_done("list", &[disk], &[]);
            assert!(
                list.starts_with(&format!("0\ta\t{left}\t")),
                "{more}: {list}"
            );
        }
    }
}

#[test]
fn status_monitor_and_list_have_the_exit_codes_of_the_contract() {
    let mut lab = SbdLab::start();
    let disks = [
        lab.plain_disk(512),
        lab.plain_disk(512),
        lab.plain_disk(512),
    ];
    let [one, two, three] = disks.each_ref().map(PathBuf::as_path);
    lay_out(&[one, two, three], &["a", "B"]);
    admin_done("allocate", &[one], &["only-here"]);
    let all = [one, two, three];
    assert_eq!(act("status", &all, "plug=a").1, "Status: ON\n");
    assert_eq!(act("monitor", &all, "").0, 0);
    assert_eq!(act("list", &all, "").1, "a,a\nB,B\n");
    let mut child = start("off", &[one, two, three], "a");
    until_listed(one, "a\toff");
    until_listed(two, "a\toff");
    let (exit, stdout, stderr) = act("status", &all, "plug=a");
    assert_eq!((exit, stdout.as_str()), (2, "Status: OFF\n"));
    assert!(stderr.contains("not known"), "{stderr}");
    assert_eq!(act("list-status", &all, "").1, "a,a,off\nB,B,on\n");
    assert!(child.wait().unwrap().success());
    let (exit, _, stderr) = act("status", &all, "plug=nobody");
    assert_eq!(exit, 1);
    assert!(stderr.contains("has a slot on 0 of 3"), "{stderr}");
}

#[test]
fn a_pill_that_is_taken_out_before_msgwait_is_over_proves_nothing() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &["a"]);
    let child = start("off", &[&disk], "a");
    until_listed(&disk, "a\toff");
    let (exit, _, stderr) = admin("message", &[&disk], &["a", "test"]);
    assert_eq!(exit, 1, "a test message must not take a pill out");
    assert!(stderr.contains("a pill lies in the slot"), "{stderr}");
    admin_done("clear", &[&disk], &["a"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("taken out or replaced"), "{stderr}");
}

#[test]
fn an_order_dies_with_whoever_gave_it() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &["a"]);
    let mut child = start("off", &[&disk], "a");
    until_listed(&disk, "a\toff");
    let front = child.id();
    let children = std::fs::read_to_string(format!("/proc/{front}/task/{front}/children"));
    let side: u32 = children.unwrap().trim().parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    until("the end of the disk side", || !runs(side));
}

/// Whether a process runs; a zombie that nobody reaps does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn haftd_confirms_by_the_agents_own_wait_and_an_adopted_order_waits_again() {
    let mut lab = SbdLab::start();
    let disk = lab.plain_disk(512);
    lay_out(&[&disk], &["n1"]);
    let agent = AgentDirs::default()
        .find(agent().to_str().unwrap())
        .unwrap();
    let parameters = Parameters::new(vec![
        Parameter::plain("devices", disk.to_str().unwrap()).unwrap(),
        Parameter::plain("plug", "n1").unwrap(),
    ]);
    let order = OffOrder {
        agent: &agent,
        parameters: &parameters.unwrap(),
        proof: OffProof::for_agent(&agent),
        deadline: Deadline::within(Duration::from_secs(60)),
        stands: &always,
        first_off_read: &untold,
    };
    assert_eq!(order.proof, OffProof::AgentWaits);
    let mut turn = DeviceLock::new().turn(order.deadline).await.unwrap();
    let verdict = confirm_off(&mut turn, &order).await;
    let OffVerdict::Confirmed { evidence } = verdict else {
        panic!("{verdict:?}");
    };
    assert!(evidence.contains("verified on 1 of 1 disks"), "{evidence}");
    let began = Instant::now();
    let verdict = adopt_off(&mut turn, &order).await;
    assert!(
        matches!(verdict, OffVerdict::Confirmed { .. }),
        "{verdict:?}"
    );
    assert!(began.elapsed() >= MSGWAIT);
    let short = OffOrder {
        deadline: Deadline::within(MSGWAIT / 2),
        ..order
    };
    let verdict = confirm_off(&mut turn, &short).await;
    assert!(matches!(verdict, OffVerdict::Unknown { .. }), "{verdict:?}");
}
