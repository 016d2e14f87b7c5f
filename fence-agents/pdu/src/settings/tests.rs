//! Options become settings, or a refusal that names what is wrong and no secret.

use super::*;
use crate::outlets::ROWS;
use crate::spec::AGENT;
use haft_fence_protocol::agent::options::Kind;
use haft_fence_protocol::agent::read_stdin;

fn settings(text: &str) -> Result<Settings, SettingsError> {
    Settings::read(&read_stdin(&AGENT, text.as_bytes()).ok().unwrap())
}

fn refusal(text: &str) -> String {
    settings(text)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn defaults_are_those_of_the_metadata() {
    let read = settings("ip=10.0.0.1").ok().unwrap();
    assert_eq!((read.host.as_str(), read.port), ("10.0.0.1", 161));
    assert!(
        matches!(&read.access, Access::Community(Version::V1, secret) if secret.expose() == "private")
    );
    assert!(read.plugs.is_empty());
    assert!(matches!(read.need_plug(), Err(SettingsError::NoPlug)));
    assert_eq!(read.kind, PduChoice::Ask);
    assert_eq!(read.off_pace.read_spacing, Duration::from_millis(50));
    assert_eq!(read.off_pace.change_timeout, Duration::from_secs(20));
    assert_eq!(
        (read.off_pace.commands_max, read.on_pace.commands_max),
        (1, 1)
    );
    for (name, value) in [
        ("ipport", "161"),
        ("timeout", "60"),
        ("login_timeout", "5"),
        ("shell_timeout", "3"),
        ("power_timeout", "20"),
        ("power_wait", "0"),
        ("off_read_interval_ms", "50"),
        ("retry_interval_ms", "500"),
        ("snmp_version", "1"),
        ("community", "private"),
        ("snmp_auth_prot", "MD5"),
        ("snmp_priv_prot", "DES"),
        ("separator", ","),
        ("plug_separator", ","),
        ("pdu", "auto"),
    ] {
        assert_eq!(AGENT.option(name).unwrap().default, Some(value), "{name}");
    }
}

#[test]
fn the_names_of_fence_apc_snmp_work() {
    let text = "ipaddr=h\nlogin=fencer\npasswd=maplesyrup\nport=node7\nsnmp_version=3\nsnmp_auth_prot=SHA\n\
                snmp_priv_prot=AES\nsnmp_priv_passwd=maplesyrup\nsnmp_sec_level=authPriv\npower_wait=4\n\
                snmpget_path=/usr/bin/snmpget\nswitch=2\nretry_on=3\ninet4_only=1";
    let read = settings(text).ok().unwrap();
    assert_eq!(read.plugs, [Plug::Name("node7".to_owned())]);
    assert_eq!((read.unit, read.on_pace.commands_max), (Some(2), 3));
    assert_eq!(read.off_pace.wait, Duration::from_secs(4));
    assert!(
        matches!(&read.access, Access::User(name, Protection::AuthPriv(auth, privacy))
        if name == "fencer" && auth.protocol == AuthProtocol::Sha1 && privacy.protocol == PrivProtocol::Aes128)
    );
}

#[test]
fn a_pass_phrase_is_used_when_no_level_is_given() {
    let v3 = "ip=h\nsnmp_version=3\nusername=u\n";
    let level = |more: &str| match settings(&format!("{v3}{more}")).ok().unwrap().access {
        Access::Community(..) => "community",
        Access::User(_, Protection::None) => "none",
        Access::User(_, Protection::Auth(_)) => "auth",
        Access::User(_, Protection::AuthPriv(..)) => "priv",
    };
    assert_eq!(level(""), "none");
    assert_eq!(level("password=maplesyrup"), "auth");
    assert_eq!(
        level("password=maplesyrup\nsnmp_priv_passwd=maplesyrup"),
        "priv"
    );
    assert_eq!(
        level("password=maplesyrup\nsnmp_sec_level=noauthnopriv"),
        "none"
    );
}

#[test]
fn several_plugs_are_taken_apart_and_repetitions_dropped() {
    let plugs = |text: &str| settings(&format!("ip=h\n{text}")).ok().unwrap().plugs;
    let number = |plug| Plug::Number { unit: None, plug };
    assert_eq!(plugs("plug=3,7"), [number(3), number(7)]);
    assert_eq!(plugs("plug=3, 7,3,,"), [number(3), number(7)]);
    assert_eq!(
        plugs("plug=3 7\nplug_separator=\" \""),
        [number(3), number(7)]
    );
    assert_eq!(
        plugs("plug=3;1:7\nplug_separator=;"),
        [
            number(3),
            Plug::Number {
                unit: Some(1),
                plug: 7
            }
        ]
    );
    let many: Vec<_> = (1..=17).map(|plug| plug.to_string()).collect();
    assert!(refusal(&format!("ip=h\nplug={}", many.join(","))).contains("more than 16"));
}

#[test]
fn what_is_missing_or_wrong_is_refused_by_name() {
    for (text, word) in [
        ("plug=1", "set ip"),
        ("ip=h\nsnmp_version=4", "snmp_version"),
        ("ip=h\nsnmp_version=3", "username"),
        (
            "ip=h\nsnmp_version=3\nusername=123456789012345678901234567890123",
            "username",
        ),
        (
            "ip=h\nsnmp_version=3\nusername=u\nsnmp_sec_level=authNoPriv",
            "needs password",
        ),
        (
            "ip=h\nsnmp_version=3\nusername=u\nsnmp_sec_level=secret",
            "snmp_sec_level",
        ),
        (
            "ip=h\nsnmp_version=3\nusername=u\npassword=maplesyrup\nsnmp_sec_level=authPriv",
            "needs snmp_priv_passwd",
        ),
        (
            "ip=h\nsnmp_version=3\nusername=u\npassword=maple",
            "password is shorter",
        ),
        (
            "ip=h\nsnmp_version=3\nusername=u\npassword=maplesyrup\nsnmp_auth_prot=SHA3",
            "snmp_auth_prot",
        ),
        (
            "ip=h\nsnmp_version=3\nusername=u\npassword=maplesyrup\nsnmp_priv_passwd=maplesyrup\nsnmp_priv_prot=3DES",
            "snmp_priv_prot",
        ),
        ("ip=h\nipport=65536", "ipport"),
        ("ip=h\nswitch=x", "switch"),
        ("ip=h\ncommunity=a\ncommunity_file=/b", "only one"),
        ("ip=h\ncommunity_file=/nonexistent", "/nonexistent"),
        ("ip=h\npdu=apc", "apc-rpdu"),
    ] {
        assert!(refusal(text).contains(word), "{text}: {}", refusal(text));
    }
}

#[test]
fn no_refusal_repeats_a_secret() {
    for text in [
        "ip=h\nsnmp_version=3\nusername=u\npassword=canary",
        "ip=h\nsnmp_version=3\nusername=u\npassword=canary-canary\nsnmp_priv_passwd=canary",
        "ip=h\ncommunity=canary\ncommunity_script=/x",
    ] {
        let said = refusal(text);
        assert!(!said.is_empty() && !said.contains("canary"), "{said}");
    }
}

#[test]
fn secrets_come_from_files_closed_to_others_and_from_programs() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("community");
    std::fs::write(&path, "canary\nsecond line\n").unwrap();
    let text = format!("ip=h\ncommunity_file={}", path.display());
    let chmod =
        |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o640);
    assert!(refusal(&text).contains("open to others"));
    chmod(0o600);
    let community = |text: &str| match settings(text).ok().unwrap().access {
        Access::Community(_, secret) => secret.expose().to_owned(),
        Access::User(..) => String::new(),
    };
    assert_eq!(community(&text), "canary");
    // `uname` without arguments prints the one word that Linux is known by.
    assert_eq!(community("ip=h\ncommunity_script=/bin/uname"), "Linux");
    assert!(refusal("ip=h\ncommunity_script=/bin/false").contains("community_script"));
}

const DESCRIBED: &str = "ip=h\noutlet_status_oid=1.3.6.1.4.1.9.1.{plug}\noutlet_status_on=1\noutlet_status_off=2\n\
                         outlet_control_oid=1.3.6.1.4.1.9.2.{plug}\noutlet_command_on=1\noutlet_command_off=0\n";

#[test]
fn a_description_is_complete_or_refused() {
    let PduChoice::Known(described) = settings(DESCRIBED).ok().unwrap().kind else {
        panic!("the description was not taken");
    };
    assert_eq!((described.says_on, described.says_off), (1, 2));
    assert_eq!((described.on.value, described.off.value), (1, 0));
    assert_eq!(described.on.object, described.off.object);
    for line in DESCRIBED.lines().skip(1) {
        let without = DESCRIBED.replace(line, "");
        let name = line.split('=').next().unwrap();
        assert!(
            refusal(&without).contains(name),
            "{name}: {}",
            refusal(&without)
        );
    }
    for (more, word) in [
        ("outlet_status_off=1", "outlet_status_off must differ"),
        ("outlet_command_off=1", "outlet_command_off must differ"),
        ("outlet_status_on=on", "outlet_status_on"),
        ("outlet_status_on=4294967296", "outlet_status_on"),
        ("outlet_status_oid=1.3.6.1", "{plug}"),
        ("outlet_name_oid=1.3.x", "outlet_name_oid"),
        ("pdu=apc-rpdu", "not both"),
    ] {
        let text = format!("{DESCRIBED}{more}");
        assert!(refusal(&text).contains(word), "{more}: {}", refusal(&text));
    }
}

#[test]
fn metadata_lists_the_rows_of_the_table() {
    let Kind::Select(words) = AGENT.option("pdu").unwrap().kind else {
        panic!("pdu is a choice");
    };
    let rows: Vec<_> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(words[0], "auto");
    assert_eq!(words[1..], rows);
    for row in rows {
        let choice = settings(&format!("ip=h\npdu={row}")).ok().unwrap().kind;
        assert!(matches!(choice, PduChoice::Known(known) if known.name == row));
    }
}
