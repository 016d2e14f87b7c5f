//! The contract of fence agents (fence-agents doc/FenceAgentAPI.md, lib/metadata.rng), without a device.

use std::path::Path;

use crate::{fence_haft_ipmi, run, text};

/// Rewrites the golden when HAFT_UPDATE_GOLDEN is set; read the difference before committing it.
pub(crate) fn compare(golden: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("agents/golden")
        .join(golden);
    if std::env::var_os("HAFT_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        golden,
        now,
        "{} differs; HAFT_UPDATE_GOLDEN=1 rewrites it",
        path.display()
    );
}

#[test]
fn metadata_is_as_committed_whichever_way_it_is_asked_for() {
    let agent = fence_haft_ipmi();
    let first = run(&agent, &[], "action=metadata\n");
    assert_eq!(first.status.code(), Some(0));
    compare("fence_haft_ipmi.xml", &text(&first.stdout));
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
fn metadata_has_the_order_and_attributes_of_the_schema() {
    let xml = text(&run(&fence_haft_ipmi(), &[], "action=metadata\n").stdout);
    let order = [
        "<resource-agent ",
        "<longdesc>",
        "<vendor-url>",
        "<parameters>",
        "<actions>",
    ];
    let places: Vec<_> = order.map(|tag| xml.find(tag).unwrap()).into();
    assert!(places.is_sorted(), "{places:?}");
    let parameters: Vec<_> = xml.split("<parameter ").skip(1).collect();
    assert!(parameters.len() > 30);
    for parameter in parameters {
        for needed in [
            "name=\"",
            "unique=\"",
            "required=\"",
            "<getopt mixed=\"",
            "<content type=\"",
            "<shortdesc lang=\"en\">",
        ] {
            assert!(
                parameter.contains(needed),
                "{needed} is missing in <parameter {parameter}"
            );
        }
        let kind = parameter
            .split("<content type=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert!(
            ["string", "boolean", "integer", "second", "select"].contains(&kind),
            "{kind}"
        );
    }
}

#[test]
fn a_missing_or_malformed_action_is_refused_and_never_a_reboot() {
    let agent = fence_haft_ipmi();
    for stdin in [
        "",
        "ip=127.0.0.1\n",
        "  action = off\nip=127.0.0.1\n",
        "action=\n",
        "#action=off\n",
    ] {
        let output = run(&agent, &[], stdin);
        assert_eq!(output.status.code(), Some(1), "{stdin:?}");
        assert!(
            text(&output.stderr).contains("no action given"),
            "{stdin:?}"
        );
        assert!(output.stdout.is_empty(), "{stdin:?}");
    }
    for action in ["cycle", "diag", "offf"] {
        let output = run(&agent, &[], &format!("action={action}\nip=127.0.0.1\n"));
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("unrecognised action"));
    }
}

#[test]
fn validate_all_checks_parameters_and_touches_nothing() {
    let agent = fence_haft_ipmi();
    // A documentation address: a packet to it would never be answered.
    let output = run(
        &agent,
        &[],
        "action=validate-all\nip=192.0.2.1\nusername=a\n",
    );
    assert_eq!(output.status.code(), Some(0));
    for (line, reason) in [
        ("ip=h\ncipher=0", "cipher"),
        ("ip=h\nmethod=cycle", "cycle"),
        ("ip=h\ntarget=0x24", "target"),
        ("username=a", "no address"),
        ("ip=h\npower_timeout=soon", "power_timeout"),
    ] {
        let output = run(&agent, &[], &format!("action=validate-all\n{line}\n"));
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(
            text(&output.stderr).contains(reason),
            "{line}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn unknown_names_are_warned_about_without_their_values() {
    let agent = fence_haft_ipmi();
    let stdin = "action=validate-all\nip=h\npasword=canary\nnodename=n1\ncanary\n";
    let output = run(&agent, &[], stdin);
    assert_eq!(output.status.code(), Some(0));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("unknown option 'pasword'"), "{stderr}");
    assert!(
        !stderr.contains("canary") && !stderr.contains("nodename"),
        "{stderr}"
    );
    let quiet = run(&agent, &[], &format!("{stdin}quiet=1\n"));
    assert!(quiet.stderr.is_empty());
}

#[test]
fn help_and_version_work_without_a_device() {
    let agent = fence_haft_ipmi();
    let help = run(&agent, &["-h"], "");
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("--off-read-interval-ms=[milliseconds]"));
    let version = run(&agent, &["--version"], "");
    assert!(text(&version.stdout).starts_with("fence_haft_ipmi "));
    assert_eq!(run(&agent, &["--nonsense"], "").status.code(), Some(1));
}

#[test]
fn list_says_that_a_bmc_has_no_named_ports() {
    let output = run(&fence_haft_ipmi(), &[], "action=list\nip=192.0.2.1\n");
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), "N/A\n")
    );
}

#[test]
fn the_options_of_fence_ipmilan_are_known() {
    // Those that only tell how to run ipmitool through sudo, and debugging to a file, mean nothing here.
    let names = [
        "action",
        "auth",
        "cipher",
        "hexadecimal_kg",
        "ip",
        "ipaddr",
        "ipport",
        "lanplus",
        "login",
        "method",
        "passwd",
        "passwd_script",
        "password",
        "password_script",
        "plug",
        "port",
        "privlvl",
        "target",
        "username",
        "quiet",
        "verbose",
        "verbose_level",
        "version",
        "help",
        "plug_separator",
        "delay",
        "disable_timeout",
        "ipmitool_path",
        "login_timeout",
        "port_as_ip",
        "power_timeout",
        "power_wait",
        "shell_timeout",
        "stonith_status_sleep",
        "ipmitool_timeout",
        "retry_on",
    ];
    let xml = text(&run(&fence_haft_ipmi(), &[], "action=metadata\n").stdout);
    for name in names {
        assert!(
            xml.contains(&format!("<parameter name=\"{name}\"")),
            "{name}"
        );
    }
}
