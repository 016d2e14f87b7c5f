//! Every program that Rust code starts is installed by the script that runs that code.
//!
//! A machine that has built haft for long has all of them; a fresh one does not. Read from the
//! text: literals given to `Command::new` and its like must be known, and every word of
//! [`ELSEWHERE`] that a literal is, or begins a command of shell text with, must stand in a
//! `scripts/need` line. A name that is put together at run time is not seen; `scripts/fresh-root`
//! sees it.

use crate::tree::{Source, none, root, sources};
use std::collections::BTreeSet;
use std::fs;

/// Programs of Debian's essential and required packages (and our own): there on every machine.
const EVERYWHERE: &[&str] = &[
    "/proc/self/exe",
    "blockdev",
    "cat",
    "cp",
    "fence_haft_ipmi",
    "fence_haft_pdu",
    "fence_haft_sbd",
    "fsfreeze",
    "haft-agent",
    "haftctl",
    "haftd",
    "hostname",
    "mount",
    "sh",
    "umount",
    "unshare",
];

/// Programs that a bare Debian (debootstrap's `minbase`) lacks and that tests reach for. Not `make`
/// and `openssl`, which are words of messages, too.
const ELSEWHERE: &[&str] = &[
    "arping",
    "brctl",
    "bridge",
    "bpftool",
    "busybox",
    "cibadmin",
    "clang",
    "conntrack",
    "corosync",
    "corosync-quorumtool",
    "crm_attribute",
    "crm_mon",
    "crm_resource",
    "curl",
    "dmsetup",
    "ethtool",
    "fence_dummy",
    "fence_ipmilan",
    "fence_sbd",
    "git",
    "ip",
    "ipmi_sim",
    "ipmitool",
    "jq",
    "keepalived",
    "kill",
    "modprobe",
    "nc",
    "nft",
    "pacemakerd",
    "perl",
    "pgrep",
    "ping",
    "pkill",
    "ps",
    "python3",
    "sbd",
    "snmpd",
    "snmpget",
    "snmpset",
    "socat",
    "ss",
    "stonith_admin",
    "strace",
    "sudo",
    "sysctl",
    "tc",
    "tcpdump",
    "top",
    "wget",
    "xxd",
];

/// What is followed by the name of a program as a literal.
const CALLS: &[&str] = &[
    "Command::new(\"",
    ".command(\"",
    " said(\"",
    " find(\"",
    "find_program(\"",
    "Enter::Machine, \"",
    "Enter::Network, \"",
];

/// A script, the folders or files whose code it runs, and those of them that it does not.
struct Runs {
    script: &'static str,
    code: &'static [&'static str],
    not: &'static [&'static str],
    /// Whether shell text is run here; the virtual machines' is run in a guest with busybox.
    shell: Shell,
}

#[derive(PartialEq, Eq)]
enum Shell {
    Here,
    InAGuest,
}

const SCRIPTS: &[Runs] = &[
    Runs {
        script: "scripts/test",
        code: &["src/", "fence-agents/", "tests/"],
        not: &[
            "tests/vm/src/",
            "tests/bench/",
            "tests/pacemaker/cluster.rs",
            "src/agent/benches/",
        ],
        shell: Shell::Here,
    },
    Runs {
        script: "scripts/demo",
        code: &["tests/lab/src/"],
        not: &[
            "tests/lab/src/check",
            "tests/lab/src/keepalived",
            "tests/lab/src/bench",
        ],
        shell: Shell::Here,
    },
    Runs {
        script: "scripts/test-mixtures",
        code: &["tests/lab/src/"],
        not: &[
            "tests/lab/src/check",
            "tests/lab/src/keepalived",
            "tests/lab/src/bench",
        ],
        shell: Shell::Here,
    },
    Runs {
        script: "scripts/test-calm",
        code: &["tests/lab/src/"],
        not: &[
            "tests/lab/src/check",
            "tests/lab/src/keepalived",
            "tests/lab/src/bench",
        ],
        shell: Shell::Here,
    },
    Runs {
        script: "scripts/bench-failover",
        code: &["tests/lab/src/"],
        not: &["tests/lab/src/check"],
        shell: Shell::Here,
    },
    Runs {
        script: "scripts/bench-fence",
        code: &["tests/bench/", "tests/support/ipmi_sim.rs"],
        not: &[],
        shell: Shell::Here,
    },
    Runs {
        script: "scripts/bench-gate",
        code: &["src/agent/benches/"],
        not: &[],
        shell: Shell::Here,
    },
    Runs {
        script: "scripts/test-pacemaker",
        code: &[
            "tests/pacemaker/cluster.rs",
            "tests/support/jail.rs",
            "tests/support/ipmi_sim.rs",
        ],
        not: &[],
        shell: Shell::Here,
    },
    Runs {
        script: "scripts/test-vm",
        code: &["tests/vm/src/", "tests/lab/src/"],
        not: &[
            "tests/lab/src/check",
            "tests/lab/src/keepalived",
            "tests/lab/src/bench",
            "tests/vm/src/qmp.rs",
        ],
        shell: Shell::InAGuest,
    },
    Runs {
        script: "scripts/test-gate",
        code: &[
            "tests/vm/src/trial.rs",
            "tests/vm/src/sleep.rs",
            "tests/vm/src/image.rs",
            "tests/vm/src/stock.rs",
        ],
        not: &[],
        shell: Shell::InAGuest,
    },
];

impl Runs {
    fn includes(&self, path: &str) -> bool {
        let starts = |folder: &&str| path.starts_with(*folder);
        self.code.iter().any(starts) && !self.not.iter().any(starts)
    }

    /// The programs of its `scripts/need` lines.
    fn installs(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(root().join(self.script)).unwrap();
        let text = text.replace("\\\n", " ");
        text.lines()
            .filter_map(|line| line.trim().strip_prefix("scripts/need "))
            .flat_map(|pairs| pairs.split_whitespace())
            .filter_map(|pair| Some(pair.split_once(':')?.0.to_owned()))
            .collect()
    }
}

/// Names that stand as a literal where a program's name is wanted.
fn called(line: &str) -> Vec<&str> {
    let after = |call: &&str| {
        let at = line.find(*call)? + call.len();
        line[at..].split('"').next()
    };
    CALLS.iter().filter_map(after).collect()
}

/// Words of [`ELSEWHERE`] that are the whole of a literal, or begin a command in one.
fn mentioned(line: &str) -> Vec<&str> {
    let literals = line.split('"').skip(1).step_by(2);
    // A line of a longer text has no quotes around it.
    let whole = if line.contains('"') { None } else { Some(line) };
    literals
        .chain(whole)
        .flat_map(commands)
        .filter(|word| ELSEWHERE.contains(word))
        .collect()
}

fn commands(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.split([';', '|', '&', '(', '{', '`']);
    starts.filter_map(|command| {
        // `|| kill`, `if kill`, `VARIABLE=x sbd`, `$ ip`.
        command.split_whitespace().find(|word| {
            !word.contains('=')
                && !["if", "then", "do", "else", "exec", "!", "while"].contains(word)
        })
    })
}

fn missing(runs: &Runs, source: &Source) -> Vec<String> {
    let installs = runs.installs();
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        let mut names: BTreeSet<&str> = called(line).into_iter().collect();
        if runs.shell == Shell::Here {
            names.extend(mentioned(line));
        }
        for name in names {
            if !EVERYWHERE.contains(&name) && !installs.contains(name) {
                found.push(format!("{}:{}: {name}", source.path, number + 1));
            }
        }
    }
    found
}

#[test]
fn every_program_that_is_started_is_installed_by_the_script_that_starts_it() {
    let all = sources();
    let mut wrong = Vec::new();
    for runs in SCRIPTS {
        let own = all.iter().filter(|source| {
            runs.includes(&source.path) && !source.path.starts_with("tests/house/")
        });
        let lacks = own.flat_map(|source| missing(runs, source));
        wrong.extend(lacks.map(|finding| format!("{}: {finding}", runs.script)));
    }
    none(
        wrong,
        "PROGRAM:PACKAGE is missing from a script's scripts/need line",
    );
}

#[test]
fn programs_are_found_in_calls_and_in_shell_text() {
    assert_eq!(
        called(r#"let x = Command::new("frobnicate");"#),
        ["frobnicate"]
    );
    assert_eq!(called(r#"wire.owner.command("nft", line);"#), ["nft"]);
    assert_eq!(
        mentioned(r#"jail.sh("umask 077; crm_mon -1 | grep x");"#),
        ["crm_mon"]
    );
    assert_eq!(mentioned(r#"            "keepalived","#), ["keepalived"]);
    assert_eq!(
        mentioned("SBD_WATCHDOG_DEV=/dev/null sbd -R watch"),
        ["sbd"]
    );
    assert!(mentioned(r#"text.contains("the node sbd watches")"#).is_empty());
}
