//! What the objects and values of a PDU mean: the table of known PDUs, and descriptions by the user.
//!
//! A row says where an outlet's state is read and with which values it says on and off; where and with which
//! values it is commanded; and where its name is. Any other value, such as "pending" or "unknown", is neither
//! on nor off. Rows say where their numbers come from. No row holds a reboot or cycle command.

use std::fmt;

use crate::oid::{Oid, Pattern, Place};
use crate::power::Reading;
use crate::wire::message::Value;

/// sysObjectID.0 (RFC 3418, section 2): what kind of device this is.
pub const SYS_OBJECT_ID: [u32; 9] = [1, 3, 6, 1, 2, 1, 1, 2, 0];

/// One row of the table of known PDUs.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name for the option `pdu`.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// The values of sysObjectID by which it is known; empty when it must be named.
    pub identities: &'static [&'static str],
    status: &'static str,
    off: Order,
    on: Order,
    names: &'static str,
    says_on: i64,
    says_off: i64,
    /// The unit when a plug is given without one.
    default_unit: u32,
}

/// A command: which object becomes which number.
#[derive(Clone, Copy, Debug)]
struct Order {
    object: &'static str,
    value: i64,
}

const fn order(object: &'static str, value: i64) -> Order {
    Order { object, value }
}

const RPDU_CONTROL: &str = "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.{plug}";
const SPDU_CONTROL: &str = "1.3.6.1.4.1.318.1.1.4.4.2.1.3.{plug}";
const MSP_CONTROL: &str = "1.3.6.1.4.1.318.1.1.6.5.1.1.5.{unit}.1.{plug}";

/// The known PDUs. The first is what an unknown identity falls back to, as in `fence_apc_snmp`: every APC
/// PDU has these objects, and a PDU of another make answers that it has not.
pub static ROWS: [Row; 11] = [
    // PowerNet-MIB sPDUOutletCtl: outletOn(1), outletOff(2), outletReboot(3), outletUnknown(4).
    Row {
        name: "apc-switch",
        what: "APC MasterSwitch, and every other APC PDU",
        identities: &[],
        status: SPDU_CONTROL,
        off: order(SPDU_CONTROL, 2),
        on: order(SPDU_CONTROL, 1),
        names: "1.3.6.1.4.1.318.1.1.4.4.2.1.4.{plug}",
        says_on: 1,
        says_off: 2,
        default_unit: 1,
    },
    // rPDUOutletStatusOutletState; rPDUOutletControlOutletCommand: immediateOn(1), immediateOff(2).
    Row {
        name: "apc-rpdu",
        what: "APC Switched Rack PDU (AP79xx)",
        identities: &["1.3.6.1.4.1.318.1.3.4.5"],
        status: "1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.{plug}",
        off: order(RPDU_CONTROL, 2),
        on: order(RPDU_CONTROL, 1),
        names: "1.3.6.1.4.1.318.1.1.12.3.5.1.1.2.{plug}",
        says_on: 1,
        says_off: 2,
        default_unit: 1,
    },
    // State of one family, command of the other: as fence_apc_snmp does for firmware 6.x.
    Row {
        name: "apc-switch6",
        what: "APC Rack PDU with firmware 6 (AP8xxx)",
        identities: &["1.3.6.1.4.1.318.1.3.4.6"],
        status: SPDU_CONTROL,
        off: order(RPDU_CONTROL, 2),
        on: order(RPDU_CONTROL, 1),
        names: "1.3.6.1.4.1.318.1.1.4.4.2.1.4.{plug}",
        says_on: 1,
        says_off: 2,
        default_unit: 1,
    },
    // sPDUOutletControlMSPOutletCommand: immediateOnMSP(1), delayedOnMSP(2), immediateOffMSP(3).
    Row {
        name: "apc-msp",
        what: "APC MasterSwitch Plus",
        identities: &["1.3.6.1.4.1.318.1.3.4.4"],
        status: "1.3.6.1.4.1.318.1.1.6.7.1.1.5.{unit}.1.{plug}",
        off: order(MSP_CONTROL, 3),
        on: order(MSP_CONTROL, 1),
        names: "1.3.6.1.4.1.318.1.1.6.7.1.1.4.{unit}.1.{plug}",
        says_on: 1,
        says_off: 2,
        default_unit: 1,
    },
    // rPDU2OutletSwitchedStatusState: off(1), on(2); ...ControlCommand: immediateOn(1), immediateOff(2).
    Row {
        name: "apc-rpdu2",
        what: "APC Rack PDU 2G by its own objects; also groups of them",
        identities: &[],
        status: "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5.{plug}",
        off: order("1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.{plug}", 2),
        on: order("1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.{plug}", 1),
        names: "1.3.6.1.4.1.318.1.1.26.9.2.3.1.3.{plug}",
        says_on: 2,
        says_off: 1,
        default_unit: 1,
    },
    // As fence_apc_snmp.
    Row {
        name: "tripplite",
        what: "Tripp Lite PDUMH",
        identities: &["1.3.6.1.4.1.850.1"],
        status: "1.3.6.1.4.1.850.10.2.3.5.1.2.1.{plug}",
        off: order("1.3.6.1.4.1.850.10.2.3.5.1.4.1.{plug}", 1),
        on: order("1.3.6.1.4.1.850.10.2.3.5.1.4.1.{plug}", 2),
        names: "1.3.6.1.4.1.850.10.2.3.5.1.5.1.{plug}",
        says_on: 2,
        says_off: 1,
        default_unit: 1,
    },
    // As fence_apc_snmp.
    Row {
        name: "tripplite-lx",
        what: "Tripp Lite with WEBCARDLX",
        identities: &["1.3.6.1.4.1.850.1.1.1"],
        status: "1.3.6.1.4.1.850.1.1.3.2.3.3.1.1.4.1.{plug}",
        off: order("1.3.6.1.4.1.850.1.1.3.2.3.3.1.1.6.1.{plug}", 1),
        on: order("1.3.6.1.4.1.850.1.1.3.2.3.3.1.1.6.1.{plug}", 2),
        names: "1.3.6.1.4.1.850.1.1.3.2.3.3.1.1.2.1.{plug}",
        says_on: 2,
        says_off: 1,
        default_unit: 1,
    },
    // EATON-EPDU-MIB outletControlStatus: off(0), on(1), pendingOff(2), pendingOn(3); the commands take the
    // delay in seconds. The unit is the place in a daisy chain, 0 for the first.
    Row {
        name: "eaton-epdu",
        what: "Eaton ePDU G2 and G3",
        identities: &["1.3.6.1.4.1.534.6.6.7"],
        status: "1.3.6.1.4.1.534.6.6.7.6.6.1.2.{unit}.{plug}",
        off: order("1.3.6.1.4.1.534.6.6.7.6.6.1.3.{unit}.{plug}", 0),
        on: order("1.3.6.1.4.1.534.6.6.7.6.6.1.4.{unit}.{plug}", 0),
        names: "1.3.6.1.4.1.534.6.6.7.6.1.1.3.{unit}.{plug}",
        says_on: 1,
        says_off: 0,
        default_unit: 0,
    },
    // PDU2-MIB outletSwitchingState: on(7), off(8); switchingOperation: off(0), on(1), cycle(2).
    Row {
        name: "raritan-px2",
        what: "Raritan PX2 and PX3",
        identities: &["1.3.6.1.4.1.13742.6"],
        status: "1.3.6.1.4.1.13742.6.4.1.2.1.3.{unit}.{plug}",
        off: order("1.3.6.1.4.1.13742.6.4.1.2.1.2.{unit}.{plug}", 0),
        on: order("1.3.6.1.4.1.13742.6.4.1.2.1.2.{unit}.{plug}", 1),
        names: "1.3.6.1.4.1.13742.6.3.5.3.1.3.{unit}.{plug}",
        says_on: 7,
        says_off: 8,
        default_unit: 1,
    },
    // CPS-MIB ePDUOutletStatusOutletState: on(1), off(2); ePDUOutletControlOutletCommand: immediateOn(1),
    // immediateOff(2). Its sysObjectID is the maker's, which its other devices share.
    Row {
        name: "cyberpower",
        what: "CyberPower ePDU",
        identities: &[],
        status: "1.3.6.1.4.1.3808.1.1.3.3.5.1.1.4.{plug}",
        off: order("1.3.6.1.4.1.3808.1.1.3.3.3.1.1.4.{plug}", 2),
        on: order("1.3.6.1.4.1.3808.1.1.3.3.3.1.1.4.{plug}", 1),
        names: "1.3.6.1.4.1.3808.1.1.3.3.3.1.1.2.{plug}",
        says_on: 1,
        says_off: 2,
        default_unit: 1,
    },
    // As fence_ipdu.
    Row {
        name: "ibm-ipdu",
        what: "IBM iPDU",
        identities: &["1.3.6.1.4.1.2.6.223"],
        status: "1.3.6.1.4.1.2.6.223.8.2.2.1.11.{plug}",
        off: order("1.3.6.1.4.1.2.6.223.8.2.2.1.11.{plug}", 0),
        on: order("1.3.6.1.4.1.2.6.223.8.2.2.1.11.{plug}", 1),
        names: "1.3.6.1.4.1.2.6.223.8.2.2.1.2.{plug}",
        says_on: 1,
        says_off: 0,
        default_unit: 1,
    },
];

impl Row {
    /// The row that a name for the option `pdu` means.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name)
    }

    /// The row for a device; the fallback when it is none of the known.
    pub fn by_identity(identity: &Oid) -> &'static Self {
        let text = identity.to_string();
        ROWS.iter()
            .find(|row| row.identities.contains(&text.as_str()))
            .unwrap_or(&ROWS[0])
    }

    /// The description that the row stands for.
    pub fn description(&self) -> Description {
        let pattern = |text| Pattern::parse(text).expect("patterns of the table are tested");
        let command = |order: &Order| Command {
            object: pattern(order.object),
            value: order.value,
        };
        Description {
            name: self.name.to_owned(),
            status: pattern(self.status),
            off: command(&self.off),
            on: command(&self.on),
            names: Some(pattern(self.names)),
            says_on: self.says_on,
            says_off: self.says_off,
            default_unit: self.default_unit,
        }
    }
}

/// A command: the object of an outlet, and the number that it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The object.
    pub object: Pattern,
    /// The number.
    pub value: i64,
}

/// How to talk to one kind of PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// For people.
    pub name: String,
    /// The state of an outlet.
    pub status: Pattern,
    /// Power off, at once.
    pub off: Command,
    /// Power on, at once.
    pub on: Command,
    /// The names of outlets, where there are any.
    pub names: Option<Pattern>,
    /// The state's value for on.
    pub says_on: i64,
    /// The state's value for off.
    pub says_off: i64,
    /// The unit when a plug is given without one.
    pub default_unit: u32,
}

impl Description {
    /// What a value of the state means: on, off, or neither.
    pub fn reading(&self, value: &Value) -> Reading {
        let number = match value {
            Value::Integer(number) => Some(*number),
            Value::Unsigned(number) => i64::try_from(*number).ok(),
            Value::Null
            | Value::Octets(_)
            | Value::Oid(_)
            | Value::NoSuchObject
            | Value::NoSuchInstance
            | Value::EndOfMibView
            | Value::Other(_) => None,
        };
        match number {
            Some(number) if number == self.says_on => Reading::On,
            Some(number) if number == self.says_off => Reading::Off,
            Some(_) | None => Reading::Unclear,
        }
    }

    /// Whether outlets have units, so that they are called `unit:plug`.
    pub fn has_unit(&self) -> bool {
        self.status.has_unit()
    }

    /// An outlet's name for people and for lists.
    pub fn label(&self, place: Place) -> Label {
        Label {
            place,
            unit: self.has_unit(),
        }
    }
}

/// An outlet as it is written: `7`, or `2:7` where there are units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    place: Place,
    unit: bool,
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unit {
            write!(out, "{}:", self.place.unit)?;
        }
        write!(out, "{}", self.place.plug)
    }
}

/// An outlet as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plug {
    /// By number.
    Number {
        /// The unit, when one was given.
        unit: Option<u32>,
        /// The outlet.
        plug: u32,
    },
    /// By the name that the PDU has for it.
    Name(String),
}

impl Plug {
    /// Reads `7`, `2:7` or a name, as `fence_apc_snmp` does: digits are always a number.
    pub fn parse(text: &str) -> Self {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse().ok() } else { None }
        };
        let numbers = match text.split_once(':') {
            Some((unit, plug)) => number(unit).zip(number(plug)).map(|(u, p)| (Some(u), p)),
            None => number(text).map(|plug| (None, plug)),
        };
        match numbers {
            Some((unit, plug)) => Self::Number { unit, plug },
            None => Self::Name(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_sound() {
        for row in &ROWS {
            let description = row.description();
            assert_ne!(description.says_on, description.says_off, "{}", row.name);
            let same_object = description.on.object == description.off.object;
            assert!(
                !same_object || description.on.value != description.off.value,
                "{}",
                row.name
            );
            assert_eq!(
                Row::by_name(row.name).map(|found| found.name),
                Some(row.name)
            );
            for identity in row.identities {
                assert_eq!(
                    Row::by_identity(&Oid::parse(identity).unwrap()).name,
                    row.name
                );
            }
        }
        assert_eq!(
            Row::by_identity(&Oid::parse("1.3.6.1.4.1.8072.3.2.10").unwrap()).name,
            "apc-switch"
        );
    }

    #[test]
    fn only_the_two_values_are_on_and_off() {
        let rpdu2 = Row::by_name("apc-rpdu2").unwrap().description();
        assert_eq!(rpdu2.reading(&Value::Integer(2)), Reading::On);
        assert_eq!(rpdu2.reading(&Value::Unsigned(1)), Reading::Off);
        for value in [
            Value::Integer(3),
            Value::Integer(0),
            Value::Integer(-1),
            Value::Unsigned(u64::MAX),
            Value::Octets(b"1".to_vec()),
            Value::Null,
            Value::Other(0x41),
            Value::NoSuchInstance,
        ] {
            assert_eq!(rpdu2.reading(&value), Reading::Unclear, "{value:?}");
        }
    }

    #[test]
    fn plugs_are_numbers_pairs_or_names() {
        let number = |unit, plug| Plug::Number { unit, plug };
        assert_eq!(Plug::parse("7"), number(None, 7));
        assert_eq!(Plug::parse("2:7"), number(Some(2), 7));
        for name in ["node7", "a:7", "+7", "7a", "99999999999", ":7", "7:"] {
            assert_eq!(Plug::parse(name), Plug::Name(name.to_owned()), "{name}");
        }
    }
}
