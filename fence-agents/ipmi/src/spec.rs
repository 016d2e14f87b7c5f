//! The option table of `fence_haft_ipmi`, with the names of `fence_ipmilan` 4.12.
//!
//! A configuration written for `fence_ipmilan` works here unchanged, except where doing what it says
//! would be unsafe (`method=cycle`, `target`), which is refused. Options that only make sense for a
//! wrapper around ipmitool are unknown here, hence warned about and ignored. Values are checked in
//! [`crate::settings`].

use haft_fence_protocol::agent::options::{ActionSpec, AgentSpec, Kind, Need, OptionSpec};
use haft_fence_protocol::agent::report::FIRST_OFF_READ_OPTION;

const fn option(name: &'static str, kind: Kind, summary: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        old_name: None,
        letter: None,
        value_word: "value",
        kind,
        default: None,
        need: Need::Optional,
        summary,
    }
}

const fn seconds(name: &'static str, default: &'static str, summary: &'static str) -> OptionSpec {
    OptionSpec {
        value_word: "seconds",
        default: Some(default),
        ..option(name, Kind::Seconds, summary)
    }
}

static OPTIONS: [OptionSpec; 37] = [
    OptionSpec {
        letter: Some('o'),
        value_word: "action",
        need: Need::Required,
        ..option(
            "action",
            Kind::Text,
            "Fencing action; there is no default, a missing action is an error",
        )
    },
    OptionSpec {
        old_name: Some("ipaddr"),
        letter: Some('a'),
        value_word: "ip",
        ..option("ip", Kind::Text, "IP address or hostname of the BMC")
    },
    OptionSpec {
        letter: Some('u'),
        value_word: "port",
        default: Some("623"),
        ..option("ipport", Kind::Integer, "UDP port of the BMC")
    },
    OptionSpec {
        old_name: Some("login"),
        letter: Some('l'),
        value_word: "name",
        ..option("username", Kind::Text, "Login name")
    },
    OptionSpec {
        old_name: Some("passwd"),
        letter: Some('p'),
        value_word: "password",
        ..option("password", Kind::Secret, "Login password")
    },
    OptionSpec {
        value_word: "file",
        ..option(
            "password_file",
            Kind::Text,
            "File whose first line is the password; must not be readable by others",
        )
    },
    OptionSpec {
        old_name: Some("passwd_script"),
        letter: Some('S'),
        value_word: "script",
        ..option(
            "password_script",
            Kind::Text,
            "Program whose output is the password",
        )
    },
    OptionSpec {
        letter: Some('C'),
        value_word: "cipher",
        default: Some("3"),
        ..option("cipher", Kind::Select(&["3", "17"]), "Cipher suite")
    },
    OptionSpec {
        letter: Some('L'),
        value_word: "level",
        default: Some("administrator"),
        ..option(
            "privlvl",
            Kind::Select(&["callback", "user", "operator", "administrator"]),
            "Privilege level; operator suffices for power control",
        )
    },
    OptionSpec {
        letter: Some('P'),
        ..option("lanplus", Kind::Boolean, "Accepted; RMCP+ is always used")
    },
    OptionSpec {
        letter: Some('A'),
        value_word: "auth",
        ..option(
            "auth",
            Kind::Select(&["md5", "password", "none"]),
            "Accepted; means nothing to RMCP+",
        )
    },
    OptionSpec {
        value_word: "key",
        ..option(
            "hexadecimal_kg",
            Kind::Secret,
            "BMC key Kg in hexadecimal, when the BMC has one set",
        )
    },
    OptionSpec {
        letter: Some('m'),
        value_word: "method",
        default: Some("onoff"),
        ..option(
            "method",
            Kind::Select(&["onoff"]),
            "Off, verified, then on; cycle is refused because it reports early",
        )
    },
    OptionSpec {
        old_name: Some("port"),
        letter: Some('n'),
        value_word: "ip",
        ..option(
            "plug",
            Kind::Text,
            "Address of the BMC together with --port-as-ip; otherwise ignored",
        )
    },
    option("port_as_ip", Kind::Boolean, "Make plug an alias of ip"),
    OptionSpec {
        value_word: "targetaddress",
        ..option(
            "target",
            Kind::Text,
            "Refused: bridged requests are not supported",
        )
    },
    seconds("timeout", "60", "Time for the whole action"),
    seconds("login_timeout", "5", "Time to establish a session"),
    seconds("shell_timeout", "3", "Time for one command to be answered"),
    seconds(
        "power_timeout",
        "20",
        "Time for the power state to change after ON/OFF",
    ),
    seconds(
        "power_wait",
        "0",
        "Pause between ON/OFF and the first read of the power state",
    ),
    OptionSpec {
        value_word: "milliseconds",
        default: Some("10"),
        ..option(
            "off_read_interval_ms",
            Kind::Integer,
            "Pause between the two reads that prove off; while waiting it grows by a quarter each time, up to 200 ms",
        )
    },
    option(
        FIRST_OFF_READ_OPTION,
        Kind::Boolean,
        "Say on stdout at once when the first of these two reads has said off",
    ),
    OptionSpec {
        value_word: "milliseconds",
        default: Some("500"),
        ..option(
            "retry_interval_ms",
            Kind::Integer,
            "Wait before a lost packet is sent again; doubles up to 2 s",
        )
    },
    OptionSpec {
        value_word: "attempts",
        default: Some("1"),
        ..option("retry_on", Kind::Integer, "Count of attempts to power on")
    },
    OptionSpec {
        value_word: "policy",
        default: Some("keep"),
        ..option(
            "power_restore",
            Kind::Select(&["keep", "always-off", "previous", "always-on"]),
            "What the machine does when mains power returns; seen to at monitor and after off, keep only warns",
        )
    },
    seconds("delay", "0", "Pause before the action begins"),
    OptionSpec {
        value_word: "true/false",
        ..option(
            "disable_timeout",
            Kind::Text,
            "Accepted; timeouts always stay on",
        )
    },
    OptionSpec {
        value_word: "seconds",
        ..option(
            "stonith_status_sleep",
            Kind::Seconds,
            "Accepted; off_read_interval_ms is used",
        )
    },
    OptionSpec {
        value_word: "timeout",
        ..option(
            "ipmitool_timeout",
            Kind::Text,
            "Accepted; retry_interval_ms is used",
        )
    },
    OptionSpec {
        value_word: "path",
        ..option(
            "ipmitool_path",
            Kind::Text,
            "Accepted; ipmitool is not used",
        )
    },
    OptionSpec {
        value_word: "char",
        ..option(
            "plug_separator",
            Kind::Text,
            "Accepted; a BMC has one machine",
        )
    },
    OptionSpec {
        letter: Some('q'),
        ..option(
            "quiet",
            Kind::Boolean,
            "No warnings on stderr; the reason of a failure is always given",
        )
    },
    OptionSpec {
        letter: Some('v'),
        ..option("verbose", Kind::Boolean, "Tell the steps on stderr")
    },
    OptionSpec {
        value_word: "level",
        ..option(
            "verbose_level",
            Kind::Integer,
            "Accepted; there is one level",
        )
    },
    OptionSpec {
        letter: Some('V'),
        ..option(
            "version",
            Kind::Boolean,
            "Display version information and exit",
        )
    },
    OptionSpec {
        letter: Some('h'),
        ..option("help", Kind::Boolean, "Display help and exit")
    },
];

const fn action(name: &'static str) -> ActionSpec {
    ActionSpec {
        name,
        automatic: None,
    }
}

static ACTIONS: [ActionSpec; 7] = [
    ActionSpec {
        name: "on",
        automatic: Some("0"),
    },
    action("off"),
    action("reboot"),
    action("status"),
    action("monitor"),
    action("metadata"),
    action("validate-all"),
];

/// The agent's description. `list` is not among the actions, as with `fence_ipmilan`: a BMC cannot name
/// the machine that it belongs to, and Pacemaker would take an empty list for "fences nobody".
pub static AGENT: AgentSpec = AgentSpec {
    name: "fence_haft_ipmi",
    short: "haft's fence agent for IPMI 2.0",
    long: "fence_haft_ipmi powers machines off and on through their BMC with IPMI 2.0 (RMCP+) over UDP, \
           by itself, without ipmitool. Off is reported only after two spaced reads said off; power cycle \
           and hard reset are never used. An action must be given: a missing or malformed action line is an \
           error and never a reboot.",
    options: &OPTIONS,
    actions: &ACTIONS,
};
