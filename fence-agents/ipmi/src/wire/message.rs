//! IPMI messages over LAN (section 13.8) and the handful of commands that power control needs.
//!
//! A request names its sequence number so that an answer can be told from a late answer to an earlier
//! question: a stale "off" must never pass for a fresh one. Matching them is the session's work.

use super::Cursor;
use super::setup::Privilege;

/// Slave address of the BMC.
const BMC: u8 = 0x20;
/// Software id of a remote console.
const CONSOLE: u8 = 0x81;

/// What we can ask of a BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Get Channel Authentication Capabilities (section 22.13), asking for the IPMI 2.0 part.
    ChannelCapabilities(Privilege),
    /// Set Session Privilege Level (section 22.18).
    RaisePrivilege(Privilege),
    /// Get Chassis Status (section 28.2).
    ChassisStatus,
    /// Chassis Control (section 28.3).
    ChassisControl(Control),
    /// Set Power Restore Policy (section 28.8).
    SetRestore(Restore),
    /// Close Session (section 22.19) with the BMC's session id.
    CloseSession(u32),
}

/// Power commands. Cycle and reset are deliberately absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Hard power-off, without asking the operating system.
    Down,
    /// Power-on.
    Up,
}

/// What the machine does when mains power returns (sections 28.2 and 28.8). Names are those of
/// `ipmitool chassis policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// It stays off.
    AlwaysOff,
    /// It becomes what it was.
    Previous,
    /// It starts, also when it had been powered off to isolate it.
    AlwaysOn,
}

impl Restore {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AlwaysOff, Self::Previous, Self::AlwaysOn];

    /// Number on the wire, in the request and in the status.
    pub const fn number(self) -> u8 {
        match self {
            Self::AlwaysOff => 0,
            Self::Previous => 1,
            Self::AlwaysOn => 2,
        }
    }

    /// Name in options and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlwaysOff => "always-off",
            Self::Previous => "previous",
            Self::AlwaysOn => "always-on",
        }
    }
}

/// An answer, not yet matched to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Network function of the request it answers.
    pub function: u8,
    /// Command number.
    pub command: u8,
    /// Sequence number of the request, 0 to 63.
    pub sequence: u8,
    /// Completion code.
    pub code: CompletionCode,
    /// What follows the completion code.
    pub body: &'a [u8],
}

/// Completion code (section 5.2 and the commands' own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionCode(pub u8);

impl CompletionCode {
    /// Success.
    pub const OK: Self = Self(0x00);

    /// Whether the BMC was only busy: node busy, timeout, duplicated request, initialisation under
    /// way, cannot respond now.
    pub const fn is_passing(self) -> bool {
        matches!(self.0, 0xC0 | 0xC3 | 0xCF | 0xD1 | 0xD2)
    }

    /// What it means, for the generic codes of table 5-2 that a BMC answers with in practice.
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            0x00 => "success",
            0xC0 => "node busy",
            0xC1 => "invalid command",
            0xC2 => "command invalid for this logical unit",
            0xC3 => "timeout while processing",
            0xC4 => "out of space",
            0xC7 => "request data length invalid",
            0xC9 => "parameter out of range",
            0xCB => "requested sensor, data or record not present",
            0xCC => "invalid data field in request",
            0xCF => "duplicated request",
            0xD1 => "firmware update under way",
            0xD2 => "initialisation under way",
            0xD3 => "destination unavailable",
            0xD4 => "insufficient privilege",
            0xD5 => "not supported in the present state",
            0xD6 => "command disabled",
            0xFF => "unspecified error",
            _ => "error",
        }
    }

    /// Whether it says that the machine's present state does not allow the command.
    pub const fn is_state(self) -> bool {
        self.0 == 0xD5
    }

    /// Whether it says that the privilege does not suffice.
    pub const fn is_privilege(self) -> bool {
        self.0 == 0xD4
    }
}

impl Request {
    /// Network function: 0 chassis, 6 application.
    pub const fn function(self) -> u8 {
        match self {
            Self::ChassisStatus | Self::ChassisControl(_) | Self::SetRestore(_) => 0x00,
            Self::ChannelCapabilities(_) | Self::RaisePrivilege(_) | Self::CloseSession(_) => 0x06,
        }
    }

    /// Command number.
    pub const fn command(self) -> u8 {
        match self {
            Self::ChannelCapabilities(_) => 0x38,
            Self::RaisePrivilege(_) => 0x3B,
            Self::CloseSession(_) => 0x3C,
            Self::ChassisStatus => 0x01,
            Self::ChassisControl(_) => 0x02,
            Self::SetRestore(_) => 0x06,
        }
    }

    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChannelCapabilities(_) => "get channel authentication capabilities",
            Self::RaisePrivilege(_) => "set session privilege level",
            Self::CloseSession(_) => "close session",
            Self::ChassisStatus => "chassis status",
            Self::ChassisControl(Control::Down) => "chassis power off",
            Self::ChassisControl(Control::Up) => "chassis power on",
            Self::SetRestore(_) => "set power restore policy",
        }
    }

    /// The message.
    pub fn to_bytes(self, sequence: u8) -> Vec<u8> {
        let body = match self {
            // Channel 0x0E is "this one"; bit 7 asks for the IPMI 2.0 fields.
            Self::ChannelCapabilities(privilege) => vec![0x8E, privilege.number()],
            Self::RaisePrivilege(privilege) => vec![privilege.number()],
            Self::CloseSession(session) => session.to_le_bytes().to_vec(),
            Self::ChassisStatus => Vec::new(),
            Self::ChassisControl(Control::Down) => vec![0x00],
            Self::ChassisControl(Control::Up) => vec![0x01],
            Self::SetRestore(restore) => vec![restore.number()],
        };
        frame(
            [BMC, self.function() << 2],
            [CONSOLE, sequence << 2, self.command()],
            &body,
        )
    }
}

/// An answer's message, for a responder.
pub fn answer_to_bytes(answer: &Answer<'_>) -> Vec<u8> {
    let body = [&[answer.code.0], answer.body].concat();
    frame(
        [CONSOLE, (answer.function | 1) << 2],
        [BMC, answer.sequence << 2, answer.command],
        &body,
    )
}

fn frame(first: [u8; 2], second: [u8; 3], body: &[u8]) -> Vec<u8> {
    let mut out = first.to_vec();
    out.push(checksum(&first));
    out.extend_from_slice(&second);
    out.extend_from_slice(body);
    out.push(checksum(&out[3..]));
    out
}

/// Two's complement of the sum: bytes and checksum together sum to zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg()
}

/// Reads an answer; both checksums must be right.
pub fn parse_answer(message: &[u8]) -> Option<Answer<'_>> {
    let mut cursor = Cursor::new(message);
    let first = cursor.array::<3>()?;
    if checksum(&first) != 0 || checksum(cursor.rest()) != 0 {
        return None;
    }
    let function = first[1] >> 2;
    if function & 1 == 0 {
        return None;
    }
    let [_, sequence, command, code] = cursor.array()?;
    let (_, body) = cursor.rest().split_last()?;
    Some(Answer {
        function: function & !1,
        command,
        sequence: sequence >> 2,
        code: CompletionCode(code),
        body,
    })
}

/// Whether an answer to the capabilities request says that IPMI 2.0 sessions are possible: bit 7 of
/// the third byte says that extended fields are there, bit 1 of the fifth is the 2.0 bit.
pub fn speaks_rmcp_plus(body: &[u8]) -> bool {
    matches!(body, [_, supported, _, extended, ..] if supported & 0x80 != 0 && extended & 0x02 != 0)
}

/// Power bit of an answer to chassis status; `None` when the answer is too short to hold one.
pub fn power_is_on(body: &[u8]) -> Option<bool> {
    // Three bytes are mandatory; a BMC that sends fewer has not told its state.
    matches!(body.len(), 3..).then(|| body[0] & 0x01 != 0)
}

/// Power restore policy of an answer to chassis status, bits 5 and 6; `None` when the BMC does not know.
pub fn restore_of(body: &[u8]) -> Option<Restore> {
    let bits = body.first()? >> 5 & 0x03;
    Restore::ALL
        .into_iter()
        .find(|restore| restore.number() == bits)
}
