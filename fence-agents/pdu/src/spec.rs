//! The option table of `fence_haft_pdu`, with the names of `fence_apc_snmp` 4.12.
//!
//! A configuration written for `fence_apc_snmp` works here unchanged. Options that only make sense for a
//! wrapper around net-snmp's tools are accepted and mean nothing; debugging to a file is unknown here, hence
//! warned about and ignored. Values are checked in [`crate::settings`].

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

/// An option with a letter and a word for its value.
const fn short(letter: char, value_word: &'static str, rest: OptionSpec) -> OptionSpec {
    OptionSpec {
        letter: Some(letter),
        value_word,
        ..rest
    }
}

const fn named(value_word: &'static str, rest: OptionSpec) -> OptionSpec {
    OptionSpec { value_word, ..rest }
}

const fn old(old_name: &'static str, rest: OptionSpec) -> OptionSpec {
    OptionSpec {
        old_name: Some(old_name),
        ..rest
    }
}

const fn default(default: &'static str, rest: OptionSpec) -> OptionSpec {
    OptionSpec {
        default: Some(default),
        ..rest
    }
}

static OPTIONS: [OptionSpec; 50] = [
    OptionSpec {
        need: Need::Required,
        ..short(
            'o',
            "action",
            option(
                "action",
                Kind::Text,
                "Fencing action; there is no default, a missing action is an error",
            ),
        )
    },
    OptionSpec {
        need: Need::Required,
        ..old(
            "ipaddr",
            short(
                'a',
                "ip",
                option("ip", Kind::Text, "IP address or hostname of the PDU"),
            ),
        )
    },
    default(
        "161",
        short(
            'u',
            "port",
            option("ipport", Kind::Integer, "UDP port of the PDU"),
        ),
    ),
    old(
        "port",
        short(
            'n',
            "id",
            option(
                "plug",
                Kind::Text,
                "Outlets of the machine, by number or name; several with commas: all are switched, off means all off",
            ),
        ),
    ),
    default(
        ",",
        named(
            "char",
            option(
                "plug_separator",
                Kind::Text,
                "Separator when plug names several outlets",
            ),
        ),
    ),
    short(
        's',
        "id",
        option(
            "switch",
            Kind::Integer,
            "Unit of the outlets on PDUs that have units; or write plug=unit:number",
        ),
    ),
    default(
        "auto",
        named(
            "kind",
            option(
                "pdu",
                Kind::Select(&[
                    "auto",
                    "apc-switch",
                    "apc-rpdu",
                    "apc-switch6",
                    "apc-msp",
                    "apc-rpdu2",
                    "tripplite",
                    "tripplite-lx",
                    "eaton-epdu",
                    "raritan-px2",
                    "cyberpower",
                    "ibm-ipdu",
                ]),
                "Kind of PDU; auto asks it (sysObjectID)",
            ),
        ),
    ),
    default(
        "1",
        short(
            'd',
            "version",
            option(
                "snmp_version",
                Kind::Select(&["1", "2c", "3"]),
                "SNMP version to use",
            ),
        ),
    ),
    default(
        "private",
        short(
            'c',
            "community",
            option(
                "community",
                Kind::Secret,
                "Community string, for versions 1 and 2c",
            ),
        ),
    ),
    named(
        "file",
        option(
            "community_file",
            Kind::Text,
            "File whose first line is the community; must not be readable by others",
        ),
    ),
    named(
        "script",
        option(
            "community_script",
            Kind::Text,
            "Program whose output is the community",
        ),
    ),
    old(
        "login",
        short(
            'l',
            "name",
            option("username", Kind::Text, "User name, for version 3"),
        ),
    ),
    old(
        "passwd",
        short(
            'p',
            "password",
            option(
                "password",
                Kind::Secret,
                "Authentication pass phrase, for version 3",
            ),
        ),
    ),
    named(
        "file",
        option(
            "password_file",
            Kind::Text,
            "File whose first line is the password; must not be readable by others",
        ),
    ),
    old(
        "passwd_script",
        short(
            'S',
            "script",
            option(
                "password_script",
                Kind::Text,
                "Program whose output is the password",
            ),
        ),
    ),
    short(
        'E',
        "level",
        option(
            "snmp_sec_level",
            Kind::Select(&["noAuthNoPriv", "authNoPriv", "authPriv"]),
            "Security level; the highest for which there are pass phrases, when not given",
        ),
    ),
    default(
        "MD5",
        short(
            'b',
            "prot",
            option(
                "snmp_auth_prot",
                Kind::Select(&["MD5", "SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512"]),
                "Authentication protocol",
            ),
        ),
    ),
    default(
        "DES",
        short(
            'B',
            "prot",
            option(
                "snmp_priv_prot",
                Kind::Select(&["DES", "AES", "AES-192", "AES-256", "AES-192-C", "AES-256-C"]),
                "Privacy protocol; -C are the variants with Cisco's key extension",
            ),
        ),
    ),
    short(
        'P',
        "pass",
        option("snmp_priv_passwd", Kind::Secret, "Privacy pass phrase"),
    ),
    named(
        "file",
        option(
            "snmp_priv_passwd_file",
            Kind::Text,
            "File whose first line is the privacy pass phrase; must not be readable by others",
        ),
    ),
    short(
        'R',
        "script",
        option(
            "snmp_priv_passwd_script",
            Kind::Text,
            "Program whose output is the privacy pass phrase",
        ),
    ),
    named(
        "oid",
        option(
            "outlet_status_oid",
            Kind::Text,
            "Other PDUs: object of an outlet's state, with {plug} and perhaps {unit} in it",
        ),
    ),
    named(
        "number",
        option(
            "outlet_status_on",
            Kind::Text,
            "Other PDUs: the state's value for on",
        ),
    ),
    named(
        "number",
        option(
            "outlet_status_off",
            Kind::Text,
            "Other PDUs: the state's value for off",
        ),
    ),
    named(
        "oid",
        option(
            "outlet_control_oid",
            Kind::Text,
            "Other PDUs: object that takes the commands",
        ),
    ),
    named(
        "oid",
        option(
            "outlet_on_oid",
            Kind::Text,
            "Other PDUs: object that takes the command on, where it is one of its own",
        ),
    ),
    named(
        "oid",
        option(
            "outlet_off_oid",
            Kind::Text,
            "Other PDUs: object that takes the command off, where it is one of its own",
        ),
    ),
    named(
        "number",
        option(
            "outlet_command_on",
            Kind::Text,
            "Other PDUs: the command on, at once",
        ),
    ),
    named(
        "number",
        option(
            "outlet_command_off",
            Kind::Text,
            "Other PDUs: the command off, at once",
        ),
    ),
    named(
        "oid",
        option(
            "outlet_name_oid",
            Kind::Text,
            "Other PDUs: object of an outlet's name",
        ),
    ),
    default(
        ",",
        short(
            'C',
            "char",
            option("separator", Kind::Text, "Separator of the columns of list"),
        ),
    ),
    seconds("timeout", "60", "Time for the whole action"),
    seconds(
        "login_timeout",
        "5",
        "Time to find the engine of an SNMPv3 PDU",
    ),
    seconds(
        "shell_timeout",
        "3",
        "Time for one question with its repetitions",
    ),
    seconds(
        "power_timeout",
        "20",
        "Time for the outlets to change after a command",
    ),
    seconds(
        "power_wait",
        "0",
        "Wait after a command before the first read",
    ),
    default(
        "50",
        named(
            "milliseconds",
            option(
                "off_read_interval_ms",
                Kind::Integer,
                "Wait between two rounds of reads; off needs two in a row",
            ),
        ),
    ),
    default(
        "500",
        named(
            "milliseconds",
            option(
                "retry_interval_ms",
                Kind::Integer,
                "Wait before a lost packet is sent again; doubles up to 2 s",
            ),
        ),
    ),
    default(
        "1",
        named(
            "attempts",
            option("retry_on", Kind::Integer, "Count of attempts to power on"),
        ),
    ),
    seconds("delay", "0", "Pause before the action begins"),
    named(
        "true/false",
        option(
            "disable_timeout",
            Kind::Text,
            "Accepted; timeouts always stay on",
        ),
    ),
    named(
        "seconds",
        option(
            "stonith_status_sleep",
            Kind::Seconds,
            "Accepted; off_read_interval_ms is used",
        ),
    ),
    named(
        "path",
        option("snmpget_path", Kind::Text, "Accepted; net-snmp is not used"),
    ),
    named(
        "path",
        option("snmpset_path", Kind::Text, "Accepted; net-snmp is not used"),
    ),
    named(
        "path",
        option(
            "snmpwalk_path",
            Kind::Text,
            "Accepted; net-snmp is not used",
        ),
    ),
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
    named(
        "level",
        option(
            "verbose_level",
            Kind::Integer,
            "Accepted; there is one level",
        ),
    ),
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

static ACTIONS: [ActionSpec; 9] = [
    ActionSpec {
        name: "on",
        automatic: Some("0"),
    },
    action("off"),
    action("reboot"),
    action("status"),
    action("list"),
    action("list-status"),
    action("monitor"),
    action("metadata"),
    action("validate-all"),
];

/// The agent's description.
pub static AGENT: AgentSpec = AgentSpec {
    name: "fence_haft_pdu",
    short: "haft's fence agent for switched power outlets over SNMP",
    long: "fence_haft_pdu switches the outlets of a power distribution unit off and on with SNMP v1, v2c or v3, \
           by itself, without net-snmp. A machine may have several outlets: it is off when all of them were read \
           off twice, spaced; any other value than the PDU's own for off is not off. A PDU's reboot command is \
           never used. An action must be given: a missing or malformed action line is an error and never a reboot.",
    options: &OPTIONS,
    actions: &ACTIONS,
};
