//! `fence_haft_ipmi` against OpenIPMI's `ipmi_sim`: a BMC that we did not write.
//!
//! One simulator per test, on a port of its own. The chassis log shows what the BMC was really asked.

use std::net::Ipv6Addr;

use haft_tests::ipmi_sim::{Chassis, IpmiSim, PASSWORD, Power, VIEWER};

use crate::{fence_haft_ipmi, lines, run, text};

/// Runs an action; the answer is exit code, stdout, stderr.
fn act(sim: &IpmiSim, action: &str, more: &str) -> (i32, String, String) {
    let output = run(&fence_haft_ipmi(), &[], &lines(sim, action, more));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(!stdout.contains(PASSWORD) && !stderr.contains(PASSWORD));
    (output.status.code().unwrap(), stdout, stderr)
}

#[test]
fn off_is_commanded_once_and_read_twice_afterwards() {
    let sim = IpmiSim::start();
    let (exit, stdout, stderr) = act(&sim, "off", "");
    assert_eq!(
        (exit, stdout.as_str()),
        (0, "Success: Powered OFF\n"),
        "{stderr}"
    );
    assert_eq!(sim.power(), Power::Off);
    assert_eq!(
        sim.calls(),
        ["get power", "set power 0", "get power", "get power"]
    );
}

#[test]
fn already_off_is_success_by_two_reads_and_no_command() {
    let sim = IpmiSim::start();
    sim.set_power(Power::Off);
    let (exit, stdout, _) = act(&sim, "off", "");
    assert_eq!((exit, stdout.as_str()), (0, "Success: Already OFF\n"));
    assert_eq!(sim.calls(), ["get power", "get power"]);
}

#[test]
fn on_switches_on_and_already_on_is_success() {
    let sim = IpmiSim::start();
    sim.set_power(Power::Off);
    assert_eq!(act(&sim, "on", "").1, "Success: Powered ON\n");
    assert_eq!(sim.power(), Power::On);
    assert_eq!(act(&sim, "on", "").1, "Success: Already ON\n");
}

#[test]
fn reboot_goes_through_a_proven_off() {
    let sim = IpmiSim::start();
    assert_eq!(act(&sim, "reboot", "").1, "Success: Rebooted\n");
    assert_eq!(sim.power(), Power::On);
    let expected = [
        "get power",
        "set power 0",
        "get power",
        "get power",
        "get power",
        "set power 1",
        "get power",
    ];
    assert_eq!(sim.calls(), expected);
}

#[test]
fn status_and_monitor_have_the_exit_codes_of_the_contract() {
    let sim = IpmiSim::start();
    assert_eq!(
        act(&sim, "status", ""),
        (0, "Status: ON\n".to_owned(), String::new())
    );
    assert_eq!(act(&sim, "monitor", "").0, 0);
    sim.set_power(Power::Off);
    assert_eq!(
        act(&sim, "status", ""),
        (2, "Status: OFF\n".to_owned(), String::new())
    );
    assert_eq!(act(&sim, "monitor", "").0, 0);
}

#[test]
fn the_command_line_works_as_with_fence_ipmilan() {
    let sim = IpmiSim::start();
    let port = sim.port().to_string();
    let arguments = [
        "-a",
        "127.0.0.1",
        "-u",
        &port,
        "-l",
        "admin",
        "-p",
        PASSWORD,
        "-P",
        "-C",
        "3",
        "-o",
        "status",
    ];
    let output = run(&fence_haft_ipmi(), &arguments, "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("visible to every user"));
    assert!(!text(&output.stderr).contains(PASSWORD));
}

#[test]
fn a_bmc_with_an_ipv6_address_is_switched_off() {
    let sim = IpmiSim::start_on(Ipv6Addr::LOCALHOST.into(), "");
    for address in ["::1", "[::1]"] {
        sim.set_power(Power::On);
        let (exit, stdout, stderr) = act(&sim, "off", &format!("ip={address}"));
        assert_eq!(
            (exit, stdout.as_str()),
            (0, "Success: Powered OFF\n"),
            "{stderr}"
        );
        assert_eq!(sim.power(), Power::Off);
    }
}

#[test]
fn a_bmc_that_cannot_set_its_restore_policy_is_a_warning_and_no_failure() {
    let sim = IpmiSim::start();
    let (exit, stdout, stderr) = act(&sim, "off", "power_restore=previous");
    assert_eq!((exit, stdout.as_str()), (0, "Success: Powered OFF\n"));
    assert!(
        stderr.contains("invalid command (completion code 0xc1)"),
        "{stderr}"
    );
    // Its policy is always-off already.
    let (exit, _, stderr) = act(&sim, "monitor", "power_restore=always-off");
    assert_eq!((exit, stderr.as_str()), (0, ""));
}

#[test]
fn a_hostname_is_resolved() {
    let sim = IpmiSim::start();
    assert_eq!(
        act(&sim, "status", "ip=localhost4").0,
        1,
        "an unknown name is a failure"
    );
    let (exit, _, stderr) = act(&sim, "status", "ip=localhost");
    // Where localhost is ::1 first, nobody answers; that is a failure with a reason as well.
    assert!(exit == 0 || stderr.contains("no answer"), "{stderr}");
}

#[test]
fn wrong_credentials_fail_with_a_reason_and_change_nothing() {
    let sim = IpmiSim::start();
    for (more, reason) in [
        ("password=nonsense", "wrong password"),
        ("username=nobody", "unauthorized name"),
        ("cipher=17", "invalid authentication algorithm"),
    ] {
        let (exit, _, stderr) = act(&sim, "off", more);
        assert_eq!(exit, 1, "{more}");
        assert!(stderr.contains(reason), "{more}: {stderr}");
    }
    assert_eq!(sim.power(), Power::On);
    assert!(sim.calls().is_empty());
}

#[test]
fn a_user_who_may_only_look_cannot_switch() {
    let sim = IpmiSim::start();
    let viewer = format!("username={VIEWER}\nprivlvl=user");
    assert_eq!(act(&sim, "status", &viewer).0, 0);
    let (exit, _, stderr) = act(&sim, "off", &viewer);
    assert_eq!(exit, 1);
    assert!(
        stderr.contains("privilege level 'user' does not suffice"),
        "{stderr}"
    );
    assert_eq!(sim.power(), Power::On);
}

#[test]
fn a_chassis_that_sticks_is_a_failure_that_says_so() {
    let sim = IpmiSim::start();
    sim.set_chassis(Chassis::Sticks);
    let (exit, _, stderr) = act(&sim, "off", "power_timeout=0.3");
    assert_eq!(exit, 1);
    assert!(
        stderr.contains("Timed out waiting to power OFF"),
        "{stderr}"
    );
}

#[test]
fn a_broken_chassis_is_never_off() {
    let sim = IpmiSim::start();
    sim.set_chassis(Chassis::Broken);
    for action in ["off", "status", "monitor"] {
        let (exit, _, stderr) = act(&sim, action, "shell_timeout=0.5");
        assert_eq!(exit, 1, "{action}: {stderr}");
        assert!(stderr.starts_with("Failed: "), "{action}: {stderr}");
    }
}

#[test]
fn a_bmc_that_is_gone_is_a_failure_not_off() {
    let mut sim = IpmiSim::start();
    sim.kill();
    for action in ["off", "on", "reboot", "status", "monitor"] {
        let (exit, _, stderr) = act(&sim, action, "login_timeout=0.5");
        assert_eq!(exit, 1, "{action}");
        assert!(stderr.contains("no answer"), "{action}: {stderr}");
    }
}
