//! The option table of `fence_haft_sbd`, with the names of `fence_sbd` 4.12.
//!
//! A configuration written for `fence_sbd` works here unchanged. Values are checked in
//! [`crate::settings`].

use haft_fence_protocol::agent::options::{ActionSpec, AgentSpec, Kind, Need, OptionSpec};

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

const fn flag(name: &'static str, letter: Option<char>, summary: &'static str) -> OptionSpec {
    OptionSpec {
        letter,
        ..option(name, Kind::Boolean, summary)
    }
}

static OPTIONS: [OptionSpec; 23] = [
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
        old_name: Some("device"),
        letter: Some('d'),
        value_word: "device_a,device_b",
        need: Need::Required,
        ..option(
            "devices",
            Kind::Text,
            "One to three SBD disks, separated by commas",
        )
    },
    OptionSpec {
        old_name: Some("port"),
        letter: Some('n'),
        value_word: "node",
        ..option("plug", Kind::Text, "Node name, as its slot is called")
    },
    OptionSpec {
        letter: Some('m'),
        value_word: "method",
        default: Some("cycle"),
        ..option(
            "method",
            Kind::Select(&["cycle", "onoff"]),
            "What reboot sends: cycle is a reset pill, onoff an off pill that is cleared again",
        )
    },
    OptionSpec {
        value_word: "pill",
        default: Some("off"),
        ..option(
            "off_pill",
            Kind::Select(&["off", "reset", "crashdump"]),
            "What the action off sends; after reset or crashdump the node returns by itself",
        )
    },
    seconds(
        "io_timeout",
        "3",
        "Time for one disk to answer; a disk that takes longer counts as hung",
    ),
    OptionSpec {
        value_word: "choice",
        default: Some("refuse"),
        ..option(
            "plain_files",
            Kind::Select(&["refuse", "direct", "buffered"]),
            "Whether a plain file may stand in for a disk (for trying things out on one machine)",
        )
    },
    seconds(
        "power_timeout",
        "30",
        "Accepted; the disks' msgwait is always waited for, and a shorter value is warned about",
    ),
    seconds("power_wait", "0", "Accepted; msgwait is waited for"),
    seconds("delay", "0", "Pause before the action begins"),
    OptionSpec {
        value_word: "path",
        ..option("sbd_path", Kind::Text, "Accepted; the sbd tool is not used")
    },
    seconds("login_timeout", "5", "Accepted; there is no login"),
    seconds("shell_timeout", "3", "Accepted; io_timeout is used"),
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
        ..option("stonith_status_sleep", Kind::Seconds, "Accepted; unused")
    },
    OptionSpec {
        value_word: "attempts",
        default: Some("1"),
        ..option("retry_on", Kind::Integer, "Accepted; the caller retries")
    },
    OptionSpec {
        letter: Some('C'),
        value_word: "char",
        default: Some(","),
        ..option(
            "separator",
            Kind::Text,
            "Separator of the columns that list prints",
        )
    },
    OptionSpec {
        value_word: "char",
        ..option(
            "plug_separator",
            Kind::Text,
            "Accepted; one node is fenced at a time",
        )
    },
    flag(
        "quiet",
        Some('q'),
        "No warnings on stderr; the reason of a failure is always given",
    ),
    flag("verbose", Some('v'), "Tell the steps on stderr"),
    OptionSpec {
        value_word: "level",
        ..option(
            "verbose_level",
            Kind::Integer,
            "Accepted; there is one level",
        )
    },
    flag("version", Some('V'), "Display version information and exit"),
    flag("help", Some('h'), "Display help and exit"),
];

const fn action(name: &'static str) -> ActionSpec {
    ActionSpec {
        name,
        automatic: None,
    }
}

static ACTIONS: [ActionSpec; 9] = [
    ActionSpec {
        name: "on",
        automatic: Some("0"),
    },
    action("off"),
    action("reboot"),
    action("status"),
    action("monitor"),
    action("list"),
    action("list-status"),
    action("metadata"),
    action("validate-all"),
];

/// The agent's description.
pub static AGENT: AgentSpec = AgentSpec {
    name: "fence_haft_sbd",
    short: "haft's fence agent for SBD disks",
    long: "fence_haft_sbd isolates a node by a poison pill in its slot on one to three shared SBD disks, in the \
           format of the ClusterLabs sbd tool, which it does not need. off and reboot succeed only after the pill \
           was written and read back on a majority of the disks and msgwait has passed since; a pill that lay \
           there before is written again and waited for again. status tells what lies in the slot: off means a \
           pill that is perhaps not obeyed yet. An action must be given: a missing or malformed action line is an \
           error and never a reboot.",
    options: &OPTIONS,
    actions: &ACTIONS,
};
