//! What `fence_haft_pdu` shares with every fence agent, and its standing beside the field's `fence_apc_snmp`.
//!
//! The contract without a device; both agents against one and the same `snmpd`; and ours as haftd runs it.
//! Needs the Debian packages snmpd, snmp and fence-agents.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use haft_fence_protocol::Secret;
use haft_fence_protocol::caller::{
    AgentDirs, Deadline, DeviceLock, OffOrder, OffProof, OffVerdict, Parameter, Parameters,
    PowerReading, adopt_off, always, confirm_off, read_metadata, read_power, untold,
};
use haft_tests::ipmi_sim::Power;
use haft_tests::snmp_pdu::{
    APC_MSP, APC_RPDU, APC_SWITCH, COMMUNITY, Model, Outlets, PASSWORD, PRIV_PASSWORD, SnmpPdu,
    TRIPPLITE,
};

use crate::contract::compare;
use crate::{fence_haft_pdu, run, text};

fn stdin(stdin: &str) -> Output {
    run(&fence_haft_pdu(), &[], stdin)
}

#[test]
fn metadata_is_as_committed_whichever_way_it_is_asked_for() {
    let agent = fence_haft_pdu();
    let first = run(&agent, &[], "action=metadata\n");
    assert_eq!(first.status.code(), Some(0));
    compare("fence_haft_pdu.xml", &text(&first.stdout));
    for (arguments, stdin) in [
        (&["-o", "metadata"][..], ""),
        (&["--action=meta-data"], ""),
        (&[], "action=meta-data\nip=ignored\n"),
    ] {
        let output = run(&agent, arguments, stdin);
        assert_eq!(output.stdout, first.stdout, "{arguments:?}");
    }
}

#[test]
fn a_missing_or_malformed_action_is_refused_and_never_a_reboot() {
    for text_in in [
        "",
        "ip=127.0.0.1\nplug=1\n",
        "  action = off\nip=127.0.0.1\nplug=1\n",
        "action=\n",
        "#action=off\n",
    ] {
        let output = stdin(text_in);
        assert_eq!(output.status.code(), Some(1), "{text_in:?}");
        assert!(
            text(&output.stderr).contains("no action given"),
            "{text_in:?}"
        );
        assert!(output.stdout.is_empty(), "{text_in:?}");
    }
    for action in ["cycle", "diag", "offf"] {
        let output = stdin(&format!("action={action}\nip=127.0.0.1\nplug=1\n"));
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("unrecognised action"));
    }
}

#[test]
fn validate_all_checks_parameters_and_touches_nothing() {
    // A documentation address: a packet to it would never be answered.
    let output = stdin("action=validate-all\nip=192.0.2.1\nplug=1\n");
    assert_eq!(output.status.code(), Some(0));
    for (line, reason) in [
        ("plug=1", "set ip"),
        ("ip=h\nsnmp_version=4", "snmp_version"),
        ("ip=h\npdu=nobodys", "apc-rpdu"),
        ("ip=h\npower_timeout=soon", "power_timeout"),
        ("ip=h\noutlet_status_oid=1.3.6", "{plug}"),
    ] {
        let output = stdin(&format!("action=validate-all\n{line}\n"));
        assert_eq!(output.status.code(), Some(1), "{line}");
        let said = text(&output.stderr);
        assert!(said.contains(reason), "{line}: {said}");
    }
}

#[test]
fn unknown_names_are_warned_about_without_their_values() {
    let lines = "action=validate-all\nip=h\npasword=canary\nnodename=n1\ncanary\n";
    let output = stdin(lines);
    assert_eq!(output.status.code(), Some(0));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("unknown option 'pasword'"), "{stderr}");
    assert!(
        !stderr.contains("canary") && !stderr.contains("nodename"),
        "{stderr}"
    );
    assert!(stdin(&format!("{lines}quiet=1\n")).stderr.is_empty());
}

#[test]
fn the_options_of_fence_apc_snmp_are_known() {
    // Debugging to a file is the only one that means nothing here.
    let names = [
        "action",
        "community",
        "ip",
        "ipaddr",
        "ipport",
        "login",
        "passwd",
        "passwd_script",
        "password",
        "password_script",
        "plug",
        "port",
        "snmp_auth_prot",
        "snmp_priv_passwd",
        "snmp_priv_passwd_script",
        "snmp_priv_prot",
        "snmp_sec_level",
        "snmp_version",
        "username",
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
        "snmpget_path",
        "snmpset_path",
        "snmpwalk_path",
    ];
    let xml = text(&stdin("action=metadata\n").stdout);
    for name in names {
        assert!(
            xml.contains(&format!("<parameter name=\"{name}\"")),
            "{name}"
        );
    }
}

/// The field's agent.
fn fence_apc_snmp() -> PathBuf {
    for (program, package) in [
        ("/usr/sbin/fence_apc_snmp", "fence-agents"),
        ("/usr/bin/snmpget", "snmp"),
    ] {
        let found = PathBuf::from(program).exists();
        assert!(
            found,
            "{program} is not installed (Debian package {package})"
        );
    }
    PathBuf::from("/usr/sbin/fence_apc_snmp")
}

/// What an agent did, in words that both must share: exit code and stdout.
fn outcome(agent: &PathBuf, pdu: &SnmpPdu, action: &str, more: &str) -> (Option<i32>, String) {
    let lines = format!(
        "action={action}\nipaddr=127.0.0.1\nipport={}\ncommunity={COMMUNITY}\npower_timeout=2\n{more}\n",
        pdu.port()
    );
    let output = run(agent, &[], &lines);
    (output.status.code(), text(&output.stdout))
}

/// Tells both agents the same, step by step, each at a PDU of its own.
fn both_agree(model: Model, steps: &[(&str, &str)]) {
    let agents = [fence_apc_snmp(), fence_haft_pdu()];
    let pdus = [SnmpPdu::start(model), SnmpPdu::start(model)];
    for (action, more) in steps {
        let [theirs, ours] = [0, 1].map(|side| {
            if *action == "stick" {
                pdus[side].set_outlets(Outlets::Stick);
                return (None, Vec::new(), Vec::new());
            }
            let (exit, stdout) = outcome(&agents[side], &pdus[side], action, more);
            // A list is unordered: the field's agents print a dictionary.
            let mut lines: Vec<_> = stdout.lines().map(str::to_owned).collect();
            lines.sort();
            let powers: Vec<_> = (1..=8).map(|outlet| pdus[side].power(outlet)).collect();
            (exit, lines, powers)
        });
        assert_eq!(
            theirs, ours,
            "{} {action} {more}: theirs, ours",
            model.identity
        );
    }
}

#[test]
fn both_agents_agree_about_one_outlet_of_every_kind_of_pdu() {
    let (number, name) = ("port=3", "port=node3");
    let whole = [
        ("list", ""),
        ("status", number),
        ("off", number),
        ("off", number),
        ("status", number),
        ("on", name),
        ("reboot", name),
        ("monitor", number),
        ("stick", ""),
        ("off", number),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| both_agree(APC_RPDU, &whole));
        for model in [APC_MSP, APC_SWITCH, TRIPPLITE] {
            scope
                .spawn(move || both_agree(model, &[("list", ""), ("off", number), ("on", number)]));
        }
    });
}

#[test]
fn both_agents_agree_over_snmp_v3() {
    let v3 = |more: &str| {
        format!(
            "port=3\nsnmp_version=3\nlogin=sha-aes\npasswd={PASSWORD}\nsnmp_priv_passwd={PRIV_PASSWORD}\n{more}"
        )
    };
    let (told, level) = (
        "snmp_auth_prot=SHA\nsnmp_priv_prot=AES",
        "snmp_sec_level=authPriv",
    );
    both_agree(
        APC_RPDU,
        &[
            ("off", &v3(&format!("{told}\n{level}"))),
            ("status", &v3(told)),
            ("status", &v3(&format!("{told}\npasswd=wrong-password"))),
            // Neither is told protocols: both take MD5 and DES.
            ("on", &v3("login=md5-des")),
        ],
    );
}

#[test]
fn where_fence_apc_snmp_takes_a_pending_outlet_for_off_ours_does_not() {
    let theirs = fence_apc_snmp();
    let pdu = SnmpPdu::start(APC_RPDU);
    pdu.set_state(3, 3);
    assert_eq!(outcome(&theirs, &pdu, "status", "port=3").0, Some(2));
    assert_eq!(
        outcome(&fence_haft_pdu(), &pdu, "status", "port=3").0,
        Some(1)
    );
}

#[test]
fn where_fence_apc_snmp_asks_the_first_of_two_outlets_twice_ours_asks_both() {
    let theirs = fence_apc_snmp();
    let pdu = SnmpPdu::start(APC_RPDU);
    pdu.set_power(3, Power::Off);
    assert_eq!(
        outcome(&theirs, &pdu, "off", "port=3,7"),
        (Some(0), "Success: Already OFF\n".to_owned())
    );
    assert_eq!(pdu.power(7), Power::On, "fenced in its words, and running");
    assert_eq!(
        outcome(&fence_haft_pdu(), &pdu, "off", "port=3,7").1,
        "Success: Powered OFF\n"
    );
    assert_eq!(pdu.power(7), Power::Off);
}

#[tokio::test]
async fn off_is_confirmed_and_adopted_as_haftd_does_it() {
    let pdu = SnmpPdu::start(APC_RPDU);
    let agent = AgentDirs::default()
        .find(fence_haft_pdu().to_str().unwrap())
        .unwrap();
    let proof = OffProof::for_agent(&agent);
    assert_eq!(proof, OffProof::AgentReadsTwice);
    let port = pdu.port().to_string();
    let mut list: Vec<Parameter> = [
        ("ip", "127.0.0.1"),
        ("ipport", &port),
        ("plug", "3,7"),
        ("nodename", "n1"),
    ]
    .iter()
    .map(|(name, value)| Parameter::plain(name, value).unwrap())
    .collect();
    list.push(Parameter::secret("community", Secret::new(COMMUNITY.to_owned())).unwrap());
    let parameters = Parameters::new(list).unwrap();
    let deadline = Deadline::within(Duration::from_secs(60));
    let mut turn = DeviceLock::new().turn(deadline).await.unwrap();
    let metadata = read_metadata(&mut turn, &agent, deadline).await.unwrap();
    assert_eq!(metadata.host_argument.as_deref(), Some("plug"));
    pdu.set_power(3, Power::Off);
    let reading = read_power(&mut turn, &agent, &parameters, deadline).await;
    assert_eq!(reading, PowerReading::On);
    let order = OffOrder {
        agent: &agent,
        parameters: &parameters,
        proof,
        deadline,
        stands: &always,
        first_off_read: &untold,
    };
    let verdict = confirm_off(&mut turn, &order).await;
    assert!(
        matches!(verdict, OffVerdict::Confirmed { .. }),
        "{verdict:?}"
    );
    assert_eq!((pdu.power(3), pdu.power(7)), (Power::Off, Power::Off));
    let verdict = adopt_off(&mut turn, &order).await;
    assert!(
        matches!(verdict, OffVerdict::Confirmed { .. }),
        "{verdict:?}"
    );
    assert_eq!(
        pdu.calls().iter().filter(|call| *call == "off 7").count(),
        1
    );
}
