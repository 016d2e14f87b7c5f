//! Options become settings, or a refusal that names what is wrong and no secret.

use super::*;
use crate::spec::AGENT;
use haft_fence_protocol::agent::read_stdin;
use std::os::unix::fs::PermissionsExt as _;

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
    assert_eq!((read.host.as_str(), read.port), ("10.0.0.1", 623));
    assert_eq!(
        (read.suite, read.privilege),
        (Suite::Three, Privilege::Administrator)
    );
    assert_eq!(read.off_pace.read_spacing, Duration::from_millis(10));
    assert_eq!(read.off_pace.change_timeout, Duration::from_secs(20));
    assert_eq!(
        (read.off_pace.commands_max, read.on_pace.commands_max),
        (1, 1)
    );
    for (name, value) in [
        ("ipport", "623"),
        ("timeout", "60"),
        ("login_timeout", "5"),
        ("shell_timeout", "3"),
        ("power_timeout", "20"),
        ("power_wait", "0"),
        ("off_read_interval_ms", "10"),
        ("retry_interval_ms", "500"),
        ("privlvl", "administrator"),
        ("cipher", "3"),
    ] {
        assert_eq!(AGENT.option(name).unwrap().default, Some(value), "{name}");
    }
}

#[test]
fn the_names_of_fence_ipmilan_work() {
    let text = "ipaddr=h\nlogin=admin\npasswd=p\nlanplus=1\nprivlvl=OPERATOR\nipport=9001\n\
                power_wait=4\ncipher=17\nauth=md5\nmethod=onoff\nplug=x\nipmitool_path=/usr/bin/ipmitool";
    let read = settings(text).ok().unwrap();
    assert_eq!(
        (read.host.as_str(), read.user.as_str(), read.port),
        ("h", "admin", 9001)
    );
    assert_eq!(
        (read.suite, read.privilege),
        (Suite::Seventeen, Privilege::Operator)
    );
    assert_eq!(read.off_pace.wait, Duration::from_secs(4));
    let read = settings("plug=b\nport-as-ip=yes").ok().unwrap();
    assert_eq!(read.host, "b");
}

#[test]
fn what_would_be_unsafe_is_refused_by_name() {
    assert!(refusal("ip=h\nmethod=cycle").contains("cycle"));
    assert!(refusal("ip=h\ntarget=0x82").contains("target"));
    assert!(refusal("username=a").contains("no address"));
    assert!(refusal("ip=h\ncipher=0").contains("cipher"));
    assert!(refusal("ip=h\nprivlvl=root").contains("privlvl"));
    assert!(refusal("ip=h\nipport=65536").contains("ipport"));
    assert!(refusal("ip=h\nlanplus=maybe").contains("lanplus"));
    assert!(refusal("ip=h\nusername=12345678901234567").contains("username"));
    assert!(refusal("ip=h\npassword=a\npassword_file=/b").contains("only one"));
}

#[test]
fn no_refusal_repeats_a_secret() {
    let secret = "canary-canary-canary-canary";
    for name in ["password", "hexadecimal_kg"] {
        let text = refusal(&format!("ip=h\n{name}={secret}"));
        assert!(
            !text.is_empty() && !text.contains("canary"),
            "{name}: {text}"
        );
    }
}

#[test]
fn the_bmc_key_is_hexadecimal() {
    let read = settings("ip=h\nhexadecimal_kg=0x00ff10").ok().unwrap();
    assert_eq!(read.bmc_key.unwrap().to_vec(), [0x00, 0xFF, 0x10]);
    for bad in [
        "f",
        "0g",
        "zz",
        "é1",
        "00112233445566778899aabbccddeeff0011223344",
    ] {
        assert!(
            refusal(&format!("ip=h\nhexadecimal_kg={bad}")).contains("hexadecimal"),
            "{bad}"
        );
    }
}

#[test]
fn a_password_file_must_be_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "canary\nsecond line\n").unwrap();
    let text = format!("ip=h\npassword_file={}", path.display());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refusal(&text).contains("open to others"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(settings(&text).ok().unwrap().password.expose(), "canary");
    assert!(refusal("ip=h\npassword_file=/nonexistent").contains("/nonexistent"));
}

#[test]
fn a_password_program_is_run_without_a_shell() {
    // `uname` without arguments prints the one word that Linux is known by.
    let read = settings("ip=h\npassword_script=/bin/uname").ok().unwrap();
    assert_eq!(read.password.expose(), "Linux");
    assert!(refusal("ip=h\npassword_script=/bin/false").contains("password_script"));
    assert!(refusal("ip=h\npassword_script=echo hello").contains("password_script"));
    assert!(refusal("ip=h\npassword_script=/bin/true").contains("empty"));
}
