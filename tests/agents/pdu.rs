//! `fence_haft_pdu` against net-snmp's `snmpd`: an SNMP agent that we did not write.
//!
//! One agent per test, on a port of its own. The log of its outlets shows what it was really asked.

use haft_tests::ipmi_sim::Power;
use haft_tests::snmp_pdu::{
    APC_MSP, APC_RPDU, APC_SWITCH, AUTH_USER, COMMUNITY, HOMEMADE, Model, OPEN_USER, Outlets,
    PASSWORD, PRIV_PASSWORD, SnmpPdu, TRIPPLITE, USERS, VIEWER, VIEWER_COMMUNITY,
};

use crate::{fence_haft_pdu, run, text};

/// Runs an action; the answer is exit code, stdout, stderr.
fn act(pdu: &SnmpPdu, action: &str, more: &str) -> (i32, String, String) {
    let stdin = format!(
        "action={action}\nip=127.0.0.1\nipport={}\ncommunity={COMMUNITY}\n{more}\n",
        pdu.port()
    );
    let output = run(&fence_haft_pdu(), &[], &stdin);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        !stdout.contains("canary") && !stderr.contains("canary"),
        "{stdout}{stderr}"
    );
    (output.status.code().unwrap(), stdout, stderr)
}

/// Parameters of an SNMPv3 user.
fn user(name: &str, auth: &str, privacy: &str) -> String {
    format!(
        "snmp_version=3\nusername={name}\nsnmp_auth_prot={auth}\npassword={PASSWORD}\n\
         snmp_priv_prot={privacy}\nsnmp_priv_passwd={PRIV_PASSWORD}\nsnmp_sec_level=authPriv\n"
    )
}

#[test]
fn off_is_commanded_once_and_read_twice_afterwards() {
    for version in ["1", "2c"] {
        let pdu = SnmpPdu::start(APC_RPDU);
        let (exit, stdout, stderr) = act(&pdu, "off", &format!("plug=3\nsnmp_version={version}"));
        assert_eq!(
            (exit, stdout.as_str()),
            (0, "Success: Powered OFF\n"),
            "{stderr}"
        );
        assert_eq!(pdu.power(3), Power::Off);
        assert_eq!(pdu.power(4), Power::On);
        assert_eq!(pdu.calls(), ["read 3", "off 3", "read 3", "read 3"]);
    }
}

#[test]
fn already_off_is_success_by_two_reads_and_no_command() {
    let pdu = SnmpPdu::start(APC_RPDU);
    pdu.set_power(3, Power::Off);
    let (exit, stdout, _) = act(&pdu, "off", "plug=3");
    assert_eq!((exit, stdout.as_str()), (0, "Success: Already OFF\n"));
    assert_eq!(pdu.calls(), ["read 3", "read 3"]);
}

#[test]
fn every_user_of_snmp_v3_is_understood() {
    let pdu = SnmpPdu::start(APC_RPDU);
    for (name, auth, privacy) in USERS {
        let more = format!("plug=3\n{}", user(name, auth, privacy));
        assert_eq!(
            act(&pdu, "off", &more),
            (0, "Success: Powered OFF\n".to_owned(), String::new()),
            "{name}"
        );
        assert_eq!(act(&pdu, "on", &more).1, "Success: Powered ON\n", "{name}");
    }
}

#[test]
fn levels_below_encryption_work_where_the_pdu_allows_them() {
    let pdu = SnmpPdu::start(APC_RPDU);
    for more in [
        format!("snmp_version=3\nusername={AUTH_USER}\nsnmp_auth_prot=SHA\npassword={PASSWORD}\n"),
        format!("snmp_version=3\nusername={OPEN_USER}\n"),
        format!("snmp_version=3\nusername={OPEN_USER}\nsnmp_sec_level=noAuthNoPriv\n"),
    ] {
        let more = format!("plug=2\n{more}");
        assert_eq!(
            act(&pdu, "off", &more).1,
            "Success: Powered OFF\n",
            "{more}"
        );
        assert_eq!(act(&pdu, "on", &more).1, "Success: Powered ON\n", "{more}");
    }
}

#[test]
fn a_machine_with_two_supplies_is_off_when_both_outlets_are() {
    let pdu = SnmpPdu::start(APC_RPDU);
    assert_eq!(act(&pdu, "off", "plug=3,7").1, "Success: Powered OFF\n");
    assert_eq!((pdu.power(3), pdu.power(7)), (Power::Off, Power::Off));
    assert_eq!(act(&pdu, "status", "plug=3,7").0, 2);
    assert_eq!(act(&pdu, "reboot", "plug=3,7").1, "Success: Rebooted\n");
    assert_eq!((pdu.power(3), pdu.power(7)), (Power::On, Power::On));
    assert_eq!(
        act(&pdu, "status", "plug=3,7"),
        (0, "Status: ON\n".to_owned(), String::new())
    );
}

#[test]
fn outlets_that_differ_are_on_with_a_reason_and_off_switches_both() {
    let pdu = SnmpPdu::start(APC_RPDU);
    pdu.set_power(3, Power::Off);
    for plugs in ["3,7", "7,3"] {
        let (exit, stdout, stderr) = act(&pdu, "status", &format!("plug={plugs}"));
        assert_eq!((exit, stdout.as_str()), (0, "Status: ON\n"), "{plugs}");
        assert!(
            stderr.contains("outlet 3 is off") && stderr.contains("outlet 7 is on"),
            "{stderr}"
        );
    }
    assert_eq!(act(&pdu, "off", "plug=3,7").1, "Success: Powered OFF\n");
    assert_eq!((pdu.power(3), pdu.power(7)), (Power::Off, Power::Off));
}

#[test]
fn a_pending_outlet_is_neither_on_nor_off() {
    let pdu = SnmpPdu::start(APC_RPDU);
    pdu.set_outlets(Outlets::Stick);
    for pending in [0, 3, 4, -1] {
        pdu.set_state(3, pending);
        pdu.set_power(7, Power::Off);
        let (exit, _, stderr) = act(&pdu, "status", "plug=3,7");
        assert_eq!(exit, 1, "{stderr}");
        assert!(
            stderr.contains(&format!("outlet 3 reads {pending}, which is neither")),
            "{stderr}"
        );
        let (exit, _, stderr) = act(&pdu, "off", "plug=3,7\npower_timeout=0.3");
        assert_eq!(exit, 1, "{stderr}");
        assert!(
            stderr.contains("Timed out waiting to power OFF: outlet 3 reads"),
            "{stderr}"
        );
    }
}

#[test]
fn reboot_goes_through_a_proven_off() {
    let pdu = SnmpPdu::start(APC_RPDU);
    assert_eq!(act(&pdu, "reboot", "plug=1").1, "Success: Rebooted\n");
    let expected = [
        "read 1", "off 1", "read 1", "read 1", "read 1", "on 1", "read 1",
    ];
    assert_eq!(pdu.calls(), expected);
}

#[test]
fn outlets_are_found_by_name() {
    let pdu = SnmpPdu::start(APC_RPDU);
    assert_eq!(act(&pdu, "off", "plug=node5,6").1, "Success: Powered OFF\n");
    assert_eq!((pdu.power(5), pdu.power(6)), (Power::Off, Power::Off));
    let (exit, _, stderr) = act(&pdu, "off", "plug=node55");
    assert_eq!(exit, 1);
    assert!(stderr.contains("no outlet called 'node55'"), "{stderr}");
}

#[test]
fn every_kind_of_pdu_is_known_by_what_it_says_it_is() {
    for (model, first) in [
        (APC_RPDU, "1"),
        (APC_MSP, "1:1"),
        (APC_SWITCH, "1"),
        (TRIPPLITE, "1"),
    ] {
        let pdu = SnmpPdu::start(model);
        let plug = format!("plug={first}");
        assert_eq!(
            act(&pdu, "off", &plug).1,
            "Success: Powered OFF\n",
            "{}",
            model.identity
        );
        assert_eq!(pdu.power(1), Power::Off);
        let (exit, stdout, stderr) = act(&pdu, "list-status", "");
        assert_eq!(exit, 0, "{stderr}");
        let mut lines = stdout.lines();
        assert_eq!(lines.next(), Some(format!("{first},node1,OFF").as_str()));
        assert_eq!(
            lines.next_back().map(|line| line.ends_with("8,node8,ON")),
            Some(true)
        );
        assert_eq!(
            act(&pdu, "list", "").1.lines().next(),
            Some(format!("{first},node1").as_str())
        );
    }
}

/// Options that describe a PDU that is in nobody's table.
fn described(model: &Model) -> String {
    let pattern = |text: &str| text.replace('#', "{plug}");
    format!(
        "outlet_status_oid={}\noutlet_status_off={}\noutlet_status_on={}\noutlet_off_oid={}\n\
         outlet_command_off={}\noutlet_on_oid={}\noutlet_command_on={}\noutlet_name_oid={}\n",
        pattern(model.status),
        model.says.0,
        model.says.1,
        pattern(model.off.0),
        model.off.1,
        pattern(model.on.0),
        model.on.1,
        pattern(model.names),
    )
}

#[test]
fn a_pdu_that_nobody_knows_works_from_a_description() {
    let pdu = SnmpPdu::start(HOMEMADE);
    let (exit, _, stderr) = act(&pdu, "off", "plug=3");
    assert_eq!(exit, 1);
    assert!(
        stderr.contains("the PDU has no object 1.3.6.1.4.1.318.1.1.4.4.2.1.3.3"),
        "{stderr}"
    );
    let more = described(&HOMEMADE);
    assert_eq!(
        act(&pdu, "off", &format!("{more}plug=3,node4")).1,
        "Success: Powered OFF\n"
    );
    assert_eq!((pdu.power(3), pdu.power(4)), (Power::Off, Power::Off));
    assert_eq!(
        act(&pdu, "on", &format!("{more}plug=3")).1,
        "Success: Powered ON\n"
    );
    assert!(act(&pdu, "list-status", &more).1.contains("4,node4,OFF\n"));
}

#[test]
fn wrong_credentials_fail_with_a_reason_and_change_nothing() {
    let pdu = SnmpPdu::start(APC_RPDU);
    let v3 = user("sha-aes", "SHA", "AES");
    let cases = [
        (
            "community=nonsense".to_owned(),
            "community or snmp_version are not its own",
        ),
        (
            format!("{v3}username=nobody"),
            "does not know the user name",
        ),
        (
            format!("{v3}password=wrong-password"),
            "wrong password or snmp_auth_prot",
        ),
        (
            format!("{v3}snmp_auth_prot=MD5"),
            "wrong password or snmp_auth_prot",
        ),
        (
            format!("{v3}snmp_priv_passwd=wrong-password"),
            "snmp_priv_passwd",
        ),
        (format!("{v3}snmp_priv_prot=DES"), "snmp_priv_passwd"),
        (
            format!("{v3}snmp_sec_level=authNoPriv"),
            "authorizationError",
        ),
        (user(AUTH_USER, "SHA", "AES"), "security level"),
    ];
    let pdu = &pdu;
    // Some wait for a timeout, so they wait together.
    std::thread::scope(|scope| {
        for (more, reason) in &cases {
            for action in ["off", "status"] {
                let more = format!("{more}\nplug=3\nshell_timeout=5");
                scope.spawn(move || {
                    let (exit, stdout, stderr) = act(pdu, action, &more);
                    assert_eq!((exit, stdout.as_str()), (1, ""), "{more}");
                    assert!(stderr.contains(reason), "{more}: {stderr}");
                });
            }
        }
    });
    assert_eq!(pdu.power(3), Power::On);
    assert!(pdu.calls().is_empty(), "{:?}", pdu.calls());
}

#[test]
fn a_user_who_may_only_look_cannot_switch() {
    let pdu = SnmpPdu::start(APC_RPDU);
    for (more, reason) in [
        (format!("community={VIEWER_COMMUNITY}"), "refused to set"),
        (
            format!("community={VIEWER_COMMUNITY}\nsnmp_version=2c"),
            "noAccess",
        ),
        (user(VIEWER, "SHA", "AES"), "noAccess"),
    ] {
        let more = format!("{more}\nplug=3");
        assert_eq!(act(&pdu, "status", &more).0, 0);
        let (exit, _, stderr) = act(&pdu, "off", &more);
        assert_eq!(exit, 1);
        assert!(stderr.contains(reason), "{stderr}");
        assert_eq!(pdu.power(3), Power::On);
    }
}

#[test]
fn outlets_that_stick_or_refuse_are_failures_that_say_so() {
    let pdu = SnmpPdu::start(APC_RPDU);
    pdu.set_outlets(Outlets::Stick);
    let (exit, _, stderr) = act(&pdu, "off", "plug=3\npower_timeout=0.3");
    assert_eq!(exit, 1);
    assert!(
        stderr.contains("Timed out waiting to power OFF: outlet 3 is on"),
        "{stderr}"
    );
    pdu.set_outlets(Outlets::Refuse);
    let (exit, _, stderr) = act(&pdu, "off", "plug=3\nsnmp_version=2c");
    assert_eq!(exit, 1);
    assert!(
        stderr.contains("refused to set") && stderr.contains("notWritable"),
        "{stderr}"
    );
}

#[test]
fn an_outlet_that_does_not_exist_is_never_off() {
    let pdu = SnmpPdu::start(APC_RPDU);
    for version in ["1", "2c"] {
        for action in ["off", "status", "monitor"] {
            let more = format!("plug=3,99\nsnmp_version={version}");
            let (exit, _, stderr) = act(&pdu, action, &more);
            assert_eq!(exit, 1);
            assert!(
                stderr.contains("has no object") && stderr.contains(".99"),
                "{stderr}"
            );
        }
    }
    assert_eq!(pdu.power(3), Power::On);
}

#[test]
fn a_pdu_that_is_gone_is_a_failure_not_off() {
    let mut pdu = SnmpPdu::start(APC_RPDU);
    pdu.kill();
    let v3 = user("sha-aes", "SHA", "AES");
    for access in ["snmp_version=1", "snmp_version=2c", &v3] {
        for action in ["off", "on", "reboot", "status", "monitor", "list"] {
            let more = format!("plug=3\n{access}\nshell_timeout=0.3\nlogin_timeout=0.3");
            let (exit, _, stderr) = act(&pdu, action, &more);
            assert_eq!(exit, 1, "{action}");
            assert!(stderr.contains("no answer"), "{action}: {stderr}");
        }
    }
}

#[test]
fn monitor_is_about_the_pdu_not_about_the_machine() {
    let pdu = SnmpPdu::start(APC_RPDU);
    pdu.set_power(3, Power::Off);
    assert_eq!(
        act(&pdu, "monitor", "plug=3"),
        (0, String::new(), String::new())
    );
    assert_eq!(act(&pdu, "monitor", ""), (0, String::new(), String::new()));
}

#[test]
fn a_pdu_without_a_table_of_names_must_still_answer_to_be_there() {
    let mut pdu = SnmpPdu::start(HOMEMADE);
    let described = described(&HOMEMADE);
    let nameless = described.split("outlet_name_oid").next().unwrap();
    assert_eq!(act(&pdu, "monitor", nameless).0, 0);
    assert_eq!(act(&pdu, "list", nameless).1, "N/A\n");
    let (exit, _, stderr) = act(&pdu, "off", &format!("{nameless}plug=node3"));
    assert_eq!(exit, 1);
    assert!(stderr.contains("no outlet_name_oid"), "{stderr}");
    // Taken for what it is not: the monitor says so before anybody needs it.
    let (exit, _, stderr) = act(&pdu, "monitor", "");
    assert_eq!(exit, 1);
    assert!(
        stderr.contains("lists no outlets") && stderr.contains("apc-switch"),
        "{stderr}"
    );
    pdu.kill();
    let gone = format!("{nameless}shell_timeout=0.2\nlogin_timeout=0.2");
    for action in ["monitor", "list"] {
        let (exit, _, stderr) = act(&pdu, action, &gone);
        assert_eq!(exit, 1, "{action}");
        assert!(stderr.contains("no answer"), "{action}: {stderr}");
    }
}

#[test]
fn two_outlets_of_one_name_and_units_where_there_are_none_are_refused() {
    let pdu = SnmpPdu::start(APC_RPDU);
    pdu.set_name(2, "node1");
    for (plug, reason) in [
        ("node1", "several outlets called 'node1'"),
        ("2:3", "no units"),
    ] {
        let (exit, _, stderr) = act(&pdu, "off", &format!("plug={plug}"));
        assert_eq!(exit, 1);
        assert!(stderr.contains(reason), "{stderr}");
    }
    assert!(pdu.calls().is_empty());
    // As old configurations of fence_apc_snmp write it.
    assert_eq!(act(&pdu, "off", "plug=1:3").0, 0);
    assert_eq!(pdu.power(3), Power::Off);
}

#[test]
fn a_name_cannot_make_up_columns_or_lines_of_a_list() {
    let pdu = SnmpPdu::start(APC_RPDU);
    pdu.set_name(1, "a,ON\u{1}b");
    let (_, stdout, _) = act(&pdu, "list-status", "");
    assert_eq!(stdout.lines().next(), Some("1,a ON b,ON"));
    assert_eq!(stdout.lines().count(), 8);
}

#[test]
fn the_command_line_works_as_with_fence_apc_snmp() {
    let pdu = SnmpPdu::start(APC_RPDU);
    let port = pdu.port().to_string();
    let arguments = [
        "-a",
        "127.0.0.1",
        "-u",
        &port,
        "-d",
        "3",
        "-l",
        "sha-aes",
        "-b",
        "SHA",
        "-p",
        PASSWORD,
        "-E",
        "authPriv",
        "-B",
        "AES",
        "-P",
        PRIV_PASSWORD,
        "-n",
        "3",
        "-o",
        "status",
    ];
    let output = run(&fence_haft_pdu(), &arguments, "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("visible to every user"));
    assert!(!text(&output.stderr).contains("canary"));
}
