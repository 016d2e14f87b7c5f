//! The options of the agent: what is taken, what is refused, and with which words.

use haft_fence_protocol::agent::read_stdin;

use super::*;
use crate::spec::AGENT;

fn read(lines: &str, action: Action) -> Result<Settings, SettingsError> {
    let input = read_stdin(&AGENT, lines.as_bytes()).unwrap();
    Settings::read(&input, action)
}

#[test]
fn a_configuration_of_fence_sbd_is_taken() {
    let lines = "devices=/dev/a, /dev/b,/dev/c\nplug=Node1\nmethod=onoff\npower_timeout=90\n\
                 sbd_path=/usr/sbin/sbd\nnodename=Node1\n";
    let settings = read(lines, Action::Off).unwrap();
    assert_eq!(settings.count, DiskCount::Three);
    assert_eq!(settings.disks[1], PathBuf::from("/dev/b"));
    assert_eq!(settings.node, SlotName::new("Node1").ok());
    assert_eq!(
        (settings.method, settings.off_pill),
        (Method::OnOff, Pill::Off)
    );
    assert_eq!(settings.plain_files, PlainFiles::Refuse);
    let old = read("device=/dev/a;/dev/b\nport=n\n", Action::Off).unwrap();
    assert_eq!(old.count, DiskCount::Two);
}

#[test]
fn what_cannot_be_right_is_refused_with_its_reason() {
    let many = "devices=/a,/b,/c,/d\nplug=n";
    let long = format!("devices=/a\nplug={}", "n".repeat(64));
    for (lines, reason) in [
        ("plug=n", "no SBD disk"),
        ("devices=,\nplug=n", "no SBD disk"),
        (many, "1 to 3 are possible"),
        ("devices=dev/a\nplug=n", "no absolute path"),
        ("devices=/a,/a\nplug=n", "given twice"),
        ("devices=/a", "no node given"),
        (long.as_str(), "does not fit"),
        ("devices=/a\nplug=a b", "white space"),
        ("devices=/a\nplug=n\nmethod=fast", "cycle or onoff"),
        ("devices=/a\nplug=n\noff_pill=test", "off_pill"),
        ("devices=/a\nplug=n\nio_timeout=0", "io_timeout"),
        ("devices=/a\nplug=n\nio_timeout=soon", "io_timeout"),
        ("devices=/a\nplug=n\nplain_files=yes", "plain_files"),
        ("devices=/a\nplug=n\ndelay=-1", "delay"),
    ] {
        let error = read(lines, Action::Off).unwrap_err().to_string();
        assert!(error.contains(reason), "{lines:?}: {error}");
    }
}

#[test]
fn only_actions_on_a_node_need_one() {
    for action in [Action::Monitor, Action::List, Action::ValidateAll] {
        assert!(read("devices=/a", action).is_ok(), "{action}");
    }
    for action in [Action::On, Action::Off, Action::Reboot, Action::Status] {
        assert_eq!(
            read("devices=/a", action).unwrap_err(),
            SettingsError::NoNode
        );
    }
}
