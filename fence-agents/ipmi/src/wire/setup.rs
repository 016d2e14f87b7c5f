//! The payloads that establish a session: open session and RAKP 1 to 4 (sections 13.17 to 13.24).
//!
//! Both directions are here, because the responder in the tests is built from the same bytes; it is
//! checked against a BMC of other makers, too. Codes are carried, not judged.

use super::Cursor;
use crate::cipher::Suite;

/// Longest user name, in bytes (section 13.20).
pub const USER_MAX: usize = 16;

/// A privilege level (section 6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// Callback only.
    Callback,
    /// Read-only commands.
    User,
    /// Enough for chassis control.
    Operator,
    /// Everything.
    Administrator,
}

impl Privilege {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Callback => 1,
            Self::User => 2,
            Self::Operator => 3,
            Self::Administrator => 4,
        }
    }

    /// Its name in the options of the agent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::User => "user",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

/// An answer to a set-up payload: accepted with contents, or refused with a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupAnswer<T> {
    /// The BMC goes on.
    Accepted(T),
    /// The BMC refuses; the code is of table 13-15.
    Refused(SetupStatus),
}

/// RMCP+ status code (table 13-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupStatus(pub u8);

impl SetupStatus {
    /// What the code means.
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            0x00 => "no errors",
            0x01 => "insufficient resources to create a session",
            0x02 => "invalid session ID",
            0x03 => "invalid payload type",
            0x04 => "invalid authentication algorithm",
            0x05 => "invalid integrity algorithm",
            0x06 => "no matching authentication payload",
            0x07 => "no matching integrity payload",
            0x08 => "inactive session ID",
            0x09 => "invalid role",
            0x0A => "unauthorized role or privilege level requested",
            0x0B => "insufficient resources to create a session at the requested role",
            0x0C => "invalid name length",
            0x0D => "unauthorized name",
            0x0E => "unauthorized GUID",
            0x0F => "invalid integrity check value",
            0x10 => "invalid confidentiality algorithm",
            0x11 => "no cipher suite match with proposed security algorithms",
            0x12 => "illegal or unrecognized parameter",
            _ => "reserved status code",
        }
    }
}

/// Contents of an open session response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The BMC's session id: where our packets go.
    pub bmc_session: u32,
    /// Chosen algorithms: authentication, integrity, confidentiality.
    pub algorithms: [u8; 3],
}

/// Contents of RAKP 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rakp2<'a> {
    /// The BMC's random number.
    pub bmc_random: [u8; 16],
    /// The BMC's GUID.
    pub bmc_guid: [u8; 16],
    /// Key exchange authentication code.
    pub code: &'a [u8],
}

/// A set-up answer with the fields that all of them share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagged<T> {
    /// Echo of the request's tag.
    pub tag: u8,
    /// The console's session id.
    pub console_session: u32,
    /// The answer.
    pub answer: SetupAnswer<T>,
}

/// Open session request: one algorithm each, nothing to negotiate down to.
pub fn open_request(tag: u8, privilege: Privilege, console_session: u32, suite: Suite) -> Vec<u8> {
    let mut out = vec![tag, privilege.number(), 0, 0];
    out.extend_from_slice(&console_session.to_le_bytes());
    out.extend_from_slice(&algorithms(suite));
    out
}

/// Open session response, for a responder.
pub fn open_response(
    tag: u8,
    status: u8,
    console_session: u32,
    bmc_session: u32,
    suite: Suite,
) -> Vec<u8> {
    let mut out = vec![tag, status, Privilege::Administrator.number(), 0];
    out.extend_from_slice(&console_session.to_le_bytes());
    if status == 0 {
        out.extend_from_slice(&bmc_session.to_le_bytes());
        out.extend_from_slice(&algorithms(suite));
    }
    out
}

/// The three algorithm payloads, eight bytes each (table 13-9).
fn algorithms(suite: Suite) -> Vec<u8> {
    let chosen = [
        suite.authentication(),
        suite.integrity(),
        suite.confidentiality(),
    ];
    (0u8..)
        .zip(chosen)
        .flat_map(|(kind, number)| [kind, 0, 0, 8, number, 0, 0, 0])
        .collect()
}

/// The beginning that all set-up answers share.
enum Head {
    Accepted { tag: u8, console_session: u32 },
    Refused(Refusal),
}

struct Refusal {
    tag: u8,
    console_session: u32,
    status: SetupStatus,
}

impl Refusal {
    fn with<T>(self) -> Tagged<T> {
        Tagged {
            tag: self.tag,
            console_session: self.console_session,
            answer: SetupAnswer::Refused(self.status),
        }
    }
}

/// A refusal may end anywhere behind its status (OpenIPMI's BMC sends just the two bytes); a session
/// id that is not there counts as zero.
fn head(cursor: &mut Cursor<'_>) -> Option<Head> {
    let [tag, status] = cursor.array()?;
    let console_session = cursor.bytes(2).and_then(|_| cursor.u32());
    if status == 0 {
        return Some(Head::Accepted {
            tag,
            console_session: console_session?,
        });
    }
    let status = SetupStatus(status);
    Some(Head::Refused(Refusal {
        tag,
        console_session: console_session.unwrap_or(0),
        status,
    }))
}

/// Reads an open session response.
pub fn parse_open_response(payload: &[u8]) -> Option<Tagged<Opened>> {
    let mut cursor = Cursor::new(payload);
    let (tag, console_session) = match head(&mut cursor)? {
        Head::Accepted {
            tag,
            console_session,
        } => (tag, console_session),
        Head::Refused(refused) => return Some(refused.with()),
    };
    let bmc_session = cursor.u32()?;
    let mut algorithms = [0; 3];
    for (expected, algorithm) in (0u8..).zip(&mut algorithms) {
        let [kind, _, _, _, number, _, _, _] = cursor.array()?;
        if kind != expected {
            return None;
        }
        *algorithm = number & 0x3F;
    }
    let answer = SetupAnswer::Accepted(Opened {
        bmc_session,
        algorithms,
    });
    Some(Tagged {
        tag,
        console_session,
        answer,
    })
}

/// RAKP 1. `role` is the whole role byte, which also goes into the codes.
pub fn rakp1(tag: u8, bmc_session: u32, random: &[u8; 16], role: u8, user: &[u8]) -> Vec<u8> {
    let length = u8::try_from(user.len()).expect("user names are at most USER_MAX");
    let mut out = vec![tag, 0, 0, 0];
    out.extend_from_slice(&bmc_session.to_le_bytes());
    out.extend_from_slice(random);
    out.extend_from_slice(&[role, 0, 0, length]);
    out.extend_from_slice(user);
    out
}

/// RAKP 2, for a responder. A refusal ends behind the session id.
pub fn rakp2(tag: u8, status: u8, console_session: u32, parts: &Rakp2<'_>) -> Vec<u8> {
    let mut out = vec![tag, status, 0, 0];
    out.extend_from_slice(&console_session.to_le_bytes());
    if status == 0 {
        out.extend_from_slice(&parts.bmc_random);
        out.extend_from_slice(&parts.bmc_guid);
        out.extend_from_slice(parts.code);
    }
    out
}

/// Reads RAKP 2.
pub fn parse_rakp2(payload: &[u8], suite: Suite) -> Option<Tagged<Rakp2<'_>>> {
    let mut cursor = Cursor::new(payload);
    let (tag, console_session) = match head(&mut cursor)? {
        Head::Accepted {
            tag,
            console_session,
        } => (tag, console_session),
        Head::Refused(refused) => return Some(refused.with()),
    };
    let bmc_random = cursor.array()?;
    let bmc_guid = cursor.array()?;
    let code = cursor.bytes(suite.code_len())?;
    let answer = SetupAnswer::Accepted(Rakp2 {
        bmc_random,
        bmc_guid,
        code,
    });
    Some(Tagged {
        tag,
        console_session,
        answer,
    })
}

/// RAKP 3: our proof that we know the password.
pub fn rakp3(tag: u8, bmc_session: u32, code: &[u8]) -> Vec<u8> {
    let mut out = vec![tag, 0, 0, 0];
    out.extend_from_slice(&bmc_session.to_le_bytes());
    out.extend_from_slice(code);
    out
}

/// RAKP 4, for a responder.
pub fn rakp4(tag: u8, status: u8, console_session: u32, check: &[u8]) -> Vec<u8> {
    let mut out = vec![tag, status, 0, 0];
    out.extend_from_slice(&console_session.to_le_bytes());
    if status == 0 {
        out.extend_from_slice(check);
    }
    out
}

/// Reads RAKP 4; the content is the integrity check value.
pub fn parse_rakp4(payload: &[u8], suite: Suite) -> Option<Tagged<&[u8]>> {
    let mut cursor = Cursor::new(payload);
    let (tag, console_session) = match head(&mut cursor)? {
        Head::Accepted {
            tag,
            console_session,
        } => (tag, console_session),
        Head::Refused(refused) => return Some(refused.with()),
    };
    let answer = SetupAnswer::Accepted(cursor.bytes(suite.integrity_len())?);
    Some(Tagged {
        tag,
        console_session,
        answer,
    })
}
